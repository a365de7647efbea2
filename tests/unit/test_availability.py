# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which flavors are sold out (spec F7)."""

from __future__ import annotations

import pytest

from ansible_collections.altostratus.ecs.plugins.module_utils._model import flavors
from ansible_collections.altostratus.ecs.plugins.module_utils._model.availability import availability
from ansible_collections.altostratus.ecs.plugins.module_utils._model.errors import EcsError, InvalidInput
from ansible_collections.altostratus.ecs.plugins.module_utils._model.placement import place

SMALL = flavors.parse("s7n.medium.2")
LARGE = flavors.parse("c7n.xlarge.2")
HOSTS = [
    {"name": "hv1", "az": "az1", "cpus": 2, "cpu_overcommit": 2.0, "memory": 16896, "reserved_memory": 512, "memory_allocated": 4096},
    {"name": "hv2", "az": "az1", "cpus": 8, "memory": 4096, "memory_overcommit": 1.5, "vcpus_allocated": 1},
    {"name": "hv3", "az": "az2", "cpus": 8, "memory": 4096, "memory_allocated": 8192},
    {"name": "hv4", "az": "az2", "cpus": 64, "memory": 65536, "maintenance": True},
    {"name": "hv5", "az": "az2", "cpus": 64, "memory": 65536, "dedicated_to": ["bank"], "flavors": ["c7n.*"]},
]


def counts(flavor, project="shop", **options):
    (told,) = availability([flavor], HOSTS, project, **options)
    assert told["available"] == sum(zone["available"] for zone in told["zones"])
    assert told["sold_out"] is all(zone["sold_out"] for zone in told["zones"])
    return {zone["az"]: zone["available"] for zone in told["zones"]}


def test_what_no_host_of_a_zone_can_hold_is_sold_out_there():
    """F7: overcommit, reserve, what is taken, maintenance and dedication count."""
    assert counts(SMALL) == {"az1": 4 + 3, "az2": 0}
    assert counts(LARGE) == {"az1": 1, "az2": 0}
    assert counts(LARGE, "bank") == {"az1": 0, "az2": 8}
    assert counts(SMALL, "bank") == {"az1": 0, "az2": 0}, "hv5 does not offer it"
    assert counts(SMALL, "bank", dedicated=False) == {"az1": 7, "az2": 0}
    assert counts(SMALL, az="az1") == {"az1": 7}


@pytest.mark.parametrize("flavor", [SMALL, LARGE])
def test_it_is_what_placement_does(flavor):
    room = availability([flavor], HOSTS, "shop")[0]["available"]
    assert len(place([{"name": "a", "count": room, "flavor": flavor.name}], HOSTS, "shop").servers) == room
    with pytest.raises(EcsError, match="is sold out"):
        place([{"name": "a", "count": room + 1, "flavor": flavor.name}], HOSTS, "shop")


def test_a_zone_without_hosts_is_refused():
    with pytest.raises(InvalidInput, match=r"az: 'az9' has no hypervisor\. Choose one of az1, az2"):
        availability([SMALL], HOSTS, "shop", az="az9")


def test_only_the_latest_generation():
    """F7, by family, whatever the suffix and the size."""
    names = ["s6.medium.2", "s7.medium.2", "s7n.large.2", "c6s.large.2", "c6.large.4", "ac7.large.2", "C10.large.2"]
    told = [flavor.name for flavor in flavors.latest(map(flavors.parse, names))]
    assert told == ["s7.medium.2", "s7n.large.2", "ac7.large.2", "c10.large.2"]


def test_the_catalogue_follows_the_grammar():
    """F3, F4: sizes as the guide tells them."""
    told = {name: flavors.parse(name) for name in flavors.CATALOGUE}
    assert [(told[name].vcpus, told[name].memory) for name in ("s7n.small.05", "s7n.large.025", "c7n.3xlarge.2")] == [
        (1, 512),
        (2, 512),
        (12, 24576),
    ]
    assert all(flavor.name == name for name, flavor in told.items())
