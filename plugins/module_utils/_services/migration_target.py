# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hypervisor that a server moves to, seen from the one that it leaves: through its libvirt, and by what it told of itself."""

from __future__ import annotations

import functools
import os
import xml.etree.ElementTree as ET
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from .._engines import migration, storage_pool
from .._engines.host import Host, from_settings
from .._engines.libvirt_client import Live, read_domains
from .._engines.storage_pool import DRIVES, Pools
from .._model import domain_xml
from .._model import volumes as model
from .._model.errors import EcsError
from .._model.migration import image_obstacle
from .._model.servers import Server, from_domain
from .console import log_paths
from .rollback import Rollback
from .site import Site
from .volumes import check_room


@dataclass(frozen=True)
class LocalDisk:
    """A volume that goes with its server, as only this host has it.

    :param size: bytes that it may grow to.
    :param base: the file below it; empty where it stands alone.
    """

    name: str
    pool: str
    path: str
    target: str
    xml: str
    size: int
    base: str


class Destination:
    """A host that takes servers.

    :param facts: what its hypervisor_info told.
    """

    def __init__(self, connection: Any, facts: Mapping[str, Any]) -> None:
        self.connection, self.facts = connection, facts
        self.host: Host = from_settings(facts)

    @property
    def name(self) -> str:
        return self.host.name

    @functools.cached_property
    def pools(self) -> Pools:
        return Pools(self.connection)

    def find(self, server_id: str) -> tuple[Server, Live] | None:
        """The server, where it is there."""
        live = read_domains(self.connection, {server_id}).get(server_id)
        server = from_domain(live.xml, live.state, self.name) if live else None
        return (server, live) if server and live else None

    def volume(self, disk: LocalDisk) -> Any:
        """What has the disk's name there; None where nothing has."""
        pool = self.pools.find(disk.pool)
        return next((volume for volume in pool.listAllVolumes() if volume.name() == disk.name), None)

    def make(self, disk: LocalDisk, rollback: Rollback) -> None:
        """Make an empty volume for a disk that QEMU copies."""
        volume = self.pools.find(disk.pool).createXML(model.twin(disk.xml), 0)
        rollback.add("volume", disk.name, partial(volume.delete, 0))

    def receive(self, disk: LocalDisk, rollback: Rollback) -> None:
        """Copy the disk of a server that is off."""
        self._send(self.pools.find(disk.pool), disk.name, disk.path, "volume", rollback)

    def receive_file(self, name: str, path: str, rollback: Rollback) -> None:
        """Copy a small file of a server to beside the config drives."""
        pool = _drives(self.connection)
        remove(pool, [name])
        self._send(pool, name, path, "", rollback)

    def _send(self, pool: Any, name: str, path: str, kind: str, rollback: Rollback) -> None:
        volume = pool.createXML(model.container(name, os.stat(path).st_size), 0)
        rollback.add(kind, name, partial(volume.delete, 0))
        migration.send(self.connection, volume, path)
        pool.refresh(0)  # libvirt looks what it is now


def remove(pool: Any, names: Collection[str]) -> None:
    """Remove those volumes of a pool that are there."""
    for volume in pool.listAllVolumes():
        if volume.name() in names:
            volume.delete(0)


def _drives(connection: Any) -> Any:
    pool = connection.storagePoolLookupByName(DRIVES)
    pool.refresh(0)
    return pool


def forget(place: Site | Destination, server: Server, shared: Collection[str]) -> None:
    """Remove what a server has left on a host that it is not on, or that it never came to.

    :param shared: names of the pools in which nothing is the host's own.
    """
    connection = place.connection
    kept = {disk.path for live in read_domains(connection).values() for disk in domain_xml.parse(live.xml).disks}
    for disk in server.domain.disks:
        known = None if disk.is_config_drive or disk.path in kept else storage_pool.find_by_path(connection, disk.path)
        if known and known[0] not in shared:
            known[1].delete(0)
    drives = _drives(connection)
    remove(drives, {name for name in drives.listVolumes() if name.startswith(server.id)})
    forget_log(place, server)


def forget_log(place: Site | Destination, server: Server) -> None:
    """Remove the console log of a server, by a pool that there is only for that."""
    pool = ET.Element("pool", type="dir")
    ET.SubElement(pool, "name").text = f"{DRIVES}-{server.id}"
    ET.SubElement(ET.SubElement(pool, "target"), "path").text = place.host.console_logs
    logs = place.connection.storagePoolCreateXML(ET.tostring(pool, encoding="unicode"), 0)
    try:
        remove(logs, {os.path.basename(path) for path in log_paths(place.host, server.domain.name)})
    finally:
        logs.destroy()


def shared_pools(one: Host, other: Host) -> set[str]:
    """Names of the pools that are the same storage on both hosts."""
    return {name for name, path in one.shared_pools.items() if other.shared_pools.get(name) == path}


def local_disks(site: Site, server: Server, destination: Destination) -> list[LocalDisk]:
    """The disks of a server that its new host does not have by itself.

    :raises EcsError: ECS_NO_POOL when one is in no pool, and nobody knows how to copy it.
    """
    shared = {site.host.shared_pools[name] for name in shared_pools(site.host, destination.host)}
    found = []
    for device in server.domain.disks:
        if device.is_config_drive or os.path.dirname(device.path) in shared:
            continue
        known = storage_pool.find_by_path(site.connection, device.path)
        if known is None:
            message = f"server {server.metadata.name}: disk {device.target} ({device.path}) is in no storage pool of {site.host.name}"
            raise EcsError(message, "ECS_NO_POOL", "Detach it first")
        pool, volume = known
        xml = storage_pool.describe(volume) or ""
        found.append(LocalDisk(volume.name(), pool, device.path, device.target, xml, volume.info()[1], model.backing_path(xml)))
    return found


def small_files(server: Server, xml: str, off: bool) -> dict[str, str]:
    """What else a server has on its host, by the name that it gets on the other: config drive and UEFI variables.

    :param xml: its definition.
    :param off: whether it moves while it is off; from one that runs QEMU sends the variables.
    """
    found = {os.path.basename(disk.path): disk.path for disk in server.domain.disks if disk.is_config_drive}
    nvram = domain_xml.nvram_path(xml)
    if nvram and off and os.path.exists(nvram):
        found[nvram_name(server)] = nvram
    return found


def nvram_name(server: Server) -> str:
    """The name of a server's UEFI variables beside the config drives."""
    return f"{server.id}_VARS.fd"


def _path(pool: Any) -> str:
    return ET.fromstring(pool.XMLDesc()).findtext("target/path") or ""  # noqa: S314 - what libvirt wrote


def check_disks(site: Site, server: Server, disks: Iterable[LocalDisk], destination: Destination, again: bool) -> None:
    """See that the disks can be where they shall be.

    :param again: what is there of their names is of an earlier run for the same server.
    :raises EcsError: ECS_NO_POOL, ECS_NO_IMAGE, ECS_NO_SPACE, ECS_IN_USE.
    """
    name = server.metadata.name
    for disk in disks:
        pool = destination.pools.find(disk.pool)
        here, there = _path(site.pools().find(disk.pool)), _path(pool)
        if here != there:
            message = f"server {name}: pool {disk.pool} is at {there} on {destination.name}, at {here} on {site.host.name}"
            raise EcsError(message, "ECS_NO_POOL", "Choose a host that has it at the same path")
        if disk.base and not model.image_of(disk.base):
            message = f"server {name}: disk {disk.name} is written on top of {disk.base}, which is no image"
            raise EcsError(message, "ECS_NO_IMAGE", "Give the disk all of its content (virsh blockpull), then run this again")
        if not again and destination.volume(disk):
            message = f"server {name}: pool {disk.pool} on {destination.name} has a volume {disk.name} already"
            raise EcsError(message, "ECS_IN_USE", "Remove it there with module volume, or move the server elsewhere")
        check_room(f"server {name}: volume {disk.name}", destination.pools, disk.pool, disk.size, destination.host)


def check_images(server: Server, disks: Iterable[LocalDisk], checksums: Mapping[str, str], destination: Destination) -> None:
    """See that the disks find the images there that they are made from.

    :param checksums: of this host's images, by id.
    :raises EcsError: ECS_NO_IMAGE.
    """
    images = sorted({model.image_of(disk.base) for disk in disks if disk.base})
    source = {"name": server.hypervisor, "images": checksums}
    if why := image_obstacle(images, source, destination.facts):
        raise EcsError(f"server {server.metadata.name}: host {destination.name} {why.reason}", why.code, why.hint)
