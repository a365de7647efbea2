# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The processors and huge pages of a host, given to the servers whose flavors ask for their own."""

from __future__ import annotations

import functools
from typing import Any

from .._engines.host import Host
from .._engines.libvirt_client import free_pages, read_domains
from .._model import domain_xml, flavor_specs, pinning
from .._model.cpu import Cores
from .._model.errors import EcsError, InvalidInput
from .._model.pinning import HostCpus, Tuning


class Processors:
    """What is taken and free; looked at once in a call, and then kept as servers take theirs."""

    def __init__(self, connection: Any, host: Host) -> None:
        self._connection = connection
        self._settings = host

    @functools.cached_property
    def _host(self) -> HostCpus:
        topology = pinning.parse_topology(self._connection.getCapabilities())
        return HostCpus(self._settings.name, topology, pinning.parse_cpus(pinning.DEDICATED, self._settings.dedicated_cpus))

    @functools.cached_property
    def _used(self) -> dict[str, frozenset[int]]:
        domains = {uuid: domain_xml.parse(live.xml) for uuid, live in read_domains(self._connection).items()}
        return {uuid: self._occupied(domain.pins, domain.size.share > 1) for uuid, domain in domains.items()}

    def _occupied(self, pins: tuple[int, ...], alone: bool) -> frozenset[int]:
        return frozenset(pinning.occupied(pins, alone, self._host.all))

    def claim(self, server_id: str, name: str, flavor: str, cores: Cores, alone: bool, memory: int) -> Tuning:
        """What a server is bound to, and has from now on; what it had until now is free.

        :param alone: whether hyper-threading is off.
        :param memory: MiB.
        :raises EcsError: ECS_NO_CAPACITY when its flavor asks for more than is free.
        """
        specs = flavor_specs.of(flavor, self._settings.flavor_specs)
        if specs == flavor_specs.Specs() and not self._settings.dedicated_cpus:
            return Tuning()
        taken = frozenset[int]().union(*(cpus for uuid, cpus in self._used.items() if uuid != server_id))
        tuning = pinning.choose(name, specs, cores, alone, self._host, taken)
        self._used[server_id] = self._occupied(tuning.pins, alone)
        self._check_pages(name, tuning, memory)
        return tuning

    def _check_pages(self, name: str, tuning: Tuning, memory: int) -> None:
        if not tuning.page:
            return
        if memory * 1024 % (tuning.page * max(1, len(tuning.nodes))):
            hint = "Choose a flavor whose memory is a multiple of them, on each of its nodes"
            raise InvalidInput("memory", memory, f"of server {name} is not made of pages of {tuning.page >> 10} MiB", hint)
        free = free_pages(self._connection, tuning.page, sorted({cpu.node for cpu in self._host.all}))
        pages = sum(count for node, count in free.items() if not tuning.nodes or node in tuning.nodes)
        if free and pages * tuning.page < memory * 1024:
            raise EcsError(
                f"server {name}: its flavor needs {memory} MiB in pages of {tuning.page >> 10} MiB, host {self._settings.name} has "
                f"{pages * tuning.page >> 10} MiB of them free",
                "ECS_NO_CAPACITY",
                "Choose another host, or set more of them aside (kernel parameters hugepagesz and hugepages)",
            )
