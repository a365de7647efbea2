# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Placement of a whole region: 20,000 servers with zones and server groups onto 1,000 hosts.

Half of the servers are in groups: by turns anti-affinity, soft-anti-affinity, affinity and
soft-affinity, of 20 members each. Every other host has servers already. What was placed is checked: capacity, zones and policies.
"""

from __future__ import annotations

import json
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from typing import Any

from harness import BUILD, Figure, Play, pings, take_turns

from ansible_collections.altostratus.ecs.plugins.module_utils._model.placement import by_hypervisor, place

SIZES = (5_000, 10_000, 20_000)
POLICIES = ("anti-affinity", "soft-anti-affinity", "affinity", "soft-affinity")
FLAVORS = {"s7n.medium.2": (1, 2048), "s7n.large.2": (2, 4096), "c7n.large.4": (2, 8192)}
GROUP = 20
HOST = 20
"""Servers a host."""
GOAL = 5.0
GROWTH = 2.5
"""So many times the time may twice the work take and still be called close to linear."""


def hypervisors(number: int) -> list[dict[str, Any]]:
    """Hosts of four zones with 96 CPUs and 384 GiB; every other one has ten servers of another project."""
    there = [{"name": f"old-{index}", "project": "other", "vcpus": 2, "memory": 8192} for index in range(10)]
    return [
        {
            "name": f"hv{index:04}", "az": f"az{index % 4 + 1}", "cpus": 96, "memory": 393_216, "reserved_memory": 4096,
            "cpu_overcommit": 4.0, "memory_overcommit": 1.0, "servers": there if index % 2 else [],
            "vcpus_allocated": 20 * (index % 2), "memory_allocated": 81_920 * (index % 2),
        }
        for index in range(number)
    ]  # fmt: skip


def wanted(number: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Servers as a user would list them, and their groups."""
    groups = [{"name": f"group{index}", "policy": POLICIES[index % len(POLICIES)]} for index in range(number // 2 // GROUP)]
    flavors = list(FLAVORS)
    servers = []
    for index, group in enumerate(groups):
        where = {"flavor": flavors[index % len(flavors)], "az": f"az{index % 4 + 1}"}
        servers.append({"name": group["name"], "count": GROUP, "server_group": group["name"], **where})
        servers.append(
            {"name": f"single{index}", "count": GROUP, "flavor": where["flavor"], "az": ("random", None, "az1", "az2")[index % 4]}
        )
    return servers, groups


def check(told: dict[str, list[dict[str, Any]]], hosts: list[dict[str, Any]], groups: list[dict[str, Any]], number: int) -> None:
    """See that nothing was lost, no host has more than it holds, and every hard wish came true."""
    at = {host["name"]: host for host in hosts}
    homes: defaultdict[str, Counter[str]] = defaultdict(Counter)
    total = 0
    for name, servers in told.items():
        host, total = at[name], total + len(servers)
        sizes = [FLAVORS[server["flavor"]] for server in servers]
        assert sum(memory for _vcpus, memory in sizes) + host["memory_allocated"] <= host["memory"] - host["reserved_memory"], name
        assert sum(vcpus for vcpus, _memory in sizes) + host["vcpus_allocated"] <= host["cpus"] * host["cpu_overcommit"], name
        for server in servers:
            assert server["az"] in (None, host["az"]), server
            if "server_group" in server:
                homes[server["server_group"]][name] += 1
    assert total == number, total
    for group in groups:
        spans = len(homes[group["name"]])
        assert spans == (GROUP if group["policy"].endswith("anti-affinity") else 1), (group, spans)


def placement() -> Iterator[Figure]:
    """The play that places the largest cloud, and the decision alone, which shows how it grows."""
    clouds = {number: (hypervisors(number // HOST), *wanted(number)) for number in SIZES}
    hosts, servers, groups = clouds[SIZES[-1]]
    options = {"servers": servers, "server_groups": groups, "hypervisors": hosts, "project": "bench"}
    result = BUILD / "placement.json"
    keep = {"content": "{{ told.placement | to_json }}", "dest": str(result)}
    Play("placement kept", [{"altostratus.ecs.placement": options, "register": "told"}, {"ansible.builtin.copy": keep}])()
    check(json.loads(result.read_text()), hosts, groups, SIZES[-1])
    times = take_turns({"fixed": pings(), "ours": Play("placement", [{"altostratus.ecs.placement": options}])})
    yield times.figure("placement", SIZES[-1], f"< {GOAL:g} s", lambda figure: figure.ours < GOAL)

    def decide(number: int) -> float:
        hosts, servers, groups = clouds[number]
        started = time.process_time()
        placed = place(servers, hosts, "bench", True, groups).servers
        seconds = time.process_time() - started
        check(by_hypervisor(placed, hosts), hosts, groups, number)
        return seconds

    names = {number: "ours" if number == SIZES[-1] else str(number) for number in SIZES}
    times = take_turns({name: partial(decide, number) for number, name in names.items()}, repetitions=5)
    seconds = [times[name] for name in names.values()]
    growth = [later / earlier for earlier, later in pairwise(seconds)]
    told = ", ".join(f"{number} servers {1000 * each:.0f} ms" for number, each in zip(SIZES, seconds, strict=True))
    yield times.figure(
        "placement, decision", SIZES[-1], f"twice the cloud takes at most {GROWTH:g}x the time", lambda figure: max(growth) <= GROWTH,
        note=f"{told}: growth {' and '.join(f'{each:.2f}x' for each in growth)} for twice the servers and hosts",
    )  # fmt: skip
