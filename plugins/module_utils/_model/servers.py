# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server as users see it: one dictionary, the same in modules and in the inventory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from . import domain_xml, metadata, times
from .errors import EcsError
from .names import Scope, disk_serial
from .plan import changes
from .server_groups import membership
from .server_request import DataDisk, ServerRequest

# virDomainState to the words of spec appendix A.
_STATUS = {1: "running", 2: "running", 3: "paused", 4: "stopping", 5: "stopped", 6: "faulty", 7: "paused"}

STUCK = 1800
"""Seconds after which a server that is still between two states is taken to be stuck there (spec R9)."""


@dataclass(frozen=True)
class Server:
    """A live server: its domain, what the domain remembers, and where it runs."""

    domain: domain_xml.DomainFacts
    metadata: metadata.ServerMetadata
    state: int
    hypervisor: str

    @property
    def id(self) -> str:
        """The server's id, which is the domain's UUID."""
        return self.domain.uuid

    @property
    def active(self) -> bool:
        """Whether the domain has a process."""
        return self.state not in (0, 5, 6)

    @property
    def paused(self) -> bool:
        """Whether the domain has a process that stands still."""
        return self.state == 3

    @property
    def status(self) -> str:
        """The status in the guide's words, lower case (spec appendix A)."""
        task = self.domain.task
        if task is not None:
            return "faulty" if times.age(task.since) > STUCK else task.name
        return "creating" if self.metadata.creating else _STATUS.get(self.state, "unknown")

    @property
    def incomplete(self) -> bool:
        """Whether a run that was killed has left only a part of the server: it was making it, or removing it."""
        removing = self.domain.task is not None and self.domain.task.name == "deleting"
        return (self.metadata.creating or removing) and not self.active

    @property
    def interrupted(self) -> bool:
        """Whether a run that was killed has left the server off that it would have started."""
        return self.domain.task is not None and self.domain.task.running and not self.active


def from_domain(xml: str, state: int, hypervisor: str) -> Server | None:
    """The server that a domain is; None where the domain is not ours.

    :param xml: the domain's XML.
    :param state: virDomainState.
    :param hypervisor: the host's name.
    """
    facts = domain_xml.parse(xml)
    return None if facts.metadata is None else Server(facts, facts.metadata, state, hypervisor)


def _disk(device: domain_xml.DiskDevice, known: Mapping[str, metadata.Disk]) -> dict[str, Any]:
    disk = known.get(device.serial)
    told: dict[str, Any] = {"serial": device.serial, "target": device.target}
    if disk is None:
        return {**told, "id": None, "name": None, "role": "system" if device.boot else "data", "size": None, "type": None}
    told |= {"id": disk.id, "name": disk.name, "role": disk.role, "size": disk.size, "type": disk.type}
    return told | {key: value for key in ("mount", "filesystem") if (value := getattr(disk, key))}


def represent(server: Server, eip: str | None = None) -> dict[str, Any]:
    """The server as modules return it and the inventory shows it.

    :param eip: public address, which only the Northbound knows.
    """
    told = server.metadata
    known = {disk_serial(disk.id): disk for disk in told.disks}
    return {
        "id": server.id,
        "name": told.name,
        "display_name": told.display_name or told.name,
        "project": told.project,
        "region": told.region,
        "az": told.az,
        "hypervisor": server.hypervisor,
        "status": server.status,
        "flavor": told.flavor or None,
        "vcpus": server.domain.vcpus,
        "memory": server.domain.memory,
        "max_vcpus": server.domain.size.max_vcpus,
        "max_memory": server.domain.size.max_memory,
        "architecture": server.domain.arch,
        "firmware": server.domain.firmware,
        "cpu_options": {"threads_per_core": server.domain.threads, "model": server.domain.cpu_model},
        "image": told.image,
        "image_id": told.image_id,
        "disks": [_disk(device, known) for device in server.domain.disks if not device.is_config_drive],
        "nics": [
            {
                "id": nic.id,
                "name": nic.name,
                "mac": nic.mac,
                "address": nic.address,
                "cidr": nic.cidr,
                "subnet": nic.subnet,
                "vpc": nic.vpc,
                "security_groups": list(nic.security_groups),
                "mtu": nic.mtu,
            }
            for nic in told.nics
        ],
        "address": told.nics[0].address if told.nics else None,
        "eip": eip,
        "key": told.key or None,
        "login": told.login or None,
        "user": told.user or None,
        "os_type": told.os_type or None,
        "timezone": told.timezone or None,
        "tags": dict(told.tags),
        "server_group": told.server_group or None,
        "server_group_policy": told.server_group_policy or None,
        "description": told.description,
        "deletion_protection": told.deletion_protection,
        "hostname": told.hostname,
        "created": told.created,
    }


def new_disks(server: Server, scope: Scope, request: ServerRequest) -> list[DataDisk]:
    """The data disks that the server does not have yet."""
    have = {disk.id for disk in server.metadata.disks}
    return [disk for disk in request.data_disks if scope.id("volume", f"{request.name}-{disk.name}") not in have]


def check_removal(server: Server, request: ServerRequest) -> None:
    """See that the server may be removed.

    :raises EcsError: ECS_PROTECTED when it is protected, and the request does not lift that (spec B1).
    """
    if server.metadata.deletion_protection and request.deletion_protection is not False:
        raise EcsError(
            f"server {server.metadata.name} (project {server.metadata.project}) is protected from deletion",
            "ECS_PROTECTED",
            "Set deletion_protection to false, in this call or in one before",
        )


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
        ("timezone", told.timezone or "the image's", request.timezone),
        ("root_disk", next((disk.size for disk in told.disks if disk.role == "system"), None), request.root_disk),
        ("nics", [nic.subnet for nic in told.nics], None if request.nics is None else [nic.subnet for nic in request.nics]),
        *(
            (f"data_disks[{disk.name}].size", sizes[f"{request.name}-{disk.name}"], disk.size)
            for disk in request.data_disks
            if f"{request.name}-{disk.name}" in sizes
        ),
    ]
    for option, is_now, wanted in asked:
        if wanted is not None and wanted != is_now:
            raise EcsError(
                f"server {told.name} (project {told.project}): {option} is {is_now} and cannot become {wanted}",
                "ECS_IMMUTABLE",
                "Leave the option as it is, or make the server anew: state absent, then present",
            )
    if request.user_data is not None and request.user_data_hash != told.user_data:
        raise EcsError(
            f"server {told.name} (project {told.project}): user_data differs from what it was created with, and it never changes",
            "ECS_IMMUTABLE",
            "Leave user_data as it was, or make the server anew: state absent, then present",
        )


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
            "server_group": group,
            "server_group_policy": policy,
            "disks": [(disk.name, disk.mount, disk.filesystem) for disk in disks],
        },
    )
    new = replace(told, disks=disks, **{name: value for name, value in after.items() if name != "disks"})
    return replace(new, display_name="" if new.display_name == told.name else new.display_name), before, after
