# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A hypervisor loses its power, and its servers in shared storage start on another (spec EV-22). Late, as all of its servers suffer."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from .conftest import Cloud, Guest, Host, Lab, execute
from .test_migration import facts
from .test_server import PROBE, run, traces

PHOENIX: dict[str, Any] = {
    **PROBE,
    "name": "phoenix",
    "disk_type": "shared",
    "nics": [{"vpc": "shop", "subnet": "front", "security_groups": ["web"]}],
    "wait_for": "cloud_init",
}


def wait_for(what: str, done: Any, timeout: float = 120) -> None:
    deadline = time.monotonic() + timeout
    while not done():
        assert time.monotonic() < deadline, what
        time.sleep(0.5)


@pytest.fixture(scope="module")
def hosts(lab: Lab) -> tuple[Host, Host]:
    """The one that dies, and one that goes on; the first carries the networks' databases."""
    return lab.hosts[1], lab.hosts[0]


@pytest.fixture(scope="module")
def phoenix(lab: Lab, hosts: tuple[Host, Host]) -> Iterator[dict[str, Any]]:
    dead, _alive = hosts
    yield run(lab, dead, **PHOENIX)["server"]
    execute([lab.directory / "bin/host", "start", dead.name])
    wait_for(f"{dead.name} is up", lambda: dead.run(["virsh", "list"], check=False).returncode == 0)
    for host in lab.hosts:
        run(lab, host, **{**PHOENIX, "state": "absent"})


def defined(host: Host) -> list[str]:
    return host.run(["virsh", "list", "--all", "--name"]).stdout.split()


def record(host: Host, server: dict[str, Any]) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(host.run(["cat", f"/srv/shared/volumes/.altostratus/{server['id']}.json"]).stdout)
    return told


def evacuate(cloud: Cloud, dead: Host, check: bool = True, confirmed: str | None = None) -> Any:
    extra = {"ecs_evacuate_host": dead.name, "ecs_evacuate_confirmed": confirmed or dead.name, "ecs_allow_az_change": True}
    return cloud.play("evacuate", "-e", json.dumps(extra), check=check)


def test_disks_in_shared_storage_are_not_copied(lab: Lab, hosts: tuple[Host, Host], phoenix: dict[str, Any]) -> None:
    here, there = hosts
    Guest(here, "lab.phoenix").run("echo kept > /boot/proof; sync")
    inode = ["stat", "--format=%i", "/srv/shared/volumes/lab.phoenix-system.qcow2"]
    before = here.run(inode).stdout
    for source, destination in ((here, there), (there, here)):
        options = {"project": "lab", "name": "phoenix", "hypervisor": destination.name, "hypervisors": facts(lab), "allow_az_change": True}
        assert run(lab, source, "server_migration", **options)["migration"]["method"] == "live"
        assert defined(source).count("lab.phoenix") == 0
        assert record(destination, phoenix)["owner"] == destination.name
    assert here.run(inode).stdout == before
    assert here.run(["stat", "--format=%a", f"/srv/shared/volumes/.altostratus/{phoenix['id']}.json"]).stdout == "600\n"
    assert Guest(here, "lab.phoenix").run("cat /boot/proof") == "kept\n"


def test_a_host_that_lives_is_not_evacuated(lab: Lab, cloud: Cloud, hosts: tuple[Host, Host], phoenix: dict[str, Any]) -> None:
    dead, alive = hosts
    assert "switch that off" in evacuate(cloud, dead, check=False, confirmed="no").stdout
    refused = evacuate(cloud, dead, check=False)
    assert refused.returncode != 0
    assert "ECS_HOST_ALIVE" in refused.stdout
    assert record(alive, phoenix)["owner"] == dead.name
    assert "lab.phoenix" not in defined(alive)


def test_servers_of_a_dead_host_start_elsewhere_and_it_forgets_them(
    lab: Lab, cloud: Cloud, hosts: tuple[Host, Host], phoenix: dict[str, Any]
) -> None:
    """EV-22: the server is back with its disk and address; its old host starts it no second time."""
    dead, alive = hosts
    others = set(defined(dead)) - {"lab.phoenix"}
    execute([lab.directory / "bin/host", "stop", dead.name])
    evacuate(cloud, dead)
    guest = Guest(alive, "lab.phoenix")
    wait_for("the guest's agent", lambda: "kept" in guest.run("cat /boot/proof", check=False))
    address = phoenix["nics"][0]["address"]
    assert f"inet {address}/24" in guest.run("ip address show eth0")
    assert cloud.guest("web").run(f"timeout 10 nc {address} 22 < /dev/null | head -c 4", check=False) == "SSH-"
    (told,) = run(lab, alive, "server_info", project="lab", name="phoenix")["servers"]
    assert (told["id"], told["az"], told["status"]) == (phoenix["id"], alive.variables["ecs_az"], "running")
    assert "changed=0" in evacuate(cloud, dead).stdout.rpartition("PLAY RECAP")[2]

    execute([lab.directory / "bin/host", "start", dead.name])
    wait_for(f"{dead.name} is up", lambda: dead.run(["systemctl", "is-active", "altostratus-shared.service"], check=False).returncode == 0)
    assert set(defined(dead)) == others
    assert [name for name in traces(lab, dead, phoenix) if name != phoenix["nics"][0]["id"]] == []
    assert "belongs to" in dead.run(["journalctl", "--boot", "--unit", "altostratus-shared.service"]).stdout
    assert guest.run("cat /boot/proof") == "kept\n"
    wait_for("its other servers run", lambda: others <= set(dead.run(["virsh", "list", "--name"]).stdout.split()))
