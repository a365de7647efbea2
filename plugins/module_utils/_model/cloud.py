# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A whole cloud as YAML describes it: checked from end to end, and decided, before anything is touched."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import addresses, image_formats, placement, rules, server_request
from .errors import EcsError, InvalidInput, NotFound
from .names import check_name, check_unique

Items = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Cloud:
    """What a user wrote, or what exists: one list a kind, each item in the words of its module."""

    images: Items = ()
    keypairs: Items = ()
    security_groups: Items = ()
    vpcs: Items = ()
    external_networks: Items = ()
    network_interfaces: Items = ()
    servers: Items = ()
    volumes: Items = ()
    eips: Items = ()
    server_groups: Items = ()


def _unique(option: str, items: Items) -> None:
    names = [check_name(f"{option}.name", item.get("name") or "") for item in items]
    check_unique(f"{option}.name", names, "stands there twice")


def _refer(option: str, name: str, known: Iterable[str], kind: str, hint: str) -> None:
    names = sorted(set(known))
    if name not in names:
        raise NotFound(kind, name, f"the description or the cloud ({option})", f"{hint}; known: {', '.join(names) or 'none'}")


def _check_vpcs(vpcs: Items, external: Iterable[str]) -> None:
    for vpc in vpcs:
        cidr = addresses.network("vpcs.cidr", str(vpc.get("cidr") or ""))
        subnets = vpc.get("subnets") or []
        _unique("vpcs.subnets", subnets)
        addresses.check_overlaps(
            "vpcs.subnets.cidr",
            [(item["name"], addresses.subnet("vpcs.subnets.cidr", str(item.get("cidr") or ""), cidr)) for item in subnets],
        )
        if vpc.get("snat"):
            _refer("vpcs.snat", vpc["snat"], external, "external network", "Role network_control makes them")


def _check_groups(groups: Items, known: set[str]) -> None:
    for group in groups:
        option = f"security_groups[{group['name']}].rules"
        for rule in rules.parse_rules(group.get("rules") or [], group.get("default_egress") is not False, option):
            if rule.group:
                _refer(option, rule.group, known, "security group", "List it in security_groups")


def _check_nic(option: str, nic: Mapping[str, Any], vpcs: Mapping[str, Items], groups: set[str]) -> None:
    wanted, subnet = nic.get("vpc"), nic.get("subnet") or ""
    if wanted is not None:
        _refer(f"{option}.vpc", wanted, vpcs, "VPC", "List it in vpcs")
    found = [(vpc, item) for vpc, subnets in vpcs.items() if wanted in (None, vpc) for item in subnets if item["name"] == subnet]
    if not found:
        _refer(f"{option}.subnet", subnet, {item["name"] for items in vpcs.values() for item in items}, "subnet", "List it in vpcs")
        raise NotFound("subnet", subnet, f"VPC {wanted} ({option})")
    if len(found) > 1:
        names = ", ".join(sorted(vpc for vpc, _item in found))
        raise InvalidInput(f"{option}.subnet", subnet, f"is a subnet of several VPCs ({names})", "Give the interface's vpc as well")
    if nic.get("address"):
        addresses.address(f"{option}.address", nic["address"], addresses.network("cidr", found[0][1]["cidr"]))
    for group in nic.get("security_groups") or []:
        _refer(f"{option}.security_groups", group, groups, "security group", "List it in security_groups")


def check(cloud: Cloud, existing: Cloud) -> None:
    """Find what is wrong in a description, its references to what exists included.

    :raises EcsError: at the first fault, naming the option, the value and the way out.
    """
    named = ("images", "keypairs", "security_groups", "vpcs", "network_interfaces", "volumes", "eips", "server_groups")
    for option in named:
        _unique(option, getattr(cloud, option))
    for image in cloud.images:
        if image.get("checksum"):
            image_formats.parse_checksum(image["checksum"])
    for keypair in cloud.keypairs:
        if len(str(keypair.get("public_key") or "").split()) < 2:
            hint = "Paste the one line of the .pub file"
            raise InvalidInput(f"keypairs[{keypair['name']}].public_key", keypair.get("public_key"), "is not an OpenSSH public key", hint)
    external = {item["name"] for item in existing.external_networks}
    groups = {item["name"] for item in (*existing.security_groups, *cloud.security_groups)} | {rules.DEFAULT_GROUP}
    _check_vpcs(cloud.vpcs, external)
    _check_groups(cloud.security_groups, groups)
    vpcs = {item["name"]: item.get("subnets") or [] for item in (*existing.vpcs, *cloud.vpcs)}
    for interface in cloud.network_interfaces:
        _check_nic(f"network_interfaces[{interface['name']}]", interface, vpcs, groups)
    images = {item["name"] for item in (*existing.images, *cloud.images)}
    keys = {item["name"] for item in cloud.keypairs}
    for server in server_request.requests(cloud.servers):
        option = f"servers[{server.name}]"
        if server.image is not None:
            _refer(f"{option}.image", server.image, images, "image", "List it in images, or import it with module image")
        if server.key is not None:
            _refer(f"{option}.key", server.key, keys, "key pair", "List it in keypairs")
        for nic in server.nics or ():
            _check_nic(f"{option}.nics", vars(nic), vpcs, groups)
        if server.eip is not None and server.eip.network is not None:
            _refer(f"{option}.eip.network", server.eip.network, external, "external network", "Role network_control makes them")


def decide(
    cloud: Cloud,
    hypervisors: Mapping[str, Mapping[str, Any]],
    project: str,
    spread: bool,
    quotas: Mapping[str, int | None] | None = None,
) -> dict[str, Any]:
    """What each hypervisor has to hold.

    :param hypervisors: results of hypervisor_info by inventory name.
    :param quotas: see :func:`placement.place`.
    :returns: ``servers`` (every single one with its ``hypervisor``), by hypervisor ``placement`` (its servers in the words of
      module server, keys and server groups resolved) and ``volumes`` (its volumes in the words of module volume), ``reclaims`` (the
      preemptible servers that must go before) and ``warnings``.
    :raises EcsError: when a server fits nowhere.
    """
    hosts = [{**facts, "name": name} for name, facts in hypervisors.items()]
    decision = placement.place(cloud.servers, hosts, project, spread, cloud.server_groups, quotas)
    servers = decision.servers
    keys = {item["name"]: item["public_key"] for item in cloud.keypairs}
    placed: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for server in servers:
        if server["hypervisor"] is not None:
            wanted = {key: value for key, value in server.items() if key != "hypervisor"}
            if server.get("key"):
                wanted["public_keys"] = [keys[server["key"]]]
            placed[server["hypervisor"]].append(wanted)
    homes = {server["name"]: server["hypervisor"] for server in servers}
    for host in hosts:
        homes.update({item["name"]: host["name"] for item in host["servers"] if item["project"] == project})
    volumes: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    # Preemptible servers that there is no room for; their volumes wait for them.
    left_out = {server["name"] for server in servers if server["hypervisor"] is None and server.get("state") != "absent"}
    for volume in cloud.volumes:
        if volume.get("server") in left_out and not volume.get("hypervisor"):
            continue
        home = volume.get("hypervisor") or homes.get(volume.get("server") or "") or ""
        if home not in hypervisors:
            raise EcsError(
                f"volume {volume['name']}: there is no hypervisor to hold it",
                "ECS_NO_HYPERVISOR",
                f"Name its server, or as hypervisor one of {', '.join(sorted(hypervisors))}",
            )
        volumes[home].append({key: value for key, value in volume.items() if key != "hypervisor"})
    return {
        "servers": servers,
        "placement": dict(placed),
        "volumes": dict(volumes),
        "reclaims": decision.reclaims,
        "warnings": decision.warnings,
    }
