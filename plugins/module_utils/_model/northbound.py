# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Networks as plain data, and the OVN Northbound rows each consists of.

A resource's id is the uuid of its main row; helper rows have uuids derived from it. What OVN has no column for stands in
``external_ids`` under keys that begin with ``ecs:``, and each class reads itself back from there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network
from typing import Any, NamedTuple

from .addresses import METADATA
from .names import Scope, derived_id, mac_address
from .rules import DEFAULT_GROUP, EGRESS, INGRESS, Rule, acl_columns, default_rules

SWITCH, PORT = "Logical_Switch", "Logical_Switch_Port"
ROUTER, ROUTER_PORT = "Logical_Router", "Logical_Router_Port"
NAT, ROUTE, CHASSIS = "NAT", "Logical_Router_Static_Route", "Gateway_Chassis"
DHCP, QOS, GROUP, ACL = "DHCP_Options", "QoS", "Port_Group", "ACL"

BASE_GROUP = "ecs_ports"
BASE_GROUP_ID = "b3b6a2f4-3f0a-5c57-9d4e-6a1d2c7e8f90"
DHCP_LEASE_SECONDS = 86400

# OVN over VXLAN has 12 bits for a network (switch or router) and 11 for its ports; key 0 is not used in either.
VXLAN_NETWORKS = 4095
VXLAN_PORTS = 2047

# What a main row of a resource has for us to compare.
PORT_COLUMNS = ("name", "addresses", "port_security", "dhcpv4_options", "external_ids")
GROUP_COLUMNS = ("name", "acls", "external_ids")
ACL_COLUMNS = ("direction", "priority", "match", "action", "external_ids")

Key = tuple[str, str]


class Row(NamedTuple):
    """One wanted Northbound row.

    :param columns: the columns we answer for; others are left alone.
    :param parent: (table, uuid, column) of the set that must hold the row, where that set has members of others too.
    """

    table: str
    uuid: str
    columns: Mapping[str, Any]
    parent: tuple[str, str, str] | None = None

    @property
    def key(self) -> Key:
        return (self.table, self.uuid)


def part_id(resource_id: str, part: str) -> str:
    """The uuid of a helper row of a resource."""
    return derived_id(resource_id, part)


def _ids(kind: str, **values: Any) -> dict[str, str]:
    """external_ids of a row; None and empty values are left out."""
    ids = {"ecs:kind": kind}
    for key, value in values.items():
        if value not in (None, "", ()):
            ids[f"ecs:{key}"] = ",".join(value) if isinstance(value, tuple) else str(value)
    return ids


def _value(row: Mapping[str, Any], key: str) -> str:
    return str(row["external_ids"].get(f"ecs:{key}", ""))


def _number(row: Mapping[str, Any], key: str) -> int | None:
    return int(_value(row, key)) if _value(row, key) else None


def _texts(row: Mapping[str, Any], key: str) -> tuple[str, ...]:
    return tuple(part for part in _value(row, key).split(",") if part)


@dataclass(frozen=True)
class ExternalNetwork:
    """A network outside the cloud: a logical switch with a port on a physical network of the gateway hosts.

    :param allocation: ``first-last``, the addresses for EIPs and VPC gateways.
    :param gateway_chassis: OVN chassis that reach the physical network and may carry VPC gateways.
    """

    id: str
    name: str
    region: str
    physical_network: str
    cidr: str
    gateway: str
    allocation: str
    vlan: int | None
    gateway_chassis: tuple[str, ...]

    @classmethod
    def read(cls, row: Mapping[str, Any]) -> ExternalNetwork:
        texts = {key: _value(row, key) for key in ("id", "name", "region", "physical_network", "cidr", "gateway", "allocation")}
        return cls(**texts, vlan=_number(row, "vlan"), gateway_chassis=_texts(row, "gateway_chassis"))

    def represent(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "name": self.name,
            "region": self.region,
            "physical_network": self.physical_network,
            "cidr": self.cidr,
            "gateway": self.gateway,
            "allocation": self.allocation,
            "vlan": self.vlan,
            "gateway_chassis": list(self.gateway_chassis),
        }

    def rows(self) -> list[Row]:
        localnet = part_id(self.id, "localnet")
        ids = _ids(
            "external_network",
            id=self.id,
            region=self.region,
            name=self.name,
            physical_network=self.physical_network,
            cidr=self.cidr,
            gateway=self.gateway,
            allocation=self.allocation,
            vlan=self.vlan,
            gateway_chassis=self.gateway_chassis,
        )
        port = {
            "name": f"localnet-{self.id}",
            "type": "localnet",
            "addresses": frozenset({"unknown"}),
            "options": {"network_name": self.physical_network},
            "tag": self.vlan,
            "external_ids": _ids("localnet", network_id=self.id),
        }
        return [
            Row(SWITCH, self.id, {"name": f"external.{self.name}", "external_ids": ids}),
            Row(PORT, localnet, port, (SWITCH, self.id, "ports")),
        ]


@dataclass(frozen=True)
class Subnet:
    """A subnet of a VPC: a logical switch, its router port and its DHCP options. ``mtu`` in bytes."""

    id: str
    name: str
    vpc: str
    vpc_id: str
    region: str
    project: str
    cidr: str
    gateway: str
    dns: tuple[str, ...]
    dhcp: bool
    mtu: int

    @classmethod
    def read(cls, row: Mapping[str, Any]) -> Subnet:
        texts = {key: _value(row, key) for key in ("id", "name", "vpc", "vpc_id", "region", "project", "cidr", "gateway")}
        return cls(**texts, dns=_texts(row, "dns"), dhcp=_value(row, "dhcp") == "true", mtu=int(_value(row, "mtu")))

    @property
    def network(self) -> IPv4Network:
        return IPv4Network(self.cidr)

    @property
    def dhcp_options_id(self) -> str | None:
        """The uuid of the DHCP options that the subnet's ports refer to."""
        return part_id(self.id, "dhcp4") if self.dhcp else None

    def represent(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "name": self.name,
            "cidr": self.cidr,
            "gateway": self.gateway,
            "dns": list(self.dns),
            "dhcp": self.dhcp,
            "mtu": self.mtu,
        }

    def rows(self) -> list[Row]:
        ids = _ids(
            "subnet",
            id=self.id,
            region=self.region,
            project=self.project,
            name=self.name,
            vpc=self.vpc,
            vpc_id=self.vpc_id,
            cidr=self.cidr,
            gateway=self.gateway,
            dns=self.dns,
            dhcp="true" if self.dhcp else "false",
            mtu=self.mtu,
        )
        router_port = part_id(self.id, "router-port")
        rows = [
            Row(SWITCH, self.id, {"name": f"{self.project}.{self.vpc}.{self.name}", "external_ids": ids}),
            *_junction(self.id, self.vpc_id, self.id, f"{self.gateway}/{self.network.prefixlen}", _ids("router_port", subnet_id=self.id)),
            self._metadata_port(),
        ]
        if self.dhcp_options_id:
            options = {
                "server_id": self.gateway,
                "server_mac": mac_address(router_port),
                "router": self.gateway,
                "lease_time": str(DHCP_LEASE_SECONDS),
                "mtu": str(self.mtu),
            }
            # Who takes this option ignores the router's (RFC 3442), so the default route is in it as well.
            options["classless_static_route"] = f"{{{METADATA}/32,0.0.0.0, 0.0.0.0/0,{self.gateway}}}"
            if self.dns:
                options["dns_server"] = f"{{{', '.join(self.dns)}}}"
            columns = {"cidr": self.cidr, "options": options, "external_ids": _ids("dhcp", subnet_id=self.id)}
            rows.append(Row(DHCP, self.dhcp_options_id, columns))
        return rows

    def _metadata_port(self) -> Row:
        """The subnet's way to the metadata service of each server's own hypervisor (spec MD1).

        It takes no address of the subnet, all of which may be in use: to the servers the service is on the link.
        """
        port = metadata_port_id(self.id)
        columns = {
            "name": metadata_port_name(self.id),
            "type": "localport",
            "addresses": frozenset({f"{mac_address(port)} {METADATA}"}),
            "external_ids": _ids("metadata", subnet_id=self.id),
        }
        return Row(PORT, port, columns, (SWITCH, self.id, "ports"))


def metadata_port_id(subnet_id: str) -> str:
    """The uuid of the port by which a subnet's servers reach the metadata service."""
    return part_id(subnet_id, "metadata")


def metadata_port_name(subnet_id: str) -> str:
    """Its name, which is the iface-id of the interface on each hypervisor."""
    return f"metadata-{subnet_id}"


def _junction(
    owner: str,
    router: str,
    switch: str,
    cidr: str,
    ids: dict[str, str],
    options: Mapping[str, str] | None = None,
    chassis: Iterable[str] = (),
) -> list[Row]:
    """The pair of ports that joins a router and a switch."""
    router_port, switch_port = part_id(owner, "router-port"), part_id(owner, "switch-port")
    return [
        Row(
            ROUTER_PORT,
            router_port,
            {
                "name": f"lrp-{owner}",
                "mac": mac_address(router_port),
                "networks": frozenset({cidr}),
                "gateway_chassis": frozenset(chassis),
                "external_ids": ids,
            },
            (ROUTER, router, "ports"),
        ),
        Row(
            PORT,
            switch_port,
            {
                "name": f"lsp-{owner}",
                "type": "router",
                "addresses": frozenset({"router"}),
                "options": {"router-port": f"lrp-{owner}", **(options or {})},
                "external_ids": ids,
            },
            (SWITCH, switch, "ports"),
        ),
    ]


@dataclass(frozen=True)
class Attachment:
    """A VPC's connection to an external network.

    :param address: the gateway's own address there.
    :param snat: whether servers without an EIP reach the outside by this address.
    """

    network: ExternalNetwork
    address: str
    snat: bool


@dataclass(frozen=True)
class Vpc:
    """A VPC: a logical router with its subnets."""

    id: str
    name: str
    region: str
    project: str
    cidr: str
    attachment: Attachment | None
    subnets: tuple[Subnet, ...]

    @classmethod
    def read(cls, row: Mapping[str, Any], subnets: Iterable[Subnet], networks: Mapping[str, ExternalNetwork]) -> Vpc:
        """From the router's row, the VPC's subnets and all external networks by id."""
        texts = {key: _value(row, key) for key in ("id", "name", "region", "project", "cidr")}
        network = networks.get(_value(row, "network_id"))
        attachment = Attachment(network, _value(row, "address"), _value(row, "snat") == "true") if network else None
        return cls(**texts, attachment=attachment, subnets=tuple(sorted(subnets, key=lambda subnet: subnet.name)))

    def represent(self) -> dict[str, Any]:
        attachment = self.attachment
        return {
            "id": self.id,
            "name": self.name,
            "region": self.region,
            "project": self.project,
            "cidr": self.cidr,
            "external_network": attachment.network.name if attachment else "",
            "snat": attachment.network.name if attachment and attachment.snat else "",
            "external_address": attachment.address if attachment else "",
            "subnets": [subnet.represent() for subnet in self.subnets],
        }

    def rows(self) -> list[Row]:
        attachment = self.attachment
        ids = _ids(
            "vpc",
            id=self.id,
            region=self.region,
            project=self.project,
            name=self.name,
            cidr=self.cidr,
            network=attachment and attachment.network.name,
            network_id=attachment and attachment.network.id,
            address=attachment and attachment.address,
            snat="true" if attachment and attachment.snat else None,
        )
        # Without these a router keeps a neighbour entry for every other router of the external network, and for every ARP it hears.
        options = {"always_learn_from_arp_request": "false", "dynamic_neigh_routers": "true"}
        rows = [Row(ROUTER, self.id, {"name": f"{self.project}.{self.name}", "options": options, "external_ids": ids})]
        for subnet in self.subnets:
            rows += subnet.rows()
        return rows + (self._attachment_rows(attachment) if attachment else [])

    def _attachment_rows(self, attachment: Attachment) -> list[Row]:
        network = attachment.network
        chassis = gateway_chassis_rows(self.id, network.gateway_chassis)
        ids = _ids("gateway", vpc=self.name, project=self.project, vpc_id=self.id, network_id=network.id, address=attachment.address)
        cidr = f"{attachment.address}/{IPv4Network(network.cidr).prefixlen}"
        rows = [
            *_junction(self.id, self.id, network.id, cidr, ids, {"nat-addresses": "router"}, [row.uuid for row in chassis]),
            *chassis,
            Row(
                ROUTE,
                part_id(self.id, "default-route"),
                {"ip_prefix": "0.0.0.0/0", "nexthop": network.gateway, "external_ids": ids},
                (ROUTER, self.id, "static_routes"),
            ),
        ]
        if attachment.snat:
            columns = {"type": "snat", "external_ip": attachment.address, "logical_ip": self.cidr, "external_ids": ids}
            rows.append(Row(NAT, part_id(self.id, "snat"), columns, (ROUTER, self.id, "nat")))
        return rows


def gateway_chassis_rows(vpc_id: str, chassis: Sequence[str]) -> list[Row]:
    """Who may carry a VPC's gateway: every chassis, in an order turned by the VPC's id so that gateways spread evenly."""
    names = sorted(set(chassis))
    turn = int.from_bytes(hashlib.sha256(vpc_id.encode()).digest()[:4], "big") % len(names) if names else 0
    return [
        Row(
            CHASSIS,
            part_id(vpc_id, f"chassis/{name}"),
            {"name": f"lrp-{vpc_id}-{name}", "chassis_name": name, "priority": len(names) - place},
        )
        for place, name in enumerate(names[turn:] + names[:turn])
    ]


@dataclass(frozen=True)
class SecurityGroup:
    """A security group: an OVN Port_Group and an ACL for each rule."""

    id: str
    name: str
    region: str
    project: str
    description: str
    rules: tuple[Rule, ...]

    @classmethod
    def read(cls, row: Mapping[str, Any], rules: Iterable[Rule]) -> SecurityGroup:
        texts = {key: _value(row, key) for key in ("id", "name", "region", "project", "description")}
        return cls(**texts, rules=tuple(sorted(rules)))

    def represent(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "name": self.name,
            "region": self.region,
            "project": self.project,
            "description": self.description,
            "rules": [rule.represent() for rule in sorted(self.rules)],
        }

    def rows(self) -> list[Row]:
        scope = Scope(self.region, self.project)
        sources = {rule.group: scope.id("security_group", rule.group) for rule in self.rules if rule.group}
        acls = [self._acl(rule, sources) for rule in self.rules]
        ids = _ids("security_group", id=self.id, region=self.region, project=self.project, name=self.name, description=self.description)
        columns = {"name": port_group_name(self.id), "acls": frozenset(acl.uuid for acl in acls), "external_ids": ids}
        return [Row(GROUP, self.id, columns), *acls]

    def _acl(self, rule: Rule, sources: Mapping[str, str]) -> Row:
        """The ACL of a rule; *sources* are the ids of other groups by name."""
        columns = acl_columns(rule, port_group_name(self.id), lambda name: port_group_name(sources[name]))
        columns["external_ids"] = _ids(
            "rule",
            group_id=self.id,
            source_group=rule.group,
            source_group_id=sources.get(rule.group),
            ethertype=rule.ethertype,
            protocol=rule.protocol,
            ports=rule.ports,
            remote=rule.remote,
            description=rule.description,
        )
        return Row(ACL, part_id(self.id, json.dumps(rule)), columns)


def port_group_name(group_id: str) -> str:
    """OVN's name of a security group; in a match only letters, digits, ``_`` and ``.`` may follow ``@`` and ``$``."""
    return f"sg_{group_id.replace('-', '_')}"


def read_rule(row: Mapping[str, Any]) -> Rule:
    """A rule from its ACL row."""
    points, deny = divmod(row["priority"] - 1000, 2)
    return Rule(
        direction=INGRESS if row["direction"] == "to-lport" else EGRESS,
        action="deny" if deny else "allow",
        priority=100 - points,
        group=_value(row, "source_group"),
        **{key: _value(row, key) for key in ("ethertype", "protocol", "ports", "remote", "description")},
    )


def base_group_rows() -> list[Row]:
    """The group of all ports: closed in both directions unless a security group opens it.

    Only ARP and asking for an address pass; neighbour discovery is let through by OVN itself, and so are the answers of
    its DHCP server. The drop names no protocol, so that it holds for frames other than IP as well.
    """
    egress, ingress = ("from-lport", f"inport == @{BASE_GROUP}"), ("to-lport", f"outport == @{BASE_GROUP}")
    guards = [
        (*egress, 1300, "ip4 && udp.src == 68 && udp.dst == 67", "allow"),
        (*egress, 901, "arp", "allow"),
        (*egress, 900, "", "drop"),
        (*ingress, 901, "arp", "allow"),
        (*ingress, 900, "", "drop"),
    ]
    acls = []
    for direction, member, priority, match, action in guards:
        columns = {"direction": direction, "priority": priority, "match": f"{member} && {match}" if match else member, "action": action}
        acls.append(Row(ACL, part_id(BASE_GROUP_ID, f"{direction}/{priority}"), {**columns, "external_ids": _ids("base")}))
    return [
        Row(GROUP, BASE_GROUP_ID, {"name": BASE_GROUP, "acls": frozenset(acl.uuid for acl in acls), "external_ids": _ids("base")}),
        *acls,
    ]


@dataclass(frozen=True)
class Port:
    """A network interface: a logical switch port with its address and security groups.

    :param address: None only in check mode, where the subnet does not exist yet.
    :param security_groups: their names, sorted.
    :param dhcp: whether the subnet hands out addresses.
    :param eip: the public address bound to it.
    :param eip_name: the EIP's name.
    """

    id: str
    name: str
    region: str
    project: str
    mac: str
    address: str | None
    cidr: str | None
    gateway: str | None
    dns: tuple[str, ...]
    mtu: int | None
    subnet: str
    subnet_id: str | None
    vpc: str | None
    vpc_id: str | None
    security_groups: tuple[str, ...]
    port_security: bool
    server: str | None = None
    server_id: str | None = None
    eip: str | None = None
    eip_name: str | None = None
    dhcp: bool = True

    @classmethod
    def read(cls, row: Mapping[str, Any], subnet: Subnet, groups: Iterable[str], eip: tuple[str, str] | None) -> Port:
        """From the port's row, its subnet, its groups' names and its EIP as (address, name)."""
        return cls(
            **{key: _value(row, key) for key in ("id", "name", "region", "project", "mac", "address")},
            cidr=subnet.cidr,
            gateway=subnet.gateway,
            dns=subnet.dns,
            mtu=subnet.mtu,
            subnet=subnet.name,
            subnet_id=subnet.id,
            vpc=subnet.vpc,
            vpc_id=subnet.vpc_id,
            security_groups=tuple(sorted(groups)),
            port_security=bool(row["port_security"]),
            server=_value(row, "server") or None,
            server_id=_value(row, "server_id") or None,
            eip=eip[0] if eip else None,
            eip_name=eip[1] if eip else None,
            dhcp=subnet.dhcp,
        )

    def represent(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "name": self.name,
            "region": self.region,
            "project": self.project,
            "mac": self.mac,
            "address": self.address,
            "cidr": self.cidr,
            "gateway": self.gateway,
            "dns": list(self.dns),
            "mtu": self.mtu,
            "subnet": self.subnet,
            "vpc": self.vpc,
            "security_groups": list(self.security_groups),
            "port_security": self.port_security,
            "server": self.server,
            "eip": self.eip,
        }

    def rows(self, subnet: Subnet) -> list[Row]:
        ids = _ids(
            "port",
            id=self.id,
            region=self.region,
            project=self.project,
            name=self.name,
            mac=self.mac,
            address=self.address,
            subnet=subnet.name,
            subnet_id=subnet.id,
            vpc=subnet.vpc,
            vpc_id=subnet.vpc_id,
            server=self.server,
            server_id=self.server_id,
        )
        who = frozenset({f"{self.mac} {self.address}"})
        columns = {
            "name": self.id,
            "addresses": who,
            "port_security": who if self.port_security else frozenset(),
            "dhcpv4_options": subnet.dhcp_options_id,
            "external_ids": ids,
        }
        return [Row(PORT, self.id, columns, (SWITCH, subnet.id, "ports"))]


@dataclass(frozen=True)
class Eip:
    """A public address. Its holder is a disabled port without addresses, so OVN answers no ARP for it until it is bound.

    :param bandwidth: Mbit/s in each direction, or None for no limit (spec E-05).
    :param port: name of the interface it is bound to; with *port_id*, *vpc_id* and *private_address* None when unbound.
    """

    id: str
    name: str
    region: str
    project: str
    network: str
    network_id: str | None
    address: str | None
    bandwidth: int | None
    port: str | None = None
    port_id: str | None = None
    vpc_id: str | None = None
    private_address: str | None = None
    server: str | None = None

    @classmethod
    def read(cls, row: Mapping[str, Any]) -> Eip:
        texts = {key: _value(row, key) for key in ("id", "name", "region", "project", "network")}
        optional = ("network_id", "address", "port", "port_id", "vpc_id", "private_address", "server")
        values: dict[str, Any] = {key: _value(row, key) or None for key in optional}
        return cls(**texts, bandwidth=_number(row, "bandwidth"), **values)

    def represent(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "name": self.name,
            "region": self.region,
            "project": self.project,
            "network": self.network,
            "address": self.address,
            "bandwidth": self.bandwidth,
            "interface": self.port or "",
            "private_address": self.private_address,
            "server": self.server,
            "status": "bound" if self.port else "unbound",
        }

    def unbound(self) -> Eip:
        """The same EIP without an interface."""
        return replace(self, port=None, port_id=None, vpc_id=None, private_address=None, server=None)

    def external_ids(self) -> dict[str, str]:
        """All that is known of the EIP; its holder has no other column to keep it in."""
        return _ids("eip", **vars(self))

    def rows(self) -> list[Row]:
        if self.network_id is None:
            raise ValueError(f"EIP {self.name} has no network")
        holder = {"name": self.id, "enabled": False, "addresses": frozenset(), "external_ids": self.external_ids()}
        rows = [Row(PORT, self.id, holder, (SWITCH, self.network_id, "ports"))]
        if self.bandwidth:
            # The burst lets TCP come near the rate: what passes in 200 ms.
            limits = {"rate": self.bandwidth * 1000, "burst": self.bandwidth * 200}
            rows += [
                Row(
                    QOS,
                    part_id(self.id, f"qos/{direction}"),
                    {
                        "direction": direction,
                        "priority": 1000,
                        "match": match,
                        "bandwidth": limits,
                        "external_ids": _ids("qos", id=self.id),
                    },
                    (SWITCH, self.network_id, "qos_rules"),
                )
                for direction, match in (("from-lport", f"ip4.src == {self.address}"), ("to-lport", f"ip4.dst == {self.address}"))
            ]
        if self.port_id and self.vpc_id:
            columns = {
                "type": "dnat_and_snat",
                "external_ip": self.address,
                "logical_ip": self.private_address,
                "external_ids": _ids("eip", id=self.id, name=self.name, address=self.address, port_id=self.port_id),
            }
            rows.append(Row(NAT, nat_id(self.port_id), columns, (ROUTER, self.vpc_id, "nat")))
        return rows


def nat_id(port_id: str) -> str:
    """The uuid of the NAT row of a port's EIP: derived from the port, so the database itself refuses a second EIP on it."""
    return part_id(port_id, "eip")


CHASSIS_OPTIONS = ("requested-chassis", "activation-strategy")


def on_chassis(options: Mapping[str, str], chassis: Sequence[str]) -> dict[str, str]:
    """A port's options when it belongs on these chassis: on the first, and on others that wait until its server announces itself there.

    No chassis is whichever has its interface.
    """
    rest = {key: value for key, value in options.items() if key not in CHASSIS_OPTIONS}
    if not chassis:
        return rest
    waiting = {"activation-strategy": "rarp"} if len(chassis) > 1 else {}
    return {**rest, "requested-chassis": ",".join(chassis), **waiting}


def addresses_of(row: Mapping[str, Any]) -> list[IPv4Address]:
    """The IPv4 addresses that a switch port holds, ours or not."""
    texts = [part for entry in row["addresses"] for part in entry.split()] + [_value(row, "address")]
    return [IPv4Address(text) for text in texts if text.count(".") == 3]


def default_group(scope: Scope) -> SecurityGroup:
    """Group ``default`` as it is made when a port first needs it (spec S-07)."""
    group_id = scope.id("security_group", DEFAULT_GROUP)
    return SecurityGroup(group_id, DEFAULT_GROUP, scope.region, scope.project, "Default security group", default_rules())
