# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Preemptible servers: they give way to others that find no room (spec B6 to B10)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from heapq import nlargest
from typing import Any

from .errors import EcsError, InvalidInput
from .metadata import ServerMetadata

NOTICE = timedelta(minutes=5)
"""How long before they go they are told (spec B7, K1)."""
PRIORITIES = range(101)


@dataclass(frozen=True)
class Preemptible:
    """A preemptible server that exists, with the room that it takes.

    :param priority: the lower, the sooner it gives way.
    :param reclaim_at: when it goes, as it has been told; empty when it has not.
    """

    id: str
    name: str
    project: str
    vcpus: int
    memory: int
    priority: int = 0
    created: str = ""
    reclaim_at: str = ""


def preemptibles(servers: Iterable[Mapping[str, Any]]) -> list[Preemptible]:
    """Those among the servers that module hypervisor_info tells of; one that is not finished is left alone."""
    names = ("id", "name", "project", "vcpus", "memory", "priority", "created")
    return [
        Preemptible(**{name: server[name] for name in names}, reclaim_at=server["reclaim_at"] or "")
        for server in servers
        if server.get("preemptible") and server["status"] != "creating"
    ]


def make_room(servers: Iterable[Preemptible], vcpus: int, memory: int) -> list[Preemptible] | None:
    """Who must go for so much more room: those that go anyway, and then, in this order of importance, servers of the lowest priority,
    as few as possible, the newest.

    :param servers: of one host.
    :returns: None when all of them together would not make the room.
    """
    servers = list(servers)
    going = sorted((server for server in servers if server.reclaim_at), key=lambda server: server.name)
    vcpus -= sum(server.vcpus for server in going)
    memory -= sum(server.memory for server in going)
    if vcpus <= 0 and memory <= 0:
        return going
    staying = [server for server in servers if not server.reclaim_at]
    # Those of a batch are of one moment: the last of it goes first.
    staying.sort(key=lambda server: (server.created, server.name, server.project), reverse=True)
    staying.sort(key=lambda server: server.priority)
    for priority in sorted({server.priority for server in staying}):
        pool = [server for server in staying if server.priority <= priority]
        for count in range(1, len(pool) + 1):
            if (found := _first(pool, count, vcpus, memory)) is not None:
                return [*going, *found]
    return None


def _first(pool: Sequence[Preemptible], count: int, vcpus: int, memory: int) -> list[Preemptible] | None:
    """The first *count* servers, in the order of the pool, that make the room."""
    if not count:
        return [] if vcpus <= 0 and memory <= 0 else None
    if sum(nlargest(count, (server.vcpus for server in pool))) < vcpus or sum(nlargest(count, (server.memory for server in pool))) < memory:
        return None
    tried = set()
    for number, server in enumerate(pool):
        # Where one of a kind did not help, those after it do not either.
        kind = (server.priority, server.vcpus, server.memory)
        if kind in tried:
            continue
        tried.add(kind)
        rest = _first(pool[number + 1 :], count - 1, vcpus - server.vcpus, memory - server.memory)
        if rest is not None:
            return [server, *rest]
    return None


def cost(servers: Iterable[Preemptible]) -> tuple[int, int]:
    """How dear it is that these go, to compare hosts: the highest priority of those that are not told yet, and their number."""
    new = [server.priority for server in servers if not server.reclaim_at]
    return max(new, default=-1), len(new)


def check_request(preemptible: bool | None, priority: int | None, deletion_protection: bool | None) -> None:
    """Validate what a server says of giving way.

    :raises InvalidInput: when the options do not go together.
    """
    if priority is not None and priority not in PRIORITIES:
        raise InvalidInput("priority", priority, "is out of range", f"Give {PRIORITIES[0]} to {PRIORITIES[-1]}; the lowest give way first")
    if priority is not None and preemptible is False:
        raise InvalidInput("priority", priority, "stands beside preemptible false", "Only preemptible servers have a priority")
    if preemptible and deletion_protection:
        raise InvalidInput("deletion_protection", True, "stands beside preemptible", "A preemptible server cannot be protected: choose one")


def check_priority(name: str, preemptible: bool, priority: int | None) -> None:
    """See that a priority is given to a preemptible server only."""
    if priority is not None and not preemptible:
        raise InvalidInput("priority", priority, f"is for server {name}, which is not preemptible", "Leave it out, or make it preemptible")


def refuse(told: ServerMetadata, problem: str) -> None:
    """Refuse what preemptible servers are not for (spec B8): another system or size, protection, to lose the system disk.

    :raises EcsError: ECS_PREEMPTIBLE, when the server is one.
    """
    if told.preemptible:
        raise EcsError(
            f"server {told.name} (project {told.project}) is preemptible: {problem}",
            "ECS_PREEMPTIBLE",
            "Make another server without preemptible for that",
        )
