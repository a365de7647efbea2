# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which host takes a server that must leave its own: a pure function of what the hosts told, as placement is for new servers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .errors import InvalidInput, NotFound
from .flavors import Flavor
from .host_pools import Pools
from .hypervisors import Refusal
from .migration import LIVE, TASK, method, needs_stop, obstacle
from .server_groups import Group

Facts = Mapping[str, Any]


@dataclass(frozen=True)
class Wish:
    """A server that shall leave its host.

    :param hypervisor: where it shall go; None lets it be chosen.
    """

    server: Facts
    source: Facts
    hypervisor: str | None = None


@dataclass(frozen=True)
class Rules:
    """How servers may move.

    :param spread: prefer the host with the most free memory; else fill hosts one by one.
    """

    spread: bool = True
    allow_az_change: bool = False
    allow_stop: bool = False


@dataclass
class Relocation:
    """Who goes where, by the host that they leave, and who stays and why."""

    moves: dict[str, list[dict[str, Any]]]
    stays: list[dict[str, Any]] = field(default_factory=list)


def find(hypervisors: Sequence[Facts], project: str, name: str) -> tuple[Facts, Facts]:
    """A server and its host.

    :raises NotFound: when there is none.
    """
    for host in hypervisors:
        for server in host["servers"]:
            if (server["project"], server["name"]) == (project, name):
                return server, host
    raise NotFound("server", name, f"project {project}", "No hypervisor of the call has it: see the inventory")


def leaving(hypervisors: Sequence[Facts], name: str) -> list[Wish]:
    """All servers of a host.

    :raises NotFound: when there is no such host.
    """
    for host in hypervisors:
        if host["name"] == name:
            return [Wish(server, host) for server in host["servers"]]
    known = ", ".join(sorted(host["name"] for host in hypervisors)) or "none"
    raise NotFound("hypervisor", name, "", f"Known: {known}")


def relocate(wishes: Sequence[Wish], hypervisors: Sequence[Facts], rules: Rules) -> Relocation:
    """Find each server a host, the largest first; who finds none stays.

    :param hypervisors: results of hypervisor_info.
    """
    known = {host["name"]: host for host in hypervisors}
    for wish in wishes:
        if wish.hypervisor is not None and wish.hypervisor not in known:
            raise InvalidInput("hypervisor", wish.hypervisor, "is none of the hypervisors", f"Choose one of {', '.join(sorted(known))}")
    planner = _Planner(wishes, hypervisors, rules)
    result = Relocation({host["name"]: [] for host in hypervisors})
    for wish in sorted(wishes, key=lambda wish: (-wish.server["memory"], wish.server["project"], wish.server["name"])):
        told = {"project": wish.server["project"], "name": wish.server["name"]}
        where, why = planner.place(wish)
        if where == wish.source["name"] and wish.server["status"] != TASK:
            continue
        if where:
            result.moves[wish.source["name"]].append({**told, "hypervisor": where})
        else:
            result.stays.append({**told, "hypervisor": wish.source["name"], "reason": why})
    return result


class _Planner:
    """Keeps account of what the hosts have left while one server after the other finds its place."""

    def __init__(self, wishes: Sequence[Wish], hypervisors: Sequence[Facts], rules: Rules) -> None:
        self.rules = rules
        self.hosts: dict[str, dict[str, Any]] = {host["name"]: {**host, "servers": list(host["servers"])} for host in hypervisors}
        self.moving = {wish.server["id"] for wish in wishes}
        self.groups = self._gather(wishes)

    def _gather(self, wishes: Iterable[Wish]) -> dict[tuple[str, str], Group]:
        """The groups of those who leave: members that stay where they are, and sizes of those that come."""
        groups: dict[tuple[str, str], Group] = {}
        for wish in wishes:
            server = wish.server
            if server.get("server_group"):
                key = (server["project"], server["server_group"])
                group = groups.setdefault(key, Group(key[1], server["server_group_policy"]))
                group.coming[server["name"]] = _size(server)
        for host in self.hosts.values():
            for server in host["servers"]:
                here = groups.get((server["project"], server.get("server_group") or ""))
                if here and server["id"] not in self.moving:
                    here.add(server["name"], host["name"])
        return groups

    def place(self, wish: Wish) -> tuple[str, str]:
        """The host that takes the server, or else why none does."""
        server = wish.server
        if wish.hypervisor == wish.source["name"]:
            return wish.source["name"], ""
        if not method(server) and server["status"] != TASK:
            return "", f"it is {server['status']}"
        open_hosts, closed = self._candidates(wish)
        if open_hosts:
            pools = Pools(open_hosts, server["project"], self.rules.spread)
            dedicated = bool(wish.source.get("dedicated_to")) if wish.hypervisor is None else bool(open_hosts[0].get("dedicated_to"))
            pool = pools.pool(None, dedicated, frozenset([server.get("flavor") or ""]))
            group = self.groups.get((server["project"], server.get("server_group") or ""))
            chosen = group.choose(pool, _size(server)) if group else pool.find(_size(server))
            if chosen:
                self._take(server, chosen.name, group)
                return chosen.name, ""
            size = _size(server)
            hosts = ", ".join(sorted(pool.hosts)) or "those that are dedicated as its own is"
            closed.append(
                f"{hosts}: no room for {size.vcpus} vCPUs and {size.memory} MiB" + (f" in server group {group.name}" if group else "")
            )
        return "", "; ".join(closed) or "there is no other hypervisor"

    def _candidates(self, wish: Wish) -> tuple[list[dict[str, Any]], list[str]]:
        found, closed = [], []
        for name, host in sorted(self.hosts.items()):
            if name == wish.source["name"] or wish.hypervisor not in (None, name):
                continue
            if why := self._closed(wish, host):
                closed.append(f"{name} {why.reason}")
            else:
                found.append(host)
        return found, closed

    def _closed(self, wish: Wish, host: Facts) -> Refusal | None:
        why = obstacle(wish.server, wish.source, host, self.rules.allow_az_change)
        if why is None and method(wish.server) == LIVE and not self.rules.allow_stop:
            stop = needs_stop(wish.server, wish.source, host)
            why = Refusal(f"cannot take it: {stop}", "ECS_STOP_NEEDED", "Set allow_stop") if stop else None
        return why

    def _take(self, server: Facts, name: str, group: Group | None) -> None:
        host = self.hosts[name]
        for key in ("vcpus", "memory"):
            host[f"{key}_allocated"] = host.get(f"{key}_allocated", 0) + server[key]
        if group:
            group.add(server["name"], name)


def _size(server: Facts) -> Flavor:
    return Flavor(server.get("flavor") or "", server["vcpus"], server["memory"])
