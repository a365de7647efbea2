# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Placement."""

from __future__ import annotations

import time
from collections import Counter

import pytest

from ansible_collections.altostratus.ecs.plugins.module_utils._model.errors import EcsError
from ansible_collections.altostratus.ecs.plugins.module_utils._model.placement import by_hypervisor, place, random_az


def host(name, az="az1", memory=8704, cpus=4, **more):
    base = {"name": name, "az": az, "memory": memory, "cpus": cpus, "reserved_memory": 512, "cpu_overcommit": 4.0, "memory_overcommit": 1.0}
    return {**base, "vcpus_allocated": 0, "memory_allocated": 0, "servers": [], **more}


def homes(servers, hosts, **options):
    return {server["name"]: server["hypervisor"] for server in place(servers, hosts, "shop", **options).servers}


WEB = {"name": "web", "count": 4, "flavor": "s7n.medium.2"}


def test_spread_and_pack():
    hosts = [host("hv1"), host("hv2")]
    assert list(homes([WEB], hosts).values()) == ["hv1", "hv2", "hv1", "hv2"]
    assert list(homes([WEB], hosts, spread=False).values()) == ["hv1"] * 4
    used = [host("hv1"), host("hv2", memory_allocated=4096)]
    assert homes([{"name": "db", "flavor": "s7n.medium.2"}], used, spread=False) == {"db": "hv2"}


def test_existing_servers_stay():
    server = {"name": "web-0002", "project": "shop", "vcpus": 1, "memory": 2048}
    hosts = [
        host("hv1"),
        host("hv2", memory=2560, memory_allocated=2048, servers=[server, {**server, "name": "web-0001", "project": "other"}]),
    ]
    placed = homes([WEB], hosts)
    assert placed == {"web-0001": "hv1", "web-0002": "hv2", "web-0003": "hv1", "web-0004": "hv1"}
    assert homes([{**WEB, "state": "absent"}], hosts) == {"web-0001": None, "web-0002": "hv2", "web-0003": None, "web-0004": None}


def test_other_options_pass_through_and_batches_are_resolved():
    """Addresses count up (spec N4); everything else is the server module's business."""
    nics = [{"subnet": "front", "address": "10.0.0.254"}]
    placed = place(
        [{"name": "w[1,2]", "count": 2, "vcpus": 1, "memory": 512, "nics": nics, "user_data": "x", "whatever": 1}], [host("hv1")], "shop"
    ).servers
    assert placed[1] == {
        "name": "w02", "vcpus": 1, "memory": 512, "nics": [{"subnet": "front", "address": "10.0.0.255"}], "user_data": "x", "whatever": 1,
        "hypervisor": "hv1",
    }  # fmt: skip
    assert [server.get("hypervisor") for server in by_hypervisor(placed, [host("hv1"), host("hv2")])["hv1"]] == [None, None]
    assert by_hypervisor(placed, [host("hv1"), host("hv2")])["hv2"] == []


def test_zone():
    hosts = [host("hv1", "az1"), host("hv2", "az2")]
    assert homes([{**WEB, "az": "az2"}], hosts) == dict.fromkeys(["web-0001", "web-0002", "web-0003", "web-0004"], "hv2")


def test_random_zone_is_the_same_for_a_project_and_flavor():
    """Spec C7."""
    zones = ["az3", "az1", "az2"]
    assert random_az("shop", "s7n.medium.2", zones) == random_az("shop", "s7n.medium.2", sorted(zones))
    assert len({random_az(f"project{number}", "s7n.medium.2", zones) for number in range(30)}) == 3
    hosts = [host("hv1", "az1"), host("hv2", "az2"), host("hv3", "az3")]
    (placed,) = place([{"name": "a", "flavor": "s7n.medium.2", "az": "random"}], hosts, "shop").servers
    assert {"az1": "hv1", "az2": "hv2", "az3": "hv3"}[placed["az"]] == placed["hypervisor"]


def test_overcommit_and_reserve():
    assert homes([{"name": "a", "vcpus": 1, "memory": 8192}], [host("hv1")]) == {"a": "hv1"}
    with pytest.raises(EcsError, match="8193 MiB in any hypervisor, the best, hv1, has 16 vCPUs and 8192 MiB free"):
        homes([{"name": "a", "vcpus": 1, "memory": 8193}], [host("hv1")])
    assert homes([{"name": "a", "vcpus": 1, "memory": 16384}], [host("hv1", memory_overcommit=2.0)]) == {"a": "hv1"}
    assert (
        homes([{"name": "a", "vcpus": 16, "memory": 64}, {"name": "b", "vcpus": 1, "memory": 64}], [host("hv1"), host("hv2")])["b"] == "hv2"
    )


def test_random_zone_that_is_sold_out_gives_way_to_the_next():
    """Spec C7, F7: the draw is among the zones that can have the server; one that exists is not drawn again."""
    web = {"name": "web", "count": 5, "flavor": "s7n.medium.2", "az": "random"}
    zones = ["az1", "az2", "az3"]
    drawn = random_az("shop", "s7n.medium.2", zones)
    following = zones[(zones.index(drawn) + 1) % 3]
    hosts = [host(f"hv-{zone}", zone, memory=512 + 2 * 2048) for zone in zones]
    placed = place([web], hosts, "shop").servers
    assert [server["az"] for server in placed] == [drawn, drawn, following, following, ({*zones} - {drawn, following}).pop()]
    assert all(server["hypervisor"] == f"hv-{server['az']}" for server in placed)
    with pytest.raises(EcsError, match=r"server web-0007: flavor s7n.medium.2 is sold out: .* in any hypervisor"):
        place([{**web, "count": 7}], hosts, "shop")
    there = {"name": "web-0001", "project": "shop", "vcpus": 1, "memory": 2048}
    again = place([{**web, "count": 1}], [host("hv-az9", "az9", servers=[there]), *hosts], "shop").servers
    assert (again[0]["hypervisor"], again[0]["az"]) == ("hv-az9", None)


ONE = {"name": "a", "flavor": "s7n.medium.2"}


def test_maintenance():
    """A host in maintenance takes no new servers, and keeps those it has."""
    there = {"name": "old", "project": "shop", "vcpus": 1, "memory": 2048}
    hosts = [host("hv1", maintenance=True, servers=[there]), host("hv2")]
    assert homes([{**WEB, "count": 2}, {"name": "old"}], hosts) == {"web-0001": "hv2", "web-0002": "hv2", "old": "hv1"}
    with pytest.raises(EcsError, match=r"there is none \(hv1 is in maintenance\)") as failure:
        homes([ONE], hosts[:1])
    assert failure.value.code == "ECS_NO_CAPACITY"


def test_a_long_list_of_closed_hosts_is_cut_and_keeps_to_the_zone():
    hosts = [host(f"hv{number}", maintenance=True) for number in range(8)] + [host("far", "az2", maintenance=True)]
    with pytest.raises(EcsError) as failure:
        homes([{**ONE, "az": "az1"}], hosts)
    assert "hv4 is in maintenance; and 3 more)" in str(failure.value)


def test_dedicated_hosts():
    """Spec C3: isolated hardware takes its owners' servers only, and they go there unless they say otherwise."""
    hosts = [host("open"), host("ours", memory=2560, dedicated_to=["shop", "lab"]), host("theirs", memory=99999, dedicated_to=["bank"])]
    assert homes([ONE], hosts) == {"a": "ours"}
    assert homes([{**ONE, "dedicated": True}], hosts) == {"a": "ours"}
    assert homes([{**ONE, "dedicated": False}], hosts) == {"a": "open"}
    assert place([ONE], hosts, "other").servers[0]["hypervisor"] == "open"
    with pytest.raises(EcsError, match=r"dedicated to the project, .* \(theirs is dedicated to bank\).* with dedicated false"):
        homes([ONE, {**ONE, "name": "b"}], hosts)
    with pytest.raises(EcsError, match="there is none"):
        place([{**ONE, "dedicated": True}], hosts, "other")


def test_dedicated_hosts_in_maintenance_do_not_send_their_owner_elsewhere():
    """Spec C3: isolation is not given up because there is no room."""
    with pytest.raises(EcsError, match="ours is in maintenance"):
        homes([ONE], [host("open"), host("ours", dedicated_to=["shop"], maintenance=True)])


def test_flavors_that_a_host_offers():
    """F7: what no host offers cannot be had; sizes without a name are in no offer."""
    hosts = [host("big", memory=99999, flavors=["c7*.*", "S7n.Medium.4"]), host("any", memory=4608)]
    assert homes([ONE], hosts) == {"a": "any"}
    assert homes([{**ONE, "flavor": "c7n.large.2"}], hosts) == {"a": "big"}
    assert homes([{**ONE, "flavor": "s7n.medium.4"}], hosts) == {"a": "big"}
    assert homes([{"name": "a", "vcpus": 1, "memory": 512}], hosts) == {"a": "any"}
    with pytest.raises(EcsError, match="is sold out: it needs 1 vCPUs and 2048 MiB in any hypervisor, there is none"):
        homes([ONE], hosts[:1])


@pytest.mark.parametrize(
    ("servers", "hosts", "code"),
    [
        ([{"name": "a", "flavor": "s7n.medium.2", "az": "az9"}], [host("hv1")], "ECS_INVALID_INPUT"),
        ([{"name": "a"}], [host("hv1")], "ECS_INVALID_INPUT"),
        ([{"flavor": "s7n.medium.2"}], [host("hv1")], "ECS_INVALID_INPUT"),
        ([{"name": "a", "flavor": "s7n.medium.2"}, {"name": "a", "flavor": "s7n.medium.2"}], [host("hv1")], "ECS_INVALID_INPUT"),
        ([{"name": "a", "flavor": "s7n.medium.2"}], [host("hv1"), host("hv1")], "ECS_INVALID_INPUT"),
        ([{"name": "a", "flavor": "s7n.medium.2"}], [], "ECS_NO_CAPACITY"),
        ([{"name": "a", "state": "running"}], [host("hv1")], "ECS_NOT_FOUND"),
        ([], [host(name, servers=[{"name": "a", "project": "shop"}]) for name in ("hv1", "hv2")], "ECS_CONFLICT"),
    ],
)
def test_refused(servers, hosts, code):
    with pytest.raises(EcsError) as failure:
        place(servers, hosts, "shop")
    assert failure.value.code == code


@pytest.mark.parametrize("spread", [True, False])
def test_a_large_cloud_is_placed_in_seconds(spread):
    """20,000 servers on 1,000 hosts, filled to the last vCPU."""
    hosts = [host(f"hv{number:04}", f"az{number % 4}", memory=262144, cpus=5) for number in range(1000)]
    servers = [{"name": name, "count": 5000, "flavor": "s7n.medium.2", "az": name} for name in ("az0", "az1", "az2", "az3")]
    begin = time.process_time()
    placed = place(servers, hosts, "shop", spread).servers
    assert time.process_time() - begin < 5
    assert set(Counter(server["hypervisor"] for server in placed).values()) == {20}


def by_kind(number):
    """The kinds of a cloud of this many servers on a twentieth as many hosts."""
    policies = ["anti-affinity", "soft-anti-affinity", "affinity", "soft-affinity"]
    groups = [{"name": f"g{index}", "policy": policies[index % 4]} for index in range(number // 20)]
    sizes = ["s7n.medium.2", "s7n.large.2", "c7n.large.4"]
    return groups, [
        {"name": group["name"], "count": 20, "flavor": sizes[index % 3], "az": f"az{index % 4}", "server_group": group["name"]}
        for index, group in enumerate(groups)
    ]


@pytest.mark.parametrize("spread", [True, False])
def test_server_groups_of_a_large_cloud_cost_little(spread):
    """20,000 servers in 1,000 groups on 1,000 hosts, and the policies hold."""
    hosts = [host(f"hv{number:04}", f"az{number % 4}", memory=524800, cpus=40) for number in range(1000)]
    groups, servers = by_kind(20000)
    begin = time.process_time()
    placed = place(servers, hosts, "shop", spread, groups).servers
    assert time.process_time() - begin < 5
    where = {group["name"]: set() for group in groups}
    for server in placed:
        where[server["server_group"]].add(server["hypervisor"])
    spans = {(group["policy"], len(where[group["name"]])) for group in groups}
    assert spans == {("anti-affinity", 20), ("soft-anti-affinity", 20), ("affinity", 1), ("soft-affinity", 1)}


@pytest.mark.parametrize("spread", [True, False])
@pytest.mark.parametrize("policy", ["soft-anti-affinity", "soft-affinity"])
def test_one_large_group_costs_little(policy, spread):
    """20,000 servers in a single group on 1,000 hosts."""
    hosts = [host(f"hv{number:04}", memory=41472, cpus=5) for number in range(1000)]
    begin = time.process_time()
    web = {**WEB, "count": 20000, "server_group": "web"}
    placed = place([web], hosts, "shop", spread, [{"name": "web", "policy": policy}]).servers
    assert time.process_time() - begin < 5
    assert set(Counter(server["hypervisor"] for server in placed).values()) == {20}
