# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finding servers (spec V5 to V11)."""

from __future__ import annotations

import datetime

import pytest

from ansible_collections.altostratus.ecs.plugins.module_utils._model.errors import InvalidInput
from ansible_collections.altostratus.ecs.plugins.module_utils._model.names import Scope
from ansible_collections.altostratus.ecs.plugins.module_utils._model.search import parse, select

SHOP = Scope("local", "shop")


def server(name, address, eip=None, vpc="shop", **fields):
    nic = {"address": address, "vpc": vpc, "subnet": "front", "security_groups": ["web"]}
    return {
        "id": SHOP.id("server", name),
        "name": name,
        "project": "shop",
        "region": "local",
        "az": "az1",
        "status": "running",
        "flavor": "s7n.medium.2",
        "image_id": SHOP.id("image", "debian-13"),
        "nics": [nic],
        "address": address,
        "eip": eip,
        "created": "2026-01-31T12:00:00Z",
        "tags": {},
        "description": "",
        **fields,
    }


SERVERS = [
    server("ecs-c1", "192.168.0.10", "203.0.113.9", tags={"tier": "web", "spot": ""}),
    server("ecs-c2", "192.168.0.100", status="stopped", flavor="c7.xlarge.4", tags={"tier": "db"}, created="2026-02-01T00:00:00Z"),
    server(
        "db", "10.0.0.5", az="az2", vpc="back", flavor=None, status="faulty", tags={"tier": "db", "env": "prod"},
        created="2025-12-31T23:59:59Z",
    ),
]  # fmt: skip
SERVERS[2]["nics"].append({"address": "192.168.7.7", "vpc": "shop", "subnet": "back", "security_groups": ["db"]})


def found(filters=None, search=None):
    return [told["name"] for told in select(SERVERS, parse(filters, search))]


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        ({}, ["ecs-c1", "ecs-c2", "db"]),
        ({"id": SHOP.id("server", "db")}, ["db"]),
        ({"az": "az2"}, ["db"]),
        ({"status": "stopped"}, ["ecs-c2"]),
        ({"image_id": SHOP.id("image", "debian-13")}, ["ecs-c1", "ecs-c2", "db"]),
        ({"eip": "203.0.113.9"}, ["ecs-c1"]),
        ({"eip": None}, ["ecs-c2", "db"]),
        ({"flavor": ""}, ["db"]),
        ({"vpc_id": SHOP.id("vpc", "back")}, ["db"]),
        ({"vpc": "shop"}, ["ecs-c1", "ecs-c2", "db"]),
        ({"security_group": "db"}, ["db"]),
        ({"subnet": ["nowhere", "back"]}, ["db"]),
        ({"project": "shop"}, ["ecs-c1", "ecs-c2", "db"]),
        ({"status": []}, []),
    ],
)
def test_property(filters, names):
    """Spec V5; the enterprise project is our project."""
    assert found(filters) == names


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        ("2026-01-31T12:00:00Z", ["ecs-c1"]),
        ("2026", ["ecs-c1", "ecs-c2"]),
        (datetime.date(2026, 2, 1), ["ecs-c2"]),
        (datetime.datetime(2026, 2, 1, tzinfo=datetime.UTC), ["ecs-c2"]),
        ("2026-01/2026-01-31", ["ecs-c1"]),
        ("2026-02-01/", ["ecs-c2"]),
        ("/2026-01", ["ecs-c1", "db"]),
        ("2024-01/2025-01", []),
        (["2025", "2026-02"], ["ecs-c2", "db"]),
    ],
)
def test_creation_time(wanted, names):
    """Spec V5: a time, its beginning, or a range with both ends in it."""
    assert found({"created": wanted}) == names


@pytest.mark.parametrize(
    ("search", "names"),
    [
        (SHOP.id("server", "db"), ["db"]),
        (SHOP.id("server", "db").upper(), ["db"]),
        ("c7.xlarge.4", ["ecs-c2"]),
        ("C7.xlarge.4", ["ecs-c2"]),
        ("203.0.113.9", ["ecs-c1"]),
        ("192.168.0.10", ["ecs-c1"]),
        ("192.168.7.7", ["db"]),
        ("203.0.113.9, c7.xlarge.4", ["ecs-c1", "ecs-c2"]),
        ("203.0.113.9 c7.xlarge.4", ["ecs-c2"]),
        ("s7n.medium.4", []),
        ("", ["ecs-c1", "ecs-c2", "db"]),
    ],
)
def test_bare_value(search, names):
    """Spec V6: id, flavor name, EIP and private address are told apart; commas mean or; without them the last value counts."""
    assert found(search=search) == names


@pytest.mark.parametrize("search", ["web", "192.168.0", "s7n", "203.0.113.9,web"])
def test_bare_value_is_complete(search):
    with pytest.raises(InvalidInput, match="search"):
        found(search=search)


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        ({"name": "ecs-c"}, ["ecs-c1", "ecs-c2"]),
        ({"address": "192.168.0"}, ["ecs-c1", "ecs-c2"]),
        ({"address": "192.168"}, ["ecs-c1", "ecs-c2", "db"]),
        ({"flavor": "s7n"}, ["ecs-c1"]),
        ({"flavor": "S7N"}, ["ecs-c1"]),
        ({"name": "c1,db"}, ["ecs-c1", "db"]),
    ],
)
def test_a_part_is_enough(filters, names):
    """Spec V7, with the guide's examples."""
    assert found(filters) == names


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        ({"id": SHOP.id("server", "db")[:8]}, []),
        ({"image_id": SHOP.id("image", "debian-13")[:8]}, []),
        ({"eip": "203.0.113"}, []),
        ({"vpc_id": SHOP.id("vpc", "shop")[:8]}, []),
        ({"project": "sho"}, []),
        ({"address": "192.168.0.10"}, ["ecs-c1", "ecs-c2"]),
        ({"address": "192.168.0.10,10.0.0"}, ["ecs-c1"]),
        ({"address": "192.168.0.10", "status": "running|stopped"}, ["ecs-c1"]),
        ({"address": "192.168.0.10", "tags": ["tier"]}, ["ecs-c1"]),
    ],
)
def test_the_whole_value_is_needed(filters, names):
    """Spec V8: always, and for private addresses as soon as there are several values or properties."""
    assert found(filters) == names


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        ({"status": "running", "az": "az2"}, []),
        ({"status": "running,stopped", "az": "az1"}, ["ecs-c1", "ecs-c2"]),
        ({"status": "running|stopped"}, ["ecs-c1", "ecs-c2"]),
        ({"status": ["running", "faulty"]}, ["ecs-c1", "db"]),
        ({"az": "az1|az2"}, []),
    ],
)
def test_properties_and_values_or(filters, names):
    """Spec V9."""
    assert found(filters) == names


def test_search_and_filters_are_both_to_match():
    """Spec V9."""
    assert found({"status": "stopped"}, "203.0.113.9,c7.xlarge.4") == ["ecs-c2"]


@pytest.mark.parametrize(
    ("tags", "names"),
    [
        ({"tier": "db"}, ["ecs-c2", "db"]),
        ({"tier": None}, ["ecs-c1", "ecs-c2", "db"]),
        ({"spot": ""}, ["ecs-c1"]),
        ({"tier": "db", "env": "prod"}, ["db"]),
        ({"tier": ["db", "web"]}, []),
        (["env"], ["db"]),
        (["tier=db", "env"], ["db"]),
        (["tier=db", "tier=web"], []),
        ("tier=db,env=prod", ["db"]),
        ({"tier": "d"}, []),
    ],
)
def test_tags(tags, names):
    """Spec V10: by key or by key and value, all of them, so that two values of one key find nothing."""
    assert found({"tags": tags}) == names


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"address": "203.0.113.9"}, "found by eip"),
        ({"address": "172.32.0.1"}, r"172\.16\.0\.0/12"),
        ({"address": "web"}, "is no address"),
        ({"address": "10.0.0.5", "eip": "203.0.113.9"}, "cannot be combined"),
        ({"colour": "red"}, "is not a property of a server.*vpc_id"),
        ({"nics": "front"}, "is not a property of a server"),
        ({"created": "yesterday"}, "is no time"),
        ({"created": "2026-1-1"}, "is no time"),
    ],
)
def test_refused(filters, message):
    """Spec V11, and what nobody could mean."""
    with pytest.raises(InvalidInput, match=message):
        parse(filters)


@pytest.mark.parametrize("address", ["10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.255.1"])
def test_private_addresses(address):
    """Spec V11."""
    assert parse({"address": address}).properties == {"address": (address,)}
