# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers with processors of their own, on libvirt's test driver: two nodes of eight processors without hyper-threading."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from ansible_collections.altostratus.ecs.plugins.modules import server

WEB: dict[str, Any] = {"name": "web", "image": "mini", "nics": []}
OWN, SHARED = "c7.large.025", "s7n.large.025"
"""2 vCPUs and 512 MiB each."""


def settle(hypervisor: Any, **settings: Any) -> None:
    path = hypervisor.directory / "host.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))


@pytest.fixture(autouse=True)
def settings(hypervisor: Any) -> None:
    settle(hypervisor, dedicated_cpus="2-3,12-15", flavor_specs={"c7*": {"dedicated_cpus": True, "numa_nodes": 1}})


def bound(hypervisor: Any, name: str) -> tuple[list[str], str, str]:
    """Pins, node of memory, and where the rest of it runs."""
    root = ET.fromstring(hypervisor.connection.lookupByName(f"shop.{name}").XMLDesc(2))
    pins = [pin.get("cpuset", "") for pin in root.iterfind("cputune/vcpupin")]
    memory, vcpu, emulator = root.find("numatune/memory"), root.find("vcpu"), root.find("cputune/emulatorpin")
    assert vcpu is not None
    rest = vcpu.get("cpuset", "") if emulator is None else emulator.get("cpuset", "")
    return pins, "" if memory is None else memory.get("nodeset", ""), rest


REST = "0-1,4-11"


def test_each_has_its_own(call: Any, hypervisor: Any) -> None:
    """Processors of one node, none of them given twice; all other servers share the rest; what is removed is free again."""
    servers = [{**WEB, "flavor": OWN}, {**WEB, "name": "db", "flavor": OWN}, {**WEB, "name": "app", "flavor": SHARED}]
    call(server, check=True, servers=servers)
    call(server, servers=servers)
    assert bound(hypervisor, "web") == (["2", "3"], "0", REST)
    assert bound(hypervisor, "db") == (["12", "13"], "1", REST)
    assert bound(hypervisor, "app") == ([], "", REST)
    assert not call(server, servers=servers)["changed"]
    call(server, name="web", state="absent")
    call(server, **{**WEB, "name": "new", "flavor": OWN})
    assert bound(hypervisor, "new")[0] == ["2", "3"]


def test_none_is_left(call: Any, hypervisor: Any) -> None:
    """The servers of one call count together; nothing is touched."""
    servers = [{**WEB, "name": f"web{number}", "flavor": OWN} for number in range(4)]
    failed = call(server, fails=True, servers=servers)
    assert failed["error_code"] == "ECS_NO_CAPACITY"
    assert "needs 2 processors of its own in 1 NUMA node, host hv1 has 0 processors free of the 6" in failed["msg"]
    assert hypervisor.domains == []


def test_hyper_threading_off(call: Any, hypervisor: Any) -> None:
    """Spec HT2: half of the vCPUs, each with a core to itself."""
    call(server, **WEB, flavor=OWN, cpu_options={"threads_per_core": 1})
    assert bound(hypervisor, "web")[0] == ["2"]


def test_another_flavor_is_bound_anew(call: Any, hypervisor: Any) -> None:
    """It needs the server off, as the processors of a running one stay."""
    call(server, **WEB, flavor=SHARED)
    refused = call(server, fails=True, **WEB, flavor=OWN)
    assert (refused["error_code"], "while it runs" in refused["msg"]) == ("ECS_IMMUTABLE", True)
    call(server, **WEB, flavor=OWN, allow_stop=True)
    assert bound(hypervisor, "web") == (["2", "3"], "0", REST)
    call(server, **WEB, flavor="c7.xlarge.025", allow_stop=True)
    assert bound(hypervisor, "web") == (["12", "13", "14", "15"], "1", REST)
    call(server, **WEB, flavor=SHARED, allow_stop=True)
    assert bound(hypervisor, "web") == ([], "", REST)
    assert not call(server, **WEB, flavor=SHARED)["changed"]


def test_no_room_to_grow(call: Any, hypervisor: Any) -> None:
    assert "max_vcpus: 4 does not go with" in call(server, fails=True, **WEB, flavor=OWN, max_vcpus=4)["msg"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"dedicated_cpus": "99"}, "ecs_dedicated_cpus: '99' are not some of the processors of hv1"),
        ({"flavor_specs": {"c7*": {"cores": 1}}}, "ecs_flavor_specs[c7*]: 'cores' is not known"),
        ({"flavor_specs": {"c7*": {"hugepages": "1G"}}}, "memory: 512 of server web is not made of pages of 1024 MiB"),
        ({"dedicated_cpus": ""}, "has 0 processors free of the 0"),
    ],
)
def test_settings_that_cannot_be(call: Any, hypervisor: Any, changed: dict[str, Any], message: str) -> None:
    settle(hypervisor, **changed)
    assert message in call(server, fails=True, **WEB, flavor=OWN)["msg"]
