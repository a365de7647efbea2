# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Networks as Northbound rows: read back as they were, and spread as they should."""

from __future__ import annotations

from collections import Counter

import pytest

from ansible_collections.altostratus.ecs.plugins.module_utils._engines.ovsdb import decode, encode
from ansible_collections.altostratus.ecs.plugins.module_utils._model import northbound as model
from ansible_collections.altostratus.ecs.plugins.module_utils._model.names import Scope
from ansible_collections.altostratus.ecs.plugins.module_utils._model.rules import parse_rules

SHOP = Scope("local", "shop")
RULES = [
    {"ports": "22,8000-8080", "source": "10.0.0.0/8,::/0", "description": "logins, and more"},
    {"source_group": "web", "priority": 7, "action": "deny"},
    {"direction": "egress", "protocol": "gre", "priority": 100},
]


def test_a_group_reads_back_from_its_rows() -> None:
    group = model.SecurityGroup(SHOP.id("security_group", "db"), "db", "local", "shop", "The database", parse_rules(RULES))
    main, *acls = group.rows()
    assert model.SecurityGroup.read(main.columns, [model.read_rule(acl.columns) for acl in acls]).represent() == group.represent()
    assert main.columns["acls"] == {acl.uuid for acl in acls}


def test_all_columns_that_a_resource_answers_for_are_named() -> None:
    """They are read at once, so that nothing is read twice to be compared."""
    group = model.SecurityGroup(SHOP.id("security_group", "db"), "db", "local", "shop", "", parse_rules(RULES))
    main, *acls = group.rows()
    assert set(main.columns) == set(model.GROUP_COLUMNS)
    assert {frozenset(acl.columns) for acl in acls} == {frozenset(model.ACL_COLUMNS)}
    subnet = model.Subnet(SHOP.id("subnet", "s"), "s", "v", SHOP.id("vpc", "v"), "local", "shop", "10.0.0.0/24", "10.0.0.1", (), True, 1442)
    texts = {
        "id": SHOP.id("port", "p"),
        "name": "p",
        "region": "local",
        "project": "shop",
        "mac": "fa:16:3e:00:00:01",
        "address": "10.0.0.2",
    }
    row = {"external_ids": {f"ecs:{key}": value for key, value in texts.items()}, "port_security": frozenset()}
    (port,) = model.Port.read(row, subnet, [], None).rows(subnet)
    assert set(port.columns) == set(model.PORT_COLUMNS)


def test_a_changed_rule_changes_one_row() -> None:
    """What is equal keeps its uuid, so that it is not written again."""

    def uuids(description: str) -> set[str]:
        changed = [*RULES[:2], {**RULES[2], "description": description}]
        group = model.SecurityGroup(SHOP.id("security_group", "db"), "db", "local", "shop", "", parse_rules(changed))
        return {row.uuid for row in group.rows()}

    assert len(uuids("a") - uuids("b")) == 2  # one rule, for two IP versions


def test_an_eip_reads_back_bound_and_unbound() -> None:
    network, port, vpc = (SHOP.id("network", "n"), SHOP.id("port", "p"), SHOP.id("vpc", "v"))
    eip = model.Eip(SHOP.id("eip", "e"), "e", "local", "shop", "public", network, "203.0.113.5", 20, "p", port, vpc, "10.0.0.5", "web")
    for each, tables in ((eip, ["Logical_Switch_Port", "QoS", "QoS", "NAT"]), (eip.unbound(), ["Logical_Switch_Port", "QoS", "QoS"])):
        rows = each.rows()
        assert model.Eip.read(rows[0].columns) == each
        assert [row.table for row in rows] == tables


def test_gateways_spread_over_the_hosts() -> None:
    """Every VPC has all hosts, each at a priority of its own, and no host is first for all."""
    hosts = ["hv1", "hv2", "hv3"]
    first: Counter[str] = Counter()
    for number in range(300):
        rows = model.gateway_chassis_rows(SHOP.id("vpc", str(number)), hosts)
        assert sorted(row.columns["priority"] for row in rows) == [1, 2, 3]
        assert {row.columns["chassis_name"] for row in rows} == set(hosts)
        first[max(rows, key=lambda row: row.columns["priority"]).columns["chassis_name"]] += 1
    assert min(first[host] for host in hosts) > 60


def test_a_port_group_name_fits_a_match() -> None:
    assert model.port_group_name("3f2a1b00-0000-5000-8000-00000000000a") == "sg_3f2a1b00_0000_5000_8000_00000000000a"


@pytest.mark.parametrize(
    ("table", "column", "value", "wire"),
    [
        ("Logical_Switch", "name", "a", "a"),
        ("Logical_Switch", "ports", frozenset(), ["set", []]),
        ("Logical_Switch", "ports", frozenset({"u2", "u1"}), ["set", [["uuid", "u1"], ["uuid", "u2"]]]),
        ("Logical_Switch_Port", "addresses", frozenset({"b", "a"}), ["set", ["a", "b"]]),
        ("Logical_Switch_Port", "tag", None, ["set", []]),
        ("Logical_Switch_Port", "tag", 7, 7),
        ("Logical_Switch_Port", "dhcpv4_options", "u", ["uuid", "u"]),
        ("Logical_Switch_Port", "dhcpv4_options", None, ["set", []]),
        ("QoS", "bandwidth", {"rate": 5}, ["map", [["rate", 5]]]),
    ],
)
def test_values_travel_as_ovsdb_json(table: str, column: str, value: object, wire: object) -> None:
    assert encode(table, column, value) == wire
    assert decode(table, column, wire) == value


def test_a_set_of_one_arrives_bare() -> None:
    """RFC 7047: a server sends a set of one element as that element."""
    assert decode("Logical_Switch", "ports", ["uuid", "u"]) == {"u"}
    assert decode("Logical_Switch_Port", "addresses", "router") == {"router"}
