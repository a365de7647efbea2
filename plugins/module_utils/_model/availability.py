# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which flavors a project can still have, and which are sold out (spec F7): asked of the hosts, as placement asks them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .errors import InvalidInput
from .flavors import Flavor
from .host_pools import Pool, Pools


def _count(pool: Pool, flavor: Flavor) -> int:
    return sum(max(0, min(host.memory // flavor.memory, host.vcpus // flavor.vcpus)) for host in pool.hosts.values())


def availability(
    flavors: Iterable[Flavor],
    hypervisors: Sequence[Mapping[str, Any]],
    project: str,
    az: str | None = None,
    dedicated: bool | None = None,
) -> list[dict[str, Any]]:
    """Each flavor with the zones, how many servers of it fit there, and whether it is sold out.

    :param az: look at this zone only.
    :param dedicated: as option ``dedicated`` of a server.
    :raises InvalidInput: when the zone has no hypervisor.
    """
    pools = Pools(hypervisors, project, spread=True)
    if az is not None and az not in pools.zones:
        raise InvalidInput("az", az, "has no hypervisor", f"Choose one of {', '.join(pools.zones) or 'none'}")
    wanted = pools.has_dedicated if dedicated is None else dedicated
    told = []
    for flavor in flavors:
        counts = {zone: _count(pools.pool(zone, wanted, frozenset([flavor.name])), flavor) for zone in pools.zones if az in (None, zone)}
        told.append(
            {
                "name": flavor.name,
                "vcpus": flavor.vcpus,
                "memory": flavor.memory,
                "available": sum(counts.values()),
                "sold_out": not any(counts.values()),
                "zones": [{"az": zone, "available": count, "sold_out": not count} for zone, count in counts.items()],
            }
        )
    return told
