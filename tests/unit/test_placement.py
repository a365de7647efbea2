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
    return {server["name"]: server["hypervisor"] for server in place(servers, hosts, "shop", **options)}


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
    )
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
    (placed,) = place([{"name": "a", "flavor": "s7n.medium.2", "az": "random"}], hosts, "shop")
    assert {"az1": "hv1", "az2": "hv2", "az3": "hv3"}[placed["az"]] == placed["hypervisor"]


def test_overcommit_and_reserve():
    assert homes([{"name": "a", "vcpus": 1, "memory": 8192}], [host("hv1")]) == {"a": "hv1"}
    with pytest.raises(EcsError, match="8193 MiB in any hypervisor, the best, hv1, has 16 vCPUs and 8192 MiB free"):
        homes([{"name": "a", "vcpus": 1, "memory": 8193}], [host("hv1")])
    assert homes([{"name": "a", "vcpus": 1, "memory": 16384}], [host("hv1", memory_overcommit=2.0)]) == {"a": "hv1"}
    assert (
        homes([{"name": "a", "vcpus": 16, "memory": 64}, {"name": "b", "vcpus": 1, "memory": 64}], [host("hv1"), host("hv2")])["b"] == "hv2"
    )


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
    placed = place(servers, hosts, "shop", spread)
    assert time.process_time() - begin < 5
    assert set(Counter(server["hypervisor"] for server in placed).values()) == {20}
