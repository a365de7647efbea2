# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab itself: it answers, it repeats, it heals, it keeps out of the machine's own network, and it goes without a trace."""

from __future__ import annotations

import json
from collections.abc import Iterator
from ipaddress import ip_interface, ip_network
from pathlib import Path

import pytest

from .conftest import Host, Lab, ansible, execute, playbook

NETWORKS = [ip_network(cidr) for cidr in ("198.18.0.0/15", "203.0.113.0/24", "198.51.100.0/24")]


def boot_ids(lab: Lab) -> dict[str, str]:
    """What changes when a host starts again."""
    return {host.name: host.run(["cat", "/proc/sys/kernel/random/boot_id"]).stdout for host in lab.hosts}


def again(lab: Lab) -> str:
    """Run lab.yml for a lab that is there; the recap."""
    hypervisors = [{"name": host.name, "az": host.variables["ecs_az"]} for host in lab.hosts]
    extra = {"lab_name": lab.name, "lab_dir": str(lab.directory), "lab_hypervisors": hypervisors}
    return playbook("lab.yml", "-e", json.dumps(extra)).stdout.rpartition("PLAY RECAP")[2]


def test_hosts_boot_whole(lab: Lab) -> None:
    assert {host.name: host.run(["hostname"]).stdout.strip() for host in lab.hosts} == {host.name: host.name for host in lab.hosts}
    assert {host.run(["systemctl", "is-system-running", "--wait"], check=False).stdout.strip() for host in lab.hosts} == {"running"}


def test_hosts_differ(lab: Lab) -> None:
    for identity in ("/etc/machine-id", "/etc/ssh/ssh_host_ed25519_key.pub", "/sys/class/net/underlay0/address"):
        assert len({host.run(["cat", identity]).stdout for host in lab.hosts}) == len(lab.hosts)


def test_ansible_reaches_the_hosts_from_any_namespace(lab: Lab) -> None:
    command = [ansible("ansible"), "-i", str(lab.inventory), "hypervisors", "-m", "ansible.builtin.ping"]
    for run in (execute, lab.controller):
        assert run(command).stdout.count("SUCCESS") == len(lab.hosts)


def test_second_run_changes_nothing(lab: Lab) -> None:
    before = boot_ids(lab)
    assert "changed=0 " in again(lab)
    assert boot_ids(lab) == before


def test_machine_has_no_address_of_the_lab() -> None:
    assert execute(["ip", "netns", "identify"]).stdout.strip() == "", "this test belongs in the machine's own network namespace"
    addresses = [
        ip_interface(f"{address['local']}/{address['prefixlen']}")
        for link in json.loads(execute(["ip", "-json", "address"]).stdout)
        for address in link.get("addr_info", [])
    ]
    assert addresses
    assert not [address for address in addresses if any(address.ip in network for network in NETWORKS)]
    routes = [route["dst"] for route in json.loads(execute(["ip", "-json", "-4", "route"]).stdout) if route["dst"] != "default"]
    assert not [route for route in routes if any(ip_network(route).overlaps(network) for network in NETWORKS)]


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Another lab beside the first, of one host: it may be broken."""
    directory = tmp_path_factory.mktemp("lab")
    made = ("-e", json.dumps({"lab_name": "second", "lab_dir": str(directory), "lab_hypervisors": [{"name": "spare", "az": "az1"}]}))
    playbook("lab.yml", *made)
    yield Lab.read(directory)
    playbook("lab_destroy.yml", *made)


def power(lab: Lab, host: Host, action: str) -> str:
    return execute([lab.directory / "bin/host", action, host.name], check=False).stdout.strip()


def test_labs_live_side_by_side(lab: Lab, second: Lab) -> None:
    assert second.hosts[0].address == lab.hosts[0].address
    assert second.hosts[0].run(["hostname"]).stdout != lab.hosts[0].run(["hostname"]).stdout


def test_dead_host_starts_again_with_its_disk(second: Lab) -> None:
    (host,) = second.hosts
    host.run(["sh", "-c", "echo kept > /var/lib/kept; sync"])
    before = boot_ids(second)
    assert power(second, host, "stop") == "stopped spare"
    assert power(second, host, "status") == "spare is off"
    assert "changed=1 " in again(second)
    assert boot_ids(second) != before
    assert host.run(["cat", "/var/lib/kept"]).stdout == "kept\n"


def test_destroy_leaves_no_trace(lab: Lab, second: Lab) -> None:
    before = boot_ids(lab)
    extra = ("-e", json.dumps({"lab_name": second.name, "lab_dir": str(second.directory)}))
    playbook("lab_destroy.yml", *extra)
    assert not [name for name in Path("/run/netns").iterdir() if name.name.startswith("second-")]
    assert not list(second.directory.parent.glob(f"{second.directory.name}/*"))
    assert str(second.directory) not in execute(["ps", "-eo", "args"]).stdout
    assert str(second.directory) not in Path("/proc/1/mounts").read_text()
    assert "changed=0 " in playbook("lab_destroy.yml", *extra).stdout
    assert boot_ids(lab) == before
