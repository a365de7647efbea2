# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module placement with what hypervisor_info returns."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.altostratus.ecs.plugins.modules import hypervisor_info, placement, server


def test_placed_servers_are_words_of_module_server(call: Any, hypervisor: Any) -> None:
    """hypervisor_info, placement and server fit together; a server that exists stays."""
    hosts = [call(hypervisor_info, project=None)["hypervisor"]]
    hosts.append({**hosts[0], "name": "hv2", "az": "az2"})
    wanted = [{"name": "web", "count": 2, "flavor": "s7n.small.05", "image": "mini", "nics": []}]
    placed = call(placement, servers=wanted, hypervisors=hosts)
    assert {one["name"]: one["hypervisor"] for one in placed["servers"]} == {"web-0001": "hv1", "web-0002": "hv2"}
    call(server, servers=placed["placement"]["hv1"])
    hosts[0] = call(hypervisor_info, project=None)["hypervisor"]
    again = call(placement, servers=wanted, hypervisors=hosts, policy="pack")
    assert again["servers"][0]["hypervisor"] == "hv1"
    failed = call(placement, fails=True, servers=[{"name": "big", "flavor": "c7.xlarge.4"}], hypervisors=hosts)
    assert failed["error_code"] == "ECS_NO_CAPACITY"
    assert "the best, hv2, has 64 vCPUs and 2560 MiB free" in failed["msg"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"servers": None}, "servers: must be a list of dictionaries"),
        ({"hypervisors": {"hv1": {}}}, "hypervisors: must be a list of dictionaries"),
        ({"servers": ["web"]}, "servers: must be a list of dictionaries"),
        ({"policy": "random"}, "value of policy must be one of: spread, pack"),
        ({"server_group": []}, "server_group"),
    ],
)
def test_wrong_options(call: Any, options: dict[str, Any], words: str) -> None:
    failed = call(placement, fails=True, **{"servers": [], "hypervisors": [], **options})
    assert failed["error_code"] == "ECS_INVALID_INPUT"
    assert words in failed["msg"]
