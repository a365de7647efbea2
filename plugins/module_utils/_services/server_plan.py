# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a call on servers will do: live state in bulk, compared with what is asked; nothing is touched."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from .._engines.libvirt_client import INCOMING, Live, read_domains
from .._model import domain_xml, metadata, times
from .._model.cloud_init import NO_DRIVE
from .._model.errors import EcsError, InvalidInput, NotFound
from .._model.flavors import Flavor
from .._model.plan import Step
from .._model.preemption import Preemptible
from .._model.server_changes import check_change, check_removal, is_due
from .._model.server_request import ServerRequest
from .._model.servers import Server, from_domain
from . import metadata_service, server_create, server_rebuild, server_remove, server_resize, server_update
from .hypervisors import Demand, check_capacity, check_server_groups
from .ports import Port, PortPlan, plan_ports
from .server_create import Creation
from .server_rebuild import Rebuild
from .server_update import Change
from .site import Site
from .volumes import Volume, VolumeRequest, read_volumes


@dataclass(frozen=True)
class Options:
    """What holds for all servers of a call; timeouts in seconds."""

    wait_for: str = "running"
    wait_timeout: int = 600
    stop_timeout: int = 120
    force: bool = False
    allow_stop: bool = False
    allow_duplicate_name: bool = False
    delete_data_disks: bool = False
    delete_eip: bool = False
    reclaim_timeout: int = 0


@dataclass
class Plan:
    """What a call will do; *unfinished* are servers that shall run whose creation, or new system, was not seen to its end.

    :param tasks: what the servers' status is meanwhile, by id; what killed runs left is among it.
    :param left_over: servers of which a run that was killed may have left parts of a new system.
    :param volumes: those that exist, by id; read only when the call makes some.
    :param going: preemptible servers, of the call or not, that must be gone before the plan can be carried out (spec B7).
    """

    live: Mapping[str, Live] = field(default_factory=dict)
    creations: list[Creation] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    removals: list[Server] = field(default_factory=list)
    stops: list[Server] = field(default_factory=list)
    starts: list[Server] = field(default_factory=list)
    resumes: list[Server] = field(default_factory=list)
    rebuilds: list[Rebuild] = field(default_factory=list)
    left_over: list[Server] = field(default_factory=list)
    tasks: dict[str, metadata.Task] = field(default_factory=dict)
    unfinished: list[Server] = field(default_factory=list)
    ports: PortPlan | None = None
    volumes: dict[str, Volume] = field(default_factory=dict)
    going: list[Preemptible] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def needy(self) -> list[str]:
        """The servers that may need room which preemptible ones have."""
        created = [creation.request.name for creation in self.creations if not creation.told.preemptible]
        return created + [change.request.name for change in self.changes if change.resize]

    def server_ports(self, server_id: str) -> list[Port]:
        """The ports of a server as they will be."""
        return [] if self.ports is None else [port for port in self.ports.ports if port.server_id == server_id]


def read(site: Site, requests: Iterable[ServerRequest]) -> tuple[dict[str, Live], dict[str, Server]]:
    live = read_domains(site.connection, {site.scope.id("server", request.name) for request in requests})
    for domain in live.values():
        if domain.state == INCOMING:
            hint = "Wait until it has come, then run this again"
            raise EcsError(f"{domain.domain.name()} is on its way to {site.host.name} from another host", "ECS_BUSY", hint)
    return live, {uuid: server for uuid, domain in live.items() if (server := from_domain(domain.xml, domain.state, site.host.name))}


def _incomplete(server: Server) -> EcsError:
    what = "creation" if server.metadata.creating else "deletion"
    return EcsError(
        f"server {server.metadata.name}: its {what} was not finished", "ECS_INCOMPLETE", "State present makes it, state absent removes it"
    )


def _between_hosts(server: Server) -> EcsError:
    task = server.domain.task
    where = f"from {task.source} to {task.destination}" if task else ""
    return EcsError(
        f"server {server.metadata.name}: its migration {where} was not finished",
        "ECS_INCOMPLETE",
        f"Module server_migration on {task.source if task else 'its old host'} finishes it or takes it back",
    )


def _sort(
    site: Site, requests: Iterable[ServerRequest], servers: Mapping[str, Server], plan: Plan, check: bool
) -> list[tuple[Server, ServerRequest]]:
    """Decide by state what happens to each server; returns the existing ones that may have to change."""
    kept: list[tuple[Server, ServerRequest]] = []
    for request in requests:
        server = servers.get(site.scope.id("server", request.name))
        if server is not None and server.moving:
            raise _between_hosts(server)
        if request.state == "absent":
            if server is not None and (not request.when_due or is_due(server.metadata)):
                check_removal(server, request)
                plan.removals.append(server)
        elif server is None and request.state != "present":
            raise NotFound("server", request.name, f"project {site.scope.project} on {site.host.name}", "State present creates it")
        elif server is None or server.incomplete:
            if server is not None and request.state != "present":
                raise _incomplete(server)
            creation, warning = server_create.prepare(site, request, server.metadata if server else None, check)
            plan.creations.append(creation)
            plan.warnings += [*([warning] if warning else []), *request.notes]
        else:
            check_change(server, request)
            kept.append((server, request))
            if request.state == "rebuilt":
                plan.rebuilds.append(server_rebuild.plan(site, server, request, check))
            else:
                _sort_power(server, request.state, plan)
                task = server.domain.task
                plan.left_over += [server] if task and task.name in server_rebuild.TASKS and not server.rebuilding else []
    plan.warnings += [work.warning for work in plan.rebuilds if work.warning]
    return kept


def _sort_power(server: Server, state: str, plan: Plan) -> None:
    runs = state in ("running", "restarted") or (state == "present" and (server.active or server.interrupted))
    if server.metadata.creating or (server.rebuilding and runs):
        plan.unfinished.append(server)
    if state in ("stopped", "restarted") and server.active:
        plan.stops.append(server)
    if state == "restarted" or (runs and not server.active):
        plan.starts.append(server)
    elif state == "running" and server.paused:
        plan.resumes.append(server)


def _sort_change(change: Change, options: Options, plan: Plan) -> None:
    """A change that needs the server off has it stopped, and started again, where that is allowed (spec Z1)."""
    server, resize = change.server, change.resize
    if resize is None or not resize.off or not server.active or server in plan.stops:
        return
    _check_stop(server, f"{resize.off} is {resize.before[resize.off]} and cannot become {resize.after[resize.off]} while it runs", options)
    plan.stops.append(server)
    plan.starts.append(server)


def _sort_rebuild(work: Rebuild, options: Options, plan: Plan) -> None:
    """A server that gets another system is off meanwhile, and runs then (spec Q1, Q2, Q6)."""
    if not work.server.active:
        return
    old, new = work.server.metadata.image, work.system.image
    what = f"image {old} cannot be installed again" if new == old else f"image is {old} and cannot become {new}"
    _check_stop(work.server, f"{what} while it runs", options)
    plan.stops.append(work.server)


def _check_stop(server: Server, problem: str, options: Options) -> None:
    if not options.allow_stop:
        raise EcsError(
            f"server {server.metadata.name} (project {server.metadata.project}): {problem}",
            "ECS_IMMUTABLE",
            "Set allow_stop to have it stopped for that and started again, or stop it first",
        )


def _check_capacity(site: Site, plan: Plan) -> list[Preemptible]:
    wanted = [Demand(creation.id, creation.request.name, creation.size, creation.told.preemptible) for creation in plan.creations]
    for change in plan.changes:
        now, new = change.server.domain.size, change.resize.size if change.resize else change.server.domain.size
        if new.vcpus > now.vcpus or new.memory > now.memory:
            wanted.append(Demand(change.server.id, change.request.name, Flavor(change.told.flavor, new.vcpus, new.memory)))
    return check_capacity(site.connection, site.host, wanted)


def _tasks(plan: Plan, servers: Mapping[str, Server]) -> dict[str, metadata.Task]:
    """What each server's status is while the plan is carried out (spec appendix A)."""
    since = times.stamp(times.now())
    tasks = {uuid: server.domain.task for uuid, server in servers.items() if server.domain.task is not None}
    for status, those in (("deleting", plan.removals), ("stopping", plan.stops), ("starting", plan.starts)):
        for server in those:
            task = metadata.Task(status, since, running=status == "starting")
            tasks[server.id] = replace(task, name="restarting") if server in plan.stops and server in plan.starts else task
    for change in plan.changes:
        if change.resize:
            tasks[change.server.id] = metadata.Task("resizing", since, running=change.server in plan.starts)
    for work in plan.rebuilds:
        tasks[work.server.id] = metadata.Task(work.status, since, running=work.server.active or work.server.interrupted)
    return tasks


def make_plan(site: Site, requests: Sequence[ServerRequest], options: Options, check: bool) -> tuple[Plan, dict[str, Server]]:
    live, servers = read(site, requests)
    plan = Plan(live=live)
    kept = _sort(site, requests, servers, plan, check)
    wanted = [port for creation in plan.creations for port in server_create.port_requests(site.scope, creation.request)]
    wanted += [port for server, request in kept for port in server_update.wanted_ports(site, server, request)]
    begun = {nic.name for creation in plan.creations if creation.leftover for nic in creation.leftover.nics}
    superfluous = sorted(begun - {port.name for port in wanted})
    if wanted or superfluous:
        plan.ports = plan_ports(site.northbound(), site.scope, wanted, superfluous, check=check)
        plan.warnings += plan.ports.warnings
    for creation in plan.creations:
        if creation.told.config_drive == NO_DRIVE:
            metadata_service.check(site.host, creation.request.name, plan.server_ports(creation.id))
    ports = {port.id: port for port in plan.ports.ports} if plan.ports else {}
    plan.changes = [server_update.plan(site, server, live[server.id].xml, request, ports) for server, request in kept]
    for work in plan.rebuilds:
        _sort_rebuild(work, options, plan)
    for change in plan.changes:
        _sort_change(change, options, plan)
    if not options.allow_duplicate_name:
        _check_display_names(site, plan)
    _check_groups(site, plan)
    plan.going = _check_capacity(site, plan)
    _plan_volumes(site, plan)
    plan.tasks = _tasks(plan, servers)
    starts = [*plan.starts, *(work.server for work in plan.rebuilds)]
    plan.steps = [
        *server_remove.planned_steps(site, plan.removals, options.delete_data_disks, options.delete_eip),
        *(plan.ports.steps if plan.ports else ()),
        *(item for creation in plan.creations for item in server_create.planned_steps(creation, plan.volumes)),
        *(Step("stop", "server", server.metadata.name, {"status": server.status}, {"status": "stopped"}) for server in plan.stops),
        *(item for change in plan.changes for item in change.steps),
        *(one for work in plan.rebuilds for one in work.steps()),
        *(Step("finish", "server", server.metadata.name, {"status": "creating"}, {"status": "running"}) for server in plan.unfinished),
        *(Step("start", "server", server.metadata.name, {"status": "stopped"}, {"status": "running"}) for server in starts),
        *(Step("resume", "server", server.metadata.name, {"status": server.status}, {"status": "running"}) for server in plan.resumes),
        *(one for work in plan.rebuilds for one in work.last_steps()),
    ]
    return plan, servers


def _check_display_names(site: Site, plan: Plan) -> None:
    """See that no two servers of the project are called the same, as far as this host knows them (spec R1)."""
    called = {creation.id: creation.told for creation in plan.creations if creation.told.display_name}
    called |= {change.server.id: change.told for change in plan.changes if change.told.display_name != change.server.metadata.display_name}
    if not called:
        return
    taken: dict[str, str] = {}
    for uuid, live in read_domains(site.connection).items():
        told = domain_xml.parse(live.xml).metadata
        if told and uuid not in called and (told.region, told.project) == (site.scope.region, site.scope.project):
            taken |= {told.name: told.name, told.display_name or told.name: told.name}
    for told in called.values():
        name = told.display_name or told.name
        if name in taken:
            hint = "Choose another, or set allow_duplicate_name"
            raise InvalidInput("display_name", name, f"is what server {taken[name]} is called", hint)
        taken[name] = told.name


def _check_groups(site: Site, plan: Plan) -> None:
    """See that whoever comes into a server group may be on this host."""
    wanted = {creation.id: creation.told for creation in plan.creations}
    wanted |= {
        change.server.id: change.told
        for change in plan.changes
        for now in [change.server.metadata]
        if (change.told.server_group, change.told.server_group_policy) != (now.server_group, now.server_group_policy)
    }
    check_server_groups(site.connection, site.host, wanted, {server.id for server in plan.removals})


def _plan_volumes(site: Site, plan: Plan) -> None:
    """See that all volumes of the call can be made; an image that is not there yet in check mode was warned of."""
    wanted = {
        creation.request.name: [volume for volume in creation.volumes if creation.told.image_id or volume.role == "data"]
        for creation in plan.creations
    }
    for change in plan.changes:
        if change.disks:
            wanted[change.request.name] = [
                VolumeRequest(f"{change.request.name}-{disk.name}", size=disk.size, type=disk.type) for disk in change.disks
            ]
    for work in plan.rebuilds:
        wanted.setdefault(work.name, []).extend([] if work.warning else [work.volume])
    if not wanted:
        return
    plan.volumes = {volume.id: volume for volume in read_volumes(site.connection, site.scope)}
    for server, volumes in wanted.items():
        server_create.check_volumes(site, server, volumes, plan.volumes)


def foresee(site: Site, plan: Plan, servers: Mapping[str, Server]) -> dict[str, Server]:
    """The servers as check mode foresees them."""
    future = dict(servers)
    starts = [*plan.starts, *(work.server for work in plan.rebuilds)]
    for server in plan.removals:
        future.pop(server.id)
    for change in plan.changes:
        domain = server_resize.foresee(plan.live[change.server.id].xml, change.resize) if change.resize else change.server.domain
        future[change.server.id] = replace(change.server, metadata=change.told, domain=replace(domain, task=None))
    for server in plan.unfinished:
        future[server.id] = replace(future[server.id], metadata=replace(future[server.id].metadata, creating=False))
    for work in plan.rebuilds:
        told = future[work.server.id].metadata
        future[work.server.id] = server_rebuild.foresee(site, work, told, plan.live[work.server.id].xml)
    for server in (*plan.stops, *plan.starts, *plan.resumes):
        future[server.id] = replace(future[server.id], state=1 if server in (*starts, *plan.resumes) else 5)
    for creation in plan.creations:
        spec = server_create.domain_spec(site, creation, plan.server_ports(creation.id), {})
        spec = replace(spec, metadata=replace(spec.metadata, creating=False))
        future[creation.id] = Server(domain_xml.parse(domain_xml.build(spec)), spec.metadata, 1, site.host.name)
    return {uuid: server for uuid, server in future.items() if uuid not in {gone.id for gone in plan.going}}
