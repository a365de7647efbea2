# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers whose disks are all in shared pools are recorded there, with what else another host needs to start them (spec EV-22).

The record also says who owns the server: a host that comes back from the dead finds that it no longer does.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from .._engines import files
from .._engines.host import Host
from .._engines.libvirt_client import Live, read_domains
from .._engines.storage_pool import definition
from .._model import domain_xml
from .._model.servers import Server, from_domain
from .._model.shared_records import DIRECTORY, Record, dump, load
from . import hypervisors, metadata_service

_HOST = ".host"


def _directories(host: Host) -> list[str]:
    return [os.path.join(path, DIRECTORY) for _name, path in sorted(host.shared_pools.items())]


def path_of(host: Host, server: Server) -> str:
    """Where a server is recorded; empty where that is not possible, as a disk of it is elsewhere."""
    paths = [disk.path for disk in server.domain.disks if not disk.is_config_drive]
    homes = {os.path.dirname(path) for path in paths}
    if not homes or not homes <= set(host.shared_pools.values()):
        return ""
    return os.path.join(os.path.dirname(paths[0]), DIRECTORY, f"{server.id}.json")


def read(host: Host) -> dict[str, tuple[str, Record]]:
    """All records that this host sees, by the server's id, each with its path."""
    found = {}
    for directory in _directories(host):
        for name in sorted(os.listdir(directory)) if os.path.isdir(directory) else ():
            path = os.path.join(directory, name)
            if name.endswith(".json"):
                with suppress(FileNotFoundError), open(path, encoding="utf-8") as stream:
                    record = load(stream.read(), path)
                    found[record.id] = (path, record)
    return found


def write(path: str, record: Record) -> None:
    """Keep a record, for root alone."""
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    files.write(path, dump(record), 0o600)


def _contents(host: Host, server: Server, xml: str) -> Iterator[tuple[str, bytes]]:
    if packed := metadata_service.pack(host, server.id):
        with open(packed, "rb") as stream:
            yield packed, stream.read()
        files.remove(packed)
    paths = [disk.path for disk in server.domain.disks if disk.is_config_drive]
    for path in (*paths, domain_xml.nvram_path(xml)):
        if path:
            with suppress(FileNotFoundError), open(path, "rb") as stream:
                yield path, stream.read()


def _record(connection: Any, host: Host, server: Server, live: Live, facts: Mapping[str, Any]) -> Record:
    xml = definition(live.domain)
    return Record(server.id, host.name, "", facts, bool(live.domain.autostart()), xml, dict(_contents(host, server, xml)))


def keep(connection: Any, host: Host) -> None:
    """Bring the records of this host's servers up to date; those that another host owns by now are left alone."""
    if not host.shared_pools:
        return
    told = hypervisors.represent(connection, host)
    known, live = read(host), read_domains(connection)
    facts = {one["id"]: one for one in told.pop("servers")}
    mine = set()
    for server_id, domain in live.items():
        server = from_domain(domain.xml, domain.state, host.name)
        path = path_of(host, server) if server else ""
        if server is None or not path or server.metadata.creating:
            continue
        mine.add(server_id)
        old = known.get(server_id)
        if old and host.name not in (old[1].owner, old[1].heir):
            continue
        record = _record(connection, host, server, domain, facts[server_id])
        if old is None or old[1] != record:
            write(path, record)
    for server_id, (path, record) in known.items():
        if record.owner == host.name and server_id not in mine:
            files.remove(path)
    for directory in _directories(host):
        if os.path.isdir(directory):
            _write_host(directory, host, told)


def _write_host(directory: str, host: Host, told: Mapping[str, Any]) -> None:
    """What others must know of this host when it is dead; what changes with every server is not among it."""
    passing = ("vcpus_allocated", "memory_allocated", "vcpus_free", "memory_free", "pools")
    text = json.dumps({key: value for key, value in told.items() if key not in passing}, sort_keys=True) + "\n"
    path = os.path.join(directory, host.name + _HOST)
    with suppress(FileNotFoundError), open(path, encoding="utf-8") as stream:
        if stream.read() == text:
            return
    files.write(path, text, 0o600)


def announce(host: Host, server: Server, heir: str) -> None:
    """Say that a server is moving to another host, which may run it then; an empty name takes it back."""
    _amend(host, server, heir=heir)


def lost(host: Host, name: str) -> dict[str, Any] | None:
    """A host that is dead as hypervisor_info would tell of it, with the servers that are recorded; None where nothing is known of it."""
    for directory in _directories(host):
        with suppress(FileNotFoundError), open(os.path.join(directory, name + _HOST), encoding="utf-8") as stream:
            told: dict[str, Any] = json.load(stream)
            # Preemptible servers are not recovered (spec B8).
            owned = [one for _path, one in read(host).values() if one.owner == name and not one.server.get("preemptible")]
            servers = [{**record.server, "status": "running" if record.running else "stopped"} for record in owned]
            return {**told, "pools": [], "servers": sorted(servers, key=lambda one: (one["project"], one["name"]))}
    return None


def hand_over(host: Host, server: Server, owner: str) -> None:
    """Say that a server belongs to another host now."""
    _amend(host, server, owner=owner, heir="")


def _amend(host: Host, server: Server, **changes: Any) -> None:
    if path := path_of(host, server):
        known = read(host).get(server.id)
        if known:
            write(path, replace(known[1], **changes))
