# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a flavor asks of a host beside vCPUs and memory, as the site has settled it for patterns of flavor names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from typing import Any

from .errors import InvalidInput

OPTION = "ecs_flavor_specs"
_PAGES = {"2M": 2048, "1G": 1 << 20}


@dataclass(frozen=True)
class Specs:
    """What is asked.

    :param dedicated_cpus: each vCPU has a processor of the host to itself.
    :param numa_nodes: NUMA nodes that processors and memory come from, and that the guest sees; 0 for whichever.
    :param hugepages: ``2M``, ``1G``, or empty.
    """

    dedicated_cpus: bool = False
    numa_nodes: int = 0
    hugepages: str = ""

    @property
    def page(self) -> int:
        """KiB of a page of the guest's memory; 0 for the host's usual ones."""
        return _PAGES.get(self.hugepages, 0)


def _read(pattern: str, told: Mapping[str, Any]) -> Specs:
    known = [item.name for item in fields(Specs)]
    for name in told:
        if name not in known:
            raise InvalidInput(f"{OPTION}[{pattern}]", name, "is not known", f"Use {', '.join(known)}")
    specs = Specs(**{**told, "numa_nodes": int(told.get("numa_nodes") or 0), "hugepages": str(told.get("hugepages") or "")})
    if specs.hugepages and not specs.page:
        raise InvalidInput(f"{OPTION}[{pattern}].hugepages", specs.hugepages, "is no size of a page", f"Use {' or '.join(_PAGES)}")
    if specs.numa_nodes < 0 or (specs.numa_nodes and not specs.dedicated_cpus):
        problem, hint = "goes with dedicated_cpus only", "Set dedicated_cpus as well"
        raise InvalidInput(f"{OPTION}[{pattern}].numa_nodes", specs.numa_nodes, problem, hint)
    return specs


def of(flavor: str, table: Mapping[str, Mapping[str, Any]]) -> Specs:
    """What a flavor asks: the longest of the patterns that match its name tells. A size without a name asks for nothing.

    :raises InvalidInput: when what was settled is wrong.
    """
    matching = [pattern for pattern in table if flavor and fnmatchcase(flavor, pattern.lower())]
    if not matching:
        return Specs()
    pattern = max(matching, key=lambda pattern: (len(pattern), pattern))
    return _read(pattern, table[pattern])
