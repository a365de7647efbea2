# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Exactly so many servers with the same tags."""

from __future__ import annotations

import pytest

from ansible_collections.altostratus.ecs.plugins.module_utils._model.errors import InvalidInput
from ansible_collections.altostratus.ecs.plugins.module_utils._model.placement import place
from ansible_collections.altostratus.ecs.plugins.module_utils._model.server_request import expand

ITEM = {"name": "worker", "flavor": "s7n.medium.2", "tags": {"role": "worker", "by": "ops"}}


def server(name, created="2026-01-01", tags=None, status="running"):
    return {"name": name, "project": "shop", "tags": dict(ITEM["tags"] if tags is None else tags), "created": created, "status": status}


def settled(number, existing, **options):
    """Names of the servers that are removed, kept and made."""
    told = expand([{**ITEM, "exact_count": number, **options}], existing)
    removed = [item["name"] for item in told if item.get("state") == "absent"]
    made = [item["name"] for item in told if item.get("flavor")]
    return removed, [item["name"] for item in told if item["name"] not in (*removed, *made)], made


FIVE = [server(f"worker-000{number}", f"2026-01-0{6 - number}") for number in (1, 2, 3)] + [
    server("other", tags={"role": "db"}),
    server("helper", "2026-01-09", {"role": "worker", "by": "ops", "more": "1"}),
]


@pytest.mark.parametrize(
    ("number", "existing", "result"),
    [
        (2, [], ([], [], ["worker-0001", "worker-0002"])),
        (4, FIVE, ([], ["worker-0003", "worker-0002", "worker-0001", "helper"], [])),
        (5, FIVE, ([], ["worker-0003", "worker-0002", "worker-0001", "helper"], ["worker-0004"])),
        (2, FIVE, (["worker-0003", "worker-0002"], ["worker-0001", "helper"], [])),
        (0, FIVE, (["worker-0003", "worker-0002", "worker-0001", "helper"], [], [])),
        (2, [server("worker-0002"), server("worker-0001", tags={})], ([], ["worker-0002"], ["worker-0003"])),
    ],
)
def test_missing_are_made_and_the_oldest_of_too_many_go(number, existing, result):
    """What has the tags counts, whatever its name; new ones take the first names that nobody has."""
    assert settled(number, existing) == result


def test_a_second_run_changes_nothing():
    existing = [server(name) for name in settled(3, [])[2]]
    assert settled(3, existing) == ([], ["worker-0001", "worker-0002", "worker-0003"], [])


def test_what_a_killed_run_left_is_made():
    existing = [server("worker-0001"), server("worker-0002", status="creating")]
    assert settled(2, existing) == ([], ["worker-0001"], ["worker-0002"])


def test_tags_to_count_by():
    existing = [server("a", tags={"role": "worker"})]
    assert settled(1, existing) == ([], [], ["worker-0001"])
    assert settled(1, existing, count_tags={"role": "worker"}) == ([], ["a"], [])


def test_absent_removes_all_of_them():
    assert settled(1, FIVE, state="absent")[0] == ["worker-0003", "worker-0002", "worker-0001", "helper"]


def test_names_host_names_and_addresses_go_by_the_number():
    """Spec M5, N4."""
    item = {"name": "w[8,2]", "hostname": "h[1,1]", "nics": [{"subnet": "front", "address": "10.0.0.10"}], "exact_count": 2}
    told = expand([{**ITEM, **item}], [server("w08", tags={})])
    assert [(one["name"], one["hostname"], one["nics"][0]["address"]) for one in told] == [
        ("w09", "h2", "10.0.0.11"),
        ("w10", "h3", "10.0.0.12"),
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"exact_count": -1}, "too small"),
        ({"count": 2}, "stands beside count"),
        ({"tags": {}}, "does not know what to count"),
        ({"count_tags": {"role": "db"}}, "are not all among the tags"),
        ({"state": "stopped"}, "does not go with exact_count"),
        ({"name": "w[9,1]"}, "has 1 digits"),
    ],
)
def test_refused(options, message):
    with pytest.raises(InvalidInput, match=message):
        expand([{**ITEM, "exact_count": 2, **options}])


def test_placement_counts_the_servers_of_all_hosts():
    """Those too many go where they are, new ones where there is room."""
    hosts = [
        {"name": name, "az": "az1", "cpus": 8, "memory": 16384, "servers": [{**server(f"worker-000{number}"), "vcpus": 1, "memory": 2048}]}
        for number, name in ((1, "hv1"), (2, "hv2"))
    ]
    more = place([{**ITEM, "exact_count": 3}], hosts, "shop").servers
    assert [(one["name"], one["hypervisor"]) for one in more] == [("worker-0001", "hv1"), ("worker-0002", "hv2"), ("worker-0003", "hv1")]
    less = place([{**ITEM, "exact_count": 1}], hosts, "shop").servers
    assert [(one["name"], one["state"], one["hypervisor"]) for one in less] == [
        ("worker-0001", "absent", "hv1"), ("worker-0002", "present", "hv2"),
    ]  # fmt: skip
    others = place([{**ITEM, "exact_count": 1}], hosts, "bank").servers
    assert [one["name"] for one in others] == ["worker-0001"]
