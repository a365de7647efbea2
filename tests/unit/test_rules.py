# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Security group rules: the vectors of the guide, what is refused, and the ACL each rule becomes."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.altostratus.ecs.plugins.module_utils._model import rules
from ansible_collections.altostratus.ecs.plugins.module_utils._model.errors import EcsError, InvalidInput

TWENTY = ",".join(str(port) for port in range(1, 21))


@pytest.mark.parametrize(
    ("written", "parsed"),
    [
        ("22", "22"),
        (22, "22"),
        ("22-30", "22-30"),
        ("22,23-30", "22,23-30"),
        (["22", "23 - 30"], "22,23-30"),
        ("", ""),
        (None, ""),
        ("1-65535", ""),
        ("65535", "65535"),
        ("22-22", "22"),
        (TWENTY, TWENTY),
    ],
)
def test_ports_have_one_spelling(written: Any, parsed: str) -> None:
    """Spec V-07, S-13."""
    assert rules.parse_ports("ports", written) == parsed


@pytest.mark.parametrize("written", ["0", "65536", "30-22", "22,22", f"{TWENTY},21", "ssh", "-22", "22-", "1-65536", "٢٢", "22-22,22"])
def test_wrong_ports_are_refused(written: str) -> None:
    """Spec V-07, S-13."""
    with pytest.raises(InvalidInput, match=r"rules\.ports"):
        rules.parse_rule({"ports": written})


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ({"priority": 0}, "1 .wins. to 100"),
        ({"priority": 101}, "1 .wins. to 100"),
        ({"protocol": "sctp"}, "not a protocol"),
        ({"protocol": "256"}, "not a protocol"),
        ({"protocol": "icmp", "ports": "8"}, "no ports"),
        ({"protocol": "all", "ports": "80"}, "no ports"),
        ({"protocol": "gre", "ports": "80"}, "no ports"),
        ({"protocol": "47", "ports": "80"}, "no ports"),
        ({"source": "10.0.0.1/8"}, "host bits.*10.0.0.0/8"),
        ({"source": "10.0.0.0/8,web"}, "not an IP address"),
        ({"source": "10.0.0.0/8", "source_group": "web"}, "exclude each other"),
        ({"source_group": "we b"}, "not a valid name"),
        ({"destination": "10.0.0.0/8"}, "does not fit an ingress rule"),
        ({"direction": "egress", "source": "10.0.0.0/8"}, "does not fit an egress rule"),
        ({"direction": "egress", "source_group": "web"}, "does not fit an egress rule"),
        ({"protocol": "icmpv6", "source": "10.0.0.0/8"}, "is IPv4"),
        ({"description": "a < b"}, "not a valid description"),
        ({"description": "x" * 256}, "not a valid description"),
    ],
)
def test_what_contradicts_itself_is_refused(written: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidInput, match=problem):
        rules.parse_rule(written)


@pytest.mark.parametrize(
    ("written", "acls"),
    [
        # S-02: nothing named is everything, for both IP versions.
        ({}, ["to-lport 1198 outport == @sg_me && ip4 -> allow-related", "to-lport 1198 outport == @sg_me && ip6 -> allow-related"]),
        # S-09: 100 is the weakest; S-10: deny stands above the allow of its priority.
        ({"priority": 100, "source": "::/0"}, ["to-lport 1000 outport == @sg_me && ip6 -> allow-related"]),
        ({"priority": 1, "action": "deny", "source": "0.0.0.0/0"}, ["to-lport 1199 outport == @sg_me && ip4 -> drop"]),
        # S-14, V-10: each address is a rule of its own.
        (
            {"source": "192.168.52.0/24,10.0.0.0/24", "protocol": "udp"},
            [
                "to-lport 1198 outport == @sg_me && ip4 && ip4.src == 192.168.52.0/24 && udp -> allow-related",
                "to-lport 1198 outport == @sg_me && ip4 && ip4.src == 10.0.0.0/24 && udp -> allow-related",
            ],
        ),
        (
            {"source": ["192.168.10.10", "2002:50::44"], "ports": 22},
            [
                "to-lport 1198 outport == @sg_me && ip4 && ip4.src == 192.168.10.10/32 && tcp && tcp.dst == 22 -> allow-related",
                "to-lport 1198 outport == @sg_me && ip6 && ip6.src == 2002:50::44/128 && tcp && tcp.dst == 22 -> allow-related",
            ],
        ),
        # T7-17: members of a group.
        (
            {"source_group": "sg-A", "ports": "3306"},
            [
                "to-lport 1198 outport == @sg_me && ip4 && ip4.src == $of_sg-A_ip4 && tcp && tcp.dst == 3306 -> allow-related",
                "to-lport 1198 outport == @sg_me && ip6 && ip6.src == $of_sg-A_ip6 && tcp && tcp.dst == 3306 -> allow-related",
            ],
        ),
        # Egress looks at the destination.
        (
            {"direction": "egress", "destination": "132.15.0.0/16", "ports": "80,443,8000-8080", "action": "deny", "priority": 2},
            [
                "from-lport 1197 inport == @sg_me && ip4 && ip4.dst == 132.15.0.0/16 && tcp && (tcp.dst == {80, 443} || 8000 <= tcp.dst <= 8080) -> drop"  # noqa: E501
            ],
        ),
        # S-12, T7-16: ICMP is that of the IP version.
        ({"protocol": "icmp"}, ["to-lport 1198 outport == @sg_me && ip4 && icmp4 -> allow-related"]),
        ({"protocol": "icmp", "source": "::/0"}, ["to-lport 1198 outport == @sg_me && ip6 && icmp6 -> allow-related"]),
        ({"protocol": "icmpv6"}, ["to-lport 1198 outport == @sg_me && ip6 && icmp6 -> allow-related"]),
        ({"protocol": "gre", "source": "0.0.0.0/0"}, ["to-lport 1198 outport == @sg_me && ip4 && ip.proto == 47 -> allow-related"]),
        ({"protocol": "132", "source": "0.0.0.0/0"}, ["to-lport 1198 outport == @sg_me && ip4 && ip.proto == 132 -> allow-related"]),
        # A number with a name is that protocol.
        ({"protocol": "6", "ports": "22-30", "source": "0.0.0.0/0"}, [
            "to-lport 1198 outport == @sg_me && ip4 && tcp && 22 <= tcp.dst <= 30 -> allow-related"
        ]),
    ],
)  # fmt: skip
def test_a_rule_becomes_these_acls(written: dict[str, Any], acls: list[str]) -> None:
    found = [rules.acl_columns(rule, "sg_me", lambda name: f"of_{name}") for rule in rules.parse_rule(written)]
    assert ["{direction} {priority} {match} -> {action}".format(**acl) for acl in found] == acls


def test_default_egress_is_added_only_where_no_egress_rule_stands() -> None:
    """Spec S-02, T7-9, T7-19."""
    egress = [rule for rule in rules.parse_rules([{"ports": 22}]) if rule.direction == "egress"]
    assert [(rule.action, rule.protocol, rule.remote) for rule in egress] == [("allow", "all", "0.0.0.0/0"), ("allow", "all", "::/0")]
    assert [rule for rule in rules.parse_rules([{"ports": 22}], default_egress=False) if rule.direction == "egress"] == []
    written = {"direction": "egress", "destination": "132.15.1.1", "ports": 80}
    assert [rule.remote for rule in rules.parse_rules([written])] == ["132.15.1.1/32"]


def test_default_group_lets_its_own_members_in_and_everything_out() -> None:
    """Spec S-07, T7-5."""
    found = {(rule.direction, rule.ethertype, rule.protocol, rule.remote, rule.group) for rule in rules.default_rules()}
    assert found == {
        ("ingress", "ipv4", "all", "", "default"),
        ("ingress", "ipv6", "all", "", "default"),
        ("egress", "ipv4", "all", "0.0.0.0/0", ""),
        ("egress", "ipv6", "all", "::/0", ""),
    }


def test_restricted_rules_are_counted_once_each() -> None:
    """Spec V-08, table 7-3, with a group in place of an address group."""
    table = [
        {"source_group": "Sg-A"},
        {"ports": "22,25,27", "source_group": "Sg-B"},
        {"ports": "80-82", "source_group": "Sg-C"},
        {"ports": "22-24,25", "source": "192.168.0.0/24"},
        {"ports": "22", "source": "192.168.0.0/24"},
    ]
    assert rules.restricted_counts(rules.parse_rules(table))["ingress", "ipv4"] == 4


def test_more_than_120_restricted_rules_are_refused() -> None:
    """Spec S-04: for each direction and IP version."""
    many = [{"ports": f"{port},{port + 5000}", "source": "10.0.0.0/8"} for port in range(1, 122)]
    assert len(rules.parse_rules(many[:120], default_egress=False)) == 120
    with pytest.raises(EcsError, match="121 ingress rules for ipv4") as error:
        rules.parse_rules(many)
    assert error.value.code == "ECS_QUOTA"


@pytest.mark.parametrize(
    ("written", "warned"),
    [
        ({"ports": 22}, "tcp 22 open to everyone"),
        ({"ports": "3000-4000", "source": "::/0"}, "tcp 3127, 3128, 3129, 3130, 3389 open"),
        ({"protocol": "udp", "ports": 4789}, "udp 4789 open"),
        ({"protocol": "tcp"}, "every tcp port open"),
        ({}, "every port open"),
        ({"ports": "80,443"}, None),
        ({"ports": 22, "source": "192.168.0.0/24"}, None),
        ({"ports": 22, "action": "deny"}, None),
        ({"direction": "egress"}, None),
    ],
)
def test_risky_ports_open_to_everyone_are_told(written: dict[str, Any], warned: str | None) -> None:
    """Spec S-19, S-20."""
    told = rules.warnings("web", rules.parse_rule(written))
    assert [warned in text for text in told if warned] == ([True] if warned else [])
    assert bool(told) is bool(warned)
