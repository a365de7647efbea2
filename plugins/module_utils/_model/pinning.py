# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which processors of a host a server has to itself, and how its domain is bound to them (spec HT2)."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from .cpu import Cores
from .errors import EcsError, InvalidInput
from .flavor_specs import Specs

DEDICATED = "ecs_dedicated_cpus"


@dataclass(frozen=True)
class HostCpu:
    """A processor of the host, a thread of a core.

    :param siblings: the processors of its core, itself included.
    """

    id: int
    node: int
    siblings: frozenset[int]


@dataclass(frozen=True)
class HostCpus:
    """The processors of a host.

    :param name: the host's.
    :param dedicated: those kept for servers that have their own; all others share the rest.
    """

    name: str
    all: Sequence[HostCpu]
    dedicated: frozenset[int]

    def __post_init__(self) -> None:
        known = {cpu.id for cpu in self.all}
        if self.dedicated - known or (self.dedicated and not known - self.dedicated):
            problem = f"are not some of the processors of {self.name} ({write_cpus(known)})"
            raise InvalidInput(DEDICATED, write_cpus(self.dedicated), problem, "Name processors that it has, and leave it at least one")


@dataclass(frozen=True)
class Tuning:
    """What a domain is bound to.

    :param pins: for each processor of the guest the host's; empty where they are not its own.
    :param shared: where all that is not pinned runs, as libvirt writes it; empty for anywhere.
    :param nodes: NUMA nodes that the memory comes from; several are several of the guest as well.
    :param page: KiB of a huge page; 0 without.
    """

    pins: tuple[int, ...] = ()
    shared: str = ""
    nodes: tuple[int, ...] = ()
    page: int = 0

    @property
    def exclusive(self) -> bool:
        """Whether it binds the domain to something of its own."""
        return bool(self.pins or self.page)


def parse_cpus(option: str, text: str) -> frozenset[int]:
    """Processors from a list such as ``2-5,8``."""
    found: set[int] = set()
    for part in filter(None, (part.strip() for part in text.split(","))):
        first, dash, last = part.partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise InvalidInput(option, text, "is no list of processors", "Write for example 2-5,8")
        found |= set(range(int(first), int(last or first) + 1))
    return frozenset(found)


def write_cpus(cpus: Iterable[int]) -> str:
    """The list as libvirt takes it."""
    return ",".join(map(str, sorted(cpus)))


def parse_topology(capabilities: str) -> list[HostCpu]:
    """The host's processors, from libvirt's capabilities."""
    root = ET.fromstring(capabilities)  # noqa: S314 - what libvirt wrote
    return [
        HostCpu(int(cpu.get("id", "0")), int(cell.get("id", "0")), parse_cpus("siblings", cpu.get("siblings", cpu.get("id", "0"))))
        for cell in root.iterfind("host/topology/cells/cell")
        for cpu in cell.iterfind("cpus/cpu")
    ]


def _cores_of(cpus: Sequence[HostCpu], free: Collection[int]) -> dict[int, list[tuple[int, ...]]]:
    """By node, the free processors of each core that has any, whole cores first."""
    found: defaultdict[int, dict[frozenset[int], list[int]]] = defaultdict(dict)
    for cpu in sorted(cpus, key=lambda cpu: cpu.id):
        if cpu.id in free:
            found[cpu.node].setdefault(cpu.siblings, []).append(cpu.id)
    return {node: sorted((tuple(cpus) for cpus in cores.values()), key=lambda cpus: (-len(cpus), cpus)) for node, cores in found.items()}


def _take(cores: Sequence[tuple[int, ...]], wanted: Cores, alone: bool, whole: int) -> list[int] | None:
    """Processors for the guest's cores out of one set; None where it has too few.

    :param alone: each guest core takes a core of the host for itself.
    :param whole: processors of a core of the host that is free.
    """
    if alone:
        firsts = [cpus[0] for cpus in cores if len(cpus) == whole]
        return firsts[: wanted.cores] if len(firsts) >= wanted.cores else None
    if wanted.threads == whole:
        # Threads of one guest core are threads of one host core, as long as there are such.
        cores = [*(cpus for cpus in cores if len(cpus) == whole), *(cpus for cpus in cores if len(cpus) < whole)]
    flat = [cpu for cpus in cores for cpu in cpus]
    return flat[: wanted.vcpus] if len(flat) >= wanted.vcpus else None


def _spread(
    nodes: dict[int, list[tuple[int, ...]]], wanted: Cores, specs: Specs, alone: bool, whole: int
) -> tuple[list[int], tuple[int, ...]]:
    """Processors and their nodes: from one node, or as many as are asked for, those with the least room that is enough."""
    count = max(1, specs.numa_nodes)
    share = Cores(wanted.cores // count, wanted.threads)
    fitting = {node: cpus for node, cores in nodes.items() if (cpus := _take(cores, share, alone, whole)) is not None}
    best = sorted(fitting, key=lambda node: (sum(map(len, nodes[node])), node))[:count]
    if len(best) == count:
        return [cpu for node in sorted(best) for cpu in fitting[node]], tuple(sorted(best))
    if not specs.numa_nodes:
        anywhere = _take([cores for node in sorted(nodes) for cores in nodes[node]], wanted, alone, whole)
        if anywhere is not None:
            return anywhere, ()
    return [], ()


def choose(name: str, specs: Specs, wanted: Cores, alone: bool, host: HostCpus, used: Collection[int]) -> Tuning:
    """What a server of this flavor is bound to on a host.

    :param wanted: the guest's cores.
    :param alone: whether hyper-threading is off, so that each of them takes one of the host's (spec HT2).
    :param used: processors that are taken.
    :raises EcsError: ECS_NO_CAPACITY when too few are free.
    """
    cpus, dedicated = host.all, host.dedicated
    shared = write_cpus({cpu.id for cpu in cpus} - dedicated) if dedicated else ""
    if not specs.dedicated_cpus:
        return Tuning(shared=shared, page=specs.page)
    if specs.numa_nodes and wanted.cores % specs.numa_nodes:
        hint = "Choose a flavor whose cores divide by its nodes"
        raise InvalidInput("flavor", name, f"cannot spread {wanted.cores} cores over {specs.numa_nodes} NUMA nodes", hint)
    whole = max((len(cpu.siblings & dedicated) for cpu in cpus if cpu.id in dedicated), default=1)
    free = dedicated - frozenset(used)
    pins, nodes = _spread(_cores_of(cpus, free), wanted, specs, alone, whole)
    if not pins:
        place = f" in {specs.numa_nodes} NUMA node{'s' if specs.numa_nodes > 1 else ''}" if specs.numa_nodes else ""
        needed = f"{wanted.cores} cores" if alone else f"{wanted.vcpus} processors"
        raise EcsError(
            f"server {name}: its flavor needs {needed} of its own{place}, "
            f"host {host.name} has {len(free)} processors free of the {len(dedicated)} that it keeps for that",
            "ECS_NO_CAPACITY",
            f"Choose another host or flavor, or widen {DEDICATED}",
        )
    return Tuning(tuple(pins), shared, nodes, specs.page)


def check_room(tuning: Tuning, vcpus: tuple[int, int], memory: tuple[int, int]) -> None:
    """See that what has something of the host for itself is not to grow while it runs.

    :param vcpus: now and at most.
    :param memory: now and at most.
    """
    for option, (now, most) in (("max_vcpus", vcpus), ("max_memory", memory)):
        if tuning.exclusive and most > now:
            hint = "Leave it out; the server can be given another flavor while it is off"
            raise InvalidInput(option, most, "does not go with a flavor that has processors or pages of its own", hint)


def occupied(pins: Iterable[int], alone: bool, cpus: Iterable[HostCpu]) -> Iterator[int]:
    """The processors that a server's pins take: where it has cores to itself, their other threads as well."""
    siblings = {cpu.id: cpu.siblings for cpu in cpus}
    for pin in pins:
        yield from siblings.get(pin, {pin}) if alone else (pin,)


def parse_pins(root: ET.Element) -> tuple[int, ...]:
    """The processors of the host that a domain has to itself; what somebody bound to several of them is not its own."""
    pins = (pin.get("cpuset", "") for pin in root.iterfind("cputune/vcpupin"))
    return tuple(int(pin) for pin in pins if pin.isdecimal())


def write(root: ET.Element, tuning: Tuning) -> None:
    """Bind a domain that is off; what somebody else has tuned beside it stays."""
    vcpu = root.find("vcpu")
    if vcpu is not None:
        vcpu.attrib.pop("cpuset", None)
        if tuning.shared and not tuning.pins:
            vcpu.set("cpuset", tuning.shared)
    tune = _clear(root, "cputune", ("vcpupin", "emulatorpin"), bool(tuning.pins))
    for number, pin in enumerate(tuning.pins):
        ET.SubElement(tune, "vcpupin", vcpu=str(number), cpuset=str(pin))
    if tuning.pins and tuning.shared:
        ET.SubElement(tune, "emulatorpin", cpuset=tuning.shared)
    numa = _clear(root, "numatune", ("memory", "memnode"), bool(tuning.nodes))
    if tuning.nodes:
        ET.SubElement(numa, "memory", mode="strict", nodeset=write_cpus(tuning.nodes))
    backing = _clear(root, "memoryBacking", ("hugepages",), bool(tuning.page))
    if tuning.page:
        ET.SubElement(ET.SubElement(backing, "hugepages"), "page", size=str(tuning.page), unit="KiB")
    _write_cells(root, numa, tuning)


def release(root: ET.Element) -> None:
    """Take our bindings out of a domain that is off, so that it can be given another size."""
    cells = root.find("cpu/numa")
    if cells is not None and root.find("numatune/memnode") is not None:
        for cell in list(cells)[1:]:
            cells.remove(cell)
    write(root, Tuning())


def is_bound(root: ET.Element) -> bool:
    """Whether a domain is bound to processors or pages of the host."""
    return bool(parse_pins(root)) or any(root.find(path) is not None for path in ("numatune/memory", "memoryBacking/hugepages"))


def _clear(root: ET.Element, tag: str, children: Collection[str], needed: bool) -> ET.Element:
    """An element without our part of it; one that has nothing else goes, unless it is *needed*."""
    node = root.find(tag)
    if node is None:
        node = ET.SubElement(root, tag)
    for child in [child for child in node if child.tag in children]:
        node.remove(child)
    if not needed and not len(node):
        root.remove(node)
    return node


def _write_cells(root: ET.Element, numa: ET.Element, tuning: Tuning) -> None:
    """Several nodes are the guest's as well: each has its share of processors and memory, from the host's node."""
    cpu, memory = root.find("cpu"), root.find("memory")
    if cpu is None or memory is None or len(tuning.nodes) < 2:
        return
    cells = cpu.find("numa")
    cells = ET.SubElement(cpu, "numa") if cells is None else cells
    for cell in list(cells):
        cells.remove(cell)
    count = len(tuning.nodes)
    each, share = len(tuning.pins) // count, int(memory.text or 0) // count
    memory.text = str(share * count)
    for number, node in enumerate(tuning.nodes):
        first = number * each
        attributes = {"id": str(number), "cpus": f"{first}-{first + each - 1}", "memory": str(share), "unit": memory.get("unit", "KiB")}
        ET.SubElement(cells, "cell", attributes)
        ET.SubElement(numa, "memnode", cellid=str(number), mode="strict", nodeset=str(node))
