# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Preemptible servers: who gives way to whom (spec B6 to B10)."""

from __future__ import annotations

import random
from itertools import combinations

import pytest

from ansible_collections.altostratus.ecs.plugins.module_utils._model import domain_xml, preemption
from ansible_collections.altostratus.ecs.plugins.module_utils._model.errors import EcsError, InvalidInput
from ansible_collections.altostratus.ecs.plugins.module_utils._model.metadata import ServerMetadata
from ansible_collections.altostratus.ecs.plugins.module_utils._model.placement import place
from ansible_collections.altostratus.ecs.plugins.module_utils._model.preemption import Preemptible, cost, make_room, preemptibles
from ansible_collections.altostratus.ecs.plugins.module_utils._model.server_changes import check_change, check_removal
from ansible_collections.altostratus.ecs.plugins.module_utils._model.server_request import requests
from ansible_collections.altostratus.ecs.plugins.module_utils._model.servers import Server, represent


def preemptible(name, memory=1024, vcpus=1, **more):
    return Preemptible(id=name, name=name, project="shop", vcpus=vcpus, memory=memory, **more)


def names(servers):
    return None if servers is None else [server.name for server in servers]


A, B, C = (preemptible(name, created=f"2026-01-0{number}") for number, name in enumerate("abc", 1))


@pytest.mark.parametrize(
    ("servers", "memory", "going"),
    [
        ([A, B, C], 1024, ["c"]),  # the newest of equals
        ([A, B, C], 2048, ["c", "b"]),
        ([A, B, C], 3073, None),
        ([], 1, None),
        ([A, B, preemptible("high", 4096, priority=5)], 2048, ["b", "a"]),  # the lowest priority first, though it takes two
        ([A, B, preemptible("high", 4096, priority=5)], 4096, ["high"]),  # as few as possible: the lower ones would not help
        ([A, B, preemptible("high", 4096, priority=5)], 5120, ["b", "high"]),
        ([A, B, preemptible("large", 2048)], 2048, ["large"]),  # one instead of two
        ([A, preemptible("going", 2048, reclaim_at="x")], 2048, ["going"]),  # who goes anyway makes enough room
        ([A, preemptible("going", 512, reclaim_at="x")], 1024, ["going", "a"]),
    ],
)
def test_who_goes(servers, memory, going):
    assert names(make_room(servers, 0, memory)) == going
    assert names(make_room(reversed(servers), 0, memory)) == going, "whatever the order"


def test_memory_and_vcpus():
    """One server that has enough of both, rather than two that have one each."""
    servers = [preemptible("cpu", 256, 4), preemptible("memory", 4096, 1), preemptible("both", 2048, 2)]
    assert names(make_room(servers, 2, 2048)) == ["both"]
    assert names(make_room(servers, 4, 4096)) in (["cpu", "memory"], ["memory", "cpu"])


def test_no_choice_is_better():
    """The lowest priority that suffices, then the fewest, then the first in order, against all choices there are."""
    chance = random.Random(8)
    for _round in range(400):
        servers = [
            preemptible(str(number), chance.choice((512, 1024, 2048)), chance.choice((1, 2, 4)), priority=chance.choice((0, 0, 1, 7)),
                        created=str(chance.randrange(3)))
            for number in range(chance.randrange(7))
        ]  # fmt: skip
        vcpus, memory = chance.randrange(1, 9), chance.randrange(1, 6000)
        order = sorted(servers, key=lambda server: (server.created, server.name), reverse=True)
        order.sort(key=lambda server: server.priority)
        choices = [
            choice
            for count in range(1, len(order) + 1)
            for choice in combinations(order, count)
            if sum(server.vcpus for server in choice) >= vcpus and sum(server.memory for server in choice) >= memory
        ]
        best = min(choices, key=lambda choice: (max(server.priority for server in choice), len(choice)), default=None)
        assert names(make_room(servers, vcpus, memory)) == (best and names(best))


def test_many_of_a_kind_take_no_time():
    servers = [preemptible(f"{number}", 1024 * (1 + number % 3), 1 + number % 2, priority=number % 5) for number in range(200)]
    found = make_room(servers, 120, 200 * 1024)
    assert found is not None
    assert sum(server.memory for server in found) >= 200 * 1024


def test_hosts_are_compared_by_what_it_costs():
    assert cost([preemptible("a", priority=3), preemptible("b", reclaim_at="x", priority=9)]) == (3, 1)
    assert cost([preemptible("b", reclaim_at="x", priority=9)]) == (-1, 0)


def fact(name, memory=2048, preemptible=True, **more):
    base = {"id": name, "name": name, "project": "shop", "vcpus": 1, "memory": memory, "status": "running", "tags": {}}
    told = {"created": "2026-01-01", "preemptible": preemptible, "priority": 0 if preemptible else None, "reclaim_at": None}
    return {**base, **told, **more}


def host(name, *servers, az="az1", memory=4096, **more):
    taken = {"vcpus_allocated": sum(server["vcpus"] for server in servers), "memory_allocated": sum(server["memory"] for server in servers)}
    limits = {"memory": memory, "cpus": 4, "cpu_overcommit": 4.0, "memory_overcommit": 1.0, "reserved_memory": 0}
    return {"name": name, "az": az, **limits, **taken, "servers": list(servers), **more}


def test_facts():
    older = {"name": "of an older version"}
    told = preemptibles([fact("a", priority=4), fact("b", preemptible=False), fact("c", status="creating"), older])
    assert told == [Preemptible("a", "a", "shop", 1, 2048, 4, "2026-01-01")]


NEW = {"name": "db", "flavor": "s7n.medium.2"}


def placed(servers, hosts, **options):
    result = place(servers, hosts, "shop", **options)
    return {server["name"]: server["hypervisor"] for server in result.servers}, [item["name"] for item in result.reclaims], result.warnings


def test_room_is_taken_where_it_costs_least():
    dear = [fact("a", priority=5), fact("b", priority=5)]
    full = [host("hv1", *dear), host("hv2", fact("c"), fact("d")), host("hv3", fact("e", memory=4096))]
    assert placed([NEW], full) == ({"db": "hv2"}, ["d"], [])
    assert placed([{**NEW, "count": 3}], full)[:2] == ({"db-0001": "hv2", "db-0002": "hv2", "db-0003": "hv3"}, ["d", "c", "e"])
    result = place([NEW], full, "shop").reclaims
    assert result == [{"id": "d", "name": "d", "project": "shop", "hypervisor": "hv2", "reclaim_at": None}]


def test_nobody_goes_where_there_is_room():
    assert placed([NEW], [host("hv1", fact("a"), fact("b")), host("hv2", fact("c"))]) == ({"db": "hv2"}, [], [])


def test_room_that_comes_anyway_is_waited_for():
    hosts = [host("hv1", fact("a"), fact("b")), host("hv2", fact("c", reclaim_at="2026-01-31T12:00:00Z", priority=50), fact("d"))]
    assert placed([NEW], hosts)[:2] == ({"db": "hv2"}, ["c"])


def test_zone_group_and_dedication_hold():
    hosts = [host("hv1", fact("a"), fact("b"), az="az1"), host("hv2", fact("c", priority=9), fact("d", priority=9), az="az2")]
    assert placed([{**NEW, "az": "az2"}], hosts)[:2] == ({"db": "hv2"}, ["d"])
    members = [host("hv1", fact("a"), fact("b", preemptible=False, server_group="g")), hosts[1]]
    assert placed([{**NEW, "server_group": "g"}], members)[:2] == ({"db": "hv2"}, ["d"])
    near = [{"name": "g", "policy": "affinity"}]
    assert placed([{**NEW, "server_group": "g"}], members, groups=near)[:2] == ({"db": "hv1"}, ["a"])
    together = [{**NEW, "count": 2, "server_group": "h"}]
    assert placed(together, hosts, groups=[{"name": "h", "policy": "affinity"}])[:2] == ({"db-0001": "hv1", "db-0002": "hv1"}, ["b", "a"])
    with pytest.raises(EcsError, match="ECS_NO_CAPACITY"):
        place([NEW], [host("hv1", fact("a", memory=4096), dedicated_to=["bank"])], "shop")


def test_preemptible_servers_take_what_is_left():
    """They come last, take nobody's room, and are left out where there is none."""
    spot = {"name": "spot", "flavor": "s7n.medium.2", "preemptible": True}
    assert placed([spot, NEW], [host("hv1")])[0] == {"spot": "hv1", "db": "hv1"}
    homes, reclaims, warnings = placed([spot, NEW], [host("hv1", memory=2048)])
    assert (homes, reclaims) == ({"spot": None, "db": "hv1"}, [])
    assert "server spot" in warnings[0]
    assert "left out" in warnings[0]
    homes, reclaims, _warnings = placed([spot], [host("hv1", fact("a"), fact("b"))])
    assert (homes, reclaims) == ({"spot": None}, [])


def ask(**item):
    (only,) = requests([{"name": "web", **item}])
    return only


def live(**told):
    return Server(domain_xml.parse("<domain/>"), ServerMetadata("local", "shop", "web", image="mini", **told), 1, "hv1")


@pytest.mark.parametrize(
    ("item", "option"),
    [
        ({"preemptible": True, "priority": 101}, "priority"),
        ({"preemptible": True, "priority": -1}, "priority"),
        ({"preemptible": False, "priority": 1}, "priority"),
        ({"preemptible": True, "deletion_protection": True}, "deletion_protection"),
    ],
)
def test_options_that_do_not_go_together(item, option):
    with pytest.raises(InvalidInput) as failed:
        ask(**item)
    assert failed.value.option == option


@pytest.mark.parametrize(
    ("told", "item", "code"),
    [
        ({"preemptible": True}, {"state": "rebuilt", "image": "other"}, "ECS_PREEMPTIBLE"),
        ({"preemptible": True}, {"deletion_protection": True}, "ECS_PREEMPTIBLE"),
        ({"preemptible": True}, {"preemptible": False}, "ECS_IMMUTABLE"),
        ({}, {"preemptible": True}, "ECS_IMMUTABLE"),
        ({}, {"priority": 3}, "ECS_INVALID_INPUT"),
    ],
)
def test_what_a_server_cannot_become(told, item, code):
    """Spec B8."""
    with pytest.raises(EcsError) as failed:
        check_change(live(**told), ask(**item))
    assert failed.value.code == code


@pytest.mark.parametrize("item", [{"state": "rebuilt"}, {"state": "rebuilt", "image": "mini"}, {"preemptible": True, "priority": 7}])
def test_what_it_can(item):
    check_change(live(preemptible=True), ask(**item))


def test_only_its_host_deletes_a_server_that_was_told_to_go():
    """Spec B9, until its time has come."""
    with pytest.raises(EcsError, match="2999-01-01") as failed:
        check_removal(live(preemptible=True, reclaim_at="2999-01-01T00:00:00Z"), ask(state="absent"))
    assert failed.value.code == "ECS_RECLAIMING"
    check_removal(live(preemptible=True, reclaim_at="2020-01-01T00:00:00Z"), ask(state="absent"))


def test_status_and_fields():
    """Spec appendix A, `reclaiming`."""
    told = represent(live(preemptible=True, priority=4, reclaim_at="2999-01-01T00:00:00Z"))
    assert [told[name] for name in ("status", "preemptible", "priority", "reclaim_at")] == ["reclaiming", True, 4, "2999-01-01T00:00:00Z"]
    told = represent(live())
    fields = ("status", "preemptible", "priority", "reclaim_at", "scheduled_deletion")
    assert [told[name] for name in fields] == ["running", False, None, None, None]


def test_bounds_of_the_priority():
    assert (preemption.PRIORITIES[0], preemption.PRIORITIES[-1]) == (0, 100)
