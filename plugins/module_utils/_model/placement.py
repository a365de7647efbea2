# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Placement: which hypervisor runs which server, a pure function of the hosts, what runs there, and what is wanted."""

from __future__ import annotations

import hashlib
from bisect import bisect_left, insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from . import flavors
from .errors import EcsError, InvalidInput, NotFound
from .server_request import expand

RANDOM_AZ = "random"


@dataclass
class _Candidate:
    """A hypervisor with what is still free: memory in MiB, vCPUs after overcommit."""

    name: str
    az: str
    memory: int
    vcpus: int


@dataclass
class _Pool:
    """The hypervisors of one availability zone, or of all, ordered by free memory; equal ones by name."""

    hosts: Mapping[str, _Candidate]
    spread: bool
    order: list[tuple[int, int, str]] = field(default_factory=list)
    ranks: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # Spread takes from the end, pack from the beginning: the first name comes first either way.
        for rank, name in enumerate(sorted(self.hosts, reverse=self.spread)):
            self.ranks[name] = rank
            insort(self.order, (self.hosts[name].memory, rank, name))

    def find(self, vcpus: int, memory: int) -> _Candidate | None:
        """The host that the policy prefers among those with room."""
        first = bisect_left(self.order, (memory, -1, ""))
        places = range(len(self.order) - 1, first - 1, -1) if self.spread else range(first, len(self.order))
        for place in places:
            host = self.hosts[self.order[place][2]]
            if host.vcpus >= vcpus:
                return host
        return None

    def discard(self, host: _Candidate) -> None:
        """Take the host out, before what is free on it changes."""
        key = (host.memory, self.ranks[host.name], host.name)
        del self.order[bisect_left(self.order, key)]

    def insert(self, host: _Candidate) -> None:
        """Put the host where it belongs now; one with no vCPU left is of no use to anyone."""
        if host.vcpus > 0:
            insort(self.order, (host.memory, self.ranks[host.name], host.name))


def memory_limit(hypervisor: Mapping[str, Any]) -> int:
    """MiB that servers may have together on a host: what the host does not keep for itself, times the overcommit."""
    return int((hypervisor["memory"] - hypervisor.get("reserved_memory", 0)) * hypervisor.get("memory_overcommit", 1.0))


def vcpu_limit(hypervisor: Mapping[str, Any]) -> int:
    """vCPUs that servers may have together on a host."""
    return int(hypervisor["cpus"] * hypervisor.get("cpu_overcommit", 1.0))


def random_az(project: str, flavor: str, zones: Sequence[str]) -> str:
    """The zone of ``az: random``: a hash over project and flavor picks it (spec C7)."""
    number = int.from_bytes(hashlib.sha256(f"{project}{flavor}".encode()).digest(), "big")
    return sorted(zones)[number % len(zones)]


def _size(server: Mapping[str, Any]) -> flavors.Flavor:
    numbers = [None if server.get(key) is None else int(server[key]) for key in ("vcpus", "memory")]
    size = flavors.resolve(server.get("flavor"), *numbers)
    if size is None:
        raise InvalidInput("flavor", None, f"is missing for server {server['name']}", "Give a flavor, or vcpus and memory")
    return size


def _homes(hypervisors: Sequence[Mapping[str, Any]], project: str) -> dict[str, str]:
    homes: dict[str, str] = {}
    for hypervisor in hypervisors:
        for server in hypervisor.get("servers", ()):
            if server["project"] != project:
                continue
            if (other := homes.setdefault(server["name"], hypervisor["name"])) != hypervisor["name"]:
                raise EcsError(
                    f"server {server['name']} (project {project}) exists on {other} and on {hypervisor['name']}",
                    "ECS_CONFLICT",
                    "Remove it on one of them",
                )
    return homes


def _no_room(server: Mapping[str, Any], size: flavors.Flavor, az: str | None, pool: _Pool) -> EcsError:
    where = f"az {az}" if az else "any hypervisor"
    best = max(pool.hosts.values(), key=lambda host: (host.memory, host.vcpus), default=None)
    found = "there is none" if best is None else f"the best, {best.name}, has {max(best.vcpus, 0)} vCPUs and {max(best.memory, 0)} MiB free"
    return EcsError(
        f"server {server['name']}: {size} needs {size.vcpus} vCPUs and {size.memory} MiB in {where}, {found}",
        "ECS_NO_CAPACITY",
        "Choose a smaller flavor or another az, add a hypervisor, or raise ecs_memory_overcommit or ecs_cpu_overcommit",
    )


def place(
    servers: Sequence[Mapping[str, Any]], hypervisors: Sequence[Mapping[str, Any]], project: str, spread: bool = True
) -> list[dict[str, Any]]:
    """Give every server its ``hypervisor``.

    A server that exists stays where it is; one that is to be absent, and is, has None. The same input gives the same result.

    :param servers: as the user wrote them: name, count, flavor or vcpus and memory, az, state; whatever else they hold passes through.
    :param hypervisors: results of hypervisor_info.
    :param spread: prefer the host with the most free memory; else fill hosts one by one.
    :raises EcsError: ECS_NO_CAPACITY when no host fits, ECS_CONFLICT when a server exists twice.
    :raises InvalidInput: when a name, flavor or az is wrong.
    """
    hosts = {
        item["name"]: _Candidate(
            name=item["name"],
            az=item["az"],
            memory=memory_limit(item) - item.get("memory_allocated", 0),
            vcpus=vcpu_limit(item) - item.get("vcpus_allocated", 0),
        )
        for item in hypervisors
    }
    if len(hosts) != len(hypervisors):
        raise InvalidInput("hypervisors", [item["name"] for item in hypervisors], "has a name twice", "Give every hypervisor its own name")
    homes = _homes(hypervisors, project)
    zones = sorted({host.az for host in hosts.values()})
    pools: dict[str | None, _Pool] = {None: _Pool(hosts, spread)}
    for zone in zones:
        pools[zone] = _Pool({name: host for name, host in hosts.items() if host.az == zone}, spread)

    placed: list[dict[str, Any]] = []
    for server in expand(servers):
        state = server.get("state") or "present"
        home = homes.get(server["name"])
        if home is None and state == "present":
            size = _size(server)
            az = server.get("az") or None
            if az == RANDOM_AZ and zones:
                az = server["az"] = random_az(project, size.name, zones)
            if az is not None and az not in pools:
                raise InvalidInput("az", az, f"of server {server['name']} has no hypervisor", f"Choose one of {', '.join(zones) or 'none'}")
            chosen = pools[az].find(size.vcpus, size.memory)
            if chosen is None:
                raise _no_room(server, size, az, pools[az])
            for pool in (pools[None], pools[chosen.az]):
                pool.discard(chosen)
            chosen.memory -= size.memory
            chosen.vcpus -= size.vcpus
            for pool in (pools[None], pools[chosen.az]):
                pool.insert(chosen)
            home = chosen.name
        elif home is None and state != "absent":
            raise NotFound("server", server["name"], f"project {project}", "With state present it is created")
        elif server.get("az") == RANDOM_AZ:
            # The zone was drawn when the server was created; flavors and zones may have changed since.
            server["az"] = None
        placed.append({**server, "hypervisor": home})
    return placed


def by_hypervisor(placed: Sequence[Mapping[str, Any]], hypervisors: Sequence[Mapping[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """The servers of each hypervisor, in the words of module server."""
    told: dict[str, list[dict[str, Any]]] = {item["name"]: [] for item in hypervisors}
    for server in placed:
        if server["hypervisor"] is not None:
            told[server["hypervisor"]].append({key: value for key, value in server.items() if key != "hypervisor"})
    return told
