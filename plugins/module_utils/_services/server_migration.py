# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Moving servers of this host to others, while they run or while they are off (spec R2, R4, EV-3).

Until a server works on its new host nothing of it is given up on the old one: what fails is taken back there, and it goes on here. A run
that was killed leaves the task ``migrating`` in the server's domain, with both hosts' names; the next one finds it, and finishes or undoes.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from .._engines import files, migration, storage_pool
from .._engines.host import Host
from .._engines.libvirt_client import Events, Live, connect, define, power_off, read_domains, undefine
from .._engines.storage_pool import definition
from .._model import cpu, domain_xml, metadata, pinning, times
from .._model import migration as model
from .._model.errors import EcsError, InvalidInput, NotFound
from .._model.names import Scope, check_unique
from .._model.plan import Step
from .._model.servers import Server, from_domain
from . import hypervisors, metadata_service, migration_target, server_power, shared_records
from .exclusive import at_work, exclusive, forget_task
from .images import checksums
from .migration_target import Destination, LocalDisk
from .ports import locate_ports, read_ports
from .processors import Processors
from .rollback import Rollback
from .server_update import settle_in_zone
from .site import Site, open_site

OpenNorthbound = Callable[[], AbstractContextManager[Any]]


@dataclass(frozen=True)
class MigrationRequest:
    """A server that shall be on a hypervisor."""

    project: str
    name: str
    hypervisor: str


@dataclass(frozen=True)
class Options:
    """What holds for all servers of a call; times in seconds.

    :param cold: move servers that run as if they could not move live.
    :param allow_stop: stop those that cannot move while they run, and start them again.
    :param bandwidth: MiB a second of a live migration; 0 for no limit.
    :param timeout: of one live migration.
    """

    cold: bool = False
    allow_stop: bool = False
    allow_az_change: bool = False
    bandwidth: int = 0
    timeout: int = 1800
    stop_timeout: int = 120
    wait_timeout: int = 600


@dataclass
class Outcome:
    """What was done, or would be in check mode."""

    steps: list[Step]
    migrations: list[dict[str, Any]]
    warnings: list[str]


@dataclass
class _Move:
    """What becomes of one server.

    :param site: this host, in the server's project.
    :param to: None for one that is where it shall be.
    :param came_from: the host that it came here from, where a run that was killed has not cleared up.
    :param arrived: it is there, but a run that was killed has not cleared up here.
    :param stop: it runs and moves off, to run again there.
    :param disks: those that are copied.
    :param left: the host on which a run that was killed has begun something; that is undone.
    """

    site: Site
    server: Server
    live: Live
    to: Destination | None = None
    method: str = ""
    arrived: bool = False
    came_from: Destination | None = None
    stop: bool = False
    disks: list[LocalDisk] = field(default_factory=list)
    tuning: pinning.Tuning | None = None
    left: Destination | None = None

    @property
    def name(self) -> str:
        return self.server.metadata.name

    @property
    def running(self) -> bool:
        """Whether it shall run afterwards."""
        return self.server.active or self.server.interrupted

    def facts(self) -> dict[str, Any]:
        """The server as the rules look at it."""
        told = self.server.metadata
        return {
            "id": self.server.id,
            "name": told.name,
            "project": told.project,
            "flavor": told.flavor,
            "image_id": told.image_id,
            "status": "running" if self.server.active else "stopped",
            "disk_types": sorted({disk.type for disk in told.disks}),
            "bound": self.server.domain.bound,
            "server_group": told.server_group,
            "server_group_policy": told.server_group_policy,
        }

    def step(self) -> Step | None:
        here = self.site.host.name
        if self.came_from:
            return Step("finish", "server", self.name, {"hypervisor": self.came_from.name}, {"hypervisor": here})
        if self.to is None:
            return Step("undo", "migration", self.name, {"hypervisor": self.left.name}, {"hypervisor": here}) if self.left else None
        after = {"hypervisor": self.to.name, **({"method": self.method} if self.method else {})}
        return Step("finish" if self.arrived else "migrate", "server", self.name, {"hypervisor": here}, after)


class _Planner:
    """Looks at all servers of a call before the first is touched."""

    def __init__(self, site: Site, known: Mapping[str, Mapping[str, Any]], options: Options, stack: ExitStack) -> None:
        self.site, self.known, self.options, self._stack = site, known, options, stack
        self._open: dict[str, Destination] = {}
        self._here = hypervisors.represent(site.connection, site.host)

    def destination(self, name: str) -> Destination:
        """Another host, connected once.

        :raises EcsError: when it is none of the call, or its libvirt does not answer.
        """
        if name not in self.known:
            told = ", ".join(sorted(self.known)) or "none"
            raise InvalidInput("hypervisor", name, "is none of the hypervisors of this call", f"There are {told}")
        if name not in self._open:
            facts = self.known[name]
            if not facts.get("address"):
                raise EcsError(f"host {name} is not ready to take servers from others", "ECS_UNLIKE", "Run role hypervisor there")
            connection = self._stack.enter_context(connect(migration.uri(facts["address"], name), events=True))
            self._open[name] = Destination(connection, facts)
        return self._open[name]

    def plan(self, request: MigrationRequest, live: Mapping[str, Live]) -> _Move:
        site = replace(self.site, scope=Scope(self.site.scope.region, request.project))
        server_id = site.scope.id("server", request.name)
        found = live.get(server_id)
        server = from_domain(found.xml, found.state, site.host.name) if found else None
        if found is None or server is None:
            return self._elsewhere(site, request, server_id)
        task = server.domain.task
        if task and task.name == model.TASK and task.source != site.host.name:
            return self._finish_here(request, _Move(site, server, found), task.source)
        if request.hypervisor == site.host.name:
            left = self.destination(task.destination) if task and task.name == model.TASK else None
            return _Move(site, server, found, left=left)
        to = self.destination(request.hypervisor)
        move = _Move(site, server, found, to)
        self._take_up(move)
        self._choose_method(move, to)
        return move

    def _elsewhere(self, site: Site, request: MigrationRequest, server_id: str) -> _Move:
        """A server that is not here: it may be there already, or have come there with nobody to clear up behind it."""
        there = self.destination(request.hypervisor).find(server_id) if request.hypervisor != site.host.name else None
        if there is None:
            where = f"project {request.project} on {site.host.name} and on {request.hypervisor}"
            raise NotFound("server", request.name, where, "It may be on another host: see the inventory")
        server, live = there
        task = server.domain.task
        if task and (task.name, task.source) == (model.TASK, site.host.name):
            return _Move(site, server, live, self.destination(request.hypervisor), arrived=True)
        return _Move(site, server, live)

    def _finish_here(self, request: MigrationRequest, move: _Move, source: str) -> _Move:
        if request.hypervisor != self.site.host.name:
            message = f"server {move.name} has come from {source} to {self.site.host.name}, where nobody has finished that"
            raise EcsError(message, "ECS_INCOMPLETE", f"Ask for hypervisor {self.site.host.name} first")
        return replace(move, came_from=self.destination(source))

    def _take_up(self, move: _Move) -> None:
        """What a killed run has begun is undone before the new move."""
        server, task = move.server, move.server.domain.task
        if task and task.name == model.TASK:
            move.left = self.destination(task.destination)
            return
        if server.metadata.reclaim_at:
            hint = "It goes when its notice is over"
            raise EcsError(f"server {move.name} is about to be reclaimed, and stays until then", "ECS_RECLAIMING", hint)
        if server.metadata.creating or server.rebuilding or task:
            what = task.name if task else server.status
            message = f"server {move.name} was left {what} by an earlier run"
            raise EcsError(message, "ECS_INCOMPLETE", "Module server finishes that: run it first")

    def _choose_method(self, move: _Move, to: Destination) -> None:
        server, options = move.facts(), self.options
        why = model.obstacle(server, self._here, to.facts, options.allow_az_change)
        why = why or model.parted(server, to.name, self.known.values(), ())
        if why:
            raise EcsError(f"server {move.name}: host {to.name} {why.reason}", why.code, why.hint)
        move.method = model.method(server)
        reason = model.needs_stop(server, self._here, to.facts) or ("method is cold" if options.cold else "")
        if move.method == model.LIVE and reason:
            if not options.allow_stop:
                message = f"server {move.name} runs, and cannot move to {to.name} so: {reason}"
                raise EcsError(message, "ECS_STOP_NEEDED", "Set allow_stop to have it stopped for that and started again, or stop it first")
            move.method = model.COLD
        move.stop = move.method == model.COLD and move.server.active
        move.disks = migration_target.local_disks(move.site, move.server, to)
        migration_target.check_disks(move.site, move.server, move.disks, to, again=move.left is not None)
        migration_target.check_images(move.server, move.disks, checksums(move.site.host.image_library), to)
        if move.method == model.COLD:
            move.tuning = self._bind(move, to)

    @staticmethod
    def _bind(move: _Move, to: Destination) -> pinning.Tuning | None:
        """The processors of the new host for one that has its own."""
        domain, told = move.server.domain, move.server.metadata
        size = domain.size
        cores = cpu.layout(size.max_vcpus, size.threads or None, domain.arch)
        processors = Processors(to.connection, to.host)
        tuning = processors.claim(move.server.id, told.name, told.flavor, cores, size.share > 1, size.memory)
        return tuning if domain.bound or tuning != pinning.Tuning() else None

    def check_room(self, moves: Sequence[_Move]) -> None:
        """See that all that go to one host fit there, and may be there together."""
        coming: defaultdict[str, list[_Move]] = defaultdict(list)
        for move in moves:
            if move.to is not None and not move.arrived:
                coming[move.to.name].append(move)
        for name, those in coming.items():
            to = self._open[name]
            hypervisors.check_capacity(to.connection, to.host, [hypervisors.demand_of(one.server) for one in those])
            hypervisors.check_server_groups(to.connection, to.host, {one.server.id: one.server.metadata for one in those}, ())


def migrate(
    uri: str,
    northbound: OpenNorthbound,
    host: Host,
    region: str,
    requests: Sequence[MigrationRequest],
    facts: Sequence[Mapping[str, Any]],
    options: Options,
    check: bool,
) -> Outcome:
    """Bring servers of this host to the hypervisors that are asked for; one that is there already is left alone.

    All are checked before the first moves. When one cannot be moved the others are, and the error tells of both.

    :param facts: results of hypervisor_info.
    :raises EcsError: before anything is touched, or with what failed undone.
    """
    check_unique("name", [f"{request.project}.{request.name}" for request in requests])
    scopes = {request: Scope(region, request.project) for request in requests}
    ids = {scope.id("server", request.name): request.name for request, scope in scopes.items()}
    alone = nullcontext() if check else exclusive(host.locks, ids, options.wait_timeout)
    with alone, open_site(uri, host, Scope(region), northbound) as site, ExitStack() as stack:
        planner = _Planner(site, {one["name"]: one for one in facts}, options, stack)
        live = read_domains(site.connection, set(ids))
        moves = [planner.plan(request, live) for request in requests]
        planner.check_room(moves)
        outcome = Outcome([], [], [])
        failed: list[tuple[str, EcsError]] = []
        for move in moves:
            _carry_out(move, options, check, outcome, failed)
        outcome.steps += _serve(site, [move.server for move in moves if move.step() is None], check)
        if failed:
            raise _told(failed, outcome.migrations)
        return outcome


def _serve(site: Site, servers: Sequence[Server], check: bool) -> list[Step]:
    """Let the metadata service of this host serve those that have come to it."""
    here = [server for server in servers if server.hypervisor == site.host.name and server.metadata.nics]
    if not here or not site.host.metadata:
        return []
    ports = read_ports(site.northbound(), server_ids={server.id for server in here})
    work = metadata_service.outdated(site.host, here, ports)
    if not check:
        metadata_service.update(site.host, work)
    return [item.step for item in work]


def _carry_out(move: _Move, options: Options, check: bool, outcome: Outcome, failed: list[tuple[str, EcsError]]) -> None:
    step = move.step()
    told: dict[str, Any] = {
        "id": move.server.id,
        "name": move.name,
        "project": move.server.metadata.project,
        "source": step.before["hypervisor"] if step else move.server.hypervisor,
        "destination": move.to.name if move.to else move.server.hypervisor,
        "method": move.method or None,
        "duration": None,
        "downtime": None,
    }
    if step and not check:
        began = time.monotonic()
        try:
            told |= _move(move, options, outcome.warnings)
        except EcsError as error:
            failed.append((move.name, error))
            return
        told["duration"] = round(time.monotonic() - began, 1)
    outcome.steps += [step] if step else []
    outcome.migrations.append(told)


def _told(failed: Sequence[tuple[str, EcsError]], done: Sequence[Mapping[str, Any]]) -> EcsError:
    """One error of all that failed."""
    first = failed[0][1]
    if len(failed) > 1 or done:
        moved = ", ".join(one["name"] for one in done if one["duration"] is not None) or "none"
        others = "".join(f" Also {other}: {error.message}." for other, error in failed[1:])
        first.message = f"{len(failed)} of {len(failed) + len(done)} servers did not move. {first.message}.{others} Moved: {moved}"
    return first


@contextmanager
def _named(move: _Move) -> Iterator[None]:
    """Name the server in the error of what fails inside."""
    import libvirt

    to = move.to.name if move.to else move.site.host.name
    where = f"server {move.name} (project {move.site.scope.project}): on its way to {to}"
    try:
        yield
    except libvirt.libvirtError as error:
        raise EcsError(f"{where}: {error}", "ECS_LIBVIRT", "Run this again: it finishes what can be finished", server=move.name) from error
    except OSError as error:
        raise EcsError(f"{where}: {error}", "ECS_FILE", "Look at that path on the host", server=move.name) from error
    except EcsError as error:
        error.message, error.server = f"{where}: {error.message}", move.name
        raise


def _move(move: _Move, options: Options, warnings: list[str]) -> dict[str, Any]:
    """Move a server, or clear up behind one that has come; returns how it went."""
    with _named(move):
        if move.came_from is not None:
            return _finish(move, move.site, move.came_from, {})
        to, told = move.to, {}
        if to is None:
            return _take_back(move, move.left) if move.left else {}
        if not move.arrived:
            told = _bring(move, to, options, warnings)
        return _finish(move, to, move.site, told)


def _take_back(move: _Move, left: Destination) -> dict[str, Any]:
    """Let a server go on here that a killed run has begun to move."""
    migration.give_up(move.live.domain)
    with at_work({move.server.id: move.live}, {move.server.id: _task(move, left.name)}):
        _undo_earlier(move, left)
        shared_records.announce(move.site.host, move.server, "")
        _locate(move, move.site.host.name)
        _run(move, move.live.domain)
    return {}


def _run(move: _Move, domain: Any) -> None:
    if move.running and not domain.isActive():
        domain.create()
    domain.setAutostart(int(move.running))


def _task(move: _Move, to: str) -> metadata.Task:
    return metadata.Task(model.TASK, times.stamp(times.now()), move.running, move.site.host.name, to)


def _bring(move: _Move, to: Destination, options: Options, warnings: list[str]) -> dict[str, Any]:
    host = move.site.host
    if move.left is not None:
        migration.give_up(move.live.domain)  # libvirt may still be at it, and lets nobody else near the domain
    with at_work({move.server.id: move.live}, {move.server.id: _task(move, to.name)}), Rollback() as rollback:
        if move.left is not None:
            _undo_earlier(move, move.left)
        rollback.add("", move.name, partial(shared_records.announce, host, move.server, ""))
        shared_records.announce(host, move.server, to.name)
        return _transfer(move, to, options, warnings)


def _finish(move: _Move, home: Site | Destination, old: Site | Destination, told: dict[str, Any]) -> dict[str, Any]:
    """Make a server at home where it has come to, and clear up where it was."""
    shared_records.hand_over(move.site.host, move.server, home.host.name)
    _locate(move, home.host.name)
    downtime = _settle(move, home, told)
    shared = migration_target.shared_pools(home.host, old.host)
    storage_pool.refresh(home.connection, shared)
    migration_target.forget(old, move.server, shared)
    if isinstance(old, Site):
        metadata_service.remove(old.host, [move.server.id])
        if nvram := domain_xml.nvram_path(move.live.xml):
            files.remove(nvram)
    return {**told, "downtime": downtime}


def _transfer(move: _Move, to: Destination, options: Options, warnings: list[str]) -> dict[str, Any]:
    if move.method == model.LIVE:
        try:
            _live(move, to, options)
            return {"method": model.LIVE}
        except EcsError as error:
            if error.code != "ECS_MIGRATION" or not options.allow_stop:
                raise
            warnings.append(f"server {move.name} could not move while it runs, so it was stopped for it (spec EV-3): {error.message}")
        move.stop = True
    began = time.monotonic()
    _cold(move, to, options)
    return {"method": model.COLD, **({"downtime": int(1000 * (time.monotonic() - began))} if move.stop else {})}


def _undo_earlier(move: _Move, left: Destination) -> None:
    """Take back what a killed run has begun on the other host; something of the server may be there already."""
    if there := left.find(move.server.id):
        server, live = there
        task = server.domain.task
        if left.name == move.site.host.name or task is None or task.source != move.site.host.name:
            message = f"server {move.name} is on {left.name} as well as on {move.site.host.name}"
            raise EcsError(message, "ECS_CONFLICT", "Find out which of them is the right one, and remove the other")
        power_off(live.domain)
        undefine(live.domain, nvram=False)
    migration_target.forget(left, move.server, migration_target.shared_pools(move.site.host, left.host))


def _prepare(move: _Move, to: Destination, rollback: Rollback) -> dict[str, str]:
    """Copy the small files of a server; returns them by their names there."""
    small = migration_target.small_files(move.server, definition(move.live.domain), off=not move.live.domain.isActive())
    for name, path in small.items():
        to.receive_file(name, path, rollback)
    if packed := metadata_service.pack(move.site.host, move.server.id):
        rollback.add("", move.name, partial(files.remove, packed))
        to.receive_file(os.path.basename(packed), packed, rollback)
    return small


def _locate(move: _Move, *hosts: str) -> None:
    if ports := [nic.id for nic in move.server.metadata.nics]:
        locate_ports(move.site.northbound(), ports, hosts)


def _live(move: _Move, to: Destination, options: Options) -> None:
    """Move a server that runs. From the moment in which it stands still here its packets are expected there, and no sooner."""
    site = move.site
    with Rollback() as rollback:
        rollback.add("", move.name, partial(migration_target.forget_log, to, move.server))
        for disk in move.disks:
            to.make(disk, rollback)
        _prepare(move, to, rollback)
        rollback.add("", move.name, partial(_locate, move, site.host.name))
        _locate(move, site.host.name, to.name)
        targets = [disk.target for disk in move.disks]
        migration.migrate(move.live.domain, to.host.address, to.name, targets, options.bandwidth, options.timeout)


def _cold(move: _Move, to: Destination, options: Options) -> None:
    """Move a server that is off, or is stopped for it; where it runs again, it is seen to start before it is given up here."""
    site, domain = move.site, move.live.domain
    with Rollback() as rollback:
        if move.stop:
            rollback.add("", move.name, partial(server_power.start, [domain]))
            with Events(site.connection) as events:
                server_power.stop(events, [domain], options.stop_timeout, force=False)
            domain.setAutostart(0)  # should this host start anew meanwhile
        for disk in move.disks:
            to.receive(disk, rollback)
        small = _prepare(move, to, rollback)
        xml = _moved(move, to, migration_target.nvram_name(move.server) in small)
        there = define(to.connection, xml)
        rollback.add("server", move.name, partial(undefine, there, nvram=False))
        rollback.add("", move.name, partial(_locate, move, site.host.name))
        _locate(move, to.name)
        if move.running:
            rollback.add("", move.name, partial(migration_target.forget_log, to, move.server))
            rollback.add("", move.name, partial(power_off, there))
            there.create()
        undefine(domain, nvram=move.server.domain.nvram)


def _moved(move: _Move, to: Destination, nvram: bool) -> str:
    """The definition of a server as its new host gets it."""

    def change(root: Any) -> None:
        if nvram:
            domain_xml.set_nvram(root, os.path.join(to.host.config_drives, migration_target.nvram_name(move.server)))
        if move.tuning is not None:
            pinning.release(root)
            pinning.write(root, move.tuning)

    return domain_xml.edit(definition(move.live.domain), change)


def _settle(move: _Move, home: Site | Destination, told: Mapping[str, Any]) -> int | None:
    """Let the server run where it has come to; returns for how long it stood still, in milliseconds."""
    domain = home.connection.lookupByUUIDString(move.server.id)
    downtime = migration.downtime(domain) if told.get("method") == model.LIVE else told.get("downtime")
    _run(move, domain)
    settle_in_zone(domain, definition(domain), home.host.az)
    forget_task(domain)
    return downtime
