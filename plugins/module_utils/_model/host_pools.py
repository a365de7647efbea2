# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts in the order in which a policy prefers them, kept while servers are placed one after the other."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .flavors import Flavor
from .hypervisors import is_offered, memory_free, refusal, vcpus_free
from .preemption import Preemptible, make_room, preemptibles


@dataclass(eq=False)
class Candidate:
    """A hypervisor that takes servers of the project, with what is still free: memory in MiB, vCPUs after overcommit.

    :param dedicated: to the project (spec C3).
    :param flavors: patterns of those it offers; none for all.
    :param servers: those that it has, as module hypervisor_info tells.
    :param going: ids of those among them that give way to servers which are placed.
    :param pools: those that hold it.
    """

    name: str
    az: str
    memory: int
    vcpus: int
    dedicated: bool = False
    flavors: tuple[str, ...] = ()
    servers: Sequence[Mapping[str, Any]] = ()
    going: set[str] = field(default_factory=set)
    pools: list[Pool] = field(default_factory=list)

    def fits(self, size: Flavor) -> bool:
        """Whether there is room for a server of this size."""
        return self.memory >= size.memory and self.vcpus >= size.vcpus

    def make_room(self, size: Flavor) -> list[Preemptible] | None:
        """The preemptible servers that must go so that a server of this size fits; None when that does not help."""
        staying = [server for server in preemptibles(self.servers) if server.id not in self.going]
        return make_room(staying, size.vcpus - self.vcpus, size.memory - self.memory)

    def let_go(self, server: Preemptible) -> None:
        """Count on the room of a server that gives way."""
        self.going.add(server.id)
        self.take(Flavor("", -server.vcpus, -server.memory))

    def take(self, size: Flavor) -> None:
        """Give room to a server."""
        for pool in self.pools:
            pool.discard(self)
        self.memory -= size.memory
        self.vcpus -= size.vcpus
        for pool in self.pools:
            pool.insert(self)


class Pool:
    """Some hosts, ordered by free memory; equal ones by name."""

    def __init__(self, hosts: Iterable[Candidate], spread: bool) -> None:
        self.hosts = {host.name: host for host in hosts}
        self.spread = spread
        # Spread takes from the end, pack from the beginning: the first name comes first either way.
        self._ranks = {name: rank for rank, name in enumerate(sorted(self.hosts, reverse=spread))}
        self._order: list[tuple[int, int, str]] = []
        for host in self.hosts.values():
            self.insert(host)
            host.pools.append(self)

    def find(self, size: Flavor, but: Collection[str] = ()) -> Candidate | None:
        """The host that the policy prefers among those with room.

        :param but: names of hosts that are out of the question.
        """
        first = bisect_left(self._order, (size.memory, -1, ""))
        places = range(len(self._order) - 1, first - 1, -1) if self.spread else range(first, len(self._order))
        for place in places:
            name = self._order[place][2]
            if self.hosts[name].vcpus >= size.vcpus and name not in but:
                return self.hosts[name]
        return None

    def discard(self, host: Candidate) -> None:
        """Take the host out of the order, before what is free on it changes."""
        key = (host.memory, self._ranks[host.name], host.name)
        del self._order[bisect_left(self._order, key)]

    def insert(self, host: Candidate) -> None:
        """Put the host where it belongs now; one with no vCPU left is of no use to anyone."""
        if host.vcpus > 0:
            insort(self._order, (host.memory, self._ranks[host.name], host.name))


class Pools:
    """All hypervisors of a cloud as one project sees them, in a pool for each kind of wish.

    A pool is made when it is first asked for. Flavors that the same hosts offer share one, so that there are few.

    :param zones: all zones, sorted.
    :param closed: hosts that take nothing of the project at all, by name: their zone, and why.
    :param has_dedicated: whether hosts are dedicated to the project: then its servers go there, unless they say otherwise.
    """

    def __init__(self, hypervisors: Sequence[Mapping[str, Any]], project: str, spread: bool) -> None:
        self.spread = spread
        self.zones = sorted({item["az"] for item in hypervisors})
        self.has_dedicated = any(project in (item.get("dedicated_to") or ()) for item in hypervisors)
        self.closed: dict[str, tuple[str, str]] = {}
        self.hosts: dict[str, Candidate] = {}
        for item in hypervisors:
            # What it offers is asked for each flavor.
            if why := refusal({**item, "flavors": ()}, project, "", None):
                self.closed[item["name"]] = (item["az"], why.reason)
                continue
            self.hosts[item["name"]] = Candidate(
                name=item["name"],
                az=item["az"],
                memory=memory_free(item),
                vcpus=vcpus_free(item),
                dedicated=bool(item.get("dedicated_to")),
                flavors=tuple(item.get("flavors") or ()),
                servers=item.get("servers") or (),
            )
        self._offers = {host.flavors for host in self.hosts.values()}
        self._admitted: dict[frozenset[str], frozenset[tuple[str, ...]]] = {}
        self._pools: dict[tuple[str | None, bool, frozenset[tuple[str, ...]]], Pool] = {}

    def pool(self, az: str | None, dedicated: bool, flavors: frozenset[str]) -> Pool:
        """The hosts of a zone, or of all, that offer all these flavors, the project's dedicated ones or the others."""
        admitted = self._admitted.get(flavors)
        if admitted is None:
            admitted = frozenset(offer for offer in self._offers if all(is_offered(flavor, offer) for flavor in flavors))
            self._admitted[flavors] = admitted
        key = (az, dedicated, admitted)
        if key not in self._pools:
            hosts = (
                host for host in self.hosts.values() if az in (None, host.az) and host.dedicated is dedicated and host.flavors in admitted
            )
            self._pools[key] = Pool(hosts, self.spread)
        return self._pools[key]
