# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""States of servers on libvirt's test driver: every state asked for in every state there is, runs side by side, protection."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import libvirt
import pytest

from ansible_collections.altostratus.ecs.plugins.module_utils._engines import files
from ansible_collections.altostratus.ecs.plugins.module_utils._model import domain_xml, metadata, rebuild
from ansible_collections.altostratus.ecs.plugins.module_utils._model.names import Scope
from ansible_collections.altostratus.ecs.plugins.modules import server, server_info

WEB: dict[str, Any] = {"name": "web", "flavor": "s7n.small.05", "image": "mini", "nics": []}
SHOP = Scope("local", "shop")
WEB_ID = SHOP.id("server", "web")
UNKNOWN = {"created": None}
"""What check mode cannot foresee."""


def set_task(domain: Any, name: str, running: bool, since: str = "") -> None:
    """Leave what a killed run leaves."""
    task = metadata.Task(name, since or time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), running)
    text = metadata.build_task(task)
    domain.setMetadata(
        libvirt.VIR_DOMAIN_METADATA_ELEMENT, text, metadata.TASK_PREFIX, metadata.TASK_NAMESPACE, libvirt.VIR_DOMAIN_AFFECT_CONFIG
    )


def set_creating(domain: Any) -> None:
    told = replace(metadata.parse(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)), creating=True)
    flags = libvirt.VIR_DOMAIN_AFFECT_CONFIG | (libvirt.VIR_DOMAIN_AFFECT_LIVE if domain.isActive() else 0)
    domain.setMetadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, metadata.build(told), metadata.PREFIX, metadata.NAMESPACE, flags)


def half_made(domain: Any) -> None:
    domain.destroy()
    set_creating(domain)


def half_removed(domain: Any) -> None:
    domain.destroy()
    set_task(domain, "deleting", running=False)


def half_restarted(domain: Any) -> None:
    domain.destroy()
    set_task(domain, "restarting", running=True)


def half_reinstalled(domain: Any) -> None:
    """The run died before the domain had its new disk."""
    half_restarted(domain)
    set_task(domain, "reinstalling", running=True)


def half_changed(domain: Any) -> None:
    """The run died before it had seen the new system work; the old disk is still kept."""
    text = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
    told = metadata.parse(text)
    renewed = rebuild.renewed(told, SHOP, rebuild.System("mini", told.image_id, True, "linux", "later", "root", "web", "", "", 1))
    pool = domain.connect().storagePoolLookupByName("default-pool")
    volume = "<volume><name>shop.web-system-2.qcow2</name><capacity>1073741824</capacity></volume>"
    system = domain_xml.system_disk(pool.createXML(volume).path(), "qcow2", renewed.disks[0].id)

    def exchange(root: Any) -> None:
        domain_xml.exchange_system(root, system, next(disk.path for disk in domain_xml.parse(text).disks if disk.is_config_drive))
        metadata.put(root, renewed)

    domain.destroy()
    domain.connect().defineXML(domain_xml.edit(text, exchange))
    set_task(domain, "changing_os", running=True)


STATES: dict[str, Callable[[Any], Any]] = {
    "running": lambda domain: None,
    "stopped": lambda domain: domain.destroy(),
    "paused": lambda domain: domain.suspend(),
    "half made": half_made,
    "not waited for": set_creating,
    "half removed": half_removed,
    "half restarted": half_restarted,
    "half reinstalled": half_reinstalled,
    "half changed": half_changed,
    "left stopping": lambda domain: set_task(domain, "stopping", running=False),
}
"""How a running server comes to each state."""
RESULTS = {
    ("absent", "running"): "ECS_NOT_FOUND",
    ("absent", "stopped"): "ECS_NOT_FOUND",
    ("absent", "restarted"): "ECS_NOT_FOUND",
    ("absent", "rebuilt"): "ECS_NOT_FOUND",
    ("stopped", "present"): "stopped",
    ("paused", "present"): "paused",
    **{
        (state, asked): "ECS_INCOMPLETE"
        for state in ("half made", "half removed")
        for asked in ("running", "stopped", "restarted", "rebuilt")
    },
}
"""The status afterwards, or the error, where it is not what the state's name says."""
EXPECTED = {"present": "running", "running": "running", "restarted": "running", "rebuilt": "running", "stopped": "stopped", "absent": None}


@pytest.mark.parametrize("asked", EXPECTED)
@pytest.mark.parametrize("state", ["absent", *STATES])
def test_every_state_asked_for_in_every_state(call: Any, hypervisor: Any, state: str, asked: str) -> None:
    """Check mode tells what the run then does, and a second run has nothing to do (spec R8, R10, R11, appendix A)."""
    if state != "absent":
        call(server, **WEB)
        STATES[state](hypervisor.connection.lookupByName("shop.web"))
    wanted = RESULTS.get((state, asked), EXPECTED[asked])
    failing = str(wanted).startswith("ECS_")
    before = [domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE) for domain in hypervisor.connection.listAllDomains()]

    options = {**WEB, "state": asked, "allow_stop": asked == "rebuilt"}
    foreseen = call(server, check=True, fails=failing, **options)
    assert before == [domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE) for domain in hypervisor.connection.listAllDomains()]
    done = call(server, fails=failing, **options)
    if failing:
        assert (foreseen["error_code"], foreseen["msg"]) == (done["error_code"], done["msg"])
        assert done["error_code"] == wanted
        return
    assert (foreseen["changed"], foreseen.get("steps"), foreseen.get("diff")) == (done["changed"], done.get("steps"), done.get("diff"))
    assert (foreseen["server"] and foreseen["server"] | UNKNOWN) == (done["server"] and done["server"] | UNKNOWN)
    assert (done["server"] and done["server"]["status"]) == wanted
    assert [told["status"] for told in call(server_info)["servers"]] == ([wanted] if wanted else [])

    disks = [f"shop.{disk['name']}.qcow2" for told in call(server_info)["servers"] for disk in told["disks"]]
    if (state, asked) == ("half changed", "stopped"):
        assert hypervisor.volumes == [*disks, "shop.web-system.qcow2"], "the old disk is kept until the new system was seen to run"
    else:
        assert hypervisor.volumes == disks, "nothing is left over"

    again = call(server, **options)
    assert again["changed"] is (asked in ("restarted", "rebuilt"))
    if asked != "rebuilt":
        assert again["server"] == done["server"]


@pytest.mark.parametrize(("asked", "comes_back"), [("present", True), ("running", True), ("restarted", True), ("stopped", False)])
def test_who_comes_back_with_the_host(call: Any, hypervisor: Any, asked: str, comes_back: bool) -> None:
    """Servers that run start with their host, those that were stopped stay off."""
    call(server, **WEB)
    call(server, name="web", state=asked)
    assert bool(hypervisor.connection.lookupByName("shop.web").autostart()) is comes_back
    call(server, name="web", state="running")
    assert hypervisor.connection.lookupByName("shop.web").autostart()


@pytest.mark.parametrize("age", [0, 1860])
def test_status_between_two_states(call: Any, hypervisor: Any, age: int) -> None:
    """What a run is at shows in the status, and is faulty when it is stuck (spec R9, appendix A)."""
    call(server, **WEB)
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - age))
    set_task(hypervisor.connection.lookupByName("shop.web"), "restarting", running=True, since=since)
    assert call(server_info)["servers"][0]["status"] == ("faulty" if age else "restarting")
    assert not call(server, **WEB)["changed"]
    assert call(server_info)["servers"][0]["status"] == "running"


def test_deletion_protection(call: Any, hypervisor: Any) -> None:
    """A protected server stays until the protection is lifted, before or in the same call (spec B1)."""
    assert call(server, **WEB, deletion_protection=True)["server"]["deletion_protection"] is True
    assert not call(server, **WEB)["changed"], "what is not said stays"
    for check in (True, False):
        refused = call(server, check=check, fails=True, name="web", state="absent")
        assert refused["error_code"] == "ECS_PROTECTED"
        assert "server web (project shop)" in refused["msg"]
    call(server, **WEB | {"name": "db"})
    call(server, fails=True, servers=[{"name": "db"}, {"name": "web"}], state="absent")
    assert hypervisor.domains == ["shop.db", "shop.web"], "none is removed when one is protected"

    lifted = call(server, name="web", deletion_protection=False)
    assert lifted["diff"]["after"] == {"server web": {"deletion_protection": False}}
    call(server, name="web", deletion_protection=True)
    call(server, servers=[{"name": "db"}, {"name": "web", "deletion_protection": False}], state="absent")
    assert hypervisor.domains == []


def test_busy_server(call: Any, hypervisor: Any) -> None:
    """A run waits for another at the same server, and gives up in time; reading and other servers need no turn (spec Z2)."""
    call(server, **WEB)
    with files.lock(str(hypervisor.directory / "locks" / f"{WEB_ID}.lock")):
        busy = call(server, fails=True, name="web", state="stopped", wait_timeout=1)
        assert busy["error_code"] == "ECS_BUSY"
        assert "server web is in the hands of another run" in busy["msg"]
        assert call(server, check=True, name="web", state="stopped")["changed"]
        call(server, **WEB | {"name": "db"})
    assert call(server, name="web", state="stopped")["server"]["status"] == "stopped"
    assert list((hypervisor.directory / "locks").iterdir()) == []


RIVAL = """
import fcntl, os, sys, time
handle = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
fcntl.flock(handle, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(float(sys.argv[2]))
"""


@pytest.mark.parametrize("killed", [False, True])
def test_two_processes(call: Any, hypervisor: Any, killed: bool) -> None:
    """The second run goes on as soon as the first one ends, or dies."""
    call(server, **WEB)
    path = hypervisor.directory / "locks" / f"{WEB_ID}.lock"
    rival = subprocess.Popen([sys.executable, "-c", RIVAL, str(path), "60" if killed else "1"], stdout=subprocess.PIPE)
    assert rival.stdout
    assert rival.stdout.readline() == b"held\n"
    if killed:
        rival.kill()
    start = time.monotonic()
    assert call(server, name="web", state="stopped")["server"]["status"] == "stopped"
    assert time.monotonic() - start < 20
    rival.wait()


def test_rename(call: Any, hypervisor: Any) -> None:
    """A server gets another name for people while it runs; what it is known by, and its guest's host name, stay (spec R1)."""
    made = call(server, **WEB)["server"]
    assert made["display_name"] == "web"
    for check in (True, False):
        renamed = call(server, check=check, name="web", display_name="front.desk")
        assert renamed["diff"]["before"] == {"server web": {"display_name": "web"}}
        assert renamed["diff"]["after"] == {"server web": {"display_name": "front.desk"}}
        assert renamed["server"] == made | {"display_name": "front.desk"}
    assert not call(server, **WEB, display_name="front.desk")["changed"]
    domain = hypervisor.connection.lookupByName("shop.web")
    assert domain.metadata(libvirt.VIR_DOMAIN_METADATA_TITLE, None) == "front.desk"

    bad = call(server, fails=True, name="web", display_name="front desk")
    assert bad["msg"].startswith("display_name: 'front desk' is not a valid name")
    for name in ("front.desk", "web"):
        taken = call(server, fails=True, **WEB | {"name": "db"}, display_name=name)
        assert f"display_name: '{name}' is what server web is called" in taken["msg"]
    call(server, **WEB | {"name": "db"}, display_name="web", allow_duplicate_name=True)
    both = [{"name": "web", "display_name": "same"}, {"name": "db", "display_name": "same"}]
    assert call(server, fails=True, servers=both)["error_code"] == "ECS_INVALID_INPUT"
    assert [told["display_name"] for told in call(server, servers=both, allow_duplicate_name=True)["servers"]] == ["same", "same"]
    assert call(server, name="db", display_name="")["server"]["display_name"] == "db"
    assert domain.isActive()
