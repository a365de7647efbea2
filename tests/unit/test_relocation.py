# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may move where (spec R2, R3, EV-3), and which host takes whom when one is emptied."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from ansible_collections.altostratus.ecs.plugins.module_utils._model import metadata, migration, volumes
from ansible_collections.altostratus.ecs.plugins.module_utils._model.errors import InvalidInput, NotFound
from ansible_collections.altostratus.ecs.plugins.module_utils._model.northbound import on_chassis
from ansible_collections.altostratus.ecs.plugins.module_utils._model.relocation import Rules, Wish, find, leaving, relocate


def host(name, *servers, **more):
    base = {
        "name": name, "az": "az1", "region": "home", "memory": 8704, "cpus": 4, "reserved_memory": 512, "kvm": True, "datapath": "system",
        "address": "192.0.2.1", "image_library": "/images", "images": {"i": "sha256:1"}, "pools": [{"name": "standard"}],
        "dedicated_to": [], "flavors": [], "servers": list(servers),
    }  # fmt: skip
    base |= {"vcpus_allocated": sum(one["vcpus"] for one in servers), "memory_allocated": sum(one["memory"] for one in servers)}
    return {**base, **more}


def server(name, memory=1024, **more):
    base = {
        "id": f"id-{name}", "name": name, "project": "shop", "vcpus": 1, "memory": memory, "flavor": "s7n.small.1", "status": "running",
        "image_id": "i", "disk_types": ["standard"], "bound": False, "server_group": None, "server_group_policy": None,
    }  # fmt: skip
    return {**base, **more}


def drain(name, *hosts, **rules):
    result = relocate(leaving(hosts, name), hosts, Rules(**rules))
    assert {home for home, moves in result.moves.items() if moves} <= {name}
    moves = {one["name"]: one["hypervisor"] for one in result.moves[name]}
    return moves, {one["name"]: one["reason"] for one in result.stays}


def test_drain_spreads_over_the_zone_the_largest_first():
    hv1 = host("hv1", server("a", 1024), server("b", 4096), server("c", 2048), maintenance=True)
    assert drain("hv1", hv1, host("hv2"), host("hv3"), host("other", az="az2")) == ({"b": "hv2", "c": "hv3", "a": "hv3"}, {})
    assert drain("hv1", hv1, host("hv2"), host("hv3"), spread=False)[0] == {"b": "hv2", "c": "hv2", "a": "hv2"}
    assert drain("hv2", hv1, host("hv2")) == ({}, {})


def test_who_finds_no_room_stays_and_is_told_of():
    moves, stays = drain("hv1", host("hv1", server("a", 6000), server("b", 6000)), host("hv2"))
    assert moves == {"a": "hv2"}
    assert "no room for 1 vCPUs and 6000 MiB" in stays["b"]
    assert drain("hv1", host("hv1", server("a"))) == ({}, {"a": "there is no other hypervisor"})


@pytest.mark.parametrize(
    ("differing", "reason"),
    [
        ({"maintenance": True}, "is in maintenance"),
        ({"az": "az2"}, "is in zone az2, not az1"),
        ({"region": "away"}, "has region away"),
        ({"address": ""}, "is not ready"),
        ({"datapath": "netdev"}, "has datapath netdev"),
        ({"kvm": False}, "has no KVM"),
        ({"image_library": "/other"}, "its image library in /other"),
        ({"pools": [{"name": "fast"}]}, "has no pool standard"),
        ({"images": {}}, "has not the image"),
        ({"images": {"i": "sha256:2"}}, "has made image i from another source"),
        ({"flavors": ["c7n.*"]}, "offers flavors c7n.* only"),
        ({"dedicated_to": ["bank"]}, "is dedicated to bank"),
    ],
)
def test_hosts_that_cannot_take_it(differing, reason):
    moves, stays = drain("hv1", host("hv1", server("a")), host("hv2", **differing))
    assert moves == {}
    assert reason in stays["a"]


def test_another_zone_is_for_those_who_allow_it():
    hosts = host("hv1", server("a")), host("hv2", az="az2")
    assert drain("hv1", *hosts, allow_az_change=True) == ({"a": "hv2"}, {})


def test_an_image_that_nothing_is_made_from_any_more_does_not_matter():
    assert migration.obstacle(server("a", image_id="gone"), host("hv1"), host("hv2")) is None


def test_servers_leave_dedicated_hosts_only_while_they_are_off():
    """R2: from and to dedicated hosts; drain keeps the isolation, a name given to it overrides that."""
    bank = {"dedicated_to": ["shop"]}
    hosts = host("hv1", server("on"), server("off", status="stopped"), **bank), host("hv2", **bank), host("hv3")
    moves, stays = drain("hv1", *hosts)
    assert moves == {"off": "hv2"}
    assert "only while it is stopped" in stays["on"]
    assert drain("hv1", *hosts, allow_stop=True)[0] == {"on": "hv2", "off": "hv2"}
    named = relocate([Wish(*find(hosts, "shop", "off"), "hv3")], hosts, Rules())
    assert named.moves["hv1"] == [{"project": "shop", "name": "off", "hypervisor": "hv3"}]


def test_processors_of_its_own_keep_a_server_from_moving_live():
    hosts = host("hv1", server("a", bound=True)), host("hv2")
    assert "processors" in drain("hv1", *hosts)[1]["a"]
    assert drain("hv1", *hosts, allow_stop=True)[0] == {"a": "hv2"}


@pytest.mark.parametrize("status", ["creating", "faulty", "resizing"])
def test_servers_between_two_states_stay(status):
    assert drain("hv1", host("hv1", server("a", status=status)), host("hv2"))[1] == {"a": f"it is {status}"}


def test_groups_are_kept():
    """R3: members of an anti-affinity group each find their own host, those of an affinity group one for all."""
    apart = {"server_group": "db", "server_group_policy": "anti-affinity"}
    hosts = host("hv1", server("a", **apart)), host("hv2", server("b", **apart)), host("hv3", server("x", 6000))
    assert drain("hv1", *hosts)[0] == {"a": "hv3"}
    moves, stays = drain("hv1", *hosts[:2])
    assert moves == {}
    assert "in server group db" in stays["a"]
    together = {"server_group": "pair", "server_group_policy": "affinity"}
    hosts = host("hv1", server("a", 3000, **together), server("b", 3000, **together)), host("hv2", server("x", 4000)), host("hv3")
    assert drain("hv1", *hosts)[0] == {"a": "hv3", "b": "hv3"}
    assert drain("hv1", *hosts[:2])[0] == {}


def test_parted_names_the_member_that_is_in_the_way():
    """R3, R4: for one that is sent to a host by name."""
    apart = {"server_group": "db", "server_group_policy": "anti-affinity"}
    hosts = [host("hv1", server("a", **apart)), host("hv2", server("b", **apart)), host("hv3")]
    assert migration.parted(server("a", **apart), "hv2", hosts, ()).reason == "has b of its server group db (anti-affinity)"
    assert migration.parted(server("a", **apart), "hv3", hosts, ()) is None
    assert migration.parted(server("a", **apart), "hv2", hosts, {"id-b"}) is None
    near = {"server_group": "db", "server_group_policy": "affinity"}
    hosts = [host("hv1", server("a", **near)), host("hv2", server("b", **near)), host("hv3")]
    assert migration.parted(server("a", **near), "hv2", hosts, ()) is None
    assert migration.parted(server("a", **near), "hv3", hosts, ()).code == "ECS_SERVER_GROUP"
    assert migration.parted(server("a", server_group="db", server_group_policy="soft-affinity"), "hv3", hosts, ()) is None


def test_some_servers_and_hosts_by_name():
    hosts = host("hv1", server("a")), host("hv2"), host("hv3", memory=16000)
    assert relocate([Wish(*find(hosts, "shop", "a"))], hosts, Rules()).moves["hv1"][0]["hypervisor"] == "hv3"
    assert relocate([Wish(*find(hosts, "shop", "a"), "hv2")], hosts, Rules()).moves["hv1"][0]["hypervisor"] == "hv2"
    assert relocate([Wish(*find(hosts, "shop", "a"), "hv1")], hosts, Rules()).moves == {"hv1": [], "hv2": [], "hv3": []}
    with pytest.raises(NotFound, match="server b does not exist"):
        find(hosts, "shop", "b")
    with pytest.raises(NotFound, match="hypervisor hv9 does not exist"):
        leaving(hosts, "hv9")
    with pytest.raises(InvalidInput, match="is none of the hypervisors"):
        relocate([Wish(*find(hosts, "shop", "a"), "hv9")], hosts, Rules())


def test_the_task_remembers_both_hosts():
    task = metadata.Task("migrating", "2026-01-31T12:00:00Z", True, "hv1", "hv2")
    tree = ET.Element("domain")
    node = ET.fromstring(metadata.build_task(task))
    node.tag = f"{{{metadata.TASK_NAMESPACE}}}task"
    ET.SubElement(tree, "metadata").append(node)
    assert metadata.parse_task(tree) == task


def test_the_twin_of_a_volume_is_as_large_on_the_same_image():
    xml = (
        "<volume type='file'><name>shop.a-system.qcow2</name><capacity unit='bytes'>1073741824</capacity><allocation>200704</allocation>"
        "<target><path>/p/shop.a-system.qcow2</path><format type='qcow2'/></target>"
        "<backingStore><path>/images/9b1deb4d-3b7d-4bad-9bdd-2b0d7b3dcb6d.qcow2</path><format type='qcow2'/></backingStore></volume>"
    )
    twin = ET.fromstring(volumes.twin(xml))
    assert (twin.findtext("name"), twin.findtext("capacity"), twin.findtext("allocation")) == ("shop.a-system.qcow2", "1073741824", "0")
    assert twin.findtext("backingStore/path") == "/images/9b1deb4d-3b7d-4bad-9bdd-2b0d7b3dcb6d.qcow2"
    assert twin.findtext("target/permissions/mode") == "0600"


def test_a_port_on_two_chassis_waits_on_the_second():
    before = {"mcast_flood": "true", "requested-chassis": "hv9"}
    moving = on_chassis(before, ["hv1", "hv2"])
    assert moving == {"mcast_flood": "true", "requested-chassis": "hv1,hv2", "activation-strategy": "rarp"}
    assert on_chassis(moving, ["hv2"]) == {"mcast_flood": "true", "requested-chassis": "hv2"}
    assert on_chassis(moving, []) == {"mcast_flood": "true"}
