# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hypervisors: what a host has, what its servers take, and what is left."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .._engines import storage_pool
from .._engines.host import Host
from .._engines.libvirt_client import read_domains, read_machine
from .._model import domain_xml, metadata
from .._model.errors import EcsError
from .._model.flavors import Flavor
from .._model.hypervisors import memory_free, memory_limit, refusal, vcpu_limit, vcpus_free
from .._model.metadata import ServerMetadata
from .._model.preemption import Preemptible, make_room, preemptibles
from .._model.servers import Server
from .images import checksums

_GIB = 1 << 30


_SETTINGS = (
    "name", "az", "region", "kvm", "datapath", "reserved_memory", "cpu_overcommit", "memory_overcommit", "maintenance", "dedicated_to",
    "flavors", "flavor_specs", "dedicated_cpus", "address", "image_library", "config_drives", "console_logs", "default_pool",
    "shared_pools",
)  # fmt: skip


def _settings(host: Host) -> dict[str, Any]:
    """What is settled about the host and decides, or tells users, what it takes."""
    return {name: list(value) if isinstance(value, tuple) else value for name in _SETTINGS for value in [getattr(host, name)]}


def _pools(connection: Any) -> list[dict[str, Any]]:
    told = []
    for name, pool in sorted(storage_pool.pools(connection).items()):
        _state, capacity, _allocation, available = pool.info()
        kind = pool.XMLDesc().split("type=", 1)[1][1:].split("'", 1)[0]
        told.append({"name": name, "type": kind, "capacity": round(capacity / _GIB, 1), "available": round(available / _GIB, 1)})
    return told


def represent(connection: Any, host: Host) -> dict[str, Any]:
    """The host as placement needs it: memory in MiB, pools in GiB.

    Every domain counts, whether it runs or not and whether it is ours or not, so that whatever is defined can be started.
    """
    machine = read_machine(connection)
    states = [(domain_xml.parse(live.xml), live.state) for live in read_domains(connection).values()]
    domains = [domain for domain, _state in states]
    capacity = {
        **_settings(host),
        "cpus": machine.cpus,
        "memory": machine.memory,
        "vcpus_allocated": sum(domain.vcpus for domain in domains),
        "memory_allocated": sum(domain.memory for domain in domains),
    }
    return {
        **capacity,
        "vcpus_free": vcpus_free(capacity),
        "memory_free": memory_free(capacity),
        "pools": _pools(connection),
        "images": checksums(host.image_library),
        "servers": sorted(_servers(host, states), key=lambda server: (server["project"], server["name"])),
    }


def _servers(host: Host, states: Iterable[tuple[domain_xml.DomainFacts, int]]) -> list[dict[str, Any]]:
    """The servers among a host's domains, each with its state, as placement needs them."""
    return [_server(Server(domain, domain.metadata, state, host.name)) for domain, state in states if domain.metadata and state >= 0]


def _server(server: Server) -> dict[str, Any]:
    told = server.metadata
    return {
        "id": server.id,
        "name": told.name,
        "project": told.project,
        "vcpus": server.domain.vcpus,
        "memory": server.domain.memory,
        "flavor": told.flavor or None,
        "image_id": told.image_id or None,
        "disk_types": sorted({disk.type for disk in told.disks}),
        "bound": server.domain.bound,
        "status": server.status,
        "tags": dict(told.tags),
        "created": told.created,
        "server_group": told.server_group or None,
        "server_group_policy": told.server_group_policy or None,
        "preemptible": told.preemptible,
        "priority": told.priority if told.preemptible else None,
        "reclaim_at": told.reclaim_at or None,
    }


def check_admission(host: Host, project: str, name: str, size: Flavor, dedicated: bool | None) -> None:
    """See that this host takes a new server of that kind at all, or one that becomes of that kind.

    :raises EcsError: ECS_MAINTENANCE, ECS_DEDICATED, ECS_NOT_OFFERED.
    """
    if why := refusal(_settings(host), project, size.name, dedicated):
        raise EcsError(f"server {name}: host {host.name} {why.reason}", why.code, why.hint)


def check_server_groups(connection: Any, host: Host, wanted: Mapping[str, ServerMetadata], leaving: Collection[str]) -> None:
    """See that servers which become members of an anti-affinity group are the only ones of it here (spec R3).

    That is what one host can know; module placement, which sees all of them, keeps the other policies.

    :param wanted: new members by id, as they will be.
    :param leaving: ids of servers that the call removes.
    :raises EcsError: ECS_SERVER_GROUP.
    """
    apart = {uuid: told for uuid, told in wanted.items() if told.server_group_policy == "anti-affinity"}
    if not apart:
        return
    live = {uuid: told for uuid, domain in read_domains(connection).items() if uuid not in leaving and (told := metadata.parse(domain.xml))}
    here = {uuid: (told.region, told.project, told.server_group, told.name) for uuid, told in {**live, **wanted}.items()}
    for uuid, told in apart.items():
        group = (told.region, told.project, told.server_group)
        others = sorted(name for other, (*member, name) in here.items() if other != uuid and tuple(member) == group)
        if others:
            raise EcsError(
                f"server {told.name}: {others[0]}, of the same server group {told.server_group} (anti-affinity), is on {host.name} as well",
                "ECS_SERVER_GROUP",
                "Let module placement choose the hypervisors, or use policy soft-anti-affinity",
            )


@dataclass(frozen=True)
class Demand:
    """What a server will take that is created, or grows.

    :param size: all of it, with what it has already.
    """

    id: str
    name: str
    size: Flavor
    preemptible: bool = False


def demand_of(server: Server) -> Demand:
    """What a server takes on a host that it comes to as it is; nobody gives way to it."""
    told, domain = server.metadata, server.domain
    return Demand(server.id, told.name, Flavor(told.flavor, domain.vcpus, domain.memory), preemptible=True)


def check_capacity(connection: Any, host: Host, wanted: Collection[Demand]) -> list[Preemptible]:
    """See that servers that are to be created fit on this host, all together; what a domain of theirs takes already does not count.

    :returns: the preemptible servers that must go before, for others that find no room (spec B7).
    :raises EcsError: ECS_NO_CAPACITY names the first that does not fit.
    """
    if not wanted:
        return []
    machine = read_machine(connection)
    limits = {**_settings(host), "cpus": machine.cpus, "memory": machine.memory}
    mine = {demand.id for demand in wanted}
    others = [(domain_xml.parse(live.xml), live.state) for uuid, live in read_domains(connection).items() if uuid not in mine]
    memory = memory_limit(limits) - sum(domain.memory for domain, _state in others)
    vcpus = vcpu_limit(limits) - sum(domain.vcpus for domain, _state in others)
    # Preemptible servers take what the others leave.
    wanted = sorted(wanted, key=lambda demand: demand.preemptible)
    sizes = [demand.size for demand in wanted if not demand.preemptible]
    short = sum(size.vcpus for size in sizes) - vcpus, sum(size.memory for size in sizes) - memory
    going: list[Preemptible] = []
    if sizes and max(short) > 0:
        going = make_room(preemptibles(_servers(host, others)), *short) or []
    memory += sum(server.memory for server in going)
    vcpus += sum(server.vcpus for server in going)
    for demand in wanted:
        size = demand.size
        for needed, free, unit, option in ((size.memory, memory, "MiB", "memory"), (size.vcpus, vcpus, "vCPUs", "cpu")):
            if needed > free:
                raise EcsError(
                    f"server {demand.name}: {size} needs {needed} {unit}, host {host.name} has {max(free, 0)} {unit} free",
                    "ECS_NO_CAPACITY",
                    f"Choose another host or raise ecs_{option}_overcommit",
                )
        memory -= size.memory
        vcpus -= size.vcpus
    return going
