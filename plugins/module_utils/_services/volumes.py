# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Volumes: disks in libvirt's storage pools, blank or as copy-on-write overlay of an image, and the servers that have them.

Volumes are thin: they take room as they are written. A new one must fit in what its pool has free at that moment.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from .._engines import guest_agent, storage_pool
from .._engines.host import Host
from .._engines.libvirt_client import attach, detach, each, read_domains, set_metadata
from .._engines.storage_pool import Pools
from .._model import domain_xml, metadata
from .._model import volumes as model
from .._model.errors import EcsError, InvalidInput, NotFound
from .._model.images import GIB, gib
from .._model.names import Scope, check_name
from .._model.plan import Step
from .._model.preemption import refuse
from .._model.volumes import Volume, VolumeRequest
from . import shared_records
from .exclusive import exclusive
from .images import Image, find_image, in_use
from .rollback import Rollback

__all__ = ["Volume", "VolumeRequest", "create_volume", "delete_volume", "ensure_absent", "ensure_present", "plan_volume", "read_volumes"]


# --- reading -------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Holder:
    """A domain, and what of it matters to its disks."""

    domain: Any
    active: bool
    settled: bool
    facts: domain_xml.DomainFacts

    @property
    def name(self) -> str:
        """The server's name; the domain's where it is not ours."""
        return self.facts.metadata.name if self.facts.metadata else self.facts.name


def _holders(connection: Any) -> list[_Holder]:
    return [
        _Holder(live.domain, live.state not in (0, 5, 6), live.state in (1, 2, 3, 5, 6), domain_xml.parse(live.xml))
        for live in read_domains(connection).values()
    ]


def read_volumes(connection: Any, scope: Scope | None = None, region: str = "local", name: str | None = None) -> list[Volume]:
    """Volumes of a project by name, with the servers that have them.

    :param scope: None for the volumes of all projects, which are then taken to be of *region*.
    :param name: only the volume of that name, found without reading the others; needs a scope.
    """
    return _read(connection, _holders(connection), scope, region, name)


def _read(connection: Any, holders: Iterable[_Holder], scope: Scope | None, region: str, name: str | None) -> list[Volume]:
    where = scope.region if scope else region
    users = {disk.path: (holder, disk) for holder in holders for disk in holder.facts.disks}
    found = []
    for pool, live in storage_pool.volumes(connection, model.file_name(scope, name) if scope and name else None):
        ours = model.parse_file_name(live.name(), where)
        if ours is None or (scope is not None and ours[0] != scope):
            continue
        xml = storage_pool.describe(live)
        volume = model.parse(xml, pool, where) if xml else None
        if volume is not None:
            user = users.get(volume.path)
            found.append(replace(volume, server=user[0].name, role="system" if user[1].boot else "data") if user else volume)
    return sorted(found, key=lambda volume: (volume.project, volume.name))


# --- making and removing, also for servers -------------------------------------------------------------------------------------------


def plan_volume(pools: Pools, host: Host, scope: Scope, request: VolumeRequest) -> tuple[Volume, Image | None]:
    """A new volume as it will be, and the image it begins as; nothing is made.

    :raises EcsError: when pool or image do not exist, the size is wrong, or ECS_NO_SPACE when the pool has less than it free.
    """
    about = f"volume {check_name('name', request.name)}"
    image = find_image(host.image_library, scope, request.image) if request.image else None
    size = model.check_size(f"{about}: size", request.size, image)
    pool = pools.find(request.type or host.default_pool)
    check_room(about, pools, pool.name(), size * GIB, host)
    volume = Volume(
        id=scope.id("volume", request.name),
        name=request.name,
        project=scope.project,
        region=scope.region,
        type=pool.name(),
        path="",
        size=size,
        role=request.role,
        image_id=image.id if image else "",
    )
    return volume, image


def check_room(about: str, pools: Pools, pool: str, needed: int, host: Host) -> None:
    """See that a pool has so many bytes free."""
    free = pools.free(pool)
    if needed > free:
        raise EcsError(
            f"{about}: pool {pool} on {host.name} has {gib(free)} free, {gib(needed)} needed",
            "ECS_NO_SPACE",
            "Choose another disk type, free space, or place it elsewhere",
        )


def create_volume(pools: Pools, host: Host, scope: Scope, request: VolumeRequest) -> Volume:
    """Make a volume; one of that name that a parallel run made is taken.

    :raises EcsError: as :func:`plan_volume`.
    """
    volume, image = plan_volume(pools, host, scope, request)
    pool = pools.find(volume.type)
    with in_use(image) if image else nullcontext():
        live = storage_pool.create(pool, model.file_name(scope, volume.name), model.build(scope, volume.name, volume.size, image))
    return replace(volume, path=live.path())


def delete_volume(connection: Any, volume: Volume) -> None:
    """Remove a volume; fine when it is gone. Whether a server has it is the caller's to know."""
    live = storage_pool.find_volume(connection, volume.type, model.file_name(Scope(volume.region, volume.project), volume.name))
    if live is not None:
        live.delete(0)


# --- module volume -------------------------------------------------------------------------------------------------------------------


@dataclass
class _Change:
    """One step, how to do it, and how to take it back (None where it cannot be, or need not)."""

    step: Step
    do: Callable[[], object]
    undo: Callable[[], object] | None = None


class _Volumes:
    """The volumes of one call, read once."""

    def __init__(self, connection: Any, host: Host, scope: Scope, names: Sequence[str], force: bool, timeout: float) -> None:
        self.connection, self.host, self.scope, self.force, self.timeout = connection, host, scope, force, timeout
        self.pools = Pools(connection)
        self.holders = _holders(connection)
        only = names[0] if len(names) == 1 else None
        self.live = {volume.name: volume for volume in _read(connection, self.holders, scope, scope.region, only)}

    def holder(self, server: str) -> _Holder:
        """The server of that name in this project.

        :raises EcsError: when there is none on this host, or it is between two states (spec D-34).
        """
        found = next((one for one in self.holders if one.facts.name == self.scope.domain(server)), None)
        if found is None:
            hint = "A volume and its server are on one host; create the server first"
            raise NotFound("server", server, f"project {self.scope.project} on {self.host.name}", hint)
        if not found.settled:
            raise EcsError(f"server {server} is stopping", "ECS_BUSY", "Wait until it has stopped, then run this again")
        return found

    def plan(self, request: VolumeRequest) -> list[_Change]:
        """What it takes to make the volume as requested; everything is checked, nothing is done."""
        about = f"volume {check_name('name', request.name)}"
        live = self.live.get(request.name)
        if live is None:
            volume, _image = plan_volume(self.pools, self.host, self.scope, request)
            planned = [self._create(request, volume)]
        else:
            volume = live
            for option, asked, there in (("type", request.type, live.type), ("image", self._image_id(request), live.image_id)):
                if asked is not None and asked != there:
                    raise InvalidInput(
                        f"{about}: {option}", getattr(request, option), f"differs from what it was made with ({there or 'none'})",
                        "A volume keeps it; make another volume, or delete this one first",
                    )  # fmt: skip
            planned = self._grow(about, request, live)
        if request.server is not None and request.server != volume.server:
            if volume.server:
                planned.append(self._detach(about, volume))
            if request.server:
                planned.append(self._attach(about, replace(volume, size=request.size or volume.size, server=""), request.server))
        elif volume.server and request.server:
            planned += self._remember(volume, request)
        return planned

    def _image_id(self, request: VolumeRequest) -> str | None:
        if not request.image:
            return request.image
        return find_image(self.host.image_library, self.scope, request.image).id

    def _create(self, request: VolumeRequest, volume: Volume) -> _Change:
        after = {"size": volume.size, "type": volume.type, "image": request.image}

        def do() -> None:
            create_volume(self.pools, self.host, self.scope, request)

        return _Change(
            Step("create", "volume", volume.name, after={key: value for key, value in after.items() if value}),
            do,
            partial(delete_volume, self.connection, volume),
        )

    def _grow(self, about: str, request: VolumeRequest, live: Volume) -> list[_Change]:
        if request.size is None or request.size == live.size:
            return []
        size = model.check_size(f"{about}: size", request.size, None)
        if size < live.size:
            raise InvalidInput(f"{about}: size", size, f"is less than its {live.size} GiB", "A disk can only grow (spec D-37)")
        check_room(about, self.pools, live.type, (size - live.size) * GIB, self.host)
        holder = self.holder(live.server) if live.server else None

        def do() -> None:
            if holder is not None and holder.active:
                target = next(disk.target for disk in holder.facts.disks if disk.path == live.path)
                storage_pool.grow_live(holder.domain, target, size)
            else:
                storage_pool.grow(storage_pool.find_volume(self.connection, live.type, model.file_name(self.scope, live.name)), size)
            if holder is not None:
                self._tell(holder, replace(live, size=size))

        return [_Change(Step("update", "volume", live.name, {"size": live.size}, {"size": size}), do)]

    def _attach(self, about: str, volume: Volume, server: str) -> _Change:
        holder = self.holder(server)
        domain_xml.next_target(disk.target for disk in holder.facts.disks)

        def do() -> None:
            fresh = domain_xml.parse(storage_pool.definition(holder.domain))
            live = next(iter(_read(self.connection, (), self.scope, "", volume.name)))
            target = domain_xml.next_target(disk.target for disk in fresh.disks)
            device = domain_xml.DiskDevice(live.path, live.format, target, live.serial)
            attach(holder.domain, ET.tostring(domain_xml.disk_element(device), encoding="unicode"), holder.active)
            self._tell(holder, volume)

        step = Step("attach", "volume", volume.name, {"server": None}, {"server": server})
        return _Change(step, do, partial(self._release, volume, holder))

    def _detach(self, about: str, volume: Volume) -> _Change:
        holder = self.holder(volume.server)
        if holder.active and volume.role == "system":
            raise EcsError(f"{about} is the system disk of {volume.server}, which runs", "ECS_IN_USE", "Stop the server first (spec D-30)")
        if volume.role == "system" and holder.facts.metadata:
            refuse(holder.facts.metadata, f"its system disk {volume.name} stays")
        if holder.active and not self.force:
            self._refuse_mounted(about, volume, holder)
        step = Step("detach", "volume", volume.name, {"server": volume.server}, {"server": None})
        return _Change(step, partial(self._release, volume, holder))

    def _refuse_mounted(self, about: str, volume: Volume, holder: _Holder) -> None:
        """A disk that the guest has mounted stays (spec D-32); a guest whose agent is silent cannot be asked."""
        try:
            mounted = [each.mountpoint for each in guest_agent.filesystems(holder.domain) if volume.serial in each.serials]
        except EcsError:
            return
        if mounted:
            raise EcsError(
                f"{about} is mounted in {volume.server} at {', '.join(sorted(mounted))}",
                "ECS_IN_USE",
                "Unmount it in the guest (module disk_init with state: absent), or set force",
            )

    def _release(self, volume: Volume, holder: _Holder) -> None:
        """Out of the running guest first: as long as that has the disk, the definition keeps it too."""
        if holder.active:
            storage_pool.unplug(self.connection, holder.domain, volume.serial, self.timeout)
        node = model.find_disk(storage_pool.definition(holder.domain), volume.serial)
        if node is not None:
            detach(holder.domain, ET.tostring(node, encoding="unicode"), active=False)
        self._forget(holder, volume)

    def _remember(self, volume: Volume, request: VolumeRequest) -> list[_Change]:
        """What a run that was killed between attaching and telling the domain left to do."""
        holder = self.holder(volume.server)
        told = holder.facts.metadata
        if told is None or any(disk.id == volume.id for disk in told.disks):
            return []
        names = [disk.name for disk in told.disks]
        step = Step("update", "server", volume.server, {"disks": names}, {"disks": [*names, volume.name]})
        return [_Change(step, partial(self._tell, holder, replace(volume, size=request.size or volume.size)))]

    def _tell(self, holder: _Holder, volume: Volume) -> None:
        """Write the volume into what its server's domain remembers."""
        told = metadata.parse(storage_pool.definition(holder.domain))
        if told is None:
            return
        disk = next((each for each in told.disks if each.id == volume.id), metadata.Disk(volume.id, volume.name, type=volume.type))
        others = [each for each in told.disks if each.id != volume.id]
        at = next((number for number, each in enumerate(told.disks) if each.id == volume.id), len(others))
        others.insert(at, replace(disk, size=volume.size))
        self._set_disks(holder, told, others)

    def _forget(self, holder: _Holder, volume: Volume) -> None:
        told = metadata.parse(storage_pool.definition(holder.domain))
        if told is not None and any(disk.id == volume.id for disk in told.disks):
            self._set_disks(holder, told, [disk for disk in told.disks if disk.id != volume.id])

    def _set_disks(self, holder: _Holder, told: metadata.ServerMetadata, disks: Sequence[metadata.Disk]) -> None:
        changed = metadata.build(replace(told, disks=tuple(disks)))
        set_metadata(holder.domain, changed, metadata.PREFIX, metadata.NAMESPACE, holder.active)


def _perform(changes: Sequence[_Change]) -> None:
    with Rollback() as rollback:

        def perform(change: _Change) -> None:
            change.do()
            if change.undo is not None:
                verb = "volume" if change.step.action == "create" else "attachment"
                rollback.add(verb, change.step.name, change.undo)

        # New volumes are each its own; what comes after them changes domains, one thing at a time.
        each(perform, [change for change in changes if change.step.action == "create"])
        for change in changes:
            if change.step.action != "create":
                perform(change)


def ensure_present(
    connection: Any, host: Host, scope: Scope, requests: Sequence[VolumeRequest], *, force: bool, timeout: float, check: bool
) -> tuple[list[Step], list[Volume]]:
    """Make, grow, attach and detach volumes as requested; all are checked before the first is touched.

    :param connection: opened with events.
    :param force: detach a disk even where the guest has it mounted.
    :param timeout: seconds that a guest has to let a disk go, and other runs to be done with the servers.
    :returns: steps, and the volumes as they are or will be.
    """
    alone = nullcontext() if check else exclusive(host.locks, _servers(connection, scope, requests), timeout)
    with alone:
        return _ensure_present(_Volumes(connection, host, scope, [request.name for request in requests], force, timeout), requests, check)


def _servers(connection: Any, scope: Scope, requests: Sequence[VolumeRequest]) -> dict[str, str]:
    """The servers that a call may change, name by id: those named, and those that have the volumes now."""
    asked = {request.name for request in requests}
    only = next(iter(asked)) if len(asked) == 1 else None
    names = {request.server for request in requests} | {
        volume.server for volume in read_volumes(connection, scope, name=only) if volume.name in asked
    }
    return {scope.id("server", name): name for name in names if name}


def _ensure_present(volumes: _Volumes, requests: Sequence[VolumeRequest], check: bool) -> tuple[list[Step], list[Volume]]:
    planned = [change for request in requests for change in volumes.plan(request)]
    steps = [change.step for change in planned]
    if check:
        return steps, [_expected(volumes, request) for request in requests]
    _perform(planned)
    shared_records.keep(volumes.connection, volumes.host)
    if not planned:
        return steps, [volumes.live[request.name] for request in requests]
    found = {volume.name: volume for volume in read_volumes(volumes.connection, volumes.scope)}
    return steps, [found[request.name] for request in requests]


def _expected(volumes: _Volumes, request: VolumeRequest) -> Volume:
    live = volumes.live.get(request.name)
    volume = live or plan_volume(volumes.pools, volumes.host, volumes.scope, request)[0]
    return replace(volume, size=request.size or volume.size, server=volume.server if request.server is None else request.server)


def ensure_absent(connection: Any, scope: Scope, names: Sequence[str], *, check: bool) -> list[Step]:
    """Delete volumes.

    :raises EcsError: ECS_IN_USE when a server has one of them; then none is deleted.
    """
    live = {volume.name: volume for volume in read_volumes(connection, scope, name=names[0] if len(names) == 1 else None)}
    doomed = [live[name] for name in dict.fromkeys(check_name("name", name) for name in names) if name in live]
    for volume in doomed:
        if volume.server:
            raise EcsError(f"volume {volume.name} is attached to server {volume.server}", "ECS_IN_USE", "Detach it first (server: '')")
    if not check:
        for volume in doomed:
            delete_volume(connection, volume)
    return [Step("delete", "volume", volume.name, before={"size": volume.size, "type": volume.type}) for volume in doomed]
