# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Another system for a server: a reinstallation, or a change of the operating system (spec Q1, Q6, Q7)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from .errors import EcsError, InvalidInput
from .metadata import Disk, ServerMetadata
from .names import Scope
from .server_request import ServerRequest
from .servers import Server


@dataclass(frozen=True)
class System:
    """What a server's new system is made of.

    :param image_id: empty in check mode, when the image is not there yet.
    :param user_data: sha256.
    :param size: of its disk, GiB.
    """

    image: str
    image_id: str
    cloud_init: bool
    os_type: str
    login: str
    user: str
    hostname: str
    timezone: str
    user_data: str
    size: int


def volume_name(server: str, generation: int) -> str:
    """The name of a server's system disk; each generation has its own (spec Q6: the disk's id changes)."""
    return f"{server}-system" if generation == 1 else f"{server}-system-{generation}"


def system_disk(server: Server) -> Disk:
    """The disk that is to be replaced.

    :raises EcsError: when somebody has taken it away (spec Q2).
    """
    told = server.metadata
    disk = next((disk for disk in told.disks if disk.role == "system"), None)
    if disk is None or not any(device.boot for device in server.domain.disks):
        raise EcsError(f"server {told.name} (project {told.project}) has no system disk to replace", "ECS_INCOMPLETE", "Attach it first")
    return disk


def check_kept(server: Server, request: ServerRequest, architecture: str, firmware: str) -> None:
    """See that nothing is to change that another system cannot change (spec Q7).

    :param architecture: the image's; empty where it says nothing.
    :param firmware: likewise.
    """
    old, now = system_disk(server), server.domain
    for option, value, needed, is_now in (
        ("disk_type", request.disk_type, request.disk_type, old.type),
        ("image", request.image, architecture, now.arch),
        ("image", request.image, firmware, now.firmware),
    ):
        if needed and needed != is_now:
            raise InvalidInput(option, value, f"needs {needed}, server {request.name} has {is_now}", "A server keeps it; choose another")


def renewed(told: ServerMetadata, scope: Scope, system: System) -> ServerMetadata:
    """What is remembered of a server with its new system; the old disk is among it until somebody has seen the new one work."""
    generation = told.generation + 1
    name = volume_name(told.name, generation)
    old = next(disk for disk in told.disks if disk.role == "system")
    new = replace(old, id=scope.id("volume", name), name=name, size=system.size)
    others = [replace(disk, role="replaced") if disk == old else disk for disk in told.disks]
    return replace(
        told,
        image=system.image,
        image_id=system.image_id,
        cloud_init=system.cloud_init,
        os_type=system.os_type,
        login=system.login,
        user=system.user,
        hostname=system.hostname,
        timezone=system.timezone,
        user_data=system.user_data,
        generation=generation,
        disks=(new, *others),
    )


def finished(told: ServerMetadata) -> ServerMetadata:
    """The same once the old disk is gone."""
    return replace(told, creating=False, disks=tuple(disk for disk in told.disks if disk.role != "replaced"))
