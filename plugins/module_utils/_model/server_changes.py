# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a request makes of a server that is there already: what it changes, and what it cannot."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from . import leases, metadata, preemption, times
from .cloud_init import CONFIG_2, NO_DRIVE
from .errors import EcsError
from .names import Scope
from .plan import changes
from .server_groups import membership
from .server_request import DataDisk, ServerRequest
from .servers import Server


def new_disks(server: Server, scope: Scope, request: ServerRequest) -> list[DataDisk]:
    """The data disks that the server does not have yet."""
    have = {disk.id for disk in server.metadata.disks}
    return [disk for disk in request.data_disks if scope.id("volume", f"{request.name}-{disk.name}") not in have]


def check_removal(server: Server, request: ServerRequest) -> None:
    """See that the server may be removed.

    :raises EcsError: ECS_PROTECTED when it is protected, and the request does not lift that (spec B1); ECS_RECLAIMING when it was told to
      go and its time has not come (spec B9).
    """
    told = server.metadata
    if told.reclaim_at and not leases.is_due(told.reclaim_at, times.now()):
        raise EcsError(
            f"server {told.name} (project {told.project}) is being reclaimed and cannot be deleted",
            "ECS_RECLAIMING",
            f"Its host removes it at {told.reclaim_at}; data disks and public address are kept",
        )
    if server.metadata.deletion_protection and request.deletion_protection is not False:
        raise EcsError(
            f"server {server.metadata.name} (project {server.metadata.project}) is protected from deletion",
            "ECS_PROTECTED",
            "Set deletion_protection to false, in this call or in one before",
        )


_OF_THE_SYSTEM = ("image", "hostname", "timezone", "root_disk")
_NEW_SYSTEM = "the system anew: state rebuilt, which loses the system disk and keeps addresses and data disks"


def check_change(server: Server, request: ServerRequest) -> None:
    """See that nothing is asked for that a server cannot change in its life.

    :raises EcsError: ECS_IMMUTABLE names the option, what is, and what was asked.
    """
    told, live, size = server.metadata, server.domain, request.size
    resized = size is not None and (size.vcpus, size.memory) != (live.vcpus, live.memory)
    sizes = {disk.name: disk.size for disk in told.disks}
    asked: list[tuple[str, Any, Any]] = [
        ("image", told.image, request.image),
        ("az", told.az, request.az),
        ("hostname", told.hostname, request.hostname),
        ("firmware", live.firmware, request.firmware),
        ("cpu_options.threads_per_core", live.threads, None if resized else request.cpu.threads_per_core),
        ("cpu_options.model", live.cpu_model, request.cpu.model),
        ("config_drive", told.config_drive != NO_DRIVE, request.config_drive),
        ("config_drive_format", told.config_drive or CONFIG_2, request.config_drive_format),
        ("timezone", told.timezone or "the image's", request.timezone),
        ("root_disk", next((disk.size for disk in told.disks if disk.role == "system"), None), request.root_disk),
        ("preemptible", told.preemptible, request.preemptible),
        ("nics", [nic.subnet for nic in told.nics], None if request.nics is None else [nic.subnet for nic in request.nics]),
        *(
            (f"data_disks[{disk.name}].size", sizes[f"{request.name}-{disk.name}"], disk.size)
            for disk in request.data_disks
            if f"{request.name}-{disk.name}" in sizes
        ),
    ]
    rebuilt = request.state == "rebuilt"
    _check_lease(told, request)
    for option, is_now, wanted in asked:
        if wanted is None or wanted == is_now or (rebuilt and option in _OF_THE_SYSTEM):
            continue
        raise EcsError(
            f"server {told.name} (project {told.project}): {option} is {is_now} and cannot become {wanted}",
            "ECS_IMMUTABLE",
            f"Leave it as it is, or make {_NEW_SYSTEM if option in _OF_THE_SYSTEM else 'the server anew: state absent, then present'}",
        )
    if request.user_data is not None and request.user_data_hash != told.user_data and not rebuilt:
        raise EcsError(
            f"server {told.name} (project {told.project}): user_data differs from what its system was made with, which keeps it",
            "ECS_IMMUTABLE",
            f"Leave it as it was, or make {_NEW_SYSTEM}",
        )


def _check_lease(told: metadata.ServerMetadata, request: ServerRequest) -> None:
    """See that a server's schedule and what it is preemptible by can become what is asked (spec D8, B8)."""
    deletion = request.scheduled_deletion
    if deletion and deletion.refused and deletion.at != told.scheduled_deletion:
        raise deletion.refused
    preemption.check_priority(told.name, told.preemptible, request.priority)
    if request.deletion_protection:
        preemption.refuse(told, "it cannot be protected from deletion")
    if request.state == "rebuilt" and request.image not in (None, told.image):
        preemption.refuse(told, f"image is {told.image} and cannot become {request.image}")


def is_due(told: metadata.ServerMetadata) -> bool:
    """Whether a server's time has come, by its schedule or by the notice that it was given."""
    now = times.now()
    return leases.is_due(told.scheduled_deletion, now) or leases.is_due(told.reclaim_at, now)


def update(told: metadata.ServerMetadata, request: ServerRequest) -> tuple[metadata.ServerMetadata, dict[str, Any], dict[str, Any]]:
    """The metadata as the request wants them, and the fields that change: before, after.

    A disk's mount and filesystem are kept for whoever prepares it in the guest.
    """
    wanted = {disk.name: disk for disk in request.data_disks}
    disks = tuple(
        replace(
            disk,
            mount=disk.mount if ask is None or ask.mount is None else ask.mount,
            filesystem=disk.filesystem if ask is None or ask.filesystem is None else ask.filesystem,
        )
        for disk in told.disks
        for ask in [wanted.get(disk.name.removeprefix(f"{request.name}-"))]
    )
    group, policy = membership(request.server_group, request.server_group_policy, (told.server_group, told.server_group_policy))
    live = {
        "display_name": told.display_name or told.name,
        "tags": dict(told.tags),
        "description": told.description,
        "key": told.key,
        "deletion_protection": told.deletion_protection,
        "scheduled_deletion": told.scheduled_deletion,
        "priority": told.priority,
        "server_group": told.server_group,
        "server_group_policy": told.server_group_policy,
        "disks": [(disk.name, disk.mount, disk.filesystem) for disk in told.disks],
    }
    before, after = changes(
        live,
        {
            "display_name": told.name if request.display_name == "" else request.display_name,
            "tags": None if request.tags is None else dict(request.tags),
            "description": request.description,
            "key": request.key,
            "deletion_protection": request.deletion_protection,
            "scheduled_deletion": request.scheduled_deletion and request.scheduled_deletion.at,
            "priority": request.priority,
            "server_group": group,
            "server_group_policy": policy,
            "disks": [(disk.name, disk.mount, disk.filesystem) for disk in disks],
        },
    )
    new = replace(told, disks=disks, **{name: value for name, value in after.items() if name != "disks"})
    return replace(new, display_name="" if new.display_name == told.name else new.display_name), before, after
