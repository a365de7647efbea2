# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A new server like one that exists: what it takes over, and what not (spec H2, H3)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .errors import InvalidInput, NotFound

DISKS, NICS, GROUPS = 10, 5, 5
"""So many data disks, interfaces, and security groups of each interface are taken over (spec H3)."""
_LARGE_MEMORY = re.compile(r"e[a-z]*[0-9]")


def find(wanted: str, existing: Iterable[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The server to be like, by name or id.

    :raises NotFound: when there is none.
    :raises InvalidInput: when it is of a kind that is not cloned.
    """
    for server in existing:
        if wanted in (server["name"], server["id"]):
            if _LARGE_MEMORY.match(server["flavor"] or ""):
                hint = "Describe the new server by its own options"
                raise InvalidInput("clone_from", wanted, f"is a large-memory server ({server['flavor']})", hint)
            return server
    raise NotFound("server", wanted, "the project on this host (clone_from)", "Run the module on the hypervisor that has it")


def _first(name: str, what: str, items: Sequence[Any], most: int, notes: list[str]) -> Sequence[Any]:
    if len(items) > most:
        notes.append(f"server {name}: {what} beyond {most} are not taken over: {', '.join(str(item) for item in items[most:])}")
    return items[:most]


def _nics(name: str, source: Mapping[str, Any], notes: list[str]) -> list[dict[str, Any]]:
    taken = _first(name, "interfaces", [nic["name"] for nic in source["nics"]], NICS, notes)
    return [
        {
            "subnet": nic["subnet"],
            "vpc": nic["vpc"] or None,
            "security_groups": list(_first(name, f"security groups of {nic['name']}", nic["security_groups"], GROUPS, notes)),
        }
        for nic in source["nics"][: len(taken)]
    ]


def _disks(name: str, source: Mapping[str, Any], notes: list[str]) -> list[dict[str, Any]]:
    # A disk that somebody attached by hand may have no description.
    disks = {disk["name"].removeprefix(f"{source['name']}-"): disk for disk in source["disks"] if disk["role"] == "data" and disk["name"]}
    return [
        {"name": disk, **{key: disks[disk].get(key) for key in ("size", "type", "mount", "filesystem")}}
        for disk in _first(name, "data disks", list(disks), DISKS, notes)
    ]


def like(item: Mapping[str, Any], source: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """A server's options with those that it does not set taken from another server, and what the user should know.

    Size, image, disks, interfaces and tags are taken over; contents of disks, addresses, the public address, the login and the advanced
    options are not (spec H3).

    :param source: the other server as modules return it.
    """
    name, notes = str(item["name"]), list[str]()
    system: Mapping[str, Any] = next((disk for disk in source["disks"] if disk["role"] == "system"), {})
    sized = any(item.get(key) is not None for key in ("flavor", "vcpus", "memory"))
    size = {"flavor": source["flavor"]} if source["flavor"] else {"vcpus": source["vcpus"], "memory": source["memory"]}
    taken = {
        **({} if sized else size),
        "image": source["image"],
        "root_disk": system.get("size"),
        "disk_type": system.get("type"),
        "tags": dict(source["tags"]),
        "data_disks": _disks(name, source, notes) if item.get("data_disks") is None else None,
        "nics": _nics(name, source, notes) if item.get("nics") is None else None,
    }
    if item.get("image") not in (None, source["image"]):
        taken["root_disk"] = None
    if not item.get("public_keys") and item.get("password") is None:
        notes.append(f"server {name}: the login of {source['name']} is not taken over; give key and public_keys, or set a password later")
    return {**item, **{key: value for key, value in taken.items() if item.get(key) is None}}, notes
