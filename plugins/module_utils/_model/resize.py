# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Another size for a server that exists: what changes, and whether it may run meanwhile (spec Z1, Z4)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .domain_size import BLOCK, Size
from .errors import InvalidInput
from .pinning import Tuning
from .plan import changes
from .server_request import ServerRequest


@dataclass(frozen=True)
class Resize:
    """A server's new size.

    :param off: the option that only a server that is off can follow; empty where vCPUs and memory are added while it runs.
    :param tuning: what it will be bound to; None where it stays unbound, or as it is.
    :param before: the fields that change, as they are.
    :param after: and as they will be.
    """

    flavor: str
    size: Size
    off: str
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    tuning: Tuning | None = None


def _most(option: str, asked: int | None, wanted: int, now: int, most: int) -> int:
    """Up to what a server can grow; room that nobody speaks of stays, as far as the new size leaves any."""
    if asked is None:
        return max(wanted, most) if most > now else wanted
    if asked < wanted:
        raise InvalidInput(option, asked, f"is less than the {wanted} that the server has", "Give at least that")
    return asked


def _off(now: Size, wanted: Size) -> str:
    added = wanted.memory - now.memory
    needs = {
        "vcpus": wanted.vcpus < now.vcpus or wanted.vcpus > now.max_vcpus,
        "memory": added < 0 or added % BLOCK or (added and (wanted.memory > now.max_memory or not now.slots)),
        "threads_per_core": _fields("", wanted)["threads_per_core"] != _fields("", now)["threads_per_core"],
        "max_vcpus": wanted.max_vcpus != now.max_vcpus,
        "max_memory": wanted.max_memory != now.max_memory,
    }
    return next((option for option, off in needs.items() if off), "")


def plan(flavor: str, now: Size, request: ServerRequest) -> Resize | None:
    """Compare a server's size with the one that is asked for; None where they are the same.

    Threads of a core change together with the flavor only (spec HT1).

    :param flavor: its name, empty where vCPUs and memory were given.
    :raises InvalidInput: when there would be less room to grow than what the server has.
    """
    vcpus, memory, name = now.vcpus, now.memory, flavor
    if request.size is not None:
        vcpus, memory = request.size.vcpus, request.size.memory
        name = request.size.name or (flavor if (vcpus, memory) == (now.vcpus, now.memory) else "")
    changed = (vcpus, memory) != (now.vcpus, now.memory)
    wanted = Size(
        vcpus,
        memory,
        _most("max_vcpus", request.max_vcpus, vcpus, now.vcpus, now.max_vcpus),
        _most("max_memory", request.max_memory, memory, now.memory, now.max_memory),
        threads=(request.cpu.threads_per_core if changed else None) or now.threads,
    )
    before, after = changes(_fields(flavor, now), _fields(name, wanted))
    return Resize(name, wanted, _off(now, wanted), before, after) if after else None


def _fields(flavor: str, size: Size) -> dict[str, Any]:
    told = {name: getattr(size, name) for name in ("vcpus", "memory", "max_vcpus", "max_memory")}
    return told | {"flavor": flavor, "threads_per_core": size.threads or 2}
