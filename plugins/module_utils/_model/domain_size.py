# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""vCPUs and memory in a domain's XML, with the room to grow while it runs."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass, replace

from . import cpu as processors
from . import metadata
from .errors import EcsError

BLOCK = 128
"""MiB that memory is added in while a guest runs: what Linux takes in one piece."""
SLOTS = 16
"""How many times memory can be added while a guest runs; the next start after a change of size frees them."""
_MIB = {"b": 1 / (1 << 20), "bytes": 1 / (1 << 20), "KiB": 1 / 1024, "k": 1 / 1024, "MiB": 1, "M": 1, "GiB": 1024, "G": 1024}


@dataclass(frozen=True)
class Size:
    """What a domain has, memory in MiB, and up to what it can grow while it runs.

    :param vcpus: as flavors count them.
    :param slots: how many more times memory can be added then.
    :param threads: of a core, as the user asked for them (spec HT2); 0 for nothing.
    """

    vcpus: int
    memory: int
    max_vcpus: int
    max_memory: int
    slots: int = 0
    threads: int = 0

    @property
    def share(self) -> int:
        """vCPUs of the flavor for each one that the guest sees: where it has a core to itself, that counts for two (spec HT2)."""
        return 2 if self.threads == 1 else 1


def _mib(node: ET.Element | None) -> int:
    return 0 if node is None else int(int(node.text or 0) * _MIB[node.get("unit", "KiB")])


def _set(root: ET.Element, tag: str, text: int) -> ET.Element:
    node = root.find(tag)
    if node is None:
        node = ET.SubElement(root, tag)
    node.text = str(text)
    return node


def _cores(root: ET.Element, topology: ET.Element, size: Size, name: str) -> processors.Cores:
    """The cores of a guest: ours are laid out anew, those of a domain that somebody made by hand keep their threads."""
    if metadata.is_ours(root):
        kind = root.find("os/type")
        arch = "" if kind is None else kind.get("arch", "")
        for vcpus in (size.vcpus, size.max_vcpus):
            processors.check_threads(size.threads or None, vcpus, arch)
        return processors.layout(size.max_vcpus, size.threads or None, arch)
    threads = int(topology.get("threads", "1"))
    if size.max_vcpus % threads:
        raise EcsError(
            f"server {name}: {size.max_vcpus} vCPUs do not make whole cores of {threads} threads",
            "ECS_INVALID_INPUT",
            "Choose a size with another number of vCPUs",
        )
    return processors.Cores(size.max_vcpus // threads, threads)


def _lay_out(root: ET.Element, cpu: ET.Element, size: Size) -> None:
    """Fit what the guest is told of its CPUs, as far as it is told anything; there is one node."""
    name = root.findtext("name", "").partition(".")[2]
    topology = cpu.find("topology")
    if topology is not None:
        cores = _cores(root, topology, size, name)
        topology.attrib.clear()
        topology.attrib.update(sockets="1", cores=str(cores.cores), threads=str(cores.threads))
    cells = cpu.findall("numa/cell")
    if len(cells) > 1:
        raise EcsError(
            f"server {name}: its domain has {len(cells)} NUMA nodes, which somebody laid out by hand",
            "ECS_IMMUTABLE",
            "Change its size by hand too (virsh edit)",
        )
    if not cells and size.max_memory > size.memory:
        cells = [ET.SubElement(ET.SubElement(cpu, "numa"), "cell")]  # without a node no memory can be added
    for cell in cells:
        cell.attrib.update(id="0", cpus=f"0-{size.max_vcpus // size.share - 1}", memory=str(size.memory), unit="MiB")


def write(root: ET.Element, size: Size) -> None:
    """Give a domain that is off this size; everything else stays as it is.

    :raises EcsError: when somebody has laid out its CPUs so that the size does not fit.
    """
    for devices in root.findall("devices"):
        for device in devices.findall("memory[@model='dimm']"):
            devices.remove(device)
    _set(root, "memory", size.memory).set("unit", "MiB")
    if root.find("currentMemory") is not None:
        _set(root, "currentMemory", size.memory).set("unit", "MiB")
    room = root.find("maxMemory")
    if size.max_memory > size.memory:
        _set(root, "maxMemory", size.max_memory).attrib.update(slots=str(SLOTS), unit="MiB")
    elif room is not None:
        root.remove(room)
    metadata.set_threads(root, size.threads)
    vcpu = _set(root, "vcpu", size.max_vcpus // size.share)
    vcpu.attrib.pop("current", None)
    if size.vcpus < size.max_vcpus:
        vcpu.set("current", str(size.vcpus // size.share))
    each = root.find("vcpus")
    if each is not None:
        root.remove(each)
    cpu = root.find("cpu")
    _lay_out(root, ET.SubElement(root, "cpu") if cpu is None else cpu, size)


def read(root: ET.Element) -> Size:
    """The size of a domain."""
    vcpu = root.find("vcpu")
    most = 1 if vcpu is None else int(vcpu.text or 1)
    memory, room = _mib(root.find("memory")), root.find("maxMemory")
    used = len(root.findall("devices/memory"))
    size = Size(
        vcpus=most if vcpu is None else int(vcpu.get("current", most)),
        memory=memory,
        max_vcpus=most,
        max_memory=max(memory, _mib(room)),
        slots=0 if room is None else int(room.get("slots", "0")) - used,
        threads=metadata.threads(root),
    )
    return replace(size, vcpus=size.vcpus * size.share, max_vcpus=size.max_vcpus * size.share)


def dimm(mib: int) -> str:
    """A piece of memory to be plugged in."""
    device = ET.Element("memory", model="dimm")
    target = ET.SubElement(device, "target")
    ET.SubElement(target, "size", unit="MiB").text = str(mib)
    ET.SubElement(target, "node").text = "0"
    return ET.tostring(device, encoding="unicode")
