# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers as rows of a table for people who work in spreadsheets (spec V4)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_SEPARATOR = "; "
_FORMULAS = ("=", "+", "-", "@", "\t", "\r")
"""A cell that begins so is a formula to a spreadsheet."""


def _disk(disk: Mapping[str, Any]) -> str:
    return " ".join(filter(None, (disk["role"], disk["type"])))


def _capacity(disks: Sequence[Mapping[str, Any]]) -> int:
    return sum(disk["size"] or 0 for disk in disks)


def _each(server: Mapping[str, Any], key: str) -> str:
    return _SEPARATOR.join(dict.fromkeys(nic[key] for nic in server["nics"] if nic[key]))


def _security_groups(server: Mapping[str, Any]) -> str:
    return _SEPARATOR.join(dict.fromkeys(group for nic in server["nics"] for group in nic["security_groups"]))


COLUMNS = {
    "Name": lambda server: server["name"],
    "ID": lambda server: server["id"],
    "Project": lambda server: server["project"],
    "Region": lambda server: server["region"],
    "AZ": lambda server: server["az"],
    "Hypervisor": lambda server: server["hypervisor"],
    "Status": lambda server: server["status"],
    "Flavor": lambda server: server["flavor"],
    "vCPUs": lambda server: server["vcpus"],
    "Memory (MiB)": lambda server: server["memory"],
    "Image": lambda server: server["image"],
    "Created": lambda server: server["created"],
    "Private IP": lambda server: _each(server, "address"),
    "EIP": lambda server: server["eip"],
    "VPC": lambda server: _each(server, "vpc"),
    "Subnet": lambda server: _each(server, "subnet"),
    "Security groups": _security_groups,
    "Disks": lambda server: len(server["disks"]),
    "Disk properties": lambda server: _SEPARATOR.join(map(_disk, server["disks"])),
    "Disk capacity (GiB)": lambda server: _capacity(server["disks"]),
    "Tags": lambda server: _SEPARATOR.join(f"{key}={value}" if value else key for key, value in sorted(server["tags"].items())),
}
"""What a column is called and how it is read from a server as modules return it."""


def rows(servers: Sequence[Mapping[str, Any]]) -> Iterator[list[str]]:
    """The heads of the columns, then a row for each server by project and name."""
    yield list(COLUMNS)
    for server in sorted(servers, key=lambda server: (server["project"], server["name"])):
        yield [_cell(read(server)) for read in COLUMNS.values()]


def _cell(value: Any) -> str:
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(_FORMULAS) else text
