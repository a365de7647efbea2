# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a hypervisor does by itself, whenever its timer fires: servers go whose time has come (spec D8, B7, B10)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from .._engines import journal
from .._engines.host import Host
from .._engines.libvirt_client import connect, read_domains
from .._model.errors import EcsError
from .._model.names import Scope
from .._model.server_changes import is_due
from .._model.server_request import ServerRequest
from .._model.servers import Server, from_domain
from . import metadata_service, servers
from .preemption import mark, marked, unmark
from .site import open_site

_PATIENCE = 60
"""Seconds to wait for another run that is at a server; the next time comes soon enough."""


def run(uri: str, northbound: Callable[[], AbstractContextManager[Any]], host: Host) -> None:
    """Remove the servers of this host whose time has come, of all projects; what cannot be done is recorded, and tried again next time."""
    before = marked(host)
    due = [server for server in _servers(uri, host) if is_due(server.metadata) and not _is_on_its_way(server)]
    for server in sorted(due, key=lambda server: not server.metadata.reclaim_at):  # somebody waits for those
        _remove(uri, northbound, host, server)
    # Marks are gone after a reboot. Whoever could not be removed has none any more: what is in the way is not asked every few seconds.
    waiting = {server.id for server in _servers(uri, host) if server.metadata.reclaim_at} - {server.id for server in due}
    for server_id in waiting.difference(before):
        mark(host, server_id)
    for server_id in set(before) - waiting:
        unmark(host, server_id)


def refresh(uri: str, northbound: Callable[[], AbstractContextManager[Any]], host: Host) -> None:
    """Let servers read of themselves what is true by now, such as a public address that was bound since (spec MD4)."""
    any_project = Scope(host.region, "default")
    with open_site(uri, host, any_project, northbound) as site:
        for step in metadata_service.refresh(site):
            journal.tell(f"metadata: {step}")


def _is_on_its_way(server: Server) -> bool:
    """Whether a server is between two hosts: first it has to arrive; one that got stuck there is refused, and that recorded."""
    return server.moving and server.status != "faulty"


def _servers(uri: str, host: Host) -> list[Server]:
    with connect(uri, readonly=True) as connection:
        live = read_domains(connection)
    return [server for domain in live.values() if (server := from_domain(domain.xml, domain.state, host.name))]


def _remove(uri: str, northbound: Callable[[], AbstractContextManager[Any]], host: Host, server: Server) -> None:
    """As with state absent: data disks and public address are kept (spec R12, B10), and a protected server is refused."""
    told = server.metadata
    about = f"server {told.name} (project {told.project})"
    request = ServerRequest(told.name, state="absent", when_due=True)
    try:
        done = servers.converge(
            uri, northbound, host, Scope(told.region, told.project), [request], servers.Options(wait_timeout=_PATIENCE), check=False
        )
    except EcsError as error:
        journal.tell(f"{about} is due and cannot be removed: {error}", failed=True)
        return
    if done.steps:
        journal.tell(f"{about} was {'reclaimed' if told.reclaim_at else f'deleted, as scheduled for {told.scheduled_deletion}'}")
