# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Processors and pages of their own for the servers whose flavors ask for them (spec HT2)."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from ansible_collections.altostratus.ecs.plugins.module_utils._model import flavor_specs, pinning
from ansible_collections.altostratus.ecs.plugins.module_utils._model.cpu import Cores
from ansible_collections.altostratus.ecs.plugins.module_utils._model.errors import EcsError, InvalidInput
from ansible_collections.altostratus.ecs.plugins.module_utils._model.flavor_specs import Specs
from ansible_collections.altostratus.ecs.plugins.module_utils._model.pinning import HostCpu, HostCpus, Tuning

OWN = Specs(dedicated_cpus=True)


def host(dedicated, threads=2, nodes=2, cores=4):
    """Nodes of cores; the second threads are numbered after all first ones, as Linux does."""
    count = nodes * cores
    cpus = [
        HostCpu(core + thread * count, core // cores, frozenset(core + number * count for number in range(threads)))
        for thread in range(threads)
        for core in range(count)
    ]
    return HostCpus("hv1", cpus, pinning.parse_cpus("cpus", dedicated))


def choose(specs, cores, dedicated, used=(), alone=False, **options):
    return pinning.choose("web", specs, cores, alone, host(dedicated, **options), used)


@pytest.mark.parametrize(
    ("flavor", "specs"),
    [
        ("c7.xlarge.2", Specs(True, 1, "1G")),
        ("c7.large.2", Specs(True)),
        ("s7n.large.2", Specs()),
        ("", Specs()),
    ],
)
def test_specs_of_a_flavor(flavor, specs):
    """The longest pattern tells."""
    table = {"c7*": {"dedicated_cpus": True}, "C7.xlarge.*": {"dedicated_cpus": True, "numa_nodes": 1, "hugepages": "1G"}}
    assert flavor_specs.of(flavor, table) == specs


@pytest.mark.parametrize(
    ("told", "message"),
    [({"cpus": 1}, "is not known"), ({"hugepages": "4M"}, "is no size of a page"), ({"numa_nodes": 1}, "goes with dedicated_cpus")],
)
def test_specs_refused(told, message):
    with pytest.raises(InvalidInput, match=message):
        flavor_specs.of("c7.large.2", {"c7*": told})


def test_list_of_processors():
    assert pinning.parse_cpus("cpus", "2-4, 7") == {2, 3, 4, 7}
    assert pinning.parse_cpus("cpus", "") == frozenset()
    for wrong in ("2-", "a", "1-2-3", "-1"):
        with pytest.raises(InvalidInput, match="is no list of processors"):
            pinning.parse_cpus("cpus", wrong)


@pytest.mark.parametrize("dedicated", ["20", "0-15"])
def test_a_host_keeps_some_of_its_processors(dedicated):
    with pytest.raises(InvalidInput, match="ecs_dedicated_cpus"):
        host(dedicated)


def test_flavors_that_ask_for_nothing_share_the_rest():
    assert choose(Specs(), Cores(2, 1), "2-7") == Tuning(shared="0,1,8,9,10,11,12,13,14,15")
    assert choose(Specs(), Cores(2, 1), "") == Tuning()
    assert choose(Specs(hugepages="2M"), Cores(2, 1), "") == Tuning(page=2048)


@pytest.mark.parametrize(
    ("specs", "cores", "alone", "used", "pins", "nodes"),
    [
        (OWN, Cores(2, 2), False, (), (2, 10, 3, 11), (0,)),  # threads of a guest core are those of a host core, all in one node
        (OWN, Cores(1, 1), False, (), (2,), (0,)),
        (OWN, Cores(2, 1), True, (), (2, 3), (0,)),  # spec HT2: a core for each, its other thread stays idle
        (OWN, Cores(1, 2), False, (2,), (3, 11), (0,)),  # a whole core rather than the rest of one
        (OWN, Cores(3, 2), False, (), (4, 12, 5, 13, 6, 14), (1,)),  # where it fits as a whole
        (OWN, Cores(5, 2), False, (), (2, 10, 3, 11, 4, 12, 5, 13, 6, 14), ()),  # else anywhere
        (Specs(True, 2), Cores(4, 2), False, (), (2, 10, 3, 11, 4, 12, 5, 13), (0, 1)),
    ],
)
def test_processors_of_its_own(specs, cores, alone, used, pins, nodes):
    tuning = choose(specs, cores, "2-7,10-15", used, alone)
    assert (tuning.pins, tuning.nodes, tuning.shared) == (pins, nodes, "0,1,8,9")


def test_a_host_without_threads():
    """The guest's two threads are two of the host's cores then."""
    assert choose(OWN, Cores(1, 2), "1-3", threads=1, nodes=1).pins == (1, 2)


@pytest.mark.parametrize(
    ("specs", "cores", "alone", "used"),
    [
        (OWN, Cores(7, 2), False, ()),
        (OWN, Cores(2, 2), False, range(3, 16)),
        (OWN, Cores(1, 1), True, (2, 3, 4, 5, 6, 7)),
        (Specs(True, 1), Cores(5, 2), False, ()),
        (Specs(True, 2), Cores(6, 2), False, (2,)),
    ],
)
def test_too_few(specs, cores, alone, used):
    with pytest.raises(EcsError, match=r"of its own.* that it keeps for that") as failed:
        choose(specs, cores, "2-7,10-15", used, alone)
    assert failed.value.code == "ECS_NO_CAPACITY"


def test_cores_that_nodes_cannot_share():
    with pytest.raises(InvalidInput, match="cannot spread 3 cores over 2 NUMA nodes"):
        choose(Specs(True, 2), Cores(3, 2), "2-7,10-15")


def test_a_core_of_its_own_is_occupied_as_a_whole():
    cpus = host("").all
    assert set(pinning.occupied((2, 3), False, cpus)) == {2, 3}
    assert set(pinning.occupied((2, 3), True, cpus)) == {2, 3, 10, 11}


def domain():
    return ET.fromstring("<domain><memory unit='MiB'>1025</memory><vcpu>4</vcpu><cpu/><cputune><shares>9</shares></cputune></domain>")


def test_binding_is_written_read_and_released():
    """What somebody else has tuned stays."""
    root, before = domain(), ET.tostring(domain())
    pinning.write(root, Tuning((2, 10, 4, 12), "0,1", (0, 1), 2048))
    assert pinning.parse_pins(root) == (2, 10, 4, 12)
    assert pinning.is_bound(root)
    assert root.find("cputune/emulatorpin").get("cpuset") == "0,1"
    assert root.find("numatune/memory").attrib == {"mode": "strict", "nodeset": "0,1"}
    assert root.find("memoryBacking/hugepages/page").attrib == {"size": "2048", "unit": "KiB"}
    assert [(cell.get("cpus"), cell.get("memory")) for cell in root.iterfind("cpu/numa/cell")] == [("0-1", "512"), ("2-3", "512")]
    pinning.release(root)
    assert not pinning.is_bound(root)
    assert [child.tag for child in root.find("cputune")] == ["shares"]
    assert len(root.findall("cpu/numa/cell")) == 1
    shared = domain()
    pinning.write(shared, Tuning(shared="0,1"))
    assert shared.find("vcpu").get("cpuset") == "0,1"
    pinning.write(shared, Tuning())
    assert ET.tostring(shared) == before
