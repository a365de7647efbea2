# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the inventory makes of servers: host names, groups and variables, from plain data."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from .search import parse, select

RESERVED = frozenset({"all", "ungrouped", "localhost", "127.0.0.1"})
"""Names with a meaning of their own to Ansible: a server must not take the controller's place."""
_CONNECTION = "altostratus.ecs.guest_agent"


@dataclass(frozen=True)
class Options:
    """How hosts shall look.

    :param connection: ``auto`` (ssh to an EIP, else through the agent), ``ssh``, ``guest_agent`` or ``none``.
    :param user: login for ssh; None for the user of the server's image.
    :param qualified_names: name every host ``<project>.<name>``.
    :param filters: see :func:`parse`, as for *search*.
    """

    connection: str = "auto"
    user: str | None = None
    qualified_names: bool = False
    filters: Mapping[str, Any] = field(default_factory=dict)
    search: str | None = None


@dataclass(frozen=True)
class InventoryHost:
    """One host as the inventory shows it."""

    name: str
    groups: tuple[str, ...]
    variables: Mapping[str, Any]


@dataclass(frozen=True)
class Inventory:
    """All hosts, sorted by name, and what the user should know."""

    hosts: tuple[InventoryHost, ...]
    warnings: tuple[str, ...]


def build(servers: Iterable[Mapping[str, Any]], options: Options, taken: Mapping[str, str | None]) -> Inventory:
    """Make hosts of servers.

    :param servers: server dictionaries, each with ``domain`` and ``libvirt_uri`` besides.
    :param taken: groups and hosts that the inventory has already, each host with its ``ecs_id``, if any.
    :raises InvalidInput: when a filter is unknown or wrong.
    """
    unique, warnings = _once(servers)
    kept = select(unique, parse(options.filters, options.search, more=("domain", "libvirt_uri")))
    memberships = {server["id"]: tuple(groups(server)) for server in kept}
    # Ansible takes the name of a group for the group, whatever host has it too.
    names, clashes = host_names(kept, {**taken, **dict.fromkeys(chain.from_iterable(memberships.values()))}, options.qualified_names)
    if clashes:
        warnings.append(f"names that are not unique or taken, shown with their project: {', '.join(clashes)}")
    hosts = (InventoryHost(names[server["id"]], memberships[server["id"]], variables(server, options)) for server in kept)
    return Inventory(tuple(sorted(hosts, key=lambda host: host.name)), tuple(warnings))


def _vpcs(server: Mapping[str, Any]) -> list[str]:
    return [nic["vpc"] for nic in server["nics"] if nic["vpc"]]


def _once(servers: Iterable[Mapping[str, Any]]) -> tuple[list[Mapping[str, Any]], list[str]]:
    """Each server once: a migration leaves it on two hypervisors for a while, where it runs is the true one."""
    found: dict[str, Mapping[str, Any]] = {}
    warnings = []
    for server in sorted(servers, key=lambda server: (server["status"] == "stopped", server["hypervisor"])):
        first = found.setdefault(server["id"], server)
        if first is not server:
            warnings.append(f"server {server['domain']} is on {first['hypervisor']} and {server['hypervisor']}; the first is shown")
    return list(found.values()), warnings


def host_names(
    servers: Iterable[Mapping[str, Any]], taken: Mapping[str, str | None], qualified: bool = False
) -> tuple[dict[str, str], list[str]]:
    """Host names by server id, and the names that clashed.

    A host has the server's name. Where two have the same, or another inventory source or Ansible itself uses it, all of them are
    ``<project>.<name>``; servers of two regions ``<region>.<project>.<name>``. The order of the servers does not matter.
    """
    forms = {
        server["id"]: (server["name"], f"{server['project']}.{server['name']}", f"{server['region']}.{server['project']}.{server['name']}")
        for server in servers
    }
    level = dict.fromkeys(forms, 1 if qualified else 0)
    clashed: set[str] = set()
    while True:
        names = {server: forms[server][level[server]] for server in forms}
        count = Counter(names.values())
        lowest: dict[str, int] = {}
        for server, name in names.items():
            lowest[name] = min(level[server], lowest.get(name, 2))
        # Of those with the same name, the ones that can say more about themselves give way.
        again = [
            server
            for server, name in names.items()
            if level[server] < 2
            and ((count[name] > 1 and level[server] == lowest[name]) or name in RESERVED or taken.get(name, server) != server)
        ]
        if not again:
            return names, sorted(clashed)
        for server in again:
            clashed.add(names[server])
            level[server] += 1


def groups(server: Mapping[str, Any]) -> Iterator[str]:
    """The groups a server belongs to; a tag's group is ``tag_<key>_<value>``, or ``tag_<key>`` when it has no value."""
    for name in ("project", "az", "hypervisor", "flavor", "status", "server_group"):
        # A cache may hold servers of an older version.
        if server.get(name):
            yield group_name(name, server[name])
    for vpc in dict.fromkeys(_vpcs(server)):
        yield group_name("vpc", vpc)
    for key, value in server["tags"].items():
        yield group_name("tag", key, value) if value else group_name("tag", key)


def group_name(*parts: str) -> str:
    """A group's name: what Ansible does not allow in one becomes ``_``."""
    return re.sub(r"\W", "_", "_".join(parts))


def variables(server: Mapping[str, Any], options: Options) -> dict[str, Any]:
    """The server's fields as ``ecs_*``, and how Ansible reaches it."""
    told = {f"ecs_{name}": value for name, value in server.items()}
    if options.connection == "none":
        return told
    if options.connection == "guest_agent" or (options.connection == "auto" and not server["eip"]):
        return told | {"ansible_connection": _CONNECTION, "ansible_python_interpreter": "/usr/bin/python3"}
    return told | {"ansible_host": server["eip"] or server["address"], "ansible_user": options.user or server.get("user") or "root"}
