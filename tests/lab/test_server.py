# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module server on a real hypervisor: what the guest sees of its life, runs that are killed, and runs side by side."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest

from .conftest import Guest, Host, Lab, command, run_module, told

PROBE: dict[str, Any] = {
    "project": "lab",
    "name": "probe",
    "flavor": "s7n.small.025",
    "image": "mini",
    "nics": [{"vpc": "shop", "subnet": "back"}],
    "user_data": "#!/bin/sh\necho done > /tmp/first-boot\n",
    "wait_timeout": 300,
}


def run(lab: Lab, host: Host, module: str = "server", fails: bool = False, **options: Any) -> dict[str, Any]:
    """Run one module and return its result; module server's options are the probe's where nothing else is said."""
    return run_module(lab, host, module, fails, **({**PROBE, **options} if module == "server" else options))


def status(lab: Lab, host: Host) -> dict[str, Any]:
    """The probe as module server_info shows it."""
    (server,) = run(lab, host, "server_info", project="lab", name="probe")["servers"]
    return dict(server)


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
    """A hypervisor without the probe, before and after, and without a record of what failed."""
    chosen = lab.hosts[-1]
    gone = {"state": "absent", "deletion_protection": False, "delete_data_disks": True, "delete_eip": True}
    run(lab, chosen, **gone)
    yield chosen
    run(lab, chosen, **gone)
    chosen.run(["rm", "-f", "/var/log/altostratus/failures.jsonl"])


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
    server = status(lab, host)
    assert server["status"] == "creating"
    if finish:
        finished = run(lab, host)
        assert finished["changed"]
        assert finished["server"]["status"] == "running"
        assert not run(lab, host)["changed"]
    run(lab, host, state="absent")
    assert traces(lab, host, server) == []


DEAF = "rm -r /etc/acpi/PWRF"
"""In the guest: it does not mind its power button."""
DUMB = "(mv /usr/sbin/qemu-ga /usr/sbin/gone; sleep 1; killall qemu-ga) >/dev/null 2>&1 &"
"""In the guest: its agent goes, and comes back with its next start only."""


def how_it_ended(host: Host) -> str:
    return host.run(["virsh", "domstate", "--reason", "lab.probe"]).stdout.strip()


def test_stop_asks_the_agent_then_acpi_and_forces_nobody_unasked(lab: Lab, host: Host) -> None:
    """Each way alone shuts the guest down long before its time is over; who hears neither is powered off when that is said (spec R10)."""
    guest = Guest(host, "lab.probe")
    run(lab, host, wait_for="agent")
    for impairment in (DEAF, DUMB):
        guest.run(impairment)
        begin = time.monotonic()
        assert run(lab, host, state="stopped", stop_timeout=240)["server"]["status"] == "stopped"
        assert time.monotonic() - begin < 100, "it heard the first call, not the second at half of its time"
        assert how_it_ended(host) == "shut off (shutdown)"
        run(lab, host, state="running", wait_for="agent")

    guest.run(f"{DEAF}; {DUMB}")
    session = host.run(["virsh", "domid", "lab.probe"]).stdout
    late = run(lab, host, fails=True, state="stopped", stop_timeout=4)
    assert (late["error_code"], "did not stop within 4 s" in late["msg"]) == ("ECS_TIMEOUT", True)
    assert (status(lab, host)["status"], host.run(["virsh", "domid", "lab.probe"]).stdout) == ("running", session)
    assert run(lab, host, state="stopped", stop_timeout=2, force=True)["server"]["status"] == "stopped"
    assert how_it_ended(host) == "shut off (destroyed)"


def test_two_runs_at_once(lab: Lab, host: Host) -> None:
    """Of two runs at one server the second waits, or fails when it must not wait that long; reading goes on (spec Z2, appendix A)."""
    run(lab, host, wait_for="agent")
    Guest(host, "lab.probe").run(f"{DEAF}; {DUMB}")

    def begin(state: str, stop_timeout: int) -> subprocess.Popen[str]:
        options = {**PROBE, "state": state, "stop_timeout": stop_timeout, "force": True}
        argv = ["ip", "netns", "exec", f"{lab.name}-lab", *command(lab, host, "server", options)]
        return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)

    first = begin("restarted", 300)  # asks a guest that hears nothing
    while status(lab, host)["status"] != "restarting":
        assert first.poll() is None
    second = begin("stopped", 10)  # a guest that has just started may hear nothing either
    busy = run(lab, host, fails=True, state="stopped", wait_timeout=1)
    assert (busy["error_code"], "server probe is in the hands of another run" in busy["msg"]) == ("ECS_BUSY", True)
    assert (status(lab, host)["status"], first.poll(), second.poll()) == ("restarting", None, None)
    host.run(["virsh", "destroy", "lab.probe"])
    results = [told(process.communicate(timeout=120)[0]) for process in (first, second)]
    assert [(one["changed"], one["server"]["status"]) for one in results] == [(True, "running"), (True, "stopped")]
    assert status(lab, host)["status"] == "stopped"
    assert host.run(["find", "/run/altostratus", "-type", "f"]).stdout == "", "no lock is left"


def test_uefi_and_protection_from_deletion(lab: Lab, host: Host) -> None:
    """The firmware that was asked for starts the guest, and its variables go with the server, once that may be deleted (spec B1)."""
    wanted = {"firmware": "uefi", "deletion_protection": True}
    server = run(lab, host, wait_for="cloud_init", **wanted)["server"]
    assert server["firmware"] == "uefi"
    guest = Guest(host, "lab.probe")
    assert guest.run("ls -d /sys/firmware/efi; cat /tmp/first-boot").split() == ["/sys/firmware/efi", "done"]
    variables = ["find", "/var/lib/libvirt/qemu/nvram", "-name", "lab.probe*"]
    assert host.run(variables).stdout
    assert run(lab, host, fails=True, state="absent")["error_code"] == "ECS_PROTECTED"
    assert guest.run("cat /tmp/first-boot") == "done\n", "it goes on"
    assert not run(lab, host, **wanted)["changed"]
    run(lab, host, state="absent", deletion_protection=False)
    assert traces(lab, host, server) == []
    assert host.run(variables).stdout == ""
