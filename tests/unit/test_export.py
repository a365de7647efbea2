# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers as a table (spec V4)."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.altostratus.ecs.plugins.filter.servers_csv import servers_csv

WEB: dict[str, Any] = {
    "name": "web", "id": "6f1c", "project": "shop", "region": "local", "az": "az1", "hypervisor": "hv1", "status": "running",
    "flavor": "s7n.small.1", "vcpus": 1, "memory": 1024, "image": "debian-13", "created": "2026-01-31T12:00:00Z", "eip": "203.0.113.100",
    "nics": [
        {"address": "10.20.1.10", "vpc": "shop", "subnet": "front", "security_groups": ["web", "ops"]},
        {"address": "10.20.2.10", "vpc": "shop", "subnet": "back", "security_groups": ["web"]},
    ],
    "disks": [{"role": "system", "type": "standard", "size": 10}, {"role": "data", "type": None, "size": None}],
    "tags": {"tier": "web", "new": ""},
}  # fmt: skip


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_columns_of_the_guide() -> None:
    """Basics, network and disks, several of a kind in one cell (spec V4)."""
    (row,) = read(servers_csv([WEB]))
    assert row == {
        "Name": "web", "ID": "6f1c", "Project": "shop", "Region": "local", "AZ": "az1", "Hypervisor": "hv1", "Status": "running",
        "Flavor": "s7n.small.1", "vCPUs": "1", "Memory (MiB)": "1024", "Image": "debian-13", "Created": "2026-01-31T12:00:00Z",
        "Private IP": "10.20.1.10; 10.20.2.10", "EIP": "203.0.113.100", "VPC": "shop", "Subnet": "front; back",
        "Security groups": "web; ops", "Disks": "2", "Disk properties": "system standard; data", "Disk capacity (GiB)": "10",
        "Tags": "new; tier=web",
    }  # fmt: skip


def test_hosts_of_the_inventory_and_what_is_no_server() -> None:
    """Variables of hosts do as well; hosts that are no servers are left out; by project and name."""
    hosts = [{f"ecs_{key}": value for key, value in {**WEB, "name": name, "eip": None}.items()} for name in ("web", "db")]
    rows = read(servers_csv([hosts[0], {"ansible_host": "192.0.2.1"}, hosts[1]]))
    assert [(row["Name"], row["EIP"]) for row in rows] == [("db", ""), ("web", "")]


def test_nothing_is_a_formula_and_everything_is_quoted() -> None:
    """A tag that begins as a formula does is text to a spreadsheet; commas and quotes stay within their cell."""
    (row,) = read(servers_csv([{**WEB, "tags": {"=1+1": "x"}, "image": 'a, "b"'}]))
    assert (row["Tags"], row["Image"]) == ("'=1+1=x", 'a, "b"')


@pytest.mark.parametrize("wrong", [[{"id": "1", "nics": []}], WEB, "web"])
def test_what_is_no_list_of_servers(wrong: Any) -> None:
    with pytest.raises(AnsibleFilterError, match="servers_csv"):
        servers_csv(wrong)
