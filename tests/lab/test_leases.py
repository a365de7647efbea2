# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What real hypervisors do by themselves: their timers, a deletion at its time (spec D8), a preemptible server that gives way (spec B7)."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from .conftest import Guest, Host, Lab, run_module
from .test_metadata import ask
from .test_server import run

ACTION = "/openstack/latest/spot/instance-action"
NAMES = ("probe", "spot", "urgent")
DATA: list[dict[str, Any]] = [{"name": "data", "size": 1}]
SPOT: dict[str, Any] = {"name": "spot", "preemptible": True, "priority": 5, "data_disks": DATA, "wait_for": "agent"}

# Let a server remember that its time has come, by the product's own function: argv says whose, and which time.
NOW = """
import sys, libvirt
from dataclasses import replace
from altostratus_ecs._model import metadata, times
from altostratus_ecs._services.server_update import remember
domain = libvirt.open("qemu:///system").lookupByName(sys.argv[1])
told = metadata.parse(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))
remember(domain, replace(told, **{sys.argv[2]: times.stamp(times.now())}))
"""
# Let the host keep all memory for itself but what its servers have, and so many MiB.
FREE = """
import json, sys, libvirt
path = "/etc/altostratus/host.json"
host = json.load(open(path))
connection = libvirt.open("qemu:///system")
taken = sum(domain.info()[1] // 1024 for domain in connection.listAllDomains())
host["reserved_memory"] = connection.getInfo()[1] - taken - int(sys.argv[1])
json.dump(host, open(path, "w"), indent=4)
"""


def its_time_has_come(host: Host, name: str, field: str) -> None:
    host.run(["sh", "-c", 'cd /usr/lib/altostratus/current && exec python3 -c "$@"', "sh", NOW, f"lab.{name}", field])


def clean(lab: Lab, host: Host) -> None:
    """Remove the servers of these tests with their disks, their addresses and what was recorded of them."""
    there = host.run(["virsh", "list", "--all", "--name"]).stdout.split()
    for name in NAMES:
        if f"lab.{name}" in there:
            its_time_has_come(host, name, "reclaim_at")  # otherwise only its host deletes it
    absent = {"project": "lab", "state": "absent"}
    gone = {"servers": [{"name": name} for name in NAMES], "force": True, "stop_timeout": 0, "delete_eip": True}
    run_module(lab, host, "server", **absent, **gone)
    run(lab, host, "volume", **absent, volumes=[{"name": f"{name}-data"} for name in NAMES])
    run(lab, host, "eip", **absent, eips=[{"name": name} for name in NAMES])
    host.run(["rm", "-f", "/var/log/altostratus/failures.jsonl"])


@pytest.fixture(scope="module")
def host(lab: Lab) -> Iterator[Host]:
    """A hypervisor without the servers of these tests, before and after."""
    chosen = lab.hosts[-1]
    clean(lab, chosen)
    yield chosen
    clean(lab, chosen)


@pytest.fixture
def full(host: Host) -> Iterator[Host]:
    """The same, and its settings as they were."""
    before = host.run(["cat", "/etc/altostratus/host.json"]).stdout
    yield host
    host.run(["sh", "-c", "cat > /etc/altostratus/host.json"], input=before)


def servers(lab: Lab, host: Host) -> dict[str, dict[str, Any]]:
    return {server["name"]: server for server in run(lab, host, "server_info", project="lab")["servers"]}


def properties(host: Host, unit: str, *names: str) -> dict[str, str]:
    lines = host.run(["systemctl", "show", unit, *(f"--property={name}" for name in names)]).stdout.splitlines()
    return dict(line.split("=", 1) for line in lines)


def test_timers(lab: Lab) -> None:
    """Spec D8: every five minutes, on every hypervisor, also after a reboot; what they start ends well and may do little."""
    for host in lab.hosts:
        calendar = properties(host, "altostratus-host.timer", "TimersCalendar", "ActiveState", "UnitFileState")
        assert "OnCalendar=*-*-* *:00/5:00" in calendar["TimersCalendar"]
        assert (calendar["ActiveState"], calendar["UnitFileState"]) == ("active", "enabled")
        assert properties(host, "altostratus-reclaim.timer", "LastTriggerUSec")["LastTriggerUSec"] not in ("", "n/a")
        host.run(["systemctl", "start", "altostratus-host.service"])
        assert properties(host, "altostratus-host.service", "Result", "ExecMainStatus") == {"Result": "success", "ExecMainStatus": "0"}
        assert host.run(["stat", "--format", "%U %a", "/usr/lib/altostratus/current/altostratus_ecs/_host.py"]).stdout == "root 644\n"


def test_a_server_goes_at_its_time(lab: Lab, host: Host) -> None:
    """Spec D8, R12: its public address and data disk stay."""
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 7200))
    wanted = {"scheduled_deletion": moment, "eip": {}, "data_disks": DATA}
    server = run(lab, host, **wanted)["server"]
    assert server["scheduled_deletion"] == wanted["scheduled_deletion"]
    assert not run(lab, host, **wanted)["changed"]
    its_time_has_come(host, "probe", "scheduled_deletion")
    host.run(["systemctl", "start", "altostratus-host.service"])
    assert "probe" not in servers(lab, host)
    volumes = host.run(["virsh", "vol-list", "standard"]).stdout
    assert "lab.probe-data" in volumes
    assert "lab.probe-system" not in volumes
    (address,) = run(lab, host, "eip_info", project="lab", name="probe")["eips"]
    assert (address["address"], address["status"]) == (server["eip"], "unbound")
    journal = host.run(["journalctl", "-t", "altostratus", "--no-pager", "--since", "-5min"]).stdout
    assert "server probe (project lab) was deleted, as scheduled for" in journal


def test_a_preemptible_server_gives_way(lab: Lab, full: Host) -> None:
    """Spec B7, B9, B10, K1, MD18: it is told, its guest can read it, it goes within half a minute of its time, and the room is taken."""
    host = full
    run(lab, host, **SPOT)
    guest = Guest(host, "lab.spot")
    assert ask(guest, ACTION)[0] == 404
    host.run(["python3", "-c", FREE, "64"])
    failed = run(lab, host, fails=True, name="urgent")
    assert failed["error_code"] == "ECS_RECLAIMING"
    told = servers(lab, host)["spot"]
    assert (told["status"], told["reclaim_at"] in failed["msg"]) == ("reclaiming", True)
    status, action = ask(guest, ACTION)
    moment = told["reclaim_at"].replace("T", " ").removesuffix("Z")
    assert (status, json.loads(action)) == (200, {"action": "terminate", "timestamp": moment})
    assert run(lab, host, fails=True, name="spot", state="absent")["error_code"] == "ECS_RECLAIMING"
    notices = run(lab, host, "server_failure_info", project="lab", name="spot")["failures"]
    assert [notice["kind"] for notice in notices] == ["operation", "interruption"], "the refused deletion, and before it the notice"
    assert "interruptServer: server spot (project lab)" in host.run(["journalctl", "-t", "altostratus", "--since", "-2min"]).stdout

    its_time_has_come(host, "spot", "reclaim_at")
    deadline = time.monotonic() + 30
    while "lab.spot" in host.run(["virsh", "list", "--all", "--name"]).stdout.split():
        assert time.monotonic() < deadline, "the host is late"
        time.sleep(1)
    assert "lab.spot-data" in host.run(["virsh", "vol-list", "standard"]).stdout
    assert run(lab, host, name="urgent", wait_for="agent")["server"]["status"] == "running"
    assert not run(lab, host, name="urgent")["changed"]
    assert Guest(host, "lab.urgent").run("cat /tmp/first-boot").strip() == "done"
