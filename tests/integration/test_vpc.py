# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules external_network and vpc: what the Northbound holds afterwards, and what is refused before anything changed."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.altostratus.ecs.plugins.modules import (
    eip,
    external_network,
    external_network_info,
    network_interface,
    vpc,
    vpc_info,
)

from .conftest import PUBLIC, SHOP, VPC, Call, Ovn

TABLES = ("Logical_Switch", "Logical_Router", "Logical_Switch_Port", "Logical_Router_Port", "DHCP_Options", "NAT", "Gateway_Chassis",
          "Logical_Router_Static_Route", "Port_Group", "ACL", "QoS")  # fmt: skip
NOTHING = dict.fromkeys(TABLES, 0)


def test_check_mode_names_everything_and_writes_nothing(call: Call, ovn: Ovn) -> None:
    assert call(external_network, check=True, **PUBLIC)["steps"] == ["create external_network public"]
    result = call(vpc, check=True, **VPC)
    assert result["steps"] == ["create vpc shop", "create subnet shop/back", "create subnet shop/front"]
    assert result["diff"]["after"]["subnet shop/front"]["gateway"] == "10.20.1.1"
    assert "external network public does not exist yet" in str(result["warnings"])
    assert ovn.count(*TABLES) == NOTHING


def test_a_second_run_changes_nothing_and_absent_leaves_nothing(cloud: Call, ovn: Ovn) -> None:
    assert cloud(external_network, **PUBLIC)["changed"] is False
    assert cloud(vpc, **VPC)["changed"] is False
    assert cloud(vpc, name="shop")["changed"] is False
    (found,) = cloud(vpc_info)["vpcs"]
    assert (found["cidr"], found["snat"], found["external_address"]) == ("10.20.0.0/16", "public", "203.0.113.100")
    assert [(subnet["name"], subnet["gateway"], subnet["dhcp"]) for subnet in found["subnets"]] == [
        ("back", "10.20.2.1", True),
        ("front", "10.20.1.1", True),
    ]
    for state in (True, False):
        assert cloud(vpc, name="shop", state="absent")["changed"] is state
        assert cloud(external_network, name="public", state="absent")["changed"] is state
    assert ovn.count(*TABLES) == NOTHING


def test_northd_compiles_it_without_complaint(cloud: Call, northd: Ovn) -> None:
    cloud(network_interface, name="a", subnet="front")
    cloud(eip, name="a", interface="a", bandwidth=5)
    assert northd.settle() == ""


def test_the_list_form_is_one_transaction(call: Call, ovn: Ovn) -> None:
    call(external_network, **PUBLIC)
    many = [{**VPC, "name": f"v{number}"} for number in range(5)]
    with ovn.connect() as nb:
        commits: list[Any] = []
        original = type(nb).transact

        def counting(self: Any, operations: Any) -> Any:
            commits.append([item for item in operations if item["op"] in ("insert", "mutate", "update", "delete")])
            return original(self, operations)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(nb), "transact", counting)
            result = call(vpc, vpcs=many)
    assert [bool(writes) for writes in commits].count(True) == 1
    assert sorted(item["external_address"] for item in result["vpcs"]) == [f"203.0.113.10{number}" for number in range(5)]
    assert call(vpc, vpcs=many)["changed"] is False


def test_subnets_come_change_and_go(cloud: Call, ovn: Ovn) -> None:
    front = {"name": "front", "cidr": "10.20.1.0/24"}
    result = cloud(vpc, name="shop", subnets=[{**front, "dns": ["10.20.1.53"], "mtu": 1400}, {"name": "extra", "cidr": "10.20.9.0/28"}])
    assert result["steps"] == ["update subnet shop/front", "create subnet shop/extra"]
    assert result["diff"]["before"]["subnet shop/front"] == {"dns": [], "mtu": 1442}
    options = ovn.nbctl("--bare", "--columns=options", "find", "DHCP_Options", "cidr=10.20.1.0/24")
    assert "dns_server={10.20.1.53}" in options
    assert "mtu=1400" in options
    assert cloud(vpc, name="shop", subnets=[front])["changed"] is False
    purged = cloud(vpc, name="shop", subnets=[front], purge_subnets=True)
    assert purged["steps"] == ["delete subnet shop/back", "delete subnet shop/extra"]
    assert ovn.count("Logical_Switch", "DHCP_Options", "Logical_Router_Port") == {
        "Logical_Switch": 2,
        "DHCP_Options": 1,
        "Logical_Router_Port": 2,
    }


def test_dhcp_can_be_switched_for_ports_that_exist(cloud: Call, ovn: Ovn) -> None:
    port = cloud(network_interface, name="a", subnet="front")["network_interface"]["id"]
    front = {"name": "front", "cidr": "10.20.1.0/24"}
    for wanted in (False, True):
        cloud(vpc, name="shop", subnets=[{**front, "dhcp": wanted}])
        assert bool(ovn.nbctl("--bare", "--columns=dhcpv4_options", "list", "Logical_Switch_Port", port).strip()) is wanted


def test_a_gateway_moves_but_not_onto_a_port(cloud: Call) -> None:
    cloud(network_interface, name="a", subnet="front", address="10.20.1.9")
    taken = cloud(vpc, name="shop", subnets=[{"name": "front", "gateway": "10.20.1.9"}], fails=True)
    assert "10.20.1.9' is the address of interface a" in taken["msg"]
    moved = cloud(vpc, name="shop", subnets=[{"name": "front", "gateway": "10.20.1.254"}])
    assert moved["diff"]["after"] == {"subnet shop/front": {"gateway": "10.20.1.254"}}


def test_snat_can_be_taken_away_and_the_attachment_with_it(cloud: Call, ovn: Ovn) -> None:
    kept = cloud(vpc, name="shop", snat="", external_network="public")["vpc"]
    assert (kept["snat"], kept["external_network"]) == ("", "public")
    assert ovn.count("NAT") == {"NAT": 0}
    gone = cloud(vpc, name="shop", external_network="")["vpc"]
    assert (gone["external_network"], gone["external_address"]) == ("", "")
    assert ovn.count("Gateway_Chassis", "Logical_Router_Static_Route") == {"Gateway_Chassis": 0, "Logical_Router_Static_Route": 0}


def test_a_vpc_moves_to_another_external_network(cloud: Call, ovn: Ovn) -> None:
    other = {**PUBLIC, "name": "other", "cidr": "198.51.100.0/24", "gateway": "198.51.100.1", "allocation": "198.51.100.5-198.51.100.9"}
    cloud(external_network, **other)
    assert cloud(vpc, name="shop", snat="other")["vpc"]["external_address"] == "198.51.100.5"
    assert cloud(vpc, name="shop", snat="other")["changed"] is False
    assert 'nexthop             : "198.51.100.1"' in ovn.nbctl("list", "Logical_Router_Static_Route")
    assert cloud(external_network, name="public", state="absent")["changed"] is True


def test_gateways_follow_their_external_network(cloud: Call, ovn: Ovn) -> None:
    cloud(external_network, name="public", gateway="203.0.113.254", gateway_chassis=["hv2", "hv3"])
    assert "203.0.113.254" in ovn.nbctl("list", "Logical_Router_Static_Route")
    assert set(ovn.nbctl("--bare", "--columns=chassis_name", "list", "Gateway_Chassis").split()) == {"hv2", "hv3"}
    assert cloud(vpc, **VPC)["changed"] is False
    assert cloud(external_network_info)["external_networks"][0]["gateway_chassis"] == ["hv2", "hv3"]


def test_what_another_hand_changed_is_repaired(cloud: Call, ovn: Ovn) -> None:
    ovn.nbctl("set", "Logical_Router_Port", f"lrp-{SHOP.id('subnet', 'shop/front')}", "networks=10.20.1.99/24")
    ovn.nbctl("lr-nat-del", "shop.shop")
    assert cloud(vpc, **VPC)["steps"] == ["repair vpc shop", "repair subnet shop/front"]
    assert ovn.nbctl("get", "Logical_Router_Port", f"lrp-{SHOP.id('subnet', 'shop/front')}", "networks").strip() == '["10.20.1.1/24"]'
    assert ovn.count("NAT") == {"NAT": 1}
    assert cloud(vpc, **VPC)["changed"] is False


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"name": "new"}, "cidr.*is needed, VPC new is new"),
        ({"name": "n w", "cidr": "10.0.0.0/16"}, "not a valid name"),
        ({"name": "new", "cidr": "10.0.0.1/16"}, "host bits"),
        ({"name": "new", "cidr": "10.0.0.0/16", "snat": "nowhere"}, "external network nowhere does not exist.*known: public"),
        ({"name": "new", "cidr": "10.0.0.0/16", "snat": "public", "external_network": "other"}, "not the network of snat"),
        ({"name": "shop", "subnets": [{"name": "x", "cidr": "10.20.1.128/25"}]}, "overlaps"),
        ({"name": "shop", "subnets": [{"name": "x", "cidr": "10.20.5.0/30"}]}, "too small.*at least /29"),
        ({"name": "shop", "subnets": [{"name": "x", "cidr": "10.30.0.0/24"}]}, "not inside the VPC's CIDR"),
        ({"name": "shop", "subnets": [{"name": "x"}]}, r"subnets\[x\].cidr.*is needed"),
        ({"name": "shop", "subnets": [{"name": "x", "cidr": "10.20.5.0/24"}, {"name": "x", "cidr": "10.20.6.0/24"}]}, "listed twice"),
        ({"name": "shop", "subnets": [{"name": "front", "cidr": "10.20.8.0/24"}]}, "cannot replace 10.20.1.0/24"),
        ({"name": "shop", "subnets": [{"name": "front", "gateway": "10.20.2.1"}]}, "not in 10.20.1.0/24"),
        ({"name": "shop", "subnets": [{"name": "front", "gateway": "10.20.1.255"}]}, "broadcast"),
        ({"name": "shop", "subnets": [{"name": "front", "dns": ["ns1"]}]}, "not an IPv4 address"),
        ({"name": "shop", "subnets": [{"name": "front", "mtu": 100}]}, "out of range"),
        ({"name": "shop", "cidr": "10.20.0.0/23"}, "not inside the VPC's CIDR 10.20.0.0/23"),
        ({"vpcs": [{"name": "a", "cidr": "10.0.0.0/16"}, {"name": "a", "cidr": "10.1.0.0/16"}]}, "listed twice"),
    ],
)
def test_bad_input_is_told_before_anything_changes(cloud: Call, ovn: Ovn, options: dict[str, Any], problem: str) -> None:
    before = ovn.nbctl("show")
    with pytest.raises(AssertionError, match=problem):
        cloud(vpc, **options)
    assert ovn.nbctl("show") == before


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"name": "new", "cidr": "203.0.113.0/24"}, "needs physical_network, gateway, allocation, gateway_chassis"),
        ({**PUBLIC, "name": "new", "gateway": "198.51.100.1"}, "not in 203.0.113.0/24"),
        ({**PUBLIC, "name": "new", "allocation": "203.0.113.0-203.0.113.9"}, "holds 203.0.113.0"),
        ({**PUBLIC, "name": "new", "vlan": 4095}, "out of range"),
        ({"name": "public", "cidr": "198.51.100.0/24"}, "cannot replace 203.0.113.0/24"),
        ({"name": "public", "gateway_chassis": []}, "is empty"),
    ],
)
def test_bad_external_networks_are_told(cloud: Call, options: dict[str, Any], problem: str) -> None:
    with pytest.raises(AssertionError, match=problem):
        cloud(external_network, **options)


def test_what_is_in_use_cannot_be_deleted(cloud: Call) -> None:
    cloud(network_interface, name="a", subnet="front")
    assert "shop/front: a" in cloud(vpc, name="shop", state="absent", fails=True)["msg"]
    assert "shop/front: a" in cloud(vpc, name="shop", subnets=[], purge_subnets=True, fails=True)["msg"]
    cloud(eip, name="e", interface="a")
    assert "VPCs shop; EIPs e" in cloud(external_network, name="public", state="absent", fails=True)["msg"]
    assert "EIPs are bound: e" in cloud(vpc, name="shop", snat="", external_network="", fails=True)["msg"]


def test_the_default_group_goes_with_the_last_vpc(cloud: Call, ovn: Ovn) -> None:
    """What was made automatically is taken back, so that a cloud leaves nothing."""
    cloud(network_interface, name="a", subnet="front")
    assert ovn.count("Port_Group") == {"Port_Group": 2}
    cloud(network_interface, name="a", state="absent")
    cloud(vpc, name="shop", state="absent")
    assert ovn.count("Port_Group", "ACL") == {"Port_Group": 0, "ACL": 0}


def test_the_network_too_many_for_vxlan_is_refused(cloud: Call, ovn: Ovn) -> None:
    """OVN over VXLAN numbers networks with 12 bits; geneve has room."""
    have = sum(ovn.count("Logical_Switch", "Logical_Router").values())
    filler = [argument for number in range(4095 - have) for argument in ("--", "ls-add", f"filler{number}")]
    ovn.nbctl(*filler[1:])
    extra = {"name": "shop", "subnets": [{"name": "extra", "cidr": "10.20.9.0/24"}]}
    refused = cloud(vpc, fails=True, **extra)
    assert refused["error_code"] == "ECS_VXLAN_LIMIT"
    assert "geneve" in refused["msg"]
    ovn.nbctl("set", "NB_Global", ".", 'external_ids:"ecs:encap"=geneve')
    assert cloud(vpc, **extra)["changed"] is True
