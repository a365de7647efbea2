# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a server can move from one hypervisor to another, and how (spec R2, EV-3).

Hosts and their servers are what module hypervisor_info returns.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from .hypervisors import Refusal, refusal

LIVE, COLD = "live", "cold"
TASK = "migrating"
"""The status of a server that moves (spec appendix A)."""
_MOVABLE = {"running": LIVE, "paused": LIVE, "stopped": COLD}


def _different(what: str, there: object, here: object) -> Refusal:
    return Refusal(f"has {what} {there}, not {here}", "ECS_UNLIKE", "Choose a host that is like the one it is on")


def obstacle(
    server: Mapping[str, Any], source: Mapping[str, Any], destination: Mapping[str, Any], allow_az_change: bool = False
) -> Refusal | None:
    """Why a host cannot take a server from another one, however much room it has; None when it can."""
    if why := refusal(destination, server["project"], server.get("flavor") or "", None):
        return why
    if source["az"] != destination["az"] and not allow_az_change:
        return Refusal(f"is in zone {destination['az']}, not {source['az']}", "ECS_AZ", "Choose a host of its zone, or set allow_az_change")
    if not destination.get("address"):
        return Refusal("is not ready to take servers from others", "ECS_UNLIKE", "Run role hypervisor there")
    for what, key in (("region", "region"), ("datapath", "datapath"), ("its image library in", "image_library")):
        if source[key] != destination[key]:
            return _different(what, destination[key], source[key])
    if source["kvm"] and not destination["kvm"]:
        return Refusal("has no KVM", "ECS_UNLIKE", "Choose a host that is like the one it is on")
    pools = {pool["name"] for pool in destination["pools"]}
    if missing := sorted(set(server.get("disk_types") or ()) - pools):
        return Refusal(f"has no pool {', '.join(missing)}", "ECS_NO_POOL", "Choose a host with these disk types, or make the pool there")
    image = server.get("image_id") or ""
    return image_obstacle([image] if image in source["images"] else [], source, destination)


def image_obstacle(images: Iterable[str], source: Mapping[str, Any], destination: Mapping[str, Any]) -> Refusal | None:
    """Why disks that are made from images cannot move: they are written on top of them, and must find the same below them."""
    for image in images:
        here, there = source["images"].get(image), destination["images"].get(image)
        if there is None:
            hint = f"Import image {image} there as it is on {source['name']}: role image_library, or a run of the cloud that lists it"
            return Refusal(f"has not the image that its disk is made from ({image})", "ECS_NO_IMAGE", hint)
        if here != there:
            hint = "Choose another host: on that one the disk would be damaged"
            return Refusal(f"has made image {image} from another source ({there}, not {here})", "ECS_NO_IMAGE", hint)
    return None


def method(server: Mapping[str, Any]) -> str:
    """How a server moves that is as it is: live, cold, or not at all (empty) while something else happens to it."""
    return _MOVABLE.get(server["status"], "")


def needs_stop(server: Mapping[str, Any], source: Mapping[str, Any], destination: Mapping[str, Any]) -> str:
    """Why a server cannot move while it runs; empty when it can."""
    if source.get("dedicated_to") or destination.get("dedicated_to"):
        return "a server moves from and to dedicated hosts only while it is stopped"  # spec R2
    if server.get("bound"):
        return "it has processors, memory nodes or huge pages of its own, which it can only exchange while it is stopped"
    return ""


def parted(
    server: Mapping[str, Any], destination: str, hypervisors: Iterable[Mapping[str, Any]], moving: Collection[str]
) -> Refusal | None:
    """Why a server's group keeps it from a host (spec R3); None when it does not.

    :param moving: ids of the servers that move there in the same call.
    """
    group, policy = server.get("server_group"), server.get("server_group_policy")
    if not group or policy not in ("anti-affinity", "affinity"):
        return None
    others = [
        (one["name"], host["name"])
        for host in hypervisors
        for one in host["servers"]
        if one["id"] != server["id"] and (one["project"], one["server_group"]) == (server["project"], group) and one["id"] not in moving
    ]
    for name, home in sorted(others):
        if (home == destination) == (policy == "anti-affinity"):
            reason = f"{'has' if home == destination else 'has not'} {name} of its server group {group} ({policy})"
            return Refusal(reason, "ECS_SERVER_GROUP", f"Choose another host, or policy soft-{policy}")
    return None
