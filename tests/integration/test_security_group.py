# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module security_group: only the difference is written, and OVN's own verdict on packets (ovn-trace)."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.altostratus.ecs.plugins.modules import network_interface, security_group, security_group_info

from .conftest import Call, Ovn

WEB = {"name": "web", "rules": [{"ports": "22,80"}, {"protocol": "icmp"}]}
DB = {"name": "db", "rules": [{"ports": 3306, "source_group": "web"}]}
GROUPS = {"security_groups": [WEB, DB]}


def acls(ovn: Ovn) -> set[str]:
    return set(ovn.nbctl("--bare", "--columns=_uuid", "list", "ACL").split())


def test_groups_refer_to_each_other_in_one_call(call: Call, ovn: Ovn) -> None:
    assert call(security_group, check=True, **GROUPS)["changed"] is True
    assert ovn.count("Port_Group", "ACL") == {"Port_Group": 0, "ACL": 0}
    result = call(security_group, **GROUPS)
    assert result["steps"] == ["create security_group web", "create security_group db"]
    assert "security group web: tcp 22 open to everyone" in str(result["warnings"])
    assert call(security_group, **GROUPS)["changed"] is False
    assert call(security_group_info)["security_groups"] == sorted(result["security_groups"], key=lambda group: str(group["name"]))
    for changed in (True, False):
        assert call(security_group, **GROUPS, state="absent")["changed"] is changed
    assert ovn.count("Port_Group", "ACL") == {"Port_Group": 0, "ACL": 0}


def test_one_changed_rule_writes_one_rule(call: Call, ovn: Ovn) -> None:
    call(security_group, **GROUPS)
    before = acls(ovn)
    result = call(security_group, name="db", rules=[{"ports": 3307, "source_group": "web"}])
    after = acls(ovn)
    assert (len(before - after), len(after - before)) == (2, 2)  # for IPv4 and IPv6
    shown = {rule["ports"] for side in ("before", "after") for rule in result["diff"][side]["security_group db"]["rules"]}
    assert shown == {"3306", "3307"}


def test_only_what_is_set_is_compared(call: Call) -> None:
    call(security_group, name="web", description="front", rules=[{"ports": 80}])
    assert call(security_group, name="web")["changed"] is False
    changed = call(security_group, name="web", description="door")
    assert changed["diff"] == {
        "before": {"security_group web": {"description": "front"}},
        "after": {"security_group web": {"description": "door"}},
    }
    (found,) = call(security_group_info, name="web")["security_groups"]
    assert (found["description"], [rule["ports"] for rule in found["rules"] if rule["direction"] == "ingress"]) == ("door", ["80", "80"])


def test_a_rule_that_another_hand_widened_is_repaired(call: Call, ovn: Ovn) -> None:
    call(security_group, **GROUPS)
    victim = ovn.nbctl("--bare", "--columns=_uuid", "find", "ACL", "priority=1198", "direction=to-lport").split()[0]
    ovn.nbctl("set", "ACL", victim, "match=1")
    (step,) = call(security_group, **GROUPS)["steps"]
    assert step.startswith("repair security_group ")
    assert ovn.nbctl("get", "ACL", victim, "match").strip() != '"1"'


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"name": "a", "rules": [{"ports": "0"}]}, r"a: rules\.ports.*out of range"),
        ({"name": "a", "rules": [{"protocol": "icmp", "ports": "8"}]}, "no ports"),
        ({"name": "a", "rules": [{"source": "10.0.0.1/8"}]}, "host bits"),
        ({"name": "a", "rules": [{"source_group": "nowhere"}]}, "group nowhere does not exist in project shop .named by a rule of a"),
        ({"name": "a<"}, "not a valid name"),
        ({"name": "a", "description": "<b>"}, "not a valid description"),
        ({"security_groups": [{"name": "a"}, {"name": "a"}]}, "listed twice"),
    ],
)  # fmt: skip
def test_bad_input_is_told_before_anything_changes(call: Call, ovn: Ovn, options: dict[str, Any], problem: str) -> None:
    with pytest.raises(AssertionError, match=problem):
        call(security_group, **options)
    assert ovn.count("Port_Group", "ACL") == {"Port_Group": 0, "ACL": 0}


def test_a_group_in_use_cannot_be_deleted(cloud: Call) -> None:
    cloud(security_group, **GROUPS)
    assert "in use by rules of groups db" in cloud(security_group, name="web", state="absent", fails=True)["msg"]
    cloud(network_interface, name="a", subnet="front", security_groups=["db"])
    assert "in use by interfaces a" in cloud(security_group, name="db", state="absent", fails=True)["msg"]


def test_group_default_is_made_when_needed_and_stays(cloud: Call) -> None:
    """Spec S-07."""
    assert "create security_group default" in cloud(network_interface, name="a", subnet="front")["steps"]
    cloud(network_interface, name="a", state="absent")
    assert "cannot be deleted" in cloud(security_group, name="default", state="absent", fails=True)["msg"]
    assert cloud(security_group, name="default")["changed"] is False
    assert cloud(security_group, name="default", rules=[{"ports": 443}])["changed"] is True


@pytest.fixture
def ports(cloud: Call, northd: Ovn) -> dict[str, dict[str, Any]]:
    """Interfaces in groups web and db, one in the default group, one in none, one with every kind of rule."""
    odd = {
        "name": "odd",
        "rules": [
            {"ports": "22", "source": "0.0.0.0/0"},
            {"ports": "22", "source": "10.20.2.0/24", "action": "deny"},
            {"ports": "23", "source": "0.0.0.0/0", "priority": 1},
            {"ports": "23", "source": "10.20.2.0/24", "action": "deny", "priority": 2},
            {"protocol": "udp", "ports": "53,5000-5010,6000"},
            {"protocol": "gre"},
            {"protocol": "132"},
            {"protocol": "icmpv6"},
            {"source": "2001:db8::/32,198.51.100.7", "description": "an office"},
            {"direction": "egress", "destination_group": "db", "ports": 3306},
            {"direction": "egress", "destination": "203.0.113.0/24", "protocol": "icmp"},
        ],
    }
    cloud(security_group, security_groups=[WEB, DB, odd])
    wanted = [
        {"name": "web", "subnet": "front", "security_groups": ["web"]},
        {"name": "db", "subnet": "back", "security_groups": ["db"]},
        {"name": "plain1", "subnet": "front"},
        {"name": "plain2", "subnet": "back"},
        {"name": "shut", "subnet": "front", "security_groups": []},
        {"name": "odd", "subnet": "front", "security_groups": ["odd"]},
        {"name": "router", "subnet": "front", "security_groups": ["web"], "port_security": False},
    ]
    made = cloud(network_interface, network_interfaces=wanted)["network_interfaces"]
    northd.bind(*(port["id"] for port in made))
    assert northd.settle() == ""
    return {port["name"]: port for port in made}


VERDICTS = {
    ("plain2", "web", "tcp.dst == 22"): True,
    ("plain2", "web", "tcp.dst == 80"): True,
    ("plain2", "web", "tcp.dst == 81"): False,
    ("plain2", "web", "udp.dst == 80"): False,
    ("plain2", "web", "icmp4"): True,
    # S-14: members of a group, and nobody else.
    ("web", "db", "tcp.dst == 3306"): True,
    ("web", "db", "tcp.dst == 22"): False,
    ("plain1", "db", "tcp.dst == 3306"): False,
    # S-02: within the default group everything, from outside nothing.
    ("plain1", "plain2", "tcp.dst == 1"): True,
    ("web", "plain2", "tcp.dst == 1"): False,
    # No group at all: closed in both directions.
    ("plain2", "shut", "tcp.dst == 22"): False,
    ("shut", "web", "tcp.dst == 22"): False,
    # V-09: deny wins at equal priority, and loses against a better one.
    ("db", "odd", "tcp.dst == 22"): False,
    ("web", "odd", "tcp.dst == 22"): True,
    ("db", "odd", "tcp.dst == 23"): True,
    # S-13: lists and ranges of ports; S-12: protocols.
    ("plain2", "odd", "udp.dst == 53"): True,
    ("plain2", "odd", "udp.dst == 5005"): True,
    ("plain2", "odd", "udp.dst == 5011"): False,
    ("plain2", "odd", "ip.proto == 47"): True,
    ("plain2", "odd", "ip.proto == 132"): True,
    ("plain2", "odd", "ip.proto == 50"): False,
    ("plain2", "odd", "icmp4"): False,
    # T7-19: once an egress rule stands, only what is listed goes out.
    ("odd", "web", "tcp.dst == 22"): False,
    ("odd", "db", "tcp.dst == 3306"): False,  # its own rule lets it out, but db lets web in only
}


def test_ovn_s_verdict(northd: Ovn, ports: dict[str, dict[str, Any]]) -> None:
    found = {}
    for sender, receiver, packet in VERDICTS:
        source, to = ports[sender], ports[receiver]
        changed = {"ip4.dst": to["address"], **({"eth.dst": to["mac"]} if source["subnet"] == to["subnet"] else {})}
        found[sender, receiver, packet] = northd.reaches(source, to["id"], packet, **changed)
    assert found == VERDICTS


def test_a_wrong_sender_is_dropped_unless_port_security_is_off(northd: Ovn, ports: dict[str, dict[str, Any]]) -> None:
    gateway = f"lsp-{northd.id('Logical_Switch', 'shop.shop.front')}"
    target = {"ip4.dst": ports["plain2"]["address"]}
    wrong_address, wrong_mac = {"ip4.src": "10.20.1.99"}, {"eth.src": "fa:16:3e:00:00:99"}
    found = [
        northd.reaches(ports[sender], gateway, "tcp.dst == 80", **target, **changed)
        for sender in ("web", "router")
        for changed in ({}, wrong_address, wrong_mac)
    ]
    assert found == [True, False, False, True, True, True]


def test_what_always_works_and_what_never_does(northd: Ovn, ports: dict[str, dict[str, Any]]) -> None:
    """DHCP and ARP work in a port that is closed; frames of other kinds do not leave it."""
    shut = ports["shut"]
    start = f'inport == "{shut["id"]}" && eth.src == {shut["mac"]} && eth.dst == ff:ff:ff:ff:ff:ff'
    discover = f"{start} && ip4.src == 0.0.0.0 && ip4.dst == 255.255.255.255 && ip.ttl == 64 && udp.src == 68 && udp.dst == 67"
    answer = northd.trace("shop.shop.front", discover)
    assert f"offerip = {shut['address']}" in answer
    assert f'output to "{shut["id"]}"' in answer
    asked = f"{start} && arp.op == 1 && arp.sha == {shut['mac']} && arp.spa == {shut['address']} && arp.tpa == 10.20.1.1"
    assert f'output to "{shut["id"]}"' in northd.trace("shop.shop.front", asked)
    other = northd.trace("shop.shop.front", f"{start} && eth.type == 0x88cc")
    assert "output to" not in other
