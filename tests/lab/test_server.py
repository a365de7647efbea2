# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module server on a real hypervisor: what the guest sees of its life, and a run that is killed."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from .conftest import Guest, Host, Lab, ansible

PROBE: dict[str, Any] = {
    "project": "lab",
    "name": "probe",
    "flavor": "s7n.small.025",
    "image": "mini",
    "nics": [{"vpc": "shop", "subnet": "back"}],
    "user_data": "#!/bin/sh\necho done > /tmp/first-boot\n",
    "wait_timeout": 300,
}


def command(lab: Lab, host: Host, module: str, options: dict[str, Any]) -> list[str]:
    """The command that runs one module on a host, for :meth:`Lab.controller`."""
    return [
        "env",
        "ANSIBLE_CALLBACK_RESULT_FORMAT=json",
        "ANSIBLE_PIPELINING=false",  # the module's process has a name then
        ansible("ansible"),
        host.name,
        "-i",
        str(lab.inventory),
        "-m",
        f"altostratus.ecs.{module}",
        "-a",
        json.dumps(options),
    ]


def run(lab: Lab, host: Host, module: str = "server", **options: Any) -> dict[str, Any]:
    """Run one module and return its result."""
    printed = lab.controller(command(lab, host, module, {**PROBE, **options} if module == "server" else options), timeout=600).stdout
    result: dict[str, Any] = json.loads(printed[printed.index("{") :])
    return result


def traces(lab: Lab, host: Host, server: dict[str, Any]) -> list[str]:
    """What there is of a server: domain, files, OVS port, Northbound row."""
    port = server["nics"][0]["id"]
    places = ["volumes", "config-drives"]
    found = [
        *host.run(["virsh", "list", "--all", "--name"]).stdout.split(),
        *host.run(["find", *(f"/var/lib/altostratus/{place}" for place in places), "/var/log/altostratus"]).stdout.split(),
        *host.run(["ovs-vsctl", "list-ports", "br-int"]).stdout.split(),
        *lab.host("hv1").run(["ovn-nbctl", "--bare", "--columns=name", "find", "Logical_Switch_Port", f"name={port}"]).stdout.split(),
    ]
    signs = (f"lab.{server['name']}", server["id"], f"tap{port[:11]}", port)
    return [name for name in found if any(sign in name for sign in signs)]


@pytest.fixture
def host(lab: Lab) -> Iterator[Host]:
    """A hypervisor without the probe, before and after."""
    chosen = lab.hosts[-1]
    run(lab, chosen, state="absent", delete_data_disks=True, delete_eip=True)
    yield chosen
    run(lab, chosen, state="absent", delete_data_disks=True, delete_eip=True)


def test_life(lab: Lab, host: Host) -> None:
    """First boot, another disk while it runs, a graceful stop, a restart; in the end nothing is left (spec S8, R10, R12)."""
    server = run(lab, host, wait_for="cloud_init")["server"]
    assert len(traces(lab, host, server)) == 6, "domain, system disk, config drive, console log, OVS port, Northbound row"
    guest = Guest(host, "lab.probe")
    assert guest.run("cat /tmp/first-boot; hostname | cut -d. -f1").split() == ["done", server["hostname"]]
    assert not run(lab, host)["changed"]

    more = run(lab, host, data_disks=[{"name": "data", "size": 1}])
    assert more["server"]["disks"][1]["serial"] in guest.run("sleep 1; cat /sys/block/vd*/serial")
    assert not run(lab, host, data_disks=[{"name": "data", "size": 1}])["changed"]

    assert run(lab, host, state="stopped")["server"]["status"] == "stopped"
    assert host.run(["virsh", "domstate", "--reason", "lab.probe"]).stdout.strip() == "shut off (shutdown)"
    assert run(lab, host, state="restarted", wait_for="agent")["server"]["status"] == "running"
    assert more["server"]["disks"][1]["serial"] in guest.run("cat /sys/block/vd*/serial")

    run(lab, host, state="absent", delete_data_disks=True)
    assert traces(lab, host, server) == []
    assert not run(lab, host, state="absent")["changed"]


@pytest.mark.parametrize(("moment", "finish"), [("defined", False), ("has its volume", True), ("runs", False), ("runs", True)])
def test_killed_run(lab: Lab, host: Host, moment: str, finish: bool) -> None:
    """A run that is killed at some moment is finished by the next one, or removed with all that it made."""
    signs = {
        "defined": "virsh domstate lab.probe",
        "has its volume": "test -e /var/lib/altostratus/volumes/standard/lab.probe-system.qcow2",
        "runs": "virsh domid lab.probe | grep [0-9]",
    }
    killed = subprocess.Popen(
        ["ip", "netns", "exec", f"{lab.name}-lab", *command(lab, host, "server", {**PROBE, "wait_for": "cloud_init"})],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait = f"for i in $(seq 3000); do ({signs[moment]}) >/dev/null 2>&1 && break; sleep 0.01; done"
    host.run(["sh", "-c", f"{wait}; kill -9 $(pgrep -f 'AnsiballZ_serve[r].py')"])
    killed.wait(60)
    (server,) = run(lab, host, "server_info", project="lab", name="probe")["servers"]
    assert server["status"] == "creating"
    if finish:
        finished = run(lab, host)
        assert finished["changed"]
        assert finished["server"]["status"] == "running"
        assert not run(lab, host)["changed"]
    run(lab, host, state="absent")
    assert traces(lab, host, server) == []
