# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Room for servers that find none: preemptible servers are told to go, and waited for (spec B7, B9, K1)."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any

from .._engines import files, journal
from .._engines.host import Host
from .._engines.libvirt_client import Events, Live, connect, read_domains
from .._model import failures as failure_model
from .._model import metadata, times
from .._model.errors import EcsError
from .._model.failures import Failure
from .._model.plan import Step
from .._model.preemption import NOTICE, Preemptible
from . import failures
from .exclusive import exclusive
from .metadata_service import announce, withdraw
from .rollback import Rollback
from .server_update import remember

_POLL = 2.0


@dataclass(frozen=True)
class Preemption:
    """Servers that need room, and the preemptible ones that must go for them.

    :param names: of the servers that need it, of *project*.
    :param going: those that were told before have their moment already.
    :param at: when the others go that are told now.
    """

    host: Host
    project: str
    names: Sequence[str]
    going: Sequence[Preemptible]
    at: str

    @property
    def new(self) -> list[Preemptible]:
        """Those that are told now."""
        return [server for server in self.going if not server.reclaim_at]

    def steps(self) -> list[Step]:
        """What becomes of the servers that are told now."""
        return [
            Step("reclaim", "server", server.name, {"project": server.project, "reclaim_at": None}, {"reclaim_at": self.at})
            for server in self.new
        ]

    def error(self) -> EcsError:
        """That the run must come again."""
        told = ", ".join(f"{server.name} (project {server.project}) at {server.reclaim_at or self.at}" for server in self.going)
        last = max(server.reclaim_at or self.at for server in self.going)
        return EcsError(
            f"server {', '.join(self.names)}: {self.host.name} has no room before preemptible servers are reclaimed: {told}",
            "ECS_RECLAIMING",
            f"Run this again after {last}, or set reclaim_timeout to wait until there is room",
            server=self.names[0] if len(self.names) == 1 else "",
        )


def preemption(host: Host, project: str, names: Sequence[str], going: Sequence[Preemptible]) -> Preemption:
    """Who goes, and when (spec B7)."""
    return Preemption(host, project, names, going, times.stamp(times.now() + NOTICE))


def give_notice(connection: Any, wanted: Preemption, own: Collection[str], timeout: float) -> None:
    """Tell servers that they are reclaimed: their status says so, their guests can read it, and it is recorded (spec K1).

    :param own: ids of servers that this run keeps others away from already.
    :param timeout: seconds to wait for other runs that are at them.
    """
    new = {server.id: server.name for server in wanted.new}
    others = {uuid: name for uuid, name in new.items() if uuid not in own}
    with exclusive(wanted.host.locks, others, timeout), Rollback() as rollback:
        told = []
        for live in read_domains(connection, new).values():
            server = metadata.parse(live.xml)
            if server and server.preemptible and not server.reclaim_at:
                _tell(wanted, live, server, rollback)
                told.append(server)
    for server in told:
        _record(wanted, server)


def _tell(wanted: Preemption, live: Live, told: metadata.ServerMetadata, rollback: Rollback) -> None:
    server_id = live.domain.UUIDString()
    remember(live.domain, replace(told, reclaim_at=wanted.at))
    rollback.add("notice", told.name, partial(remember, live.domain, told))
    rollback.add("", told.name, partial(withdraw, wanted.host, server_id))
    try:
        announce(wanted.host, server_id, datetime.fromisoformat(wanted.at))
        mark(wanted.host, server_id)
    except OSError as error:
        hint = "Look at that path on the host"
        raise EcsError(f"server {told.name} (project {told.project}) cannot be given notice: {error}", "ECS_FILE", hint) from error


def _record(wanted: Preemption, told: metadata.ServerMetadata) -> None:
    message = f"reclaimed at {wanted.at}, as it gives way to {', '.join(wanted.names)} (project {wanted.project})"
    journal.tell(f"interruptServer: server {told.name} (project {told.project}) is {message}")
    failures.remember(
        wanted.host,
        Failure(
            time=times.stamp(times.now()),
            region=told.region,
            project=told.project,
            kind=failure_model.INTERRUPTION,
            servers=(told.name,),
            task="reclaim",
            code="ECS_RECLAIMING",
            message=message,
        ),
    )


def wait(uri: str, wanted: Preemption, deadline: float) -> None:
    """Wait until the servers are gone, which is their host's work.

    :param deadline: in the time of ``time.monotonic()``.
    :raises EcsError: ECS_TIMEOUT when one is still there then.
    """
    ids = {server.id for server in wanted.going}
    with connect(uri, events=True) as connection, Events(connection) as events:
        if events.wait(lambda: not read_domains(connection, ids), deadline, _POLL):
            return
        left = read_domains(connection, ids)
    names = ", ".join(server.name for server in wanted.going if server.id in left)
    raise EcsError(
        f"server {', '.join(wanted.names)}: {names} was not reclaimed in time",
        "ECS_TIMEOUT",
        f"Give reclaim_timeout more than {NOTICE.total_seconds():g} s; altostratus-host.timer must run on {wanted.host.name}",
    )


def _marks(host: Host) -> str:
    """A directory with a file for each server that was told to go: as long as one is there, the host looks every few seconds."""
    return os.path.join(host.locks, "reclaims")


def mark(host: Host, server_id: str) -> None:
    """Let the host look often until a server is gone."""
    os.makedirs(_marks(host), mode=0o700, exist_ok=True)
    with open(os.path.join(_marks(host), server_id), "w", encoding="utf-8"):
        pass


def marked(host: Host) -> list[str]:
    """Ids of the servers that the host looks for often."""
    return sorted(os.listdir(_marks(host))) if os.path.isdir(_marks(host)) else []


def unmark(host: Host, server_id: str) -> None:
    """A server is gone, or goes on."""
    files.remove(os.path.join(_marks(host), server_id))
