# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Network interfaces: address, anti-spoofing, security groups and EIP of any number of ports in one transaction.

The order in a plan: what is wrong with the requests alone, then subnets and groups, then addresses, then EIPs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .._engines import ovsdb
from .._engines.ovsdb import Condition, Northbound
from .._model import addresses
from .._model import northbound as model
from .._model.errors import EcsError, InvalidInput, NotFound
from .._model.names import Scope, check_name, check_unique, mac_address
from .._model.northbound import Port, Subnet
from .._model.plan import Step
from .._model.rules import DEFAULT_GROUP
from . import security_groups
from .eips import EipPlanner, EipRequest, EipWish, Target
from .northbound import Draft, apply, owned

__all__ = [
    "EipRequest",
    "Port",
    "PortPlan",
    "PortRequest",
    "apply_ports",
    "commit_ports",
    "locate_ports",
    "plan_ports",
    "plan_removal",
    "read_ports",
    "remove_ports",
    "undo_ports",
]

_ADVISED_GROUPS = 5
# Up to here groups and EIPs are asked for each port; beyond it one read of what may hold them is cheaper.
_POINT_QUERIES = 20


@dataclass(frozen=True)
class PortRequest:
    """What a caller wants of one port; None leaves a field as it is, or lets it be chosen.

    :param vpc: needed where several VPCs have a subnet of that name.
    :param security_groups: all of the port's groups (spec S-17); a new port gets group ``default``; none at all closes it.
    :param port_security: whether only the port's own MAC and address may send; on for a new port.
    :param server_id: with *server* the server that uses the port.
    """

    name: str
    subnet: str
    vpc: str | None = None
    address: str | None = None
    mac: str | None = None
    security_groups: Sequence[str] | None = None
    port_security: bool | None = None
    server_id: str | None = None
    server: str | None = None
    eip: EipRequest | None = None

    def check(self) -> None:
        """Find what is wrong without looking anything up."""
        check_name("name", self.name)
        check_name("subnet", self.subnet)
        if self.address is not None:
            addresses.address("address", self.address)
        if self.mac is not None:
            addresses.mac("mac", self.mac)
        for group in self.security_groups or ():
            check_name("security_groups", group)
        if self.eip:
            self.eip.check("eip.")


@dataclass(frozen=True)
class PortPlan:
    """What a call will do.

    :param ports: the wanted ports as they will be, in the order of the requests.
    :param created: ids of ports that the plan makes.
    :param created_eips: ids of EIPs that the plan makes.
    """

    draft: Draft
    ports: list[Port]
    created: tuple[str, ...]
    created_eips: tuple[str, ...]
    scope: Scope
    wanted: tuple[PortRequest, ...]
    absent: tuple[str, ...]

    @property
    def steps(self) -> list[Step]:
        return self.draft.steps

    @property
    def warnings(self) -> list[str]:
        return self.draft.warnings


def plan_ports(nb: Northbound, scope: Scope, wanted: Sequence[PortRequest], absent: Sequence[str] = (), check: bool = False) -> PortPlan:
    """Read what is needed and plan all ports of a call.

    :param absent: names of ports to delete; their EIPs are unbound and stay allocated.
    :param check: check mode: a subnet, group or network that does not exist yet is a warning, and the port has no address.
    :raises EcsError: a request is wrong, names what does not exist, or asks for what is taken.
    """
    for request in wanted:
        request.check()
    check_unique("name", [*(request.name for request in wanted), *absent])
    check_unique("eip.name", [request.eip.name for request in wanted if request.eip])
    draft = Draft()
    planner = _Planner(nb, scope, draft, check)
    planner.remove([scope.id("port", name) for name in absent])
    ports = planner.ensure(wanted)
    draft.finish(nb)
    created = tuple(scope.id("port", step.name) for step in draft.steps if (step.action, step.kind) == ("create", "port"))
    eips = tuple(scope.id("eip", step.name) for step in draft.steps if (step.action, step.kind) == ("create", "eip"))
    return PortPlan(draft, ports, created, eips, scope, tuple(wanted), tuple(absent))


def apply_ports(nb: Northbound, plan: PortPlan) -> list[Port]:
    """Carry a plan out in one transaction; when another writer was faster it is planned anew.

    The ports are as they are now: an address may differ from the plan's after a lost race. Use :func:`commit_ports` to
    have the plan that took effect.
    """
    return commit_ports(nb, plan).ports


def commit_ports(nb: Northbound, plan: PortPlan) -> PortPlan:
    """As :func:`apply_ports`, and return the plan that took effect, for :func:`undo_ports`."""
    return apply(nb, lambda: plan_ports(nb, plan.scope, plan.wanted, plan.absent), lambda planned: planned.draft, first=plan)


def undo_ports(nb: Northbound, plan: PortPlan) -> None:
    """Take back the ports and EIPs that a plan made."""

    def removal() -> Draft:
        draft = Draft()
        planner = _Planner(nb, plan.scope, draft, check=False)
        planner.remove(plan.created, keep_bound=plan.created_eips)
        planner.eips.release(plan.created_eips)
        return draft.finish(nb)

    apply(nb, removal, lambda draft: draft)


def plan_removal(nb: Northbound, ids: Collection[str], release_eips: bool = False) -> Draft:
    """Plan the deletion of ports by id; ids that do not exist are fine.

    :param release_eips: give their EIPs back; otherwise they are unbound and stay allocated (spec E-03).
    """
    draft = Draft()
    planner = _Planner(nb, Scope(), draft, check=False)
    planner.remove(ids, release_eips)
    return draft.finish(nb)


def remove_ports(nb: Northbound, ids: Collection[str], release_eips: bool = False) -> list[Step]:
    """Delete ports in one transaction; see :func:`plan_removal`."""
    return apply(nb, lambda: plan_removal(nb, ids, release_eips), lambda draft: draft).steps


def locate_ports(nb: Northbound, ids: Collection[str], chassis: Sequence[str]) -> None:
    """Tell OVN on which chassis ports are, see :func:`model.on_chassis`."""
    operations = []
    for port_id, row in nb.find(model.PORT, ids, ["options"]).items():
        options = model.on_chassis(row["options"], chassis)
        if options != row["options"]:
            operations.append(ovsdb.update(model.PORT, [("_uuid", "==", port_id)], {"options": options}))
    if operations:
        nb.transact(operations)


def read_ports(
    nb: Northbound, scope: Scope | None = None, server_ids: Collection[str] | None = None, ids: Iterable[str] | None = None
) -> list[Port]:
    """Ports by name: those of a project, of servers, with the given ids, or all there are."""
    columns = ["external_ids", "port_security"]
    if ids is not None:
        rows = list(nb.find(model.PORT, ids, columns).values())
    elif server_ids is not None and len(server_ids) <= _POINT_QUERIES:
        where = [[("external_ids", "includes", {"ecs:kind": "port", "ecs:server_id": server})] for server in server_ids]
        rows = [row for found in nb.select_all((model.PORT, condition, columns) for condition in where) for row in found]
    else:
        everywhere: list[Condition] = [("external_ids", "includes", {"ecs:kind": "port"})]
        rows = nb.select(model.PORT, owned(scope, "port") if scope else everywhere, columns)
        if server_ids is not None:
            servers = set(server_ids)
            rows = [row for row in rows if row["external_ids"].get("ecs:server_id") in servers]
    return sorted(_assemble(nb, rows), key=lambda port: (port.project, port.name))


def _assemble(nb: Northbound, found: Iterable[Mapping[str, Any]]) -> list[Port]:
    rows = [row for row in found if row["external_ids"].get("ecs:kind") == "port"]
    subnets = _read_subnets(nb, {row["external_ids"]["ecs:subnet_id"] for row in rows})
    ids = [row["external_ids"]["ecs:id"] for row in rows]
    groups = _memberships(nb, ids)
    eips = _bound_eips(nb, ids, {row["external_ids"]["ecs:vpc_id"] for row in rows})
    ports = []
    for port_id, row in zip(ids, rows, strict=True):
        names = [name for name, group_id in groups[port_id]]
        ports.append(Port.read(row, subnets[row["external_ids"]["ecs:subnet_id"]], names, eips.get(port_id)))
    return ports


def _bound_eips(nb: Northbound, ids: Iterable[str], vpc_ids: Iterable[str]) -> dict[str, tuple[str, str]]:
    """The EIPs of ports as (address, name)."""
    nats = {model.nat_id(port_id): port_id for port_id in ids}
    wanted: Collection[str] = nats
    if len(nats) > _POINT_QUERIES:
        routers = nb.find(model.ROUTER, vpc_ids, ["nat"])
        wanted = [nat for row in routers.values() for nat in row["nat"] if nat in nats]
    found = nb.find(model.NAT, wanted, ["external_ids"])
    return {nats[uuid]: (row["external_ids"]["ecs:address"], row["external_ids"]["ecs:name"]) for uuid, row in found.items()}


def _read_subnets(nb: Northbound, ids: Iterable[str]) -> dict[str, Subnet]:
    found = nb.find(model.SWITCH, ids, ["external_ids"])
    return {uuid: Subnet.read(row) for uuid, row in found.items()}


def _memberships(nb: Northbound, ids: Sequence[str]) -> dict[str, list[tuple[str, str]]]:
    """The security groups of ports as (name, id), the base group left out: its member list is every port there is."""
    groups: dict[str, list[tuple[str, str]]] = defaultdict(list)
    if len(ids) <= _POINT_QUERIES:
        # The server compares sets faster than maps, and there is one group more than wanted at most.
        queries = ((model.GROUP, [("ports", "includes", [port_id])], ["external_ids"]) for port_id in ids)
        for port_id, found in zip(ids, nb.select_all(queries), strict=True):
            named = [row["external_ids"] for row in found if row["external_ids"].get("ecs:kind") == "security_group"]
            groups[port_id] += [(each["ecs:name"], each["ecs:id"]) for each in named]
        return groups
    wanted = set(ids)
    for row in nb.select(model.GROUP, [("external_ids", "includes", {"ecs:kind": "security_group"})], ["external_ids", "ports"]):
        for port_id in row["ports"] & wanted:
            groups[port_id].append((row["external_ids"]["ecs:name"], row["external_ids"]["ecs:id"]))
    return groups


class _Planner:
    """Plans the ports of one call."""

    def __init__(self, nb: Northbound, scope: Scope, draft: Draft, check: bool) -> None:
        self.nb, self.scope, self.draft, self.check = nb, scope, draft, check
        self.eips = EipPlanner(nb, scope, draft, check)
        self._pools: dict[str, addresses.Pool] = {}
        self._removed: set[str] = set()

    def remove(self, ids: Iterable[str], release_eips: bool = False, keep_bound: Collection[str] = ()) -> None:
        """Want these ports gone.

        :param keep_bound: ids of EIPs that are not unbound here, as the caller releases them.
        """
        ports = read_ports(self.nb, ids=ids)
        self._removed.update(port.id for port in ports)
        subnets = _read_subnets(self.nb, {port.subnet_id for port in ports if port.subnet_id})
        for port in ports:
            self.draft.drop(port.rows(subnets[port.subnet_id or ""]))
            self.draft.change("port", port.name, port, None)
        nats = self.nb.find(model.NAT, (model.nat_id(port.id) for port in ports), ["external_ids"])
        bound = [row["external_ids"]["ecs:id"] for row in nats.values()]
        if release_eips:
            self.eips.release(bound)
        else:
            self.eips.unbind(set(bound) - set(keep_bound))

    def ensure(self, requests: Sequence[PortRequest]) -> list[Port]:
        """Want these ports."""
        if not requests:
            return []
        self._ids = {request.name: self.scope.id("port", request.name) for request in requests}
        rows = self.nb.find(model.PORT, self._ids.values(), model.PORT_COLUMNS)
        self.draft.know(model.PORT, self._ids.values(), rows)
        live = {port.id: port for port in _assemble(self.nb, rows.values())}
        self._subnets = self._resolve(requests, live)
        groups = self._groups(requests, live)
        self._fill_pools(requests, live)
        ports = [self._port(request, live.get(self._ids[request.name])) for request in requests]
        for request, port in zip(requests, ports, strict=True):
            self._stage(request, port, live.get(port.id), groups)
        self._close(live)
        return self._bind(requests, ports, live)

    def _resolve(self, requests: Sequence[PortRequest], live: dict[str, Port]) -> dict[str, Subnet]:
        """The subnet of each request, by the request's name."""
        ids: dict[str, str] = {}
        unknown = {}
        for request in requests:
            port = live.get(self._ids[request.name])
            if request.vpc:
                ids[request.name] = self.scope.id("subnet", f"{request.vpc}/{request.subnet}")
            elif port and port.subnet == request.subnet and port.subnet_id:
                ids[request.name] = port.subnet_id
            else:
                unknown[request.name] = request.subnet
        wanted = set(unknown.values())
        of_name = ((model.SWITCH, owned(self.scope, "subnet", subnet), ["_uuid"]) for subnet in wanted)
        homes = {subnet: [row["_uuid"] for row in rows] for subnet, rows in zip(wanted, self.nb.select_all(of_name), strict=True)}
        for name, subnet in unknown.items():
            if len(homes[subnet]) > 1:
                vpcs = sorted(found.vpc for found in _read_subnets(self.nb, homes[subnet]).values())
                raise InvalidInput("subnet", subnet, f"is a subnet of several VPCs ({', '.join(vpcs)})", "Give the interface's vpc as well")
            if homes[subnet]:
                ids[name] = homes[subnet][0]
        subnets = _read_subnets(self.nb, set(ids.values()))
        found = {name: subnets[uuid] for name, uuid in ids.items() if uuid in subnets}
        for request in requests:
            if request.name not in found:
                self._missing(
                    "subnet", request.subnet, f"VPC {request.vpc}" if request.vpc else f"project {self.scope.project}", request.name
                )
        return found

    def _missing(self, kind: str, name: str, where: str, port: str) -> None:
        if not self.check:
            raise NotFound(
                kind, name, f"{where} (interface {port})", f"Create it first with module {'vpc' if kind == 'subnet' else 'security_group'}"
            )
        self.draft.warnings.append(f"interface {port}: {kind} {name} does not exist yet in {where}")

    def _groups(self, requests: Sequence[PortRequest], live: dict[str, Port]) -> dict[str, str]:
        """Ids of all groups that the call names; group ``default`` is made where a new port needs it (spec S-07)."""
        users: dict[str, str] = {}
        for request in requests:
            for name in self._wanted_groups(request, live) or ():
                users.setdefault(name, request.name)
            if len(request.security_groups or ()) > _ADVISED_GROUPS:
                count = len(request.security_groups or ())
                self.draft.warnings.append(
                    f"interface {request.name} has {count} security groups, more than {_ADVISED_GROUPS} are hard to follow"
                )
        missing = security_groups.missing_groups(self.nb, self.scope, users)
        for name in missing:
            if name == DEFAULT_GROUP:
                group = model.default_group(self.scope)
                self.draft.put("security_group", group.name, group.rows())
                self.draft.change("security_group", group.name, None, group)
            else:
                self._missing("security group", name, f"project {self.scope.project}", users[name])
        return {name: self.scope.id("security_group", name) for name in users if name == DEFAULT_GROUP or name not in missing}

    def _wanted_groups(self, request: PortRequest, live: dict[str, Port]) -> tuple[str, ...] | None:
        """All groups that the port is to have, sorted; None leaves a live port's as they are."""
        if request.security_groups is not None:
            return tuple(sorted(set(request.security_groups)))
        return None if self._ids[request.name] in live else (DEFAULT_GROUP,)

    def _fill_pools(self, requests: Sequence[PortRequest], live: dict[str, Port]) -> None:
        """The free addresses of each subnet that a request needs one of; commit only while nobody else took one."""
        needing: dict[str, Subnet] = {}
        for request in requests:
            port, subnet = live.get(self._ids[request.name]), self._subnets.get(request.name)
            if subnet and (port is None or request.address not in (None, port.address)):
                needing[subnet.id] = subnet
        switches = self.nb.find(model.SWITCH, needing, ["ports"])
        rows = self.nb.find(model.PORT, (port for row in switches.values() for port in row["ports"]), ["addresses", "external_ids"])
        for uuid, switch in switches.items():
            self.draft.guard(model.SWITCH, uuid, switch)
            subnet = needing[uuid]
            used = [item for port in switch["ports"] - self._removed if port in rows for item in model.addresses_of(rows[port])]
            gateway = addresses.address("gateway", subnet.gateway)
            self._pools[uuid] = addresses.subnet_pool(f"{subnet.vpc}/{subnet.name}", subnet.network, gateway, used)
        # Chosen addresses first: none of them may be handed out to a port that does not care.
        self._claimed = {}
        for request in requests:
            port, subnet = live.get(self._ids[request.name]), self._subnets.get(request.name)
            if subnet and request.address and (port is None or port.address != request.address):
                wanted = addresses.address("address", request.address, subnet.network)
                self._claimed[request.name] = str(self._pools[subnet.id].claim("address", wanted))

    def _port(self, request: PortRequest, current: Port | None) -> Port:
        subnet = self._subnets.get(request.name)
        if current and subnet and subnet.id != current.subnet_id:
            hint = "An interface cannot move: delete it and create it anew"
            raise InvalidInput("subnet", request.subnet, f"cannot replace {current.vpc}/{current.subnet} of interface {current.name}", hint)
        address = self._claimed.get(request.name) or (current.address if current else None)
        if address is None and subnet:
            address = str(self._pools[subnet.id].take())
        options: dict[str, Any] = {
            "address": address,
            "mac": addresses.mac("mac", request.mac) if request.mac else None,
            "security_groups": None if request.security_groups is None else tuple(sorted(set(request.security_groups))),
            "port_security": request.port_security,
            "server": request.server,
            "server_id": request.server_id,
        }
        given = {key: value for key, value in options.items() if value is not None}
        if current is None:
            return self._new(request, subnet, given)
        changed = {key: value for key, value in given.items() if value != getattr(current, key)}
        return replace(current, **changed) if changed else current

    def _new(self, request: PortRequest, subnet: Subnet | None, given: Mapping[str, Any]) -> Port:
        port_id = self._ids[request.name]
        defaults = {"mac": mac_address(port_id), "address": None, "security_groups": (DEFAULT_GROUP,), "port_security": True}
        return Port(
            id=port_id,
            name=request.name,
            region=self.scope.region,
            project=self.scope.project,
            cidr=subnet.cidr if subnet else None,
            gateway=subnet.gateway if subnet else None,
            dns=subnet.dns if subnet else (),
            mtu=subnet.mtu if subnet else None,
            subnet=request.subnet,
            subnet_id=subnet.id if subnet else None,
            vpc=subnet.vpc if subnet else request.vpc,
            vpc_id=subnet.vpc_id if subnet else None,
            dhcp=subnet.dhcp if subnet else True,
            **{**defaults, **given},
        )

    def _stage(self, request: PortRequest, port: Port, current: Port | None, groups: dict[str, str]) -> None:
        subnet = self._subnets.get(request.name)
        if subnet is None:
            return
        self.draft.put("port", port.name, port.rows(subnet))
        before = set(current.security_groups) if current else set()
        after = set(port.security_groups)
        for name in sorted(after - before):
            if name in groups:
                self.draft.link(model.GROUP, groups[name], "ports", [port.id])
        for name in sorted(before - after):
            self.draft.unlink(model.GROUP, self.scope.id("security_group", name), "ports", [port.id])
        if current is None:
            self.draft.link(model.GROUP, model.BASE_GROUP_ID, "ports", [port.id])

    def _close(self, live: dict[str, Port]) -> None:
        """The base group exists as it should, and every port is in it."""
        self.draft.put("security_group", model.BASE_GROUP, model.base_group_rows())
        if not live:
            if not self.nb.find(model.GROUP, [model.BASE_GROUP_ID], ["_uuid"]):
                self.draft.steps.append(Step("create", "security_group", model.BASE_GROUP, after={"ports": "closed by default"}))
            return
        where: list[Condition] = [("_uuid", "==", model.BASE_GROUP_ID), ("ports", "includes", list(live))]
        if not self.nb.select(model.GROUP, where, ["_uuid"]):
            members = self.nb.find(model.GROUP, [model.BASE_GROUP_ID], ["ports"]).get(model.BASE_GROUP_ID, {"ports": frozenset()})["ports"]
            for port in live.values():
                if port.id not in members:
                    self.draft.link(model.GROUP, model.BASE_GROUP_ID, "ports", [port.id])
                    self.draft.steps.append(Step("repair", "port", port.name, {"closed_by_default": False}, {"closed_by_default": True}))

    def _bind(self, requests: Sequence[PortRequest], ports: Sequence[Port], live: dict[str, Port]) -> list[Port]:
        """The EIPs of the call; a bound EIP also follows its port to another address or server."""
        wishes = {}
        for request, port in zip(requests, ports, strict=True):
            current = live.get(port.id)
            eip = request.eip
            moved = current and current.eip_name and (current.address, current.server) != (port.address, port.server)
            if eip is None and moved and current and current.eip_name:
                eip = EipRequest(current.eip_name)
            if eip:
                target = Target(port.name, port.id, port.address, port.vpc, port.vpc_id, port.server)
                wishes[port.id] = EipWish(eip, target)
        bound = dict(zip(wishes, self.eips.ensure(list(wishes.values())), strict=True))
        final = []
        for port in ports:
            done = replace(port, eip=bound[port.id].address, eip_name=bound[port.id].name) if port.id in bound else port
            self.draft.change("port", port.name, live.get(port.id), done)
            final.append(done)
        return final


@dataclass(frozen=True)
class InterfaceItem:
    """One entry of module network_interface."""

    request: PortRequest
    present: bool = True


def ensure(nb: Northbound, scope: Scope, items: Sequence[InterfaceItem], check: bool) -> PortPlan:
    """Make network interfaces as requested; one that a server uses is deleted with the server only."""
    wanted = [item.request for item in items if item.present]
    absent = [item.request.name for item in items if not item.present]
    for name in absent:
        check_name("name", name)
    used = [port for port in read_ports(nb, ids=[scope.id("port", name) for name in absent]) if port.server_id]
    if used:
        told = ", ".join(f"{port.name} (server {port.server})" for port in used)
        raise EcsError(f"network interfaces are in use: {told}", "ECS_IN_USE", "Detach them from the server, or delete the server")
    plan = plan_ports(nb, scope, wanted, absent, check)
    return plan if check else commit_ports(nb, plan)
