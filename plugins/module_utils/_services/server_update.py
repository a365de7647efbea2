# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Changing servers that exist: what they are called, tags, security groups, public address, more data disks, another size."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from .._engines.libvirt_client import Live, attach, detach, set_metadata, set_texts
from .._model import domain_xml, metadata, names
from .._model import resize as resizing
from .._model.plan import Step
from .._model.preemption import refuse
from .._model.resize import Resize
from .._model.server_changes import new_disks, update
from .._model.server_request import DataDisk, Nic, ServerRequest
from .._model.servers import Server
from . import server_resize
from .ports import Port, PortRequest
from .rollback import Rollback
from .server_create import nic_metadata, port_requests
from .site import Site, step
from .volumes import Volume, VolumeRequest, create_volume, delete_volume


@dataclass(frozen=True)
class Change:
    """What becomes of one server.

    :param told: the metadata as they will be, without the disks to come.
    :param disks: data disks to be added.
    :param resize: None where the size stays.
    """

    server: Server
    request: ServerRequest
    told: metadata.ServerMetadata
    disks: tuple[DataDisk, ...]
    resize: Resize | None
    steps: tuple[Step, ...]


def wanted_ports(site: Site, server: Server, request: ServerRequest) -> list[PortRequest]:
    """The ports that the request says something about."""
    if request.nics is not None:
        return port_requests(site.scope, request)
    if request.eip is None or not server.metadata.nics:
        return []
    first = server.metadata.nics[0]
    return port_requests(site.scope, replace(request, nics=(Nic(subnet=first.subnet, vpc=first.vpc or None),)))


def plan(site: Site, server: Server, xml: str, request: ServerRequest, ports: Mapping[str, Port]) -> Change:
    """Compare a server with what is asked, its ports as they will be.

    Steps of the ports themselves are the ports' plan's.

    :param xml: the server's definition.
    """
    told, before, after = update(server.metadata, request)
    told = replace(told, nics=tuple(nic_metadata(ports[nic.id]) if nic.id in ports else nic for nic in told.nics))
    steps = [Step("update", "server", request.name, before, after)] if after else []
    resize = resizing.plan(told.flavor, server.domain.size, request)
    if resize:
        refuse(server.metadata, "its size stays as it is")
        resize = server_resize.bind(site, server, resize)
        server_resize.check(site, server, xml, resize)
        told = replace(told, flavor=resize.flavor, threads_per_core=resize.size.threads)
        steps.append(Step("resize", "server", request.name, resize.before, resize.after))
    disks = new_disks(server, site.scope, request)
    steps += [Step("attach", "volume", f"{request.name}-{disk.name}", after={"size": disk.size, "server": request.name}) for disk in disks]
    return Change(server, request, told, tuple(disks), resize, tuple(steps))


def _attach_disk(
    site: Site, change: Change, domain: Any, disk: DataDisk, target: str, live: Mapping[str, Volume], rollback: Rollback
) -> str:
    name = f"{change.request.name}-{disk.name}"
    volume_id = site.scope.id("volume", name)
    with step(site, change.request.name, "volume", disk.name):
        volume = live.get(volume_id)
        if volume is None:
            request = VolumeRequest(name, size=disk.size, type=disk.type)
            volume = create_volume(site.pools(), site.host, site.scope, request)
            rollback.add("volume", name, partial(delete_volume, site.connection, volume))
        device = domain_xml.DiskDevice(volume.path, volume.format, target, names.disk_serial(volume_id))
        text = ET.tostring(domain_xml.disk_element(device), encoding="unicode")
        attach(domain, text, domain.isActive())
        rollback.add("attachment", name, lambda: detach(domain, text, domain.isActive()))
    return volume_id


def apply(site: Site, change: Change, live: Live, volumes: Mapping[str, Volume], rollback: Rollback) -> list[str]:
    """Make the change; returns warnings."""
    server, told, warnings = change.server, change.told, []
    if change.resize:
        with step(site, change.request.name, "domain"):
            warnings = server_resize.apply(site, change.request.name, live.domain, change.resize, rollback)
    targets = [device.target for device in server.domain.disks]
    added = []
    for disk in change.disks:
        targets.append(domain_xml.next_target(targets))
        volume_id = _attach_disk(site, change, live.domain, disk, targets[-1], volumes, rollback)
        added.append(
            metadata.Disk(
                id=volume_id,
                name=f"{change.request.name}-{disk.name}",
                size=disk.size,
                type=disk.type or site.host.default_pool,
                mount=disk.mount or "",
                filesystem=disk.filesystem or "",
            )
        )
    told = replace(told, disks=(*told.disks, *added))
    if told != server.metadata:
        remember(live.domain, told)
    old = server.metadata
    if (told.display_name, told.description) != (old.display_name, old.description):
        set_texts(live.domain, told.display_name or told.name, told.description, live.domain.isActive())
    return warnings


def remember(domain: Any, told: metadata.ServerMetadata) -> None:
    """Write a server's metadata into its domain."""
    set_metadata(domain, metadata.build(told), metadata.PREFIX, metadata.NAMESPACE, domain.isActive())


def settle_in_zone(domain: Any, xml: str, az: str) -> None:
    """Let a server that has come to another host remember the zone of that.

    :param xml: its definition.
    """
    told = metadata.parse(xml)
    if told is not None and told.az != az:
        remember(domain, replace(told, az=az))
