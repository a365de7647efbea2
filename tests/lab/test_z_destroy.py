# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cloud given back, and what an empty lab says of it. Runs last, its name sees to that: there is no cloud after it."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from .conftest import Cloud, Lab

TABLES = ("Logical_Router", "Logical_Switch_Port", "Port_Group", "ACL", "NAT", "DHCP_Options", "QoS", "Logical_Router_Port")


def left(lab: Lab) -> dict[str, Any]:
    """What of any cloud is on the hosts and in the Northbound; the external network's own rows do not count."""
    found: dict[str, Any] = {}
    for host in lab.hosts:
        found[f"{host.name} domains"] = host.run(["virsh", "list", "--all", "--name"]).stdout.split()
        found[f"{host.name} files"] = host.run(
            ["find", "/var/lib/altostratus/volumes", "/var/lib/altostratus/config-drives", "/var/lib/altostratus/images",
             "/var/lib/altostratus/metadata", "/var/log/altostratus", "-type", "f", "-not", "-name", "*.lock"]
        ).stdout.split()  # fmt: skip
        found[f"{host.name} OVS ports"] = [
            port for port in host.run(["ovs-vsctl", "list-ports", "br-int"]).stdout.split() if port.startswith(("tap", "vnet", "md"))
        ]
        found[f"{host.name} namespaces"] = host.run(["ip", "netns", "list"]).stdout.split()
    rows = lab.host("hv1").run(["ovsdb-client", "dump", "--format=json", "unix:/run/ovn/ovnnb_db.sock", "OVN_Northbound"]).stdout
    for table in map(json.loads, rows.splitlines()):
        if table["caption"].split()[0] in TABLES:
            found[f"Northbound {table['caption']}"] = [
                row for row in table["data"] if "localnet" not in row and "ecs_ports" not in json.dumps(row)
            ]
    return {place: things for place, things in found.items() if things}


def recap(output: str, counter: str) -> set[str]:
    """The values of a counter in the play's recap."""
    return set(re.findall(rf"{counter}=(\d+)", output.rpartition("PLAY RECAP")[2]))


@pytest.fixture(scope="module", autouse=True)
def destroyed(cloud: Cloud) -> str:
    return cloud.play("destroy").stdout


def test_destroy_leaves_nothing(destroyed: str, lab: Lab) -> None:
    assert recap(destroyed, "failed") == {"0"}
    assert recap(destroyed, "changed") != {"0"}
    assert left(lab) == {}


def test_destroy_twice_is_fine(cloud: Cloud) -> None:
    again = cloud.play("destroy").stdout
    assert (recap(again, "failed"), recap(again, "changed")) == ({"0"}, {"0"})


def test_check_mode_on_an_empty_lab_names_all_and_makes_nothing(cloud: Cloud, lab: Lab) -> None:
    output = cloud.play("cloud", "--check", "--diff").stdout
    for thing in (
        "image mini",
        "image debian-13",
        "vpc shop",
        "subnet",
        "security_group web",
        "port web-nic0",
        "volume app-data",
        "server web",
        "eip web",
    ):
        assert thing in output.replace('"', ""), thing
    assert left(lab) == {}


def servers(**differing: Any) -> dict[str, Any]:
    return {"cloud_servers": [{"name": "a", "flavor": "s7n.small.025", "image": "mini", **differing}]}


def subnets(*cidrs: str) -> dict[str, Any]:
    return {"cloud_vpcs": [{"name": "v", "cidr": "10.20.0.0/16", "subnets": [{"name": cidr[-2:], "cidr": cidr} for cidr in cidrs]}]}


FAULTS = {
    "unknown flavor": (servers(flavor="huge"), "'huge' is not a flavor name"),
    "missing image": (servers(image="debian-12"), "image debian-12 does not exist"),
    "overlapping subnets": (subnets("10.20.1.0/24", "10.20.1.0/25"), "overlaps"),
    "small CIDR": (subnets("10.20.1.0/30"), "is too small"),
    "duplicate names": ({"cloud_keypairs": [{"name": "k", "public_key": "ssh-ed25519 A"}] * 2}, "'k' stands there twice"),
    "port out of range": ({"cloud_security_groups": [{"name": "g", "rules": [{"ports": "70000"}]}]}, "is out of range"),
    "wrong checksum": ({"cloud_images": [{"name": "i", "source": "MINI", "checksum": "sha256:" + "0" * 64}]}, "checksum"),
    "not an image": ({"cloud_images": [{"name": "i", "source": "TEXT"}]}, "not a disk image"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_bad_input_fails_with_a_clear_message_before_anything_changed(fault: str, cloud: Cloud, lab: Lab) -> None:
    description, words = FAULTS[fault]
    text = json.dumps(description).replace("MINI", str(cloud.images / "mini.qcow2")).replace("TEXT", __file__)
    empty = {name: [] for name in ("cloud_images", "cloud_vpcs", "cloud_security_groups", "cloud_servers")}
    result = cloud.play("cloud", "-e", json.dumps(empty), "-e", text, check=False)
    assert result.returncode != 0
    assert words in result.stdout
    assert "Traceback" not in result.stdout
    assert left(lab) == {}


def test_a_failed_build_gives_back_what_it_made_and_says_so(cloud: Cloud, lab: Lab) -> None:
    """The second disk does not fit: ports, volumes and the definition that were made before it are undone."""
    disks = [{"name": "small", "size": 1}, {"name": "huge", "size": 30000}]
    big = servers(az="az1", nics=[{"vpc": "shop", "subnet": "front", "security_groups": ["web"]}], data_disks=disks)
    result = cloud.play("cloud", "-e", json.dumps(big), check=False)
    assert result.returncode != 0
    assert "ECS_NO_SPACE" in result.stdout
    assert "30000 GiB needed" in result.stdout
    host = lab.host("hv1")
    assert host.run(["virsh", "list", "--all", "--name"]).stdout.split() == []
    assert host.run(["find", "/var/lib/altostratus/volumes", "/var/lib/altostratus/config-drives", "-type", "f"]).stdout == ""
    cloud.play("destroy")
    # What failed, and why, is kept to be read (spec V1).
    record = "/var/log/altostratus/failures.jsonl"
    assert left(lab) == {"hv1 files": [record]}
    assert "ECS_NO_SPACE" in host.run(["cat", record]).stdout
