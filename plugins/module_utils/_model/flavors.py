# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Flavors: a name such as ``s7n.medium.2`` says vCPUs and memory (spec F2, B15, appendix B)."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

from .errors import InvalidInput

_FLAVOR = re.compile(r"[a-z]+[0-9]+[a-z]*\.(?P<size>small|medium|large|(?P<factor>[0-9]*)xlarge)\.(?P<ratio>[0-9]+)", re.IGNORECASE)
_VCPUS = {"small": 1, "medium": 1, "large": 2}
_GRAMMAR = (
    "Write family and generation, size, GiB of memory a vCPU, as in s7n.medium.2 (1 vCPU, 2 GiB) or c7.2xlarge.4 (8 vCPUs, 32 GiB); "
    "sizes are small, medium, large, xlarge, 2xlarge ...; 05 means 0.5"
)
MINIMUM_MEMORY = 64
CATALOGUE = (
    "s7n.small.05", "s7n.small.1", "s7n.medium.2", "s7n.medium.4", "s7n.large.025", "s7n.large.2",
    "c7n.large.2", "c7n.large.4", "c7n.xlarge.2", "c7n.xlarge.4", "c7n.2xlarge.2", "c7n.2xlarge.4", "c7n.3xlarge.2",
)  # fmt: skip
"""What is shown to who names no flavors (spec F3, F4); every other name of the grammar is a flavor just as well."""


@dataclass(frozen=True)
class Flavor:
    """The size of a server; *name* is empty where vCPUs and memory were given, *memory* in MiB."""

    name: str
    vcpus: int
    memory: int

    @property
    def arch(self) -> str | None:
        """The architecture that the name tells: kc1 and its like are Arm's (spec F1); the other names may be used for any."""
        return "aarch64" if re.match(r"k[a-z]+[0-9]", self.name) else None

    def __str__(self) -> str:
        return f"flavor {self.name}" if self.name else f"{self.vcpus} vCPUs and {self.memory} MiB"


@functools.lru_cache(maxsize=1024)
def parse(name: str) -> Flavor:
    """The flavor of that name, in any case.

    :raises InvalidInput: when the name does not follow the grammar.
    """
    match = _FLAVOR.fullmatch(name)
    if match is None:
        raise InvalidInput("flavor", name, "is not a flavor name", _GRAMMAR)
    size, ratio = match["size"].lower(), match["ratio"]
    vcpus = _VCPUS.get(size) or 4 * int(match["factor"] or 1)
    gib = Fraction(int(ratio), 10 ** (len(ratio) - 1)) if ratio.startswith("0") else Fraction(int(ratio))
    memory = int(vcpus * gib * 1024)
    if not vcpus or not memory:
        raise InvalidInput("flavor", name, "has no vCPU or no memory", _GRAMMAR)
    return Flavor(name.lower(), vcpus, memory)


def latest(flavors: Iterable[Flavor]) -> list[Flavor]:
    """Those of the highest generation in their family (spec F7): of s6, s7 and s7n, which are of family s, the last two."""
    flavors = list(flavors)
    kinds = {flavor: re.match(r"([a-z]+)([0-9]+)", flavor.name) for flavor in flavors}
    parts = {flavor: (kind[1], int(kind[2])) for flavor, kind in kinds.items() if kind}
    newest = {family: max(number for other, number in parts.values() if other == family) for family, _number in parts.values()}
    return [flavor for flavor in flavors if newest[parts[flavor][0]] == parts[flavor][1]]


def resolve(flavor: str | None, vcpus: int | None, memory: int | None) -> Flavor | None:
    """The size that a user asked for, by flavor or by *vcpus* and *memory* (MiB); None when nothing was said.

    Both at once are fine as long as they agree, so that what a module returned can be given back to it.

    :raises InvalidInput: when they contradict each other, one is missing or too small.
    """
    if flavor:
        named = parse(flavor)
        for option, value, meant in (("vcpus", vcpus, named.vcpus), ("memory", memory, named.memory)):
            if value is not None and value != meant:
                raise InvalidInput(option, value, f"contradicts flavor {flavor} ({meant})", "Give the flavor, or vcpus and memory")
        return named
    if vcpus is None and memory is None:
        return None
    if vcpus is None or memory is None:
        option, value = ("vcpus", vcpus) if memory is None else ("memory", memory)
        raise InvalidInput(option, value, "is half of a size", "Give vcpus and memory together, or a flavor")
    if vcpus < 1:
        raise InvalidInput("vcpus", vcpus, "is too small", "Give at least 1")
    if memory < MINIMUM_MEMORY:
        raise InvalidInput("memory", memory, "is too small", f"Give at least {MINIMUM_MEMORY} (MiB)")
    return Flavor("", vcpus, memory)
