# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Starting the servers of a dead host on this one (spec EV-22): from what is recorded beside their disks in shared storage.

Two guests on one disk destroy it. So nothing happens before a person has said that the host is off, the host does not answer, and no disk
is in use; and before a server is defined here, its record says that it belongs here, which its old host finds when it comes back.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from .._engines import files, qemu_img, reachability, storage_pool
from .._engines.host import Host
from .._engines.libvirt_client import define, power_off, read_domains, undefine
from .._model import migration as model
from .._model.errors import EcsError, InvalidInput, NotFound
from .._model.names import Scope
from .._model.plan import Step
from .._model.servers import Server, from_domain
from .._model.shared_records import Record
from . import hypervisors, metadata_service, shared_records
from .exclusive import exclusive, forget_task
from .ports import locate_ports
from .rollback import Rollback
from .server_update import settle_in_zone
from .site import Site, open_site

_PORTS = (16514, 22)
_SILENCE = 3.0
"""Seconds in which a host that lives answers."""


@dataclass(frozen=True)
class Rescue:
    """A server that is to start here.

    :param path: of its record.
    """

    path: str
    record: Record
    server: Server

    @property
    def name(self) -> str:
        return self.server.metadata.name


@dataclass(frozen=True)
class Outcome:
    """What was done, or would be in check mode; servers as id, name, project, source, destination and status."""

    steps: list[Step]
    servers: list[dict[str, Any]]


def check_dead(facts: Mapping[str, Any], confirmed: str) -> None:
    """See that a host is dead, as far as that can be seen from here.

    :raises EcsError: ECS_NOT_CONFIRMED, ECS_HOST_ALIVE.
    """
    name, address = facts["name"], facts.get("address") or ""
    if confirmed != name:
        hint = f"Make sure that {name} is off, by its power switch, and set confirmed to {name}"
        raise EcsError(f"nobody has confirmed that host {name} is off (confirmed: {confirmed!r})", "ECS_NOT_CONFIRMED", hint)
    port = reachability.answers(address, _PORTS, _SILENCE) if address else None
    if port is not None:
        hint = "Use drain_host.yml for a host that lives, or switch it off"
        raise EcsError(f"host {name} answers at {address} port {port}: it is not dead", "ECS_HOST_ALIVE", hint)


def evacuate(
    uri: str,
    northbound: Callable[[], AbstractContextManager[Any]],
    host: Host,
    region: str,
    lost: str,
    confirmed: str,
    names: Sequence[tuple[str, str]],
    wait_timeout: float,
    check: bool,
) -> Outcome:
    """Start servers of a dead host here; one that is here already is left alone.

    :param names: project and name of each.
    :raises EcsError: before anything is touched, or with the server that failed undone; those before it run.
    """
    facts = shared_records.lost(host, lost)
    if facts is None:
        hint = "Only servers with all disks in pools that this host shares can be started here"
        raise NotFound("hypervisor", lost, f"the shared pools of {host.name}", hint)
    if lost == host.name:
        raise InvalidInput("lost", lost, "is this host", "Name the one that is dead")
    ids = {Scope(region, project).id("server", name): name for project, name in names}
    alone = nullcontext() if check else exclusive(host.locks, ids, wait_timeout)
    with alone, open_site(uri, host, Scope(region), northbound) as site:
        known = shared_records.read(host)
        here = read_domains(site.connection, set(ids))
        todo = [_plan(host, facts, known, server_id, name) for server_id, name in ids.items() if server_id not in here]
        if todo:
            check_dead(facts, confirmed)
        _check(site, facts, todo)
        if not check:
            storage_pool.refresh(site.connection, host.shared_pools)
            for rescue in todo:
                _rescue(site, rescue)
            if todo:
                metadata_service.refresh(site)
            shared_records.keep(site.connection, host)
    before, after = {"hypervisor": lost}, {"hypervisor": host.name}
    steps = [Step("evacuate", "server", rescue.name, before, after) for rescue in todo]
    rescued = {rescue.server.id: rescue for rescue in todo}
    told = [
        {
            "id": server_id,
            "name": name,
            "project": project,
            "source": lost if server_id in rescued else host.name,
            "destination": host.name,
            "running": rescued[server_id].record.running if server_id in rescued else None,
        }
        for (project, name), server_id in zip(names, ids, strict=True)
    ]
    return Outcome(steps, told)


def _plan(host: Host, facts: Mapping[str, Any], known: Mapping[str, tuple[str, Record]], server_id: str, name: str) -> Rescue:
    if server_id not in known:
        raise NotFound(
            "server", name, f"the shared pools of {host.name}", "Its disks are not all in such a pool: it must wait for its host"
        )
    path, record = known[server_id]
    # What a run was killed at has this host's name already.
    if record.owner not in (facts["name"], host.name):
        raise EcsError(f"server {name} belongs to {record.owner}, not to {facts['name']}", "ECS_CONFLICT", f"Look for it on {record.owner}")
    server = from_domain(record.xml, 5, facts["name"])
    if server is None:
        raise EcsError(f"{path} holds no server", "ECS_SHARED_RECORD", "It cannot be started elsewhere")
    return Rescue(path, record, server)


def _check(site: Site, facts: Mapping[str, Any], todo: Sequence[Rescue]) -> None:
    """See that this host can run them, and that nobody has their disks."""
    me = hypervisors.represent(site.connection, site.host)
    for rescue in todo:
        told = {**rescue.record.server, "status": "stopped"}
        if why := model.obstacle(told, facts, me, allow_az_change=True):
            raise EcsError(f"server {rescue.name}: host {site.host.name} {why.reason}", why.code, why.hint)
        if rescue.server.metadata.preemptible:
            hint = "It is made anew by the next run of the cloud that finds room for it"
            raise EcsError(f"server {rescue.name} is preemptible, and such servers are not recovered (spec B8)", "ECS_PREEMPTIBLE", hint)
        for disk in rescue.server.domain.disks:
            if not disk.is_config_drive and qemu_img.in_use(disk.path, disk.format):
                message = f"server {rescue.name}: disk {disk.path} is in use, so a guest runs with it somewhere"
                raise EcsError(message, "ECS_HOST_ALIVE", f"Switch {facts['name']} off first")
    hypervisors.check_capacity(site.connection, site.host, [hypervisors.demand_of(rescue.server) for rescue in todo])
    members = {rescue.server.id: rescue.server.metadata for rescue in todo}
    hypervisors.check_server_groups(site.connection, site.host, members, ())


def _rescue(site: Site, rescue: Rescue) -> None:
    """The record first: from then on the old host may not start the server again."""
    record, host = rescue.record, site.host
    with Rollback() as rollback:
        shared_records.write(rescue.path, replace(record, owner=host.name, heir=""))
        rollback.add("", rescue.name, partial(shared_records.write, rescue.path, record))
        for path, content in record.files.items():
            os.makedirs(os.path.dirname(path), mode=0o711, exist_ok=True)
            files.write(path, content, 0o600)
            rollback.add("", rescue.name, partial(files.remove, path))
        domain = define(site.connection, record.xml)
        rollback.add("server", rescue.name, partial(undefine, domain, nvram=rescue.server.domain.nvram))
        if ports := [nic.id for nic in rescue.server.metadata.nics]:
            locate_ports(site.northbound(), ports, [host.name])
            rollback.add("", rescue.name, partial(locate_ports, site.northbound(), ports, [record.owner]))
        settle_in_zone(domain, record.xml, host.az)
        forget_task(domain)
        if record.running:
            rollback.add("", rescue.name, partial(power_off, domain))
            domain.create()
        domain.setAutostart(int(record.running))
