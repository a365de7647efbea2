# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Another size: what may happen while a server runs, and what the edit of a domain leaves alone (spec Z1, Z4)."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

import pytest

from ansible_collections.altostratus.ecs.plugins.module_utils._model import domain_size, domain_xml, metadata, resize
from ansible_collections.altostratus.ecs.plugins.module_utils._model.domain_size import Size
from ansible_collections.altostratus.ecs.plugins.module_utils._model.errors import EcsError
from ansible_collections.altostratus.ecs.plugins.module_utils._model.server_request import requests

FIXED = Size(1, 1024, 1, 1024)
ROOMY = Size(1, 1024, 4, 4096, slots=16)


def plan(now: Size, **options: Any) -> resize.Resize | None:
    (request,) = requests([{"name": "web", **options}])
    return resize.plan("s7n.small.1", now, request)


@pytest.mark.parametrize("options", [{}, {"flavor": "s7n.small.1"}, {"vcpus": 1, "memory": 1024}, {"max_vcpus": 1, "max_memory": 1024}])
def test_the_same_size(options: dict[str, Any]) -> None:
    assert plan(FIXED, **options) is None


@pytest.mark.parametrize(
    ("now", "options", "off", "after"),
    [
        (FIXED, {"flavor": "s7n.medium.2"}, "memory", {"flavor": "s7n.medium.2", "memory": 2048, "max_memory": 2048}),
        (FIXED, {"vcpus": 2, "memory": 1024}, "vcpus", {"flavor": "", "vcpus": 2, "max_vcpus": 2}),
        (FIXED, {"max_vcpus": 2}, "max_vcpus", {"max_vcpus": 2}),
        (FIXED, {"flavor": "c7.medium.1"}, "", {"flavor": "c7.medium.1"}),
        (ROOMY, {"vcpus": 4, "memory": 4096}, "", {"flavor": "", "vcpus": 4, "memory": 4096}),
        (ROOMY, {"vcpus": 4, "memory": 1100}, "memory", {"flavor": "", "vcpus": 4, "memory": 1100}),
        (ROOMY, {"vcpus": 5, "memory": 1024}, "vcpus", {"flavor": "", "vcpus": 5, "max_vcpus": 5}),
        (ROOMY, {"vcpus": 1, "memory": 8192}, "memory", {"flavor": "", "memory": 8192, "max_memory": 8192}),
        (ROOMY, {"vcpus": 1, "memory": 512}, "memory", {"flavor": "", "memory": 512}),
        (ROOMY, {"max_memory": 1024}, "max_memory", {"max_memory": 1024}),
        (Size(2, 1024, 4, 4096, 0), {"vcpus": 1, "memory": 1024}, "vcpus", {"flavor": "", "vcpus": 1}),
        (Size(1, 1024, 4, 4096, 0), {"vcpus": 1, "memory": 2048}, "memory", {"flavor": "", "memory": 2048}),
    ],
)
def test_what_needs_the_server_off(now: Size, options: dict[str, Any], off: str, after: dict[str, Any]) -> None:
    """Room to grow lets a server run on; less of anything, or more than the room, does not. Room that nobody speaks of stays."""
    planned = plan(now, **options)
    assert planned is not None
    assert (planned.off, planned.after) == (off, after)


@pytest.mark.parametrize("options", [{"max_vcpus": 1, "vcpus": 2, "memory": 1024}, {"max_memory": 512}])
def test_room_for_less_than_there_is(options: dict[str, Any]) -> None:
    with pytest.raises(EcsError, match="is less than the"):
        plan(FIXED, **options)


DOMAIN = """<domain type='kvm' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>shop.web</name>
  <title>web</title>
  <metadata><mine:app xmlns:mine="urn:of:others" at="1"><mine:deep/><!-- kept --></mine:app></metadata>
  <memory unit='KiB'>1048576</memory>
  <currentMemory unit='KiB'>1048576</currentMemory>
  <memoryBacking><hugepages/></memoryBacking>
  <vcpu placement='static' cpuset='0-3'>2</vcpu>
  <cputune><shares>512</shares><vcpupin vcpu='0' cpuset='1'/></cputune>
  <cpu mode='host-passthrough'><topology sockets='2' dies='1' cores='1' threads='1'/></cpu>
  <devices>
    <disk type='file' device='disk'><address type='pci' slot='0x03'/></disk>
    <interface type='bridge'><mac address='fa:16:3e:00:00:01'/><address type='pci' slot='0x04'/></interface>
  </devices>
  <qemu:commandline><qemu:arg value='-nodefaults'/></qemu:commandline>
</domain>"""


def flat(node: ET.Element) -> list[tuple[str, dict[str, str], str]]:
    return [(str(one.tag), dict(one.attrib), (one.text or "").strip()) for one in node.iter()]


def edited(text: str, size: Size) -> ET.Element:
    return ET.fromstring(domain_xml.edit(text, lambda root: domain_size.write(root, size)))


def test_edit_leaves_alone_what_nobody_asked_for() -> None:
    """Disks, MAC and PCI addresses (spec Z5), tuning, settings and metadata of others stay as they are."""
    new = edited(DOMAIN, Size(4, 2048, 4, 2048))
    expected = ET.fromstring(
        DOMAIN.replace("<memory unit='KiB'>1048576", "<memory unit='MiB'>2048")
        .replace("<currentMemory unit='KiB'>1048576", "<currentMemory unit='MiB'>2048")
        .replace("'0-3'>2</vcpu>", "'0-3'>4</vcpu>")
        .replace("sockets='2' dies='1' cores='1' threads='1'", "sockets='1' cores='4' threads='1'")
    )
    assert flat(new) == flat(expected)
    text = domain_xml.edit(DOMAIN, lambda root: None)
    assert "<!-- kept -->" in text
    assert "<mine:app" in text
    assert "<qemu:commandline" in text


def test_room_to_grow() -> None:
    """Room is a node of memory with free slots, and vCPUs that are not there yet; pieces that were plugged in become one with the rest."""
    roomy = Size(1, 1024, 4, 4096, domain_size.SLOTS)
    text = domain_xml.edit(DOMAIN.replace("sockets='2'", "sockets='1'"), lambda root: domain_size.write(root, roomy))
    assert domain_size.read(ET.fromstring(text)) == roomy

    plugged = text.replace("</devices>", f"{domain_size.dimm(512)}</devices>").replace('"MiB">1024</memory>', '"MiB">1536</memory>')
    assert domain_size.read(ET.fromstring(plugged)) == Size(1, 1536, 4, 4096, domain_size.SLOTS - 1)
    whole = edited(plugged, Size(2, 2048, 4, 4096))
    assert whole.find("devices/memory") is None
    assert [dict(cell.attrib) for cell in whole.iterfind("cpu/numa/cell")] == [{"id": "0", "cpus": "0-3", "memory": "2048", "unit": "MiB"}]
    assert domain_size.read(edited(text, Size(2, 1024, 2, 1024))) == Size(2, 1024, 2, 1024)


@pytest.mark.parametrize(
    ("old", "new", "size", "message"),
    [
        ("threads='1'", "threads='2'", Size(3, 1024, 3, 1024), "3 vCPUs do not make whole cores of 2 threads"),
        ("</cpu>", "<numa><cell id='0'/><cell id='1'/></numa></cpu>", Size(2, 2048, 2, 2048), "2 NUMA nodes"),
    ],
)
def test_layouts_that_do_not_fit(old: str, new: str, size: Size, message: str) -> None:
    with pytest.raises(EcsError, match=message):
        edited(DOMAIN.replace(old, new), size)


OURS = f"<metadata><ecs:server xmlns:ecs='{metadata.NAMESPACE}' name='web'/></metadata><os><type arch='x86_64'>hvm</type></os><cpu>"


@pytest.mark.parametrize(
    ("size", "seen"),
    [
        (Size(1, 1024, 1, 1024), ("1", None, "1", "1")),
        (Size(4, 1024, 4, 1024), ("4", None, "2", "2")),
        (Size(3, 1024, 3, 1024), ("3", None, "3", "1")),
        (Size(4, 1024, 4, 1024, threads=1), ("2", None, "2", "1")),
        (Size(2, 1024, 8, 4096, slots=16, threads=1), ("4", "1", "4", "1")),
    ],
)
def test_cores_of_our_servers_are_laid_out_anew(size: Size, seen: tuple[str, ...]) -> None:
    """Spec HT1, HT2: flavors count threads; where a vCPU has a core to itself the guest sees half of them, now and at most."""
    text = DOMAIN.replace("<cpu mode='host-passthrough'>", OURS)
    root = edited(text, size)
    vcpu, topology = root.find("vcpu"), root.find("cpu/topology")
    assert vcpu is not None
    assert topology is not None
    assert (vcpu.text, vcpu.get("current"), topology.get("cores"), topology.get("threads")) == seen
    assert domain_size.read(root) == size


@pytest.mark.parametrize("size", [Size(3, 1024, 3, 1024, threads=1), Size(2, 1024, 3, 1024, threads=2)])
def test_whole_cores(size: Size) -> None:
    with pytest.raises(EcsError, match="does not go with 3 vCPUs"):
        edited(DOMAIN.replace("<cpu mode='host-passthrough'>", OURS), size)


def test_threads_change_with_the_flavor_only() -> None:
    """Spec HT1."""
    now = Size(4, 4096, 4, 4096)
    assert plan(now, vcpus=4, memory=4096, cpu_options={"threads_per_core": 1}) is None
    grown = plan(now, vcpus=8, memory=8192, cpu_options={"threads_per_core": 1})
    assert grown is not None
    assert (grown.size.threads, grown.after["threads_per_core"], grown.before["threads_per_core"]) == (1, 1, 2)
    room = plan(Size(2, 1024, 8, 4096, 16), vcpus=4, memory=1024, cpu_options={"threads_per_core": 1})
    assert room is not None
    assert room.off == "threads_per_core"
    kept = plan(Size(4, 4096, 4, 4096, threads=1), vcpus=8, memory=8192)
    assert kept is not None
    assert kept.size.threads == 1
