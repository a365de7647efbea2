# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Another system for a server, on libvirt's test driver and a private Northbound (spec Q1 to Q11)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.altostratus.ecs.plugins.module_utils._engines import config_drive
from ansible_collections.altostratus.ecs.plugins.module_utils._model import domain_xml
from ansible_collections.altostratus.ecs.plugins.module_utils._model.images import Image, Source, dump
from ansible_collections.altostratus.ecs.plugins.modules import server, server_info

from .test_server_resize import definition
from .test_server_states import SHOP, WEB, WEB_ID, set_task

KEY, OTHER = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGr0 ops", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGr1 other"
WANTED: dict[str, Any] = {
    **WEB, "nics": [{"subnet": "front"}, {"subnet": "back"}], "data_disks": [{"name": "data", "size": 2, "mount": "/srv"}], "eip": {},
    "key": "ops", "public_keys": [KEY], "user_data": "#!/bin/sh\ntrue", "hostname": "front", "tags": {"tier": "web"},
}  # fmt: skip
REBUILT = {"name": "web", "state": "rebuilt", "allow_stop": True}


def add_image(hypervisor: Any, name: str, **changes: Any) -> None:
    """Put another image into the host's library."""
    library = hypervisor.directory / "images"
    settings: dict[str, Any] = {"virtual_size": 1 << 30, "size": 1 << 20, "architecture": "x86_64", **changes}
    image = Image(
        id=SHOP.id("image", name), name=name, project="shop", region="local", source=Source(f"/{name}.qcow2", ""), source_format="qcow2",
        created="2026-01-01T00:00:00Z", library=str(library), **settings,
    )  # fmt: skip
    (library / f"{image.id}.json").write_text(dump(image))
    (library / f"{image.id}.qcow2").touch()


def drives(hypervisor: Any) -> list[Path]:
    return sorted((hypervisor.directory / "config-drives").iterdir())


def on_drive(hypervisor: Any) -> dict[str, Any]:
    """What the only config drive tells, its JSON files read."""
    (path,) = drives(hypervisor)
    assert path.stat().st_mode & 0o777 == 0o600
    told = config_drive.read(str(path))
    return {Path(name).name: json.loads(content) if name.endswith(".json") else content.decode() for name, content in told.items()}


@pytest.mark.parametrize("running", [True, False])
def test_reinstalled(call: Any, cloud: Any, hypervisor: Any, running: bool) -> None:
    """A new system disk and a new instance; addresses, data disks, login and user data as before; it runs (spec Q1 to Q6)."""
    made = call(server, **WANTED)["server"]
    first = on_drive(hypervisor)
    if not running:
        call(server, name="web", state="stopped")
    before = domain_xml.parse(definition(hypervisor))

    foreseen = call(server, check=True, **REBUILT)
    assert domain_xml.parse(definition(hypervisor)) == before
    done = call(server, **REBUILT)
    assert (foreseen["steps"], foreseen["diff"], foreseen["server"]) == (done["steps"], done["diff"], done["server"])
    assert done["steps"] == [
        *(["stop server web"] if running else []), "create volume web-system-2", "rebuild server web", "start server web",
        "delete volume web-system",
    ]  # fmt: skip
    told = done["server"]
    new = told["disks"].pop(0)
    old = made["disks"].pop(0)
    assert (told, new) == (made, old | {key: new[key] for key in ("id", "name", "serial")})
    assert (new["id"], new["name"], new["target"]) == (SHOP.id("volume", "web-system-2"), "web-system-2", "vda")
    assert hypervisor.volumes == ["shop.web-data.qcow2", "shop.web-system-2.qcow2"]
    assert hypervisor.connection.lookupByName("shop.web").autostart()

    second = on_drive(hypervisor)
    volatile = {"uuid": None, "random_seed": None}
    assert second["meta_data.json"] | volatile == first["meta_data.json"] | volatile
    assert second["meta_data.json"]["uuid"] not in (WEB_ID, first["meta_data.json"]["uuid"])
    assert {name: second[name] for name in ("network_data.json", "user_data", "vendor_data.json")} == {
        name: first[name] for name in ("network_data.json", "user_data", "vendor_data.json")
    }
    assert second["network_data.json"]["links"][0]["public_ipv4"] == made["eip"]
    assert not call(server, **WANTED)["changed"]

    assert call(server, **REBUILT)["server"]["disks"][0]["name"] == "web-system-3"
    assert hypervisor.volumes == ["shop.web-data.qcow2", "shop.web-system-3.qcow2"]
    call(server, name="web", state="absent", delete_data_disks=True)
    assert (hypervisor.volumes, drives(hypervisor), hypervisor.domains) == ([], [], [])


def test_changed_system(call: Any, cloud: Any, hypervisor: Any) -> None:
    """Another image brings its user and its size; what is said anew counts, and the rest of the definition stays (spec Q6, Q8, Q11)."""
    call(server, **WANTED)
    add_image(hypervisor, "debian", default_user="debian", virtual_size=3 << 30, cloud_init=False)
    settled = definition(hypervisor).replace("</disk>", "<iotune><total_iops_sec>500</total_iops_sec></iotune></disk>", 1)
    hypervisor.connection.defineXML(settled)
    refused = call(server, fails=True, **WANTED | {"image": "debian"})
    assert (refused["error_code"], "image is mini and cannot become debian" in refused["msg"]) == ("ECS_IMMUTABLE", True)
    assert "state rebuilt, which loses the system disk" in refused["msg"]

    new = {"image": "debian", "user_data": "#cloud-config\n", "key": "two", "public_keys": [OTHER], "hostname": "other", "timezone": "UTC"}
    done = call(server, **WANTED | REBUILT | new)
    assert done["diff"]["after"]["server web"]["image"] == "debian"
    told = done["server"]
    assert [told[key] for key in ("image", "image_id", "user", "hostname", "timezone", "key", "login")] == [
        "debian", SHOP.id("image", "debian"), "debian", "other", "UTC", "two", "key_pair",
    ]  # fmt: skip
    assert told["disks"][0]["size"] == 3
    drive = on_drive(hypervisor)
    assert (drive["user_data"], drive["meta_data.json"]["public_keys"]) == ("#cloud-config\n", {"two": OTHER})
    assert drive["meta_data.json"]["meta"]["image_name"] == "debian"
    assert "<total_iops_sec>500</total_iops_sec>" in definition(hypervisor)
    assert not call(server, **WANTED | new)["changed"]


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize(
    ("image", "problem"), [("mini", "image mini cannot be installed again"), ("debian", "image is mini and cannot become debian")]
)
def test_running_server_is_not_stopped_unasked(call: Any, hypervisor: Any, image: str, problem: str, check: bool) -> None:
    """It must be off, or may be stopped (spec Q2)."""
    call(server, **WEB)
    add_image(hypervisor, "debian")
    refused = call(server, fails=True, check=check, name="web", image=image, state="rebuilt")
    assert refused["msg"].startswith(f"server web (project shop): {problem} while it runs. Set allow_stop")
    assert hypervisor.connection.lookupByName("shop.web").isActive()


@pytest.mark.parametrize(
    ("image", "options", "code", "message"),
    [
        ({"architecture": "aarch64"}, {}, "ECS_INVALID_INPUT", "image: 'debian' needs aarch64, server web has x86_64"),
        ({"properties": {"hw_firmware_type": "uefi"}}, {}, "ECS_INVALID_INPUT", "needs uefi, server web has bios"),
        ({}, {"disk_type": "fast"}, "ECS_INVALID_INPUT", "disk_type: 'fast' needs fast, server web has default-pool"),
        ({"min_memory": 1024}, {}, "ECS_INVALID_INPUT", "image debian needs 1024"),
        ({"virtual_size": 4 << 30}, {"root_disk": 3}, "ECS_INVALID_INPUT", "root_disk: 3 is less than image debian needs (4 GiB)"),
        ({"virtual_size": 20000 << 30}, {}, "ECS_NO_SPACE", "volume system-2"),
        ({}, {"image": "none"}, "ECS_NOT_FOUND", "there are: debian, mini"),
        ({}, {"password": "Cloud.1234!", "public_keys": [KEY]}, "ECS_INVALID_INPUT", "stands beside a key pair"),
        ({"os_type": "windows"}, {"timezone": "UTC"}, "ECS_INVALID_INPUT", "a Windows guest"),
        ({}, {"user_data": "rubbish"}, "ECS_INVALID_INPUT", "user_data"),
        ({}, {"nics": [{"subnet": "front"}]}, "ECS_IMMUTABLE", "nics"),
    ],
)
def test_systems_that_cannot_be(
    call: Any, cloud: Any, hypervisor: Any, image: dict[str, Any], options: dict[str, Any], code: str, message: str
) -> None:
    """What does not go with the server is refused before it is stopped (spec Q2, Q7, Q8)."""
    call(server, **WEB)
    add_image(hypervisor, "debian", **image)
    refused = call(server, fails=True, **REBUILT | {"image": "debian"} | options)
    assert (refused["error_code"], message in refused["msg"]) == (code, True), refused["msg"]
    assert hypervisor.connection.lookupByName("shop.web").isActive()
    assert hypervisor.volumes == ["shop.web-system.qcow2"]


def test_check_mode_before_the_image_is_there(call: Any, hypervisor: Any) -> None:
    """What an earlier task would have imported is a warning."""
    call(server, **WEB)
    told = call(server, check=True, **REBUILT, image="later")
    assert "rebuild server web" in told["steps"]
    assert any("image later" in str(warning) for warning in told["warnings"])


@pytest.mark.parametrize("running", [True, False])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "step 6 of 7, config drive: "),
        ({"wait_for": "agent", "wait_timeout": 1}, "step 7 of 7, wait: the guest agent of web did not answer within 1 s"),
    ],
)
def test_failure_gives_the_old_system_back(call: Any, hypervisor: Any, options: dict[str, Any], message: str, running: bool) -> None:
    """Whatever fails, the server is as it was, with its old disk and drive, running or not (spec Q5)."""
    made = call(server, **WEB)["server"]
    call(server, name="web", state="running" if running else "stopped")
    before, files = domain_xml.parse(definition(hypervisor)), drives(hypervisor)
    if not options:
        (hypervisor.directory / "config-drives" / f".{WEB_ID}").mkdir()  # in the way of the new one
    failed = call(server, fails=True, **REBUILT | options)
    assert f"server web (project shop): {message}" in failed["msg"]
    assert ("Undone: 1 rebuild, 1 volume." if options else "Undone: 1 volume.") in failed["msg"]
    if options:
        assert "The old system is back" in failed["msg"]
    else:
        (hypervisor.directory / "config-drives" / f".{WEB_ID}").rmdir()
    assert domain_xml.parse(definition(hypervisor)) == before
    assert (hypervisor.volumes, drives(hypervisor)) == (["shop.web-system.qcow2"], files)
    assert call(server_info)["servers"] == [made | {"status": "running" if running else "stopped"}]
    assert call(server, **REBUILT)["server"]["disks"][0]["name"] == "web-system-2"


def test_killed_before_the_exchange(call: Any, hypervisor: Any) -> None:
    """A run that died leaves a disk and a drive that nobody uses: the next one, whatever it does, takes them away."""
    for then in ({"state": "present"}, {"state": "absent"}, {"state": "rebuilt"}):
        call(server, **WEB)
        domain = hypervisor.connection.lookupByName("shop.web")
        domain.destroy()
        pool = hypervisor.connection.storagePoolLookupByName("default-pool")
        pool.createXML("<volume><name>shop.web-system-2.qcow2</name><capacity>1</capacity></volume>")
        Path(config_drive.path_of(str(hypervisor.directory / "config-drives"), WEB_ID, 2)).touch()
        set_task(domain, "changing_os", running=True)
        assert call(server_info)["servers"][0]["status"] == "changing_os"
        done = call(server, **WEB | then)
        rebuilt = then["state"] == "rebuilt"
        assert (done["server"] and done["server"]["status"]) == (None if then["state"] == "absent" else "running")
        assert hypervisor.volumes == ([] if done["server"] is None else [f"shop.web-system{'-2' if rebuilt else ''}.qcow2"])
        assert len(drives(hypervisor)) == len(hypervisor.volumes)
        call(server, name="web", state="absent")


def test_password(call: Any, hypervisor: Any) -> None:
    """The password that the server was made with logs in to the new system; Windows, which takes no hash, needs it again (spec Q3)."""
    add_image(hypervisor, "windows", os_type="windows")
    call(server, **WEB, password="Cloud.1234!")
    (secret,) = [line for line in on_drive(hypervisor)["vendor_data.json"]["cloud-init"][0].splitlines() if "chpasswd" in line]
    assert call(server, **REBUILT)["server"]["login"] == "password"
    assert secret in on_drive(hypervisor)["vendor_data.json"]["cloud-init"][0]
    refused = call(server, fails=True, **REBUILT, image="windows")
    assert "password: None is missing: web had a Linux guest" in refused["msg"]
    changed = call(server, **REBUILT, image="windows", password="Other.5678!")["server"]
    assert (changed["user"], changed["os_type"]) == ("Administrator", "windows")
    assert on_drive(hypervisor)["meta_data.json"]["admin_pass"] == "Other.5678!"
    back = call(server, **REBUILT, image="mini")["server"]
    assert (back["user"], back["login"]) == ("root", "password")
    assert "Other.5678!" not in json.dumps(on_drive(hypervisor))


def test_lost_config_drive(call: Any, hypervisor: Any) -> None:
    """Who logged in cannot be known without it; all of it can be said anew."""
    call(server, **WEB)
    drives(hypervisor)[0].unlink()
    assert call(server, fails=True, **REBUILT)["error_code"] == "ECS_CONFIG_DRIVE"
    assert call(server, **REBUILT, public_keys=[KEY], key="ops", user_data="#!/bin/sh\n")["server"]["login"] == "key_pair"


def test_with_another_size_and_tags(call: Any, hypervisor: Any) -> None:
    """One stop for everything that was asked for."""
    call(server, **WEB)
    done = call(server, **REBUILT, flavor="s7n.large.025", tags={"a": "b"})
    assert done["steps"] == [
        "stop server web", "update server web", "resize server web", "create volume web-system-2", "rebuild server web",
        "start server web", "delete volume web-system",
    ]  # fmt: skip
    assert (done["server"]["vcpus"], done["server"]["tags"]) == (2, {"a": "b"})
