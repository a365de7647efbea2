# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Placement: which hypervisor runs which server, a pure function of the hosts, what runs there, and what is wanted."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from . import flavors, server_groups
from .errors import EcsError, InvalidInput, NotFound
from .host_pools import Candidate, Pools
from .preemption import cost
from .server_groups import Group
from .server_request import expand

RANDOM_AZ = "random"
_TOLD = 5
"""So many closed hosts an error names."""


@dataclass(frozen=True)
class Placement:
    """Every single server with its ``hypervisor``, and what the user should know.

    :param reclaims: preemptible servers that must go before (spec B7).
    """

    servers: list[dict[str, Any]]
    warnings: list[str]
    reclaims: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class _Arrival:
    """A server to be made, and where it may go.

    :param zones: tried one after the other; None is all of them at once.
    """

    name: str
    size: flavors.Flavor
    zones: Sequence[str | None]
    dedicated: bool
    flavor_names: frozenset[str]
    group: Group | None
    preemptible: bool = False


def random_az(project: str, flavor: str, zones: Sequence[str]) -> str:
    """The zone of ``az: random``: a hash over project and flavor picks it (spec C7)."""
    number = int.from_bytes(hashlib.sha256(f"{project}{flavor}".encode()).digest(), "big")
    return sorted(zones)[number % len(zones)]


def _zones(project: str, flavor: str, zones: Sequence[str]) -> list[str | None]:
    """The zones of ``az: random``, the drawn one first: another takes what has no room there (spec C7, F7)."""
    if not zones:
        return [None]
    first = zones.index(random_az(project, flavor, zones))
    return [*zones[first:], *zones[:first]]


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


def _dedicated(server: Mapping[str, Any], pools: Pools) -> bool:
    """Whether a server goes to hosts dedicated to its project (spec C3): where there are any, unless it says otherwise."""
    said = server.get("dedicated")
    return pools.has_dedicated if said is None else _is_true(said)


def _is_true(said: object) -> bool:
    """An option of a server, which no module has made a bool yet."""
    return str(said).lower() in ("true", "yes", "on", "1")


def _arrival(server: Mapping[str, Any], project: str, pools: Pools, group: Group | None) -> _Arrival:
    if server.get("clone_from"):
        hint = "Make clones with module server on the hypervisor of the server that they are like"
        raise InvalidInput("clone_from", server["clone_from"], f"of server {server['name']} is not for placement", hint)
    size, az = _size(server), server.get("az") or None
    if az is not None and az != RANDOM_AZ and az not in pools.zones:
        known = ", ".join(pools.zones) or "none"
        raise InvalidInput("az", az, f"of server {server['name']} has no hypervisor", f"Choose one of {known}")
    zones = _zones(project, size.name, pools.zones) if az == RANDOM_AZ else [az]
    preemptible = _is_true(server.get("preemptible"))
    return _Arrival(server["name"], size, zones, _dedicated(server, pools), frozenset([size.name]), group, preemptible)


def _together(group: Group, arrivals: Sequence[_Arrival]) -> _Arrival:
    """The first of an affinity group that has no member yet: its host must do for all of them."""
    fixed = {arrival.zones[0] for arrival in arrivals if len(arrival.zones) == 1} - {None}
    for option, values in (("az", fixed), ("dedicated", {arrival.dedicated for arrival in arrivals})):
        if len(values) > 1:
            told = sorted(map(str, values))
            raise InvalidInput(
                option, told, f"differ in affinity group {group.name}", "Its servers share one host: give all of them the same"
            )
    every = frozenset[str]().union(*(arrival.flavor_names for arrival in arrivals))
    return replace(arrivals[0], zones=list(fixed) or arrivals[0].zones, flavor_names=every)


def _choose(arrival: _Arrival, pools: Pools) -> Candidate | None:
    """The host of a server to be made, whose room it takes; None where none has room."""
    for az in arrival.zones:
        pool = pools.pool(az, arrival.dedicated, arrival.flavor_names)
        chosen = arrival.group.choose(pool, arrival.size) if arrival.group else pool.find(arrival.size)
        if chosen is not None:
            chosen.take(arrival.size)
            if arrival.group:
                arrival.group.add(arrival.name, chosen.name)
            return chosen
    return None


def _make_way(arrival: _Arrival, pools: Pools) -> list[dict[str, Any]]:
    """Let preemptible servers go so that there is a host for one to be made (spec B7), where that costs least; returns who goes."""
    group = arrival.group
    size = group.block if group and group.together else arrival.size
    for az in arrival.zones:
        hosts = pools.pool(az, arrival.dedicated, arrival.flavor_names).hosts
        found = [
            (cost(going), name, going)
            for name, host in hosts.items()
            if (not group or group.admits(name)) and (going := host.make_room(size)) is not None
        ]
        if found:
            _cost, name, going = min(found, key=lambda item: item[:2])
            for server in going:
                hosts[name].let_go(server)
            told = ("id", "name", "project")
            return [
                {**{key: getattr(server, key) for key in told}, "hypervisor": name, "reclaim_at": server.reclaim_at or None}
                for server in going
            ]
    return []


def _no_room(arrival: _Arrival, pools: Pools) -> EcsError:
    group, size = arrival.group, arrival.size
    az = arrival.zones[0] if len(arrival.zones) == 1 else None
    hosts = list(pools.pool(az, arrival.dedicated, arrival.flavor_names).hosts.values())
    where = f"az {az}" if az else "any hypervisor"
    hint = "Choose a smaller flavor or another az, add a hypervisor, or raise ecs_memory_overcommit or ecs_cpu_overcommit"
    if arrival.dedicated:
        where += " that is dedicated to the project"
        hint += "; with dedicated false it goes to the others"
    if group and group.hard:
        hint = f"Add a hypervisor, leave the server out of group {group.name}, or use policy soft-{group.policy}"
        hosts = [host for host in hosts if group.admits(host.name)]
        if group.together:
            size = group.block
            where += f" for all of affinity group {group.name}"
        elif group.policy == "affinity":
            where += f" with affinity group {group.name}"
        else:
            where += f" without a member of anti-affinity group {group.name}"
    best = max(hosts, key=lambda host: (host.memory, host.vcpus), default=None)
    found = "there is none" if best is None else f"the best, {best.name}, has {max(best.vcpus, 0)} vCPUs and {max(best.memory, 0)} MiB free"
    closed = [f"{name} {reason}" for name, (zone, reason) in sorted(pools.closed.items()) if az in (None, zone)]
    if len(closed) > _TOLD:
        closed[_TOLD:] = [f"and {len(closed) - _TOLD} more"]
    found += f" ({'; '.join(closed)})" if closed else ""
    sold_out = "is sold out: it " if arrival.size.name and not (group and group.hard) else ""
    return EcsError(
        f"server {arrival.name}: {arrival.size} {sold_out}needs {size.vcpus} vCPUs and {size.memory} MiB in {where}, {found}",
        "ECS_NO_CAPACITY",
        hint,
    )


def _settle(
    arrivals: Iterable[_Arrival], grouped: Mapping[str, Sequence[_Arrival]], pools: Pools, warnings: list[str]
) -> tuple[dict[str, Candidate], list[dict[str, Any]]]:
    """The hosts of the servers to be made, by name, and the preemptible servers that must go before.

    Preemptible servers take what the others leave; where nothing is left they are not made, which is a warning.
    """
    chosen: dict[str, Candidate] = {}
    reclaims: list[dict[str, Any]] = []
    for arrival in sorted(arrivals, key=lambda arrival: arrival.preemptible):
        first = _together(arrival.group, grouped[arrival.group.name]) if arrival.group and arrival.group.together else arrival
        found = _choose(first, pools)
        if found is None and not arrival.preemptible and (going := _make_way(first, pools)):
            reclaims += going
            found = _choose(first, pools)
        if found is not None:
            chosen[arrival.name] = found
        elif arrival.preemptible:
            warnings.append(f"{_no_room(first, pools).message}; it is preemptible and left out")
        else:
            raise _no_room(first, pools)
    return chosen, reclaims


def _check_names(hypervisors: Sequence[Mapping[str, Any]]) -> None:
    names = [item["name"] for item in hypervisors]
    if len(set(names)) != len(names):
        raise InvalidInput("hypervisors", names, "has a name twice", "Give every hypervisor its own name")


def _coming(wanted: Iterable[Mapping[str, Any]], homes: Mapping[str, str], project: str) -> Iterator[Mapping[str, Any]]:
    """The servers that are to be made."""
    for server in wanted:
        state = server.get("state") or "present"
        if server["name"] not in homes and state != "absent":
            if state != "present":
                raise NotFound("server", server["name"], f"project {project}", "With state present it is created")
            yield server


def place(
    servers: Sequence[Mapping[str, Any]],
    hypervisors: Sequence[Mapping[str, Any]],
    project: str,
    spread: bool = True,
    groups: Iterable[Mapping[str, Any]] = (),
    quotas: Mapping[str, int | None] | None = None,
) -> Placement:
    """Give every server its ``hypervisor``.

    A server that exists stays where it is; one that is to be absent, and is, has None, and so has a preemptible one without room. The same
    input gives the same result.

    :param servers: as the user wrote them: name, count, flavor or vcpus and memory, az, dedicated, server_group, server_group_policy,
      preemptible, state; whatever else they hold passes through.
    :param hypervisors: results of hypervisor_info.
    :param spread: prefer the host with the most free memory; else fill hosts one by one.
    :param groups: server groups with name and policy.
    :param quotas: see :func:`server_groups.check_quotas`.
    :raises EcsError: ECS_NO_CAPACITY when no host fits, ECS_CONFLICT when a server exists twice, ECS_SERVER_GROUP when a server that
      exists would have to move, ECS_QUOTA.
    :raises InvalidInput: when a name, flavor, az or group is wrong.
    """
    _check_names(hypervisors)
    homes = _homes(hypervisors, project)
    pools = Pools(hypervisors, project, spread)
    placed = expand(servers, [server for host in hypervisors for server in host.get("servers", ()) if server["project"] == project])
    known = server_groups.gather(server_groups.declared(groups), placed, hypervisors, project)
    arrivals = [_arrival(server, project, pools, known.get(server.get("server_group") or "")) for server in _coming(placed, homes, project)]
    grouped: defaultdict[str, list[_Arrival]] = defaultdict(list)
    for arrival in arrivals:
        if arrival.group:
            arrival.group.coming[arrival.name] = arrival.size
            grouped[arrival.group.name].append(arrival)
    server_groups.check_quotas(known.values(), quotas or {})
    warnings = server_groups.check_members(known.values())

    chosen, reclaims = _settle(arrivals, grouped, pools, warnings)
    for server in placed:
        host = chosen.get(server["name"])
        server["hypervisor"] = homes.get(server["name"]) if host is None else host.name
        if server.get("az") == RANDOM_AZ:
            # What exists has its zone; flavors and zones may have changed since it was drawn.
            server["az"] = None if host is None else host.az
        if server.get("server_group"):
            server["server_group_policy"] = known[server["server_group"]].policy
    return Placement(placed, warnings, reclaims)


def by_hypervisor(placed: Sequence[Mapping[str, Any]], hypervisors: Sequence[Mapping[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """The servers of each hypervisor, in the words of module server."""
    told: dict[str, list[dict[str, Any]]] = {item["name"]: [] for item in hypervisors}
    for server in placed:
        if server["hypervisor"] is not None:
            told[server["hypervisor"]].append({key: value for key, value in server.items() if key != "hypervisor"})
    return told
