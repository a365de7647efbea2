# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Removing servers: the definition goes last, so that a run killed anywhere leaves a trace to go on from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .._engines import config_drive
from .._engines.libvirt_client import WAITING, Live, each, power_off, undefine
from .._model.plan import Step
from .._model.rebuild import volume_name
from .._model.servers import Server
from . import metadata_service
from .ports import plan_removal, remove_ports
from .server_create import remove_console_log
from .site import Site
from .volumes import delete_volume, read_volumes


def planned_steps(site: Site, servers: Sequence[Server], delete_data_disks: bool, delete_eip: bool) -> list[Step]:
    """What removing these servers takes away; data disks and public addresses stay unless asked otherwise (spec R12)."""
    ports = _ports(servers)
    steps = plan_removal(site.northbound(), ports, release_eips=delete_eip).steps if ports else []
    for server in servers:
        told = server.metadata
        steps += [
            Step("delete", "volume", disk.name, before={"size": disk.size})
            for disk in told.disks
            if disk.role != "data" or delete_data_disks
        ]
        steps.append(Step("delete", "server", told.name, before={"status": server.status, "flavor": told.flavor or None}))
    return steps


def _ports(servers: Sequence[Server]) -> list[str]:
    return [nic.id for server in servers for nic in server.metadata.nics]


def remove(site: Site, servers: Sequence[Server], live: Mapping[str, Live], delete_data_disks: bool, delete_eip: bool) -> None:
    """Remove servers with their ports, system disks, config drives and console logs.

    Data disks and public addresses are kept, detached and unbound, unless asked otherwise (spec R12).
    """
    each(lambda server: power_off(live[server.id].domain), servers, WAITING)
    ports = _ports(servers)
    if ports:
        remove_ports(site.northbound(), ports, release_eips=delete_eip)
    metadata_service.remove(site.host, [server.id for server in servers])
    volumes = {volume.id: volume for volume in read_volumes(site.connection, site.scope)}
    for server in servers:
        told = server.metadata
        doomed = [disk.id for disk in told.disks if disk.role != "data" or delete_data_disks]
        # What a run may have left that was killed while it made another system.
        begun = volumes.get(site.scope.id("volume", volume_name(told.name, told.generation + 1)))
        doomed += [begun.id] if begun and not begun.server else []
        for volume_id in doomed:
            if volume_id in volumes:
                delete_volume(site.connection, volumes[volume_id])
        config_drive.remove(site.host.config_drives, server.id)
        remove_console_log(site, server.domain.name)
        undefine(live[server.id].domain, server.domain.nvram)
