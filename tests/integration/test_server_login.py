# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules server_password and server_key: servers on libvirt's test driver, the guest's agent a real one."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from ansible_collections.altostratus.ecs.plugins.module_utils._engines import files
from ansible_collections.altostratus.ecs.plugins.modules import server, server_info, server_key, server_password

from .test_server_states import WEB, WEB_ID

ONE, TWO, THREE = (f"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{name} {name}" for name in ("one", "two", "three"))
KEYS = "/root/.ssh/authorized_keys"


@pytest.fixture
def web(call: Any, hypervisor: Any) -> None:
    """A running server with an answering guest, where the test has one."""
    call(server, **WEB)


def shadow(guest: Any) -> str:
    """The hash of root's password in the guest."""
    return next(line.split(":")[1] for line in guest.read("/etc/shadow").splitlines() if line.startswith("root:"))


def matches(hashed: str, password: str) -> bool:
    salt = hashed.split("$")[2]
    made = subprocess.run(["openssl", "passwd", "-6", "-salt", salt, "-stdin"], input=password, capture_output=True, text=True, check=True)
    return made.stdout.strip() == hashed


def test_password(call: Any, web: None, guest: Any) -> None:
    """The guest has the password afterwards; nobody else does (spec P-01 to P-04)."""
    before = shadow(guest)
    told = call(server_password, check=True, name="web", password="Cloud.1234!")
    assert (told["steps"], told["server"]) == (["reset password root@web"], {"id": WEB_ID, "name": "web", "user": "root"})
    assert shadow(guest) == before

    done = call(server_password, name="web", password="Cloud.1234!")
    assert matches(shadow(guest), "Cloud.1234!")
    assert (done["steps"], done["server"]) == (told["steps"], told["server"])
    assert "Cloud.1234!" not in str(done)
    assert call(server_password, servers=[{"name": "web"}], user="root", password="Other.5678!")["changed"]
    assert matches(shadow(guest), "Other.5678!")


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ({"password": "toor!A1b2c"}, "ECS_INVALID_INPUT", "user name root, or it backwards"),
        ({"password": "Abcdefgh"}, "ECS_INVALID_INPUT", "2 of the four kinds"),
        ({"password": "daemon.A1", "user": "daemon"}, "ECS_INVALID_INPUT", "user name daemon"),
        ({"user": "root"}, "ECS_INVALID_INPUT", "password: None is missing for server web"),
        ({"password": "Cloud.1234!", "user": "nobody-there"}, "ECS_AGENT", "guest-set-user-password"),
        ({"name": "gone", "password": "Cloud.1234!"}, "ECS_NOT_FOUND", "server gone does not exist"),
        (
            {"servers": [{"name": "web"}, {"name": "web"}], "name": None, "password": "Cloud.1234!"},
            "ECS_INVALID_INPUT",
            "stands there twice",
        ),
    ],
)
def test_passwords_that_are_refused(call: Any, web: None, guest: Any, options: dict[str, Any], code: str, message: str) -> None:
    """The error names the rule, and not the password."""
    before = shadow(guest)
    refused = call(server_password, fails=True, **{"name": "web", **options})
    assert (refused["error_code"], message in refused["msg"]) == (code, True), refused["msg"]
    assert shadow(guest) == before
    assert options.get("password", "no password") not in str(refused)


@pytest.mark.parametrize("module", [server_password, server_key])
def test_guest_that_cannot_be_asked(call: Any, web: None, hypervisor: Any, module: Any, guest: Any) -> None:
    """A server that is off, has no agent, or is in other hands is named before any other one is changed."""
    before = shadow(guest)
    what = {"password": "Cloud.1234!"} if module is server_password else {"public_keys": [ONE]}
    call(server, **WEB | {"name": "db"})
    both = {"servers": [{"name": "web"}, {"name": "db"}], **what}
    silent = call(module, fails=True, **both)
    assert (silent["error_code"], "guest agent of shop.db" in silent["msg"]) == ("ECS_AGENT", True)
    call(server, name="db", state="stopped")
    for check in (True, False):
        off = call(module, fails=True, check=check, **both)
        assert (off["error_code"], "server db (project shop) is stopped" in off["msg"]) == ("ECS_STOPPED", True)
    with files.lock(str(hypervisor.directory / "locks" / f"{WEB_ID}.lock")):
        assert call(module, fails=True, name="web", wait_timeout=0, **what)["error_code"] == "ECS_BUSY"
    assert shadow(guest) == before
    assert not (guest.directory / "root/.ssh").exists()


def test_keys(call: Any, web: None, guest: Any) -> None:
    """Keys are added, replaced and removed in the guest; a second run changes nothing (spec P-20, X6)."""
    wanted = {"name": "web", "public_keys": [ONE, TWO], "key": "ops"}
    foreseen = call(server_key, check=True, **wanted)
    assert not (guest.directory / "root/.ssh").exists()
    done = call(server_key, **wanted)
    assert (foreseen["steps"], foreseen["diff"], foreseen["server"]) == (done["steps"], done["diff"], done["server"])
    assert done["steps"] == ["update keys root@web", "update server web"]
    assert guest.read(KEYS).split("\n")[:2] == [ONE, TWO]
    assert call(server_info)["servers"][0]["key"] == "ops"
    assert not call(server_key, **wanted)["changed"]
    other_comment = ONE.removesuffix("one") + "of the same key"
    assert not call(server_key, name="web", public_keys=[other_comment])["changed"]

    replaced = call(server_key, name="web", public_keys=[TWO, THREE], exclusive=True)
    assert replaced["diff"]["after"] == {"keys root@web": {"public_keys": [TWO, THREE]}}
    assert guest.read(KEYS).split() == f"{TWO} {THREE}".split()
    assert not call(server_key, name="web", public_keys=[THREE, TWO], exclusive=True)["changed"]

    gone = call(server_key, name="web", public_keys=[TWO.removesuffix("two") + "whatever"], state="absent", key="ops")
    assert (gone["server"]["public_keys"], gone["server"]["key"]) == ([THREE], None)
    assert guest.read(KEYS).split() == THREE.split()
    assert not call(server_key, name="web", public_keys=[TWO], state="absent")["changed"]
    assert call(server_key, name="web", public_keys=[], exclusive=True)["server"]["public_keys"] == []
    assert guest.read(KEYS).strip() == ""


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ({"public_keys": ["rubbish"]}, "ECS_INVALID_INPUT", "is not an OpenSSH public key"),
        ({"state": "absent"}, "ECS_INVALID_INPUT", "public_keys: None is missing for server web"),
        ({"public_keys": [ONE], "state": "absent", "exclusive": True}, "ECS_INVALID_INPUT", "does not go with state absent"),
        ({"public_keys": [ONE], "user": "nobody-there"}, "ECS_AGENT", "nobody-there"),
    ],
)
def test_keys_that_are_refused(call: Any, web: None, guest: Any, options: dict[str, Any], code: str, message: str) -> None:
    refused = call(server_key, fails=True, name="web", **options)
    assert (refused["error_code"], message in refused["msg"]) == (code, True), refused["msg"]
