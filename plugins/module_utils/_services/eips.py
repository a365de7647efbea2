# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""EIPs: public addresses, allocated from an external network and bound to network interfaces (spec E-01 to E-05)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from .._engines.ovsdb import Northbound
from .._model import addresses
from .._model import northbound as model
from .._model.errors import EcsError, InvalidInput, NotFound
from .._model.names import Scope, check_name, check_unique
from .._model.northbound import Eip, ExternalNetwork
from .northbound import Draft, apply, external_pool, list_networks, network_id, owned, read_networks

BANDWIDTH_RANGE = (1, 300)


@dataclass(frozen=True)
class EipRequest:
    """What a user wants of one EIP; None leaves a field as it is.

    :param network: external network to allocate from; by default the one of the interface's VPC, or the only one there is.
    :param bandwidth: Mbit/s, 1 to 300 (spec E-05).
    """

    name: str
    network: str | None = None
    address: str | None = None
    bandwidth: int | None = None

    def check(self, option: str) -> None:
        """Find what is wrong without looking anything up."""
        check_name(f"{option}name", self.name)
        low, high = BANDWIDTH_RANGE
        if self.bandwidth is not None and not low <= self.bandwidth <= high:
            raise InvalidInput(f"{option}bandwidth", self.bandwidth, "is out of range", f"Use {low} to {high} Mbit/s")
        if self.address is not None:
            addresses.address(f"{option}address", self.address)


@dataclass(frozen=True)
class Target:
    """The interface that an EIP is to be bound to."""

    port: str
    port_id: str
    address: str | None
    vpc: str | None
    vpc_id: str | None
    server: str | None


@dataclass(frozen=True)
class EipWish:
    """A request and where it is to be bound: a target, ``unbind``, or neither to leave it as it is."""

    request: EipRequest
    target: Target | None = None
    unbind: bool = False


@dataclass
class EipPlanner:
    """Plans the EIPs of one call into a draft that may hold more than them."""

    nb: Northbound
    scope: Scope
    draft: Draft
    check: bool
    _pools: dict[str, addresses.Pool] = field(default_factory=dict)
    _vpc_networks: dict[str, str | None] = field(default_factory=dict)
    _staged: dict[str, Eip] = field(default_factory=dict)

    def ensure(self, wishes: Sequence[EipWish]) -> list[Eip]:
        """Want these EIPs; unbinding comes first, so that a port freed by one may be taken by another of the same call."""
        ids = {wish.request.name: self.scope.id("eip", wish.request.name) for wish in wishes}
        live = self._read(ids.values())
        ports = [wish.target.port_id for wish in wishes if wish.target]
        nats = self.nb.find(model.NAT, map(model.nat_id, ports), ["external_ids"])
        self._bound = {row["external_ids"]["ecs:port_id"]: row["external_ids"] for row in nats.values()}
        self._read_routers({wish.target.vpc_id for wish in wishes if wish.target and wish.target.vpc_id})
        for wish in wishes:
            current = live.get(ids[wish.request.name])
            if wish.unbind and current and current.port_id:
                self._bound.pop(current.port_id, None)
        return [self._ensure(wish, live.get(ids[wish.request.name])) for wish in wishes]

    def _read_routers(self, vpc_ids: Iterable[str]) -> None:
        routers = self.nb.find(model.ROUTER, vpc_ids, ["external_ids"])
        self._vpc_networks.update((uuid, row["external_ids"].get("ecs:network_id")) for uuid, row in routers.items())

    def _ensure(self, wish: EipWish, current: Eip | None) -> Eip:
        request, target = wish.request, wish.target
        wanted = self._allocate(wish) if current is None else self._keep(request, current)
        if request.bandwidth is not None:
            wanted = replace(wanted, bandwidth=request.bandwidth)
        if wish.unbind:
            wanted = wanted.unbound()
        if target:
            wanted = self._bind(wanted, target)
        self._put(current, wanted)
        return wanted

    def _bind(self, eip: Eip, target: Target) -> Eip:
        if eip.port_id and eip.port_id != target.port_id:
            hint = 'Unbind it first (interface: ""), or use another EIP'
            raise EcsError(f"eip {eip.name} is bound to interface {eip.port}, it cannot be bound to {target.port}", "ECS_IN_USE", hint)
        other = self._bound.get(target.port_id)
        if other and other["ecs:id"] != eip.id:
            message = f"interface {target.port} has EIP {other['ecs:name']} ({other['ecs:address']}), it cannot have {eip.name} as well"
            raise EcsError(message, "ECS_IN_USE", f"Unbind {other['ecs:name']} first")
        self._bound[target.port_id] = {"ecs:id": eip.id, "ecs:name": eip.name, "ecs:address": eip.address or ""}
        attached = self._vpc_networks.get(target.vpc_id or "")
        if eip.network_id and attached != eip.network_id and not (self.check and target.vpc_id not in self._vpc_networks):
            message = (
                f"eip {eip.name} is of external network {eip.network}; VPC {target.vpc} of interface {target.port} is not attached to it"
            )
            hint = f"Set snat: {eip.network} (or external_network: {eip.network}) on VPC {target.vpc}"
            raise EcsError(message, "ECS_NOT_ATTACHED", hint)
        return replace(
            eip, port=target.port, port_id=target.port_id, vpc_id=target.vpc_id, private_address=target.address, server=target.server
        )

    def _keep(self, request: EipRequest, current: Eip) -> Eip:
        for option in ("network", "address"):
            wanted, have = getattr(request, option), getattr(current, option)
            if wanted is not None and wanted != have:
                hint = "Release it and allocate anew, or use another EIP"
                raise InvalidInput(option, wanted, f"cannot replace {have} of eip {current.name}", hint)
        return current

    def _allocate(self, wish: EipWish) -> Eip:
        request = wish.request
        network = self._network(wish)
        base = Eip(
            id=self.scope.id("eip", request.name),
            name=request.name,
            region=self.scope.region,
            project=self.scope.project,
            network=request.network or "",
            network_id=None,
            address=None,
            bandwidth=None,
        )
        if network is None:
            return base
        if network.id not in self._pools:
            self._pools[network.id] = external_pool(self.nb, self.draft, network)
        pool = self._pools[network.id]
        chosen = pool.claim("address", addresses.address("address", request.address)) if request.address else pool.take()
        return replace(base, network=network.name, network_id=network.id, address=str(chosen))

    def _network(self, wish: EipWish) -> ExternalNetwork | None:
        request, target = wish.request, wish.target
        wanted = network_id(self.scope.region, request.network) if request.network else None
        if wanted is None and target and target.vpc_id in self._vpc_networks:
            wanted = self._vpc_networks[target.vpc_id]
            if wanted is None:
                message = f"eip {request.name}: VPC {target.vpc} of interface {target.port} has no external network"
                raise EcsError(message, "ECS_NOT_ATTACHED", f"Set snat or external_network on VPC {target.vpc}")
        if wanted is not None:
            found = read_networks(self.nb, [wanted]).get(wanted)
            if found:
                return found
        known = list_networks(self.nb, self.scope.region)
        if wanted is None and len(known) == 1:
            return known[0]
        names = ", ".join(network.name for network in known) or "none"
        if self.check:
            self.draft.warnings.append(f"eip {request.name}: external network {request.network or ''} does not exist yet; known: {names}")
            return None
        if request.network:
            raise NotFound("external network", request.network, f"region {self.scope.region}", f"Known: {names}")
        raise InvalidInput("network", None, f"is needed for eip {request.name}", f"External networks: {names}")

    def release(self, ids: Iterable[str]) -> None:
        """Unbind and give back these EIPs; one that does not exist is fine."""
        for eip in self._read(ids).values():
            self.draft.drop(eip.rows())
            self.draft.change("eip", eip.name, eip, None)

    def unbind(self, ids: Iterable[str]) -> None:
        """Take these EIPs off their interfaces."""
        for eip in self._read(ids).values():
            self._put(eip, eip.unbound())

    def _put(self, current: Eip | None, wanted: Eip) -> None:
        if current:
            self.draft.drop(current.rows())
        if wanted.address:
            self.draft.put("eip", wanted.name, wanted.rows())
        self.draft.change("eip", wanted.name, current, wanted)
        self._staged[wanted.id] = wanted

    def _read(self, ids: Iterable[str]) -> dict[str, Eip]:
        """EIPs as this call has left them so far; it commits only while nobody else changes them, e.g. binds one."""
        wanted = set(ids)
        rows = self.nb.find(model.PORT, wanted - self._staged.keys(), ["external_ids"])
        for uuid, row in rows.items():
            self.draft.guard(model.PORT, uuid, row)
        live = {uuid: Eip.read(row) for uuid, row in rows.items()}
        return {**live, **{uuid: eip for uuid, eip in self._staged.items() if uuid in wanted}}


@dataclass(frozen=True)
class EipItem:
    """One entry of module eip.

    :param interface: name of the interface to bind to; empty unbinds, None leaves the binding as it is.
    :param server: bind to this server's first interface instead.
    """

    request: EipRequest
    present: bool = True
    interface: str | None = None
    server: str | None = None


def ensure(nb: Northbound, scope: Scope, items: Sequence[EipItem], check: bool) -> tuple[Draft, list[Eip]]:
    """Make all EIPs as requested, in one transaction; returns those that are to be present."""
    for item in items:
        item.request.check("")
        if item.interface is not None and item.server is not None:
            raise InvalidInput("server", item.server, f"and interface {item.interface!r} exclude each other", "Bind the EIP to one of them")
    check_unique("name", [item.request.name for item in items])
    check_unique("interface", [name for name in map(_interface, items) if name])
    eips: list[Eip] = []

    def plan() -> Draft:
        draft = Draft()
        planner = EipPlanner(nb, scope, draft, check)
        targets = _targets(nb, scope, [item for item in items if item.present], draft, check)
        planner.release(scope.id("eip", item.request.name) for item in items if not item.present)
        wishes = [
            EipWish(item.request, targets.get(_interface(item) or ""), unbind=_interface(item) == "") for item in items if item.present
        ]
        eips[:] = planner.ensure(wishes)
        return draft.finish(nb)

    return apply(nb, plan, lambda draft: draft, check), eips


def _interface(item: EipItem) -> str | None:
    """The interface's name; a server's first one is ``<server>-nic0``."""
    if item.server is not None:
        return f"{item.server}-nic0" if item.server else ""
    return item.interface


def _targets(nb: Northbound, scope: Scope, items: Iterable[EipItem], draft: Draft, check: bool) -> dict[str, Target]:
    ids = {scope.id("port", name): (name, item) for item in items if (name := _interface(item))}
    rows = nb.find(model.PORT, ids, ["external_ids"])
    targets = {}
    for uuid, (name, item) in ids.items():
        if uuid in rows:
            targets[name] = target_of(rows[uuid])
            draft.guard(model.PORT, uuid, rows[uuid])
        elif check:
            draft.warnings.append(f"eip {item.request.name}: interface {name} does not exist yet")
            targets[name] = Target(name, uuid, None, None, None, item.server)
        elif item.server:
            raise NotFound("server", item.server, f"project {scope.project}", "Create it first, or list the EIP in its own eip option")
        else:
            raise NotFound("network interface", name, f"project {scope.project}", "Create it first")
    return targets


def target_of(row: Mapping[str, Any]) -> Target:
    """A live port as a target."""
    ids = row["external_ids"]
    keys = ("name", "id", "address", "vpc", "vpc_id", "server")
    name, port_id, address, vpc, vpc_id, server = (ids.get(f"ecs:{key}") for key in keys)
    return Target(name, port_id, address, vpc, vpc_id, server)


def read_all(nb: Northbound, scope: Scope, name: str | None = None) -> list[Eip]:
    """All EIPs of a project, by name; or only the one of that name."""
    if name is not None:
        rows = list(nb.find(model.PORT, [scope.id("eip", name)], ["external_ids"]).values())
    else:
        rows = nb.select(model.PORT, owned(scope, "eip"), ["external_ids"])
    return sorted(map(Eip.read, rows), key=lambda eip: eip.name)
