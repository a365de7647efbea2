# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module eip: allocation, binding, bandwidth, release (spec E-01 to E-05), and the way of a packet (ovn-trace)."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.altostratus.ecs.plugins.module_utils._services import eips, ports
from ansible_collections.altostratus.ecs.plugins.modules import eip, eip_info, external_network, network_interface, security_group, vpc

from .conftest import PUBLIC, SHOP, Call, Ovn


@pytest.fixture
def port(cloud: Call) -> dict[str, Any]:
    """Interface a in the VPC, open for the web."""
    cloud(security_group, name="web", rules=[{"ports": 80}])
    made: dict[str, Any] = cloud(network_interface, name="a", subnet="front", security_groups=["web"])["network_interface"]
    return made


def test_life_of_an_eip(cloud: Call, ovn: Ovn, port: dict[str, Any]) -> None:
    """Allocated, bound, unbound, released; each twice."""
    planned = cloud(eip, check=True, name="e")["eip"]
    assert cloud(eip_info)["eips"] == []
    for options, status in (
        ({}, "unbound"),
        ({"interface": "a"}, "bound"),
        ({"interface": ""}, "unbound"),
        ({"server": ""}, "unbound"),
        ({"interface": "a", "bandwidth": 20}, "bound"),
        ({"bandwidth": 30}, "bound"),
    ):
        made = cloud(eip, name="e", **options)["eip"]
        assert (made["status"], made["address"]) == (status, planned["address"])
        assert cloud(eip, name="e", **options)["changed"] is False
        assert cloud(eip_info)["eips"] == [made]
        assert ovn.count("NAT") == {"NAT": 1 + (status == "bound")}
    assert "rate=30000" in ovn.nbctl("--bare", "--columns=bandwidth", "list", "QoS")
    for changed in (True, False):
        assert cloud(eip, name="e", state="absent")["changed"] is changed
    assert ovn.count("NAT", "QoS") == {"NAT": 1, "QoS": 0}


def test_addresses_come_from_the_range(cloud: Call) -> None:
    assert cloud(eip, name="e1", address="203.0.113.109")["eip"]["address"] == "203.0.113.109"
    many = [{"name": f"many{number}"} for number in range(8)]
    assert [item["address"] for item in cloud(eip, eips=many)["eips"]] == [f"203.0.113.10{number}" for number in range(1, 9)]
    assert "external network public has no free address" in cloud(eip, name="more", fails=True)["msg"]


def test_a_server_s_first_interface(cloud: Call) -> None:
    cloud(network_interface, name="web-nic0", subnet="front")
    assert cloud(eip, name="e", server="web")["eip"]["interface"] == "web-nic0"
    assert "server none does not exist" in cloud(eip, name="e2", server="none", fails=True)["msg"]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"name": "new", "network": "nowhere"}, "external network nowhere does not exist.*Known: public"),
        ({"name": "new", "address": "203.0.113.5"}, "not between 203.0.113.100 and 203.0.113.109"),
        ({"name": "new", "address": "203.0.113.100"}, "in use or reserved"),
        ({"name": "new", "bandwidth": 301}, "Use 1 to 300 Mbit/s"),
        ({"name": "new", "bandwidth": 0}, "Use 1 to 300 Mbit/s"),
        ({"name": "new", "interface": "none"}, "network interface none does not exist"),
        ({"name": "new", "interface": "a"}, "interface a has EIP bound .203.0.113.101., it cannot have new as well"),
        ({"name": "new", "interface": "far"}, "VPC far of interface far has no external network.*Set snat or external_network"),
        ({"name": "free", "interface": "far"}, "VPC far of interface far is not attached to it.*snat: public"),
        ({"name": "bound", "interface": "b"}, "bound to interface a, it cannot be bound to b.*Unbind it first"),
        ({"name": "bound", "address": "203.0.113.109"}, "cannot replace 203.0.113.101"),
        ({"name": "bound", "network": "other"}, "cannot replace public"),
        ({"eips": [{"name": "new", "interface": "b"}, {"name": "free", "interface": "b"}]}, "b' is listed twice"),
    ],
)
def test_bad_input_is_told_before_anything_changes(
    cloud: Call, ovn: Ovn, port: dict[str, Any], options: dict[str, Any], problem: str
) -> None:
    cloud(vpc, name="far", cidr="10.30.0.0/16", subnets=[{"name": "far", "cidr": "10.30.1.0/24"}])
    cloud(network_interface, network_interfaces=[{"name": "b", "subnet": "back"}, {"name": "far", "subnet": "far"}])
    cloud(eip, eips=[{"name": "bound", "interface": "a"}, {"name": "free"}])
    before = ovn.nbctl("show")
    with pytest.raises(AssertionError, match=problem):
        cloud(eip, **options)
    assert ovn.nbctl("show") == before


def test_the_network_must_be_named_where_there_are_several(cloud: Call, port: dict[str, Any]) -> None:
    other = {**PUBLIC, "name": "other", "cidr": "198.51.100.0/24", "gateway": "198.51.100.1", "allocation": "198.51.100.5-198.51.100.9"}
    cloud(external_network, **other)
    assert "External networks: other, public" in cloud(eip, name="e", fails=True)["msg"]
    assert cloud(eip, name="e", network="other")["eip"]["address"] == "198.51.100.5"
    assert cloud(eip, name="f", interface="a")["eip"]["network"] == "public"


def test_an_interface_changes_its_eip_in_one_call(cloud: Call, ovn: Ovn, port: dict[str, Any]) -> None:
    """Spec E-04: unbinding comes first, whatever the order of the list."""
    cloud(eip, eips=[{"name": "old", "interface": "a"}, {"name": "new"}])
    result = cloud(eip, eips=[{"name": "new", "interface": "a"}, {"name": "old", "interface": ""}])
    assert sorted(result["steps"]) == ["update eip new", "update eip old"]
    assert "203.0.113.102" in ovn.nbctl("--bare", "--columns=external_ip", "find", "NAT", "type=dnat_and_snat")


def test_a_bound_eip_follows_the_interface_s_address(cloud: Call, ovn: Ovn, port: dict[str, Any]) -> None:
    cloud(eip, name="e", interface="a")
    cloud(network_interface, name="a", subnet="front", address="10.20.1.50")
    assert cloud(eip_info)["eips"][0]["private_address"] == "10.20.1.50"
    assert "10.20.1.50" in ovn.nbctl("--bare", "--columns=logical_ip", "find", "NAT", "type=dnat_and_snat")


def test_an_interface_that_goes_leaves_its_eip_allocated(cloud: Call, port: dict[str, Any]) -> None:
    """Spec E-03."""
    cloud(eip, name="e", interface="a")
    assert cloud(network_interface, name="a", state="absent")["steps"] == ["delete port a", "update eip e"]
    assert cloud(eip_info)["eips"][0]["status"] == "unbound"


def test_an_eip_passes_from_a_port_that_goes_to_one_that_comes(cloud: Call, ovn: Ovn, port: dict[str, Any]) -> None:
    cloud(eip, name="e", interface="a")
    wanted = [ports.PortRequest("b", "back", eip=ports.EipRequest("e"))]
    with ovn.connect() as nb:
        (made,) = ports.apply_ports(nb, ports.plan_ports(nb, SHOP, wanted, absent=["a"]))
    assert made.eip == "203.0.113.101"
    assert cloud(eip_info)["eips"][0]["interface"] == "b"
    assert ovn.count("NAT") == {"NAT": 2}


def test_one_eip_is_not_bound_by_two_writers(cloud: Call, ovn: Ovn, port: dict[str, Any]) -> None:
    """Each read it unbound; the second finds out when it commits, plans anew and refuses."""
    cloud(eip, name="e")
    cloud(network_interface, name="b", subnet="front")
    plans = []
    with ovn.connect() as nb:
        for name in ("a", "b"):
            wanted = [ports.PortRequest(name, "front", eip=eips.EipRequest("e"))]
            plans.append(ports.plan_ports(nb, SHOP, wanted))
        ports.apply_ports(nb, plans[0])
        with pytest.raises(Exception, match="bound to interface a, it cannot be bound to b"):
            ports.apply_ports(nb, plans[1])
    assert ovn.count("NAT") == {"NAT": 2}


def test_check_mode_before_anything_exists(call: Call) -> None:
    result = call(eip, check=True, name="e", network="public", interface="a")
    assert (result["eip"]["address"], result["steps"]) == (None, ["create eip e"])
    assert "external network public does not exist yet" in str(result["warnings"])


def test_the_way_of_a_packet(cloud: Call, northd: Ovn, port: dict[str, Any]) -> None:
    """From the outside to the interface as far as its group allows, and from it to the outside as the EIP."""
    cloud(eip, eips=[{"name": "e", "interface": "a", "bandwidth": 20}, {"name": "idle"}])
    router, network = SHOP.id("vpc", "shop"), northd.id("Logical_Switch", "external.public")
    northd.bind(port["id"], f"cr-lrp-{router}")
    assert northd.settle() == ""
    datapath = northd.sbctl("--bare", "--columns=_uuid", "find", "Datapath_Binding", "external_ids:name=shop.shop").strip()
    known = [f"logical_port=lrp-{router}", "ip=203.0.113.1", 'mac="02:00:00:00:00:01"', f"datapath={datapath}"]
    northd.sbctl("create", "MAC_Binding", *known)
    mac = northd.nbctl("get", "Logical_Router_Port", f"lrp-{router}", "mac").strip().strip('"')

    def from_outside(packet: str) -> str:
        start = f'inport == "localnet-{network}" && eth.src == 02:00:00:00:00:01'
        return northd.trace("external.public", f"{start} && {packet}")

    web = f"eth.dst == {mac} && ip4.src == 203.0.113.1 && ip4.dst == 203.0.113.101 && ip.ttl == 64"
    inside = f'output to "{port["id"]}"'
    assert inside in from_outside(f"{web} && tcp.dst == 80")
    assert "set_meter(20000, 4000)" in from_outside(f"{web} && tcp.dst == 80")
    assert inside not in from_outside(f"{web} && tcp.dst == 22")

    def asked_for(address: str) -> str:
        return from_outside(
            f"eth.dst == ff:ff:ff:ff:ff:ff && arp.op == 1 && arp.sha == 02:00:00:00:00:01 && arp.spa == 203.0.113.1 && arp.tpa == {address}"
        )

    assert "arp.op = 2" in asked_for("203.0.113.101")
    assert "arp.op = 2" not in asked_for("203.0.113.102")  # an EIP that is not bound answers nobody

    gateway = northd.nbctl("get", "Logical_Router_Port", f"lrp-{SHOP.id('subnet', 'shop/front')}", "mac").strip().strip('"')
    start = f'inport == "{port["id"]}" && eth.src == {port["mac"]} && eth.dst == {gateway}'
    packet = f"ip4.src == {port['address']} && ip4.dst == 192.0.2.9 && ip.ttl == 64 && tcp.dst == 443"
    out = northd.trace("shop.shop.front", f"{start} && {packet}")
    assert "(203.0.113.101)" in out  # ct_snat, whose name differs between releases of OVN
    assert f'output to "localnet-{network}"' in out
