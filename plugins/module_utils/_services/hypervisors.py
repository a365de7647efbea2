# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hypervisors: what a host has, what its servers take, and what is left."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from .._engines.host import Host
from .._engines.libvirt_client import read_domains, read_machine
from .._model import domain_xml
from .._model.errors import EcsError
from .._model.flavors import Flavor
from .._model.placement import memory_limit, vcpu_limit

_GIB = 1 << 30


def _pools(connection: Any) -> list[dict[str, Any]]:
    told = []
    for pool in connection.listAllStoragePools():
        if not pool.isActive():
            continue
        _state, capacity, _allocation, available = pool.info()
        kind = pool.XMLDesc().split("type=", 1)[1][1:].split("'", 1)[0]
        told.append({"name": pool.name(), "type": kind, "capacity": round(capacity / _GIB, 1), "available": round(available / _GIB, 1)})
    return sorted(told, key=lambda pool: pool["name"])


def represent(connection: Any, host: Host) -> dict[str, Any]:
    """The host as placement needs it: memory in MiB, pools in GiB.

    Every domain counts, whether it runs or not and whether it is ours or not, so that whatever is defined can be started.
    """
    machine = read_machine(connection)
    domains = [domain_xml.parse(live.xml) for live in read_domains(connection).values()]
    return {
        "name": host.name,
        "az": host.az,
        "region": host.region,
        "kvm": host.kvm,
        "datapath": host.datapath,
        "cpus": machine.cpus,
        "memory": machine.memory,
        "reserved_memory": host.reserved_memory,
        "cpu_overcommit": host.cpu_overcommit,
        "memory_overcommit": host.memory_overcommit,
        "vcpus_allocated": sum(domain.vcpus for domain in domains),
        "memory_allocated": sum(domain.memory for domain in domains),
        "pools": _pools(connection),
        "servers": sorted(
            (
                {
                    "id": domain.uuid,
                    "name": domain.metadata.name,
                    "project": domain.metadata.project,
                    "vcpus": domain.vcpus,
                    "memory": domain.memory,
                }
                for domain in domains
                if domain.metadata
            ),
            key=lambda server: (server["project"], server["name"]),
        ),
    }


def check_capacity(connection: Any, host: Host, wanted: Collection[tuple[str, str, Flavor]]) -> None:
    """See that servers that are to be created fit on this host, all together.

    :param wanted: (id, name, size) of each; what a domain of that id takes already does not count.
    :raises EcsError: ECS_NO_CAPACITY names the first that does not fit.
    """
    if not wanted:
        return
    machine = read_machine(connection)
    settings = {
        "cpus": machine.cpus,
        "memory": machine.memory,
        "reserved_memory": host.reserved_memory,
        "memory_overcommit": host.memory_overcommit,
        "cpu_overcommit": host.cpu_overcommit,
    }
    mine = {server_id for server_id, _name, _size in wanted}
    others = [domain_xml.parse(live.xml) for uuid, live in read_domains(connection).items() if uuid not in mine]
    memory = memory_limit(settings) - sum(domain.memory for domain in others)
    vcpus = vcpu_limit(settings) - sum(domain.vcpus for domain in others)
    for _server_id, name, size in wanted:
        for needed, free, unit, option in ((size.memory, memory, "MiB", "memory"), (size.vcpus, vcpus, "vCPUs", "cpu")):
            if needed > free:
                raise EcsError(
                    f"server {name}: {size} needs {needed} {unit}, host {host.name} has {max(free, 0)} {unit} free",
                    "ECS_NO_CAPACITY",
                    f"Choose another host or raise ecs_{option}_overcommit",
                )
        memory -= size.memory
        vcpus -= size.vcpus
