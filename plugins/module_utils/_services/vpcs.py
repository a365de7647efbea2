# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""VPCs and their subnets."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Network
from typing import Any

from .._engines import ovsdb
from .._engines.ovsdb import Northbound
from .._model import addresses
from .._model import northbound as model
from .._model.errors import EcsError, InvalidInput, NotFound
from .._model.names import Scope, check_name, check_unique
from .._model.northbound import Attachment, ExternalNetwork, Subnet, Vpc
from . import security_groups
from .northbound import Draft, apply, external_pool, list_networks, network_id, owned, read_networks, shorten

# RFC 791 and RFC 8200 of what any guest copes with; the upper end is the largest jumbo frame of common hardware.
MTU_RANGE = (576, 9216)


@dataclass(frozen=True)
class SubnetRequest:
    """What a user wants of one subnet; None leaves a field as it is."""

    name: str
    cidr: str | None = None
    gateway: str | None = None
    dns: tuple[str, ...] | None = None
    dhcp: bool | None = None
    mtu: int | None = None


@dataclass(frozen=True)
class VpcRequest:
    """What a user wants of one VPC; None leaves a field as it is.

    :param snat: external network that the VPC is attached to and by which its servers reach the outside; empty for none.
    :param external_network: external network that the VPC is attached to, for EIPs only; empty detaches.
    :param purge_subnets: delete subnets that are not listed.
    """

    name: str
    present: bool = True
    cidr: str | None = None
    snat: str | None = None
    external_network: str | None = None
    subnets: tuple[SubnetRequest, ...] | None = None
    purge_subnets: bool = False


def ensure(nb: Northbound, scope: Scope, requests: Sequence[VpcRequest], mtu: int, check: bool) -> tuple[Draft, list[Vpc]]:
    """Make all VPCs as requested, in one transaction; returns those that are to be present.

    :param mtu: bytes, for subnets that set none.
    """
    check_unique("name", [check_name("name", request.name) for request in requests])
    for request in requests:
        check_unique(f"subnets of {request.name}", [check_name("subnets.name", subnet.name) for subnet in request.subnets or ()])
        if request.snat and request.external_network and request.snat != request.external_network:
            hint = "A VPC has one external network; with snat set, external_network can be left out"
            raise InvalidInput("external_network", request.external_network, f"is not the network of snat ({request.snat})", hint)
    vpcs: list[Vpc] = []

    def plan() -> Draft:
        vpcs.clear()
        draft = Draft()
        ids = {request.name: scope.id("vpc", request.name) for request in requests}
        live = read_by_id(nb, ids.values())
        planner = _Planner(nb, scope, draft, mtu, check)
        planner.read([request for request in requests if request.present])
        for request in requests:
            current = live.get(ids[request.name])
            if request.present:
                vpcs.append(planner.ensure(request, current))
            elif current:
                planner.remove(current)
        if live and not vpcs:
            _tidy(nb, scope, draft, live.keys())
        return draft.finish(nb)

    return apply(nb, plan, lambda draft: draft, check), vpcs


@dataclass
class _Planner:
    """Plans the VPCs of one call."""

    nb: Northbound
    scope: Scope
    draft: Draft
    mtu: int
    check: bool

    def read(self, requests: Iterable[VpcRequest]) -> None:
        names = {name for request in requests for name in (request.snat, request.external_network) if name}
        self.networks = read_networks(self.nb, (network_id(self.scope.region, name) for name in names))
        self.pools: dict[str, addresses.Pool] = {}

    def ensure(self, request: VpcRequest, current: Vpc | None) -> Vpc:
        if current is None and not request.cidr:
            raise InvalidInput("cidr", request.cidr, f"is needed, VPC {request.name} is new", "Give for example cidr: 10.20.0.0/16")
        cidr = addresses.network("cidr", request.cidr or (current.cidr if current else ""))
        base = current or Vpc(self.scope.id("vpc", request.name), request.name, self.scope.region, self.scope.project, str(cidr), None, ())
        wanted = replace(base, cidr=str(cidr), subnets=self._subnets(request, base, cidr))
        wanted = replace(wanted, attachment=self._attachment(request, base))
        removed = {subnet.id for subnet in base.subnets} - {subnet.id for subnet in wanted.subnets}
        self._free([subnet for subnet in base.subnets if subnet.id in removed])
        if current:
            self._detach(current, wanted)
            self.draft.drop(current.rows())
        if wanted.attachment is None or wanted.attachment.address:
            self.draft.put("vpc", wanted.name, wanted.rows())
            for subnet in wanted.subnets:
                self.draft.put("subnet", f"{wanted.name}/{subnet.name}", subnet.rows())
        self._steps(current, wanted)
        return wanted

    def _steps(self, current: Vpc | None, wanted: Vpc) -> None:
        """A step for the VPC and one for each subnet."""
        self.draft.change("vpc", wanted.name, current and replace(current, subnets=()), replace(wanted, subnets=()))
        before = {subnet.name: subnet for subnet in current.subnets} if current else {}
        after = {subnet.name: subnet for subnet in wanted.subnets}
        for name in {**before, **after}:
            self.draft.change("subnet", f"{wanted.name}/{name}", before.get(name), after.get(name))

    def _subnets(self, request: VpcRequest, base: Vpc, vpc_cidr: IPv4Network) -> tuple[Subnet, ...]:
        live = {subnet.name: subnet for subnet in base.subnets}
        listed = {subnet.name: self._subnet(subnet, base, live.get(subnet.name), vpc_cidr) for subnet in request.subnets or ()}
        kept = {} if request.purge_subnets and request.subnets is not None else {name: live[name] for name in live.keys() - listed.keys()}
        wanted = {**kept, **listed}
        for name, subnet in kept.items():
            addresses.subnet(f"subnets[{name}].cidr", subnet.cidr, vpc_cidr)
        addresses.check_overlaps(f"subnets of {base.name}", [(name, subnet.network) for name, subnet in wanted.items()])
        return tuple(wanted[name] for name in sorted(wanted))

    def _subnet(self, request: SubnetRequest, vpc: Vpc, current: Subnet | None, vpc_cidr: IPv4Network) -> Subnet:
        option = f"subnets[{request.name}]"
        text = request.cidr or (current.cidr if current else None)
        if text is None:
            raise InvalidInput(f"{option}.cidr", None, "is needed, the subnet is new", f"Choose a part of {vpc_cidr}, at least /29")
        cidr = addresses.subnet(f"{option}.cidr", text, vpc_cidr)
        if current and cidr != current.network:
            hint = "Delete the subnet and create it anew, or make another one"
            raise InvalidInput(f"{option}.cidr", str(cidr), f"cannot replace {current.cidr}", hint)
        gateway = addresses.address(f"{option}.gateway", request.gateway, cidr) if request.gateway else None
        if gateway in (cidr.network_address, cidr.broadcast_address):
            problem = "is the network's or the broadcast address"
            raise InvalidInput(f"{option}.gateway", str(gateway), problem, "Leave it out for the first one")
        for server in request.dns or ():
            addresses.address(f"{option}.dns", server)
        if request.mtu is not None and not MTU_RANGE[0] <= request.mtu <= MTU_RANGE[1]:
            raise InvalidInput(f"{option}.mtu", request.mtu, "is out of range", f"Use {MTU_RANGE[0]} to {MTU_RANGE[1]} bytes")
        if current:
            given = {key: getattr(request, key) for key in ("dns", "dhcp", "mtu") if getattr(request, key) is not None}
            wanted = replace(current, gateway=str(gateway or current.gateway), **given)
            self._carry_over(current, wanted)
            return wanted
        return Subnet(
            id=self.scope.id("subnet", f"{vpc.name}/{request.name}"),
            name=request.name,
            vpc=vpc.name,
            vpc_id=vpc.id,
            region=self.scope.region,
            project=self.scope.project,
            cidr=str(cidr),
            gateway=str(gateway or addresses.default_gateway(cidr)),
            dns=request.dns or (),
            dhcp=request.dhcp is not False,
            mtu=request.mtu or self.mtu,
        )

    def _carry_over(self, current: Subnet, wanted: Subnet) -> None:
        """The ports of a subnet follow its DHCP; its gateway moves only to an address that no port has."""
        if wanted.dhcp and not current.dhcp:
            where = [("external_ids", "includes", {"ecs:kind": "port", "ecs:subnet_id": wanted.id})]
            self.draft.also(ovsdb.update(model.PORT, where, {"dhcpv4_options": wanted.dhcp_options_id}))
        if wanted.gateway != current.gateway:
            (switch,) = self.nb.find(model.SWITCH, [wanted.id], ["ports"]).values()
            self.draft.guard(model.SWITCH, wanted.id, {"ports": switch["ports"]})
            ports = self.nb.find(model.PORT, switch["ports"], ["addresses", "external_ids"])
            for uuid, row in ports.items():
                if wanted.gateway in map(str, model.addresses_of(row)):
                    problem = f"is the address of interface {row['external_ids'].get('ecs:name', uuid)}"
                    raise InvalidInput(f"subnets[{wanted.name}].gateway", wanted.gateway, problem, "Choose a free one")

    def _attachment(self, request: VpcRequest, base: Vpc) -> Attachment | None:
        current = base.attachment
        if request.snat is None and request.external_network is None:
            return current
        snat = bool(request.snat) if request.snat is not None else bool(current and current.snat)
        name = request.snat or (request.external_network if request.external_network is not None else current and current.network.name)
        if not name:
            return None
        if current and current.network.name == name:
            return replace(current, snat=snat)
        network = self.networks.get(network_id(self.scope.region, name))
        if network is None:
            return self._missing(name, snat)
        if network.id not in self.pools:
            self.pools[network.id] = external_pool(self.nb, self.draft, network)
        return Attachment(network, str(self.pools[network.id].take()), snat)

    def _missing(self, name: str, snat: bool) -> Attachment:
        known = ", ".join(network.name for network in list_networks(self.nb, self.scope.region)) or "none"
        if not self.check:
            hint = f"Create it with module external_network; known: {known}"
            raise NotFound("external network", name, f"region {self.scope.region}", hint)
        self.draft.warnings.append(f"external network {name} does not exist yet; known: {known}")
        network = ExternalNetwork(network_id(self.scope.region, name), name, self.scope.region, "", "", "", "", None, ())
        return Attachment(network, "", snat)

    def _detach(self, current: Vpc, wanted: Vpc) -> None:
        """Refuse to cut the external network under an EIP."""
        old, new = current.attachment, wanted.attachment
        if old is None or (new and new.network.id == old.network.id):
            return
        (router,) = self.nb.find(model.ROUTER, [current.id], ["nat"]).values()
        rows = self.nb.find(model.NAT, router["nat"], ["external_ids"]).values()
        eips = sorted(row["external_ids"]["ecs:name"] for row in rows if row["external_ids"].get("ecs:kind") == "eip")
        if eips:
            message = f"VPC {current.name} cannot leave external network {old.network.name}, EIPs are bound: {', '.join(eips)}"
            raise EcsError(message, "ECS_IN_USE", "Unbind them first")
        self.draft.guard(model.ROUTER, current.id, {"nat": router["nat"]})

    def _free(self, subnets: Sequence[Subnet]) -> None:
        """Refuse to delete subnets that hold ports; nobody may add one until they are gone."""
        names = {subnet.id: f"{subnet.vpc}/{subnet.name}" for subnet in subnets}
        switches = self.nb.find(model.SWITCH, names, ["ports"])
        homes: dict[str, str] = {}
        for subnet_id, row in switches.items():
            self.draft.guard(model.SWITCH, subnet_id, row)
            homes.update(
                dict.fromkeys(row["ports"] - {model.part_id(subnet_id, "switch-port"), model.metadata_port_id(subnet_id)}, names[subnet_id])
            )
        used: dict[str, list[str]] = defaultdict(list)
        for uuid, row in self.nb.find(model.PORT, homes, ["external_ids"]).items():
            used[homes[uuid]].append(row["external_ids"].get("ecs:name", uuid))
        if used:
            told = "; ".join(f"{name}: {shorten(ports)}" for name, ports in sorted(used.items()))
            message = f"subnets are in use by {sum(map(len, used.values()))} network interfaces ({told})"
            raise EcsError(message, "ECS_IN_USE", "Delete the servers and interfaces first")

    def remove(self, current: Vpc) -> None:
        self._free(current.subnets)
        for row in self.nb.find(model.ROUTER, [current.id], ["ports"]).values():
            self.draft.guard(model.ROUTER, current.id, row)
        self.draft.drop(current.rows())
        for subnet in current.subnets:
            self.draft.change("subnet", f"{current.name}/{subnet.name}", subnet, None)
        self.draft.change("vpc", current.name, replace(current, subnets=()), None)


def _tidy(nb: Northbound, scope: Scope, draft: Draft, gone: Collection[str]) -> None:
    """With a project's last VPC goes its group ``default``, with the last one of all the group that closes every port."""
    anywhere = [("external_ids", "includes", {"ecs:kind": "vpc"})]
    in_project, in_all = (count - len(gone) for count in nb.count((model.ROUTER, owned(scope, "vpc")), (model.ROUTER, anywhere)))
    if not in_project:
        security_groups.drop_default(nb, scope, draft)
    if not in_all:
        for uuid, row in nb.find(model.GROUP, [model.BASE_GROUP_ID], ["ports"]).items():
            draft.guard(model.GROUP, uuid, row)
            draft.drop(model.base_group_rows()[:1])


def read_by_id(nb: Northbound, ids: Iterable[str]) -> dict[str, Vpc]:
    """VPCs by id."""
    return _assemble(nb, nb.find(model.ROUTER, ids, ["ports", "external_ids"]))


def read_all(nb: Northbound, scope: Scope, name: str | None = None) -> list[Vpc]:
    """All VPCs of a project, by name; or only the one of that name."""
    if name is not None:
        return list(read_by_id(nb, [scope.id("vpc", name)]).values())
    rows = nb.select(model.ROUTER, owned(scope, "vpc"), ["_uuid", "ports", "external_ids"])
    return sorted(_assemble(nb, {row["_uuid"]: row for row in rows}).values(), key=lambda vpc: vpc.name)


def _assemble(nb: Northbound, routers: Mapping[str, Mapping[str, Any]]) -> dict[str, Vpc]:
    """Follow the routers' references: ports, then the subnets they lead to; three round trips whatever the number of VPCs."""
    ports = nb.find(model.ROUTER_PORT, (port for row in routers.values() for port in row["ports"]), ["external_ids"])
    subnet_ids = [row["external_ids"]["ecs:subnet_id"] for row in ports.values() if row["external_ids"].get("ecs:kind") == "router_port"]
    subnets: dict[str, list[Subnet]] = defaultdict(list)
    for row in nb.find(model.SWITCH, subnet_ids, ["external_ids"]).values():
        subnet = Subnet.read(row)
        subnets[subnet.vpc_id].append(subnet)
    attached = {row["external_ids"]["ecs:network_id"] for row in routers.values() if "ecs:network_id" in row["external_ids"]}
    networks = read_networks(nb, attached)
    return {uuid: Vpc.read(row, subnets[uuid], networks) for uuid, row in routers.items()}
