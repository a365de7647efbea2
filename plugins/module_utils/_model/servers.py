# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server as users see it: one dictionary, the same in modules and in the inventory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from . import domain_xml, metadata, times
from .cloud_init import CONFIG_2, NO_DRIVE
from .names import disk_serial

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
        if self.metadata.reclaim_at:
            return "reclaiming"
        return "creating" if self.metadata.creating else _STATUS.get(self.state, "unknown")

    @property
    def incomplete(self) -> bool:
        """Whether a run that was killed has left only a part of the server: it was making it, or removing it."""
        removing = self.domain.task is not None and self.domain.task.name == "deleting"
        return (self.metadata.creating or removing) and not self.active

    @property
    def rebuilding(self) -> bool:
        """Whether the system disk that was replaced is still kept, as nobody has seen the new system work yet."""
        return any(disk.role == "replaced" for disk in self.metadata.disks)

    @property
    def moving(self) -> bool:
        """Whether a run that was killed has left the server between two hosts."""
        return self.domain.task is not None and self.domain.task.name == "migrating"

    @property
    def interrupted(self) -> bool:
        """Whether a run that was killed has left the server off that it would have started."""
        return self.domain.task is not None and self.domain.task.running and not self.active


def from_domain(xml: str, state: int, hypervisor: str) -> Server | None:
    """The server that a domain is; None where the domain is not ours, or still another host's.

    :param xml: the domain's XML.
    :param state: virDomainState, negative for one that is only on its way here.
    :param hypervisor: the host's name.
    """
    if state < 0:
        return None
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
        "config_drive": None if told.config_drive == NO_DRIVE else told.config_drive or CONFIG_2,
        "tags": dict(told.tags),
        "server_group": told.server_group or None,
        "server_group_policy": told.server_group_policy or None,
        "description": told.description,
        "deletion_protection": told.deletion_protection,
        "scheduled_deletion": told.scheduled_deletion or None,
        "preemptible": told.preemptible,
        "priority": told.priority if told.preemptible else None,
        "reclaim_at": told.reclaim_at or None,
        "hostname": told.hostname,
        "created": told.created,
    }
