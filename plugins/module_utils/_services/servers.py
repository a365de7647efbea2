# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers of one host: read all in bulk, plan, apply all at once, wait for all."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

from .._engines import files
from .._engines.host import Host
from .._engines.libvirt_client import Events, connect, each, power_off, read_domains
from .._model import flavor_specs, metadata
from .._model.errors import EcsError
from .._model.names import Scope
from .._model.plan import Step
from .._model.server_request import ServerRequest
from .._model.servers import Server, from_domain, represent
from . import failures, metadata_service, server_create, server_power, server_rebuild, server_remove, server_update, shared_records
from .exclusive import at_work, exclusive
from .ports import Port, PortPlan, commit_ports, read_ports, undo_ports
from .preemption import give_notice, preemption, wait
from .rollback import Rollback
from .server_create import Creation
from .server_plan import Options, Plan, foresee, make_plan, read
from .site import Site, open_site, step

OpenNorthbound = Callable[[], AbstractContextManager[Any]]

__all__ = ["Options", "Outcome", "converge", "list_briefly", "list_servers"]


@dataclass(frozen=True)
class Outcome:
    """What was done, or would be in check mode, and the servers after it as :func:`represent` tells them."""

    steps: list[Step]
    servers: list[dict[str, Any]]
    warnings: list[str]


def _make_ports(site: Site, plan: Plan, ports: PortPlan, rollback: Rollback) -> None:
    names = [creation.request.name for creation in plan.creations]
    names += [change.request.name for change in plan.changes if change.request.nics or change.request.eip]
    with step(site, ", ".join(names), "ports"):
        done = commit_ports(site.northbound(), ports)
    rollback.add("port", ", ".join(names), partial(undo_ports, site.northbound(), done), len(done.created))
    plan.ports = done


def _complete(site: Site, plan: Plan, creation: Creation, rollback: Rollback) -> Any:
    """The volumes, the config drive and the domain of one server, several of which are made at once; returns the domain."""
    volumes = server_create.make_volumes(site, creation, plan.volumes, rollback)
    return server_create.finish_definition(site, creation, plan.server_ports(creation.id), volumes, rollback)


def _create(site: Site, plan: Plan, rollback: Rollback) -> dict[str, Any]:
    """Make what is new and change what differs; returns the domains to start, by name."""
    for creation in plan.creations:
        server_create.reserve(site, creation, plan.server_ports(creation.id), rollback)
    if plan.ports is not None and plan.ports.steps:
        _make_ports(site, plan, plan.ports, rollback)
    made = each(lambda creation: _complete(site, plan, creation, rollback), plan.creations)
    with step(site, ", ".join(creation.request.name for creation in plan.creations), "metadata"):
        nics = {creation.id: metadata_service.nics_of(site.host, plan.server_ports(creation.id)) for creation in plan.creations}
        metadata_service.connect(site.host, nics)
    domains = {creation.request.name: domain for creation, domain in zip(plan.creations, made, strict=True)}
    for change in plan.changes:
        if change.steps or change.told != change.server.metadata:
            plan.warnings += server_update.apply(site, change, plan.live[change.server.id], plan.volumes, rollback)
    return domains


def _start(site: Site, name: str, domain: Any) -> None:
    with step(site, name, "start"):
        domain.create()


def _apply(site: Site, plan: Plan, options: Options) -> None:
    if plan.removals:
        server_remove.remove(site, plan.removals, plan.live, options.delete_data_disks, options.delete_eip)
    for server in plan.left_over:
        server_rebuild.clean(site, server)
    with Events(site.connection) as events:
        with Rollback() as rollback:
            _stop(events, plan, options, rollback)
            created = _create(site, plan, rollback)
            for name, domain in created.items():
                rollback.add("", name, partial(power_off, domain))
            each(lambda item: _start(site, *item), list(created.items()))
            started = _domains(plan, [*plan.starts, *plan.resumes])
            server_power.start(list(started.values()))
        rebuilt = _rebuild(site, plan, options, events) if plan.rebuilds else {}
        unfinished = _domains(plan, plan.unfinished)
        off = {server.metadata.name for server in plan.stops} - set(started) - set(rebuilt)
        waiting = {name: domain for name, domain in {**created, **unfinished, **started}.items() if name not in off}
        _wait(site, events, waiting, options)
    for domain in {**created, **unfinished, **rebuilt}.values():
        server_rebuild.finish(site, domain)


def _wait(site: Site, events: Events, domains: Mapping[str, Any], options: Options) -> None:
    told = {name: metadata.parse(domain.XMLDesc()) for name, domain in domains.items()}
    with step(site, ", ".join(domains), "wait"):
        with_cloud_init = [name for name, server in told.items() if server and server.cloud_init]
        server_power.wait(events, domains, options.wait_for, with_cloud_init, options.wait_timeout)


def _rebuild(site: Site, plan: Plan, options: Options, events: Events) -> dict[str, Any]:
    """Give servers their new systems and wait for them; what fails gives the old ones back (spec Q5). Returns the domains, by name."""
    domains = _domains(plan, [work.server for work in plan.rebuilds])
    with Rollback() as rollback:
        for work in plan.rebuilds:
            live = plan.live[work.server.id]
            if work.server.active:
                rollback.add("", work.name, partial(server_power.start, [live.domain]))
            server_rebuild.exchange(site, work, live, plan.volumes, plan.server_ports(work.server.id), rollback)
        each(lambda item: _start(site, *item), list(domains.items()))
        try:
            _wait(site, events, domains, options)
        except EcsError as error:
            error.hint = "The old system is back; the console log tells why the new one did not come up"
            raise
    for domain in domains.values():
        domain.setAutostart(1)
    return domains


def _domains(plan: Plan, servers: Iterable[Server]) -> dict[str, Any]:
    return {server.metadata.name: plan.live[server.id].domain for server in servers}


def _stop(events: Events, plan: Plan, options: Options, rollback: Rollback) -> None:
    """Stop what shall stop; a server that is to run again starts again also when something fails."""
    rebuilt = [work.server for work in plan.rebuilds]
    for server in plan.stops:
        if server in plan.starts or server in rebuilt:
            rollback.add("", server.metadata.name, partial(server_power.start, [plan.live[server.id].domain]))
    server_power.stop(events, list(_domains(plan, plan.stops).values()), options.stop_timeout, options.force)
    for server in plan.stops:
        if server not in plan.starts and server not in rebuilt:
            plan.live[server.id].domain.setAutostart(0)


def _other_ports(site: Site, plan: Plan, servers: Mapping[str, Server]) -> list[Port]:
    """The ports that the plan does not speak of; a Northbound that only this needs may be out of reach."""
    gone = {server.id for server in plan.removals}
    unknown = {uuid for uuid, server in servers.items() if server.metadata.nics} - gone
    unknown -= {port.server_id or "" for port in (plan.ports.ports if plan.ports else ())}
    try:
        return read_ports(site.northbound(), server_ids=unknown) if unknown else []
    except EcsError as error:
        plan.warnings.append(f"no public addresses: {error}")
        return []


def _outdated(site: Site, plan: Plan, servers: Mapping[str, Server], others: Sequence[Port]) -> list[metadata_service.Refresh]:
    """The servers whose metadata do not say what their ports are, or will be."""
    made = (
        {creation.id for creation in plan.creations} | {server.id for server in plan.removals} | {work.server.id for work in plan.rebuilds}
    )
    there = [server for uuid, server in servers.items() if uuid not in made]
    return metadata_service.outdated(site.host, there, [*others, *(plan.ports.ports if plan.ports else ())])


@contextmanager
def _alone(host: Host, names: Mapping[str, str], requests: Sequence[ServerRequest], options: Options) -> Iterator[None]:
    """Keep other runs away from the servers, and from the host's processors where some are given away."""
    flavors = {request.size.name for request in requests if request.size}
    with exclusive(host.locks, names, options.wait_timeout), ExitStack() as stack:
        if any(flavor_specs.of(flavor, host.flavor_specs).dedicated_cpus for flavor in flavors):
            stack.enter_context(files.lock(os.path.join(host.locks, "processors.lock")))
        yield


def converge(
    uri: str, northbound: OpenNorthbound, host: Host, scope: Scope, requests: Sequence[ServerRequest], options: Options, check: bool
) -> Outcome:
    """Make the servers of this host what they are asked to be.

    :param requests: validated, one a server.
    :param check: plan only.
    :raises EcsError: before anything is touched, or with all that was made undone; only a wait that fails leaves its servers running. It
      is remembered (spec V1, V2).
    """
    try:
        return _converge(uri, northbound, host, scope, requests, options, check)
    except EcsError as error:
        if not check:
            failures.record(uri, host, scope, requests, error)
        raise


def _converge(
    uri: str, northbound: OpenNorthbound, host: Host, scope: Scope, requests: Sequence[ServerRequest], options: Options, check: bool
) -> Outcome:
    deadline = time.monotonic() + options.reclaim_timeout
    told: list[Step] = []
    while True:
        names = {scope.id("server", request.name): request.name for request in requests}
        with _alone(host, names, requests, options) if not check else nullcontext(), open_site(uri, host, scope, northbound) as site:
            plan, servers = make_plan(site, requests, options, check)
            preempting = preemption(host, scope.project, plan.needy, plan.going)
            told += preempting.steps()
            if check or not plan.going:
                if plan.going and not options.reclaim_timeout:
                    raise preempting.error()
                return _carry_out(site, plan, servers, requests, options, check, told)
            give_notice(site.connection, preempting, names, options.wait_timeout)
            if not options.reclaim_timeout:
                raise preempting.error()
        # Their host removes them meanwhile, those of this call as well: those are not made again at once.
        wait(uri, preempting, deadline)
        gone = {server.id for server in plan.going}
        requests = [request for request in requests if scope.id("server", request.name) not in gone]


def _carry_out(
    site: Site, plan: Plan, servers: dict[str, Server], requests: Sequence[ServerRequest], options: Options, check: bool, told: list[Step]
) -> Outcome:
    """Do what the plan says, or foresee it.

    :param told: what was done before.
    """
    others = _other_ports(site, plan, servers)
    plan.steps += [item.step for item in _outdated(site, plan, servers, others)]
    if check:
        servers = foresee(site, plan, servers)
    elif plan.steps or plan.tasks or any(change.told != change.server.metadata for change in plan.changes):
        with at_work(plan.live, plan.tasks):
            _apply(site, plan, options)
        servers = read(site, requests)[1]
        metadata_service.update(site.host, _outdated(site, plan, servers, others))
    if not check:
        shared_records.keep(site.connection, site.host)
    ports = [*others, *(plan.ports.ports if plan.ports else ())]
    eips = {port.server_id: port.eip for port in ports if port.server_id and port.eip}
    ids = [site.scope.id("server", request.name) for request in requests]
    represented = [represent(servers[uuid], eips.get(uuid)) for uuid in ids if uuid in servers]
    return Outcome([*told, *plan.steps], represented, plan.warnings)


def _of_project(uri: str, host: Host, scope: Scope, name: str | None = None) -> list[Server]:
    with connect(uri, readonly=True) as connection:
        live = read_domains(connection, None if name is None else {scope.id("server", name)})
    servers = [server for domain in live.values() if (server := from_domain(domain.xml, domain.state, host.name))]
    found = [server for server in servers if (server.metadata.region, server.metadata.project) == (scope.region, scope.project)]
    return sorted(found, key=lambda server: server.metadata.name)


def list_briefly(uri: str, host: Host, scope: Scope) -> list[dict[str, Any]]:
    """The servers of a project on this host, without their public addresses."""
    return [represent(server) for server in _of_project(uri, host, scope)]


def list_servers(uri: str, northbound: OpenNorthbound, host: Host, scope: Scope, name: str | None) -> Outcome:
    """The servers of a project on this host, or only the one of that name."""
    warnings: list[str] = []
    found = _of_project(uri, host, scope, name)
    eips: dict[str, str] = {}
    ids = {server.id for server in found if server.metadata.nics}
    if ids:
        try:
            with northbound() as nb:
                eips = {port.server_id: port.eip for port in read_ports(nb, server_ids=ids) if port.server_id and port.eip}
        except EcsError as error:
            warnings.append(f"no public addresses: {error}")
    return Outcome([], [represent(server, eips.get(server.id)) for server in found], warnings)
