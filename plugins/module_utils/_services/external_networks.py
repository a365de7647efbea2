# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""External networks: shared by all projects of a region, where EIPs and VPC gateways take their addresses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .._engines import ovsdb
from .._engines.ovsdb import Northbound
from .._model import addresses
from .._model import northbound as model
from .._model.errors import EcsError, InvalidInput
from .._model.names import check_name, check_unique
from .._model.northbound import ExternalNetwork
from .northbound import Draft, apply, network_id, read_networks


@dataclass(frozen=True)
class ExternalNetworkRequest:
    """What a user wants of one external network; None leaves a field as it is.

    :param vlan: tag on the physical network; 0 removes it.
    """

    name: str
    present: bool = True
    physical_network: str | None = None
    cidr: str | None = None
    gateway: str | None = None
    allocation: str | None = None
    vlan: int | None = None
    gateway_chassis: tuple[str, ...] | None = None


def ensure(nb: Northbound, region: str, requests: Sequence[ExternalNetworkRequest], check: bool) -> tuple[Draft, list[ExternalNetwork]]:
    """Make all external networks as requested, in one transaction; returns those that are to be present."""
    check_unique("name", [check_name("name", request.name) for request in requests])
    networks: list[ExternalNetwork] = []

    def plan() -> Draft:
        networks.clear()
        draft = Draft()
        ids = {request.name: network_id(region, request.name) for request in requests}
        live = read_networks(nb, ids.values())
        for request in requests:
            current = live.get(ids[request.name])
            if request.present:
                wanted = _merge(region, request, current)
                networks.append(wanted)
                draft.put("external_network", wanted.name, wanted.rows())
                draft.change("external_network", wanted.name, current, wanted)
                if current:
                    _carry_over(nb, draft, current, wanted)
            elif current:
                _remove(nb, draft, current)
        return draft.finish(nb)

    return apply(nb, plan, lambda draft: draft, check), networks


def _merge(region: str, request: ExternalNetworkRequest, current: ExternalNetwork | None) -> ExternalNetwork:
    """The network as it shall be: what the user set over what is there, or over nothing."""
    if current is None:
        missing = [name for name in ("physical_network", "cidr", "gateway", "allocation", "gateway_chassis") if not getattr(request, name)]
        if missing:
            hint = "Give them all; gateway_chassis lists the hosts (OVN chassis) that reach the physical network"
            raise InvalidInput("name", request.name, f"is new, it needs {', '.join(missing)}", hint)
    given: Mapping[str, Any] = {key: value for key, value in vars(request).items() if key != "present" and value is not None}
    base = current or ExternalNetwork(network_id(region, request.name), request.name, region, "", "", "", "", None, ())
    wanted = replace(base, **given)
    within = addresses.network("cidr", wanted.cidr)
    if current and addresses.network("cidr", current.cidr) != within:
        hint = "Delete the network and create it anew, or make another one"
        raise InvalidInput("cidr", wanted.cidr, f"cannot replace {current.cidr} of external network {wanted.name}", hint)
    gateway = addresses.address("gateway", wanted.gateway, within)
    first, last = addresses.address_range("allocation", wanted.allocation, within)
    outside = {gateway, within.network_address, within.broadcast_address} if within.prefixlen < 31 else {gateway}
    clash = sorted(item for item in outside if first <= item <= last)
    if clash:
        hint = "The network's, its gateway's and the broadcast address cannot be allocated"
        raise InvalidInput("allocation", wanted.allocation, f"holds {clash[0]}", hint)
    if wanted.vlan is not None and not 0 <= wanted.vlan <= 4094:
        raise InvalidInput("vlan", wanted.vlan, "is out of range", "Use 1 to 4094, or 0 for untagged")
    chassis = tuple(dict.fromkeys(wanted.gateway_chassis))
    if not chassis:
        raise InvalidInput("gateway_chassis", [], "is empty", "List the hosts (OVN chassis) that reach the physical network")
    return replace(wanted, cidr=str(within), allocation=f"{first}-{last}", vlan=wanted.vlan or None, gateway_chassis=chassis)


def _carry_over(nb: Northbound, draft: Draft, current: ExternalNetwork, wanted: ExternalNetwork) -> None:
    """VPC gateways follow a network whose gateway or hosts change."""
    if current.gateway != wanted.gateway:
        where = [("external_ids", "includes", {"ecs:kind": "gateway", "ecs:network_id": wanted.id})]
        draft.also(ovsdb.update(model.ROUTE, where, {"nexthop": wanted.gateway}))
    if set(current.gateway_chassis) != set(wanted.gateway_chassis):
        for user in _users(nb, wanted.id):
            vpc_id = user["external_ids"].get("ecs:vpc_id")
            if user["external_ids"]["ecs:kind"] == "gateway":
                rows = model.gateway_chassis_rows(vpc_id, wanted.gateway_chassis)
                chassis = {"gateway_chassis": frozenset(row.uuid for row in rows)}
                port = model.Row(model.ROUTER_PORT, model.part_id(vpc_id, "router-port"), chassis)
                draft.put("external_network", wanted.name, [port, *rows])


def _remove(nb: Northbound, draft: Draft, current: ExternalNetwork) -> None:
    users = _users(nb, current.id)
    if users:
        eips = sorted(user["external_ids"]["ecs:name"] for user in users if user["external_ids"].get("ecs:kind") == "eip")
        vpcs = sorted(user["external_ids"]["ecs:vpc"] for user in users if user["external_ids"].get("ecs:kind") == "gateway")
        others = len(users) - len(eips) - len(vpcs)
        named = [("VPCs", vpcs), ("EIPs", eips), ("other ports", [str(others)] if others else [])]
        told = "; ".join(f"{kind} {', '.join(names)}" for kind, names in named if names)
        raise EcsError(f"external network {current.name} is in use by {told}", "ECS_IN_USE", "Release the EIPs and detach the VPCs first")
    draft.guard(model.SWITCH, current.id, {"ports": frozenset({model.part_id(current.id, "localnet")})})
    draft.drop(current.rows())
    draft.change("external_network", current.name, current, None)


def _users(nb: Northbound, uuid: str) -> list[dict[str, Any]]:
    """The ports of an external network other than its own."""
    (switch,) = nb.find(model.SWITCH, [uuid], ["ports"]).values()
    return list(nb.find(model.PORT, switch["ports"] - {model.part_id(uuid, "localnet")}, ["external_ids"]).values())
