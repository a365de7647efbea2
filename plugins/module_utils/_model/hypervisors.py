# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hypervisors: how much each may give to servers, and which servers it takes at all.

Hypervisors are what module hypervisor_info returns; what it does not tell has its default.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any


def memory_limit(hypervisor: Mapping[str, Any]) -> int:
    """MiB that servers may have together on a host: what the host does not keep for itself, times the overcommit."""
    return int((hypervisor["memory"] - hypervisor.get("reserved_memory", 0)) * hypervisor.get("memory_overcommit", 1.0))


def vcpu_limit(hypervisor: Mapping[str, Any]) -> int:
    """vCPUs that servers may have together on a host."""
    return int(hypervisor["cpus"] * hypervisor.get("cpu_overcommit", 1.0))


def memory_free(hypervisor: Mapping[str, Any]) -> int:
    """MiB that are left; negative where the limit was lowered afterwards."""
    return memory_limit(hypervisor) - hypervisor.get("memory_allocated", 0)


def vcpus_free(hypervisor: Mapping[str, Any]) -> int:
    """vCPUs that are left; negative where the limit was lowered afterwards."""
    return vcpu_limit(hypervisor) - hypervisor.get("vcpus_allocated", 0)


def is_offered(flavor: str, patterns: Iterable[str]) -> bool:
    """Whether a host with these patterns of flavors takes one of that name; a size without a name is in no pattern."""
    patterns = tuple(patterns)
    return not patterns or any(fnmatchcase(flavor, pattern.lower()) for pattern in patterns)


@dataclass(frozen=True)
class Refusal:
    """Why a host takes no new server of a kind: *reason* follows the host's name."""

    reason: str
    code: str
    hint: str


def refusal(hypervisor: Mapping[str, Any], project: str, flavor: str, dedicated: bool | None) -> Refusal | None:
    """Why a host takes no new server of this project and flavor, however much room it has; None when it does.

    Nothing of it touches the servers that a host has.

    :param flavor: empty for a size without a name.
    :param dedicated: True for hosts dedicated to the project only (spec C3), False for the others only, None for both.
    """
    if hypervisor.get("maintenance"):
        return Refusal("is in maintenance", "ECS_MAINTENANCE", "Choose another host, or end its maintenance with module hypervisor")
    owners = hypervisor.get("dedicated_to") or ()
    if owners and project not in owners:
        return Refusal(
            f"is dedicated to {', '.join(owners)}", "ECS_DEDICATED", "Choose another host, or add the project to ecs_dedicated_to"
        )
    if dedicated is not None and dedicated is not bool(owners):
        reason = f"is not dedicated to {project}" if dedicated else f"is dedicated to {', '.join(owners)}, and dedicated is false"
        return Refusal(reason, "ECS_DEDICATED", "Choose another host, or leave option dedicated out")
    offered = hypervisor.get("flavors") or ()
    if not is_offered(flavor, offered):
        reason = f"offers flavors {', '.join(offered)} only"
        return Refusal(reason, "ECS_NOT_OFFERED", "Choose one of these flavors, another host, or widen ecs_flavors")
    return None
