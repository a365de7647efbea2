# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The domain XML of a server: plain data to text, and back what we need of it."""

from __future__ import annotations

import contextlib
import io
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from . import cpu, domain_size, metadata, pinning
from .domain_size import Size
from .errors import EcsError
from .metadata import Task
from .names import disk_serial, tap_name

INTEGRATION_BRIDGE = "br-int"
AGENT_CHANNEL = "org.qemu.guest_agent.0"
DATA_DISKS = 23
"""Data disks of one server (spec S8): targets vdb to vdx."""
ROOT_PORTS = 32
"""PCI Express slots of a server: 24 disks and the config drive, agent channel, RNG and balloon, and the rest for interfaces."""
_SYSTEM_TARGET = "vda"
# The last letter, so that data disks follow the system disk in the guest: vda, vdb, ... and the config drive behind them.
_CONFIG_TARGET = "vdz"
_CONFIG_SERIAL = "config-2"
_PRODUCT = "OpenStack Nova"


@dataclass(frozen=True)
class DiskDevice:
    """A disk of a domain.

    :param path: file or block device.
    :param format: qcow2 or raw.
    :param target: vda, vdb ...
    :param serial: what the guest shows in /dev/disk/by-id (spec D-05).
    """

    path: str
    format: str
    target: str
    serial: str
    readonly: bool = False
    boot: bool = False

    @property
    def is_config_drive(self) -> bool:
        """Whether this is the config drive and no volume."""
        return self.serial == _CONFIG_SERIAL


@dataclass(frozen=True)
class NicDevice:
    """An interface on OVN's integration bridge; *port_id* is the OVS iface-id that OVN binds the port by."""

    port_id: str
    mac: str
    mtu: int


@dataclass(frozen=True)
class DomainSpec:
    """All that a server's domain consists of.

    :param type: kvm, qemu (TCG), or the name of another libvirt driver.
    :param arch: x86_64 or aarch64.
    :param vcpus: the flavor's.
    :param memory: MiB.
    :param firmware: ``bios`` or ``uefi``; aarch64 has uefi only.
    :param cpu_model: None for what suits *type* and *arch*.
    :param topoext: whether the guest is told of this feature, without which one on AMD's processors does not know of threads.
    :param console_log: file on the host that keeps the serial console's output.
    :param max_vcpus: vCPUs that it can grow to while it runs; 0 for none but those that it has.
    :param max_memory: MiB, in the same way.
    :param vnc_password: makes the screen ask for one; it lets nobody in, as it was never valid.
    :param offloads: False on hosts with the userspace datapath, which drops packets whose checksum a guest left to the NIC.
    """

    name: str
    uuid: str
    title: str
    metadata: metadata.ServerMetadata
    type: str
    vcpus: int
    memory: int
    console_log: str
    arch: str = cpu.X86
    firmware: str = "bios"
    cpu_model: str | None = None
    topoext: bool = False
    disks: Sequence[DiskDevice] = ()
    nics: Sequence[NicDevice] = ()
    offloads: bool = True
    max_vcpus: int = 0
    max_memory: int = 0
    vnc_password: str = field(default="", repr=False)
    tuning: pinning.Tuning = field(default_factory=pinning.Tuning)


@dataclass(frozen=True)
class DomainFacts:
    """What we read back from a domain's XML.

    :param threads: of a core, as the guest sees it.
    :param pins: processors of the host that it has to itself.
    :param bound: whether it is bound to these, or to the host's huge pages or nodes of memory.
    """

    name: str
    uuid: str
    size: Size
    disks: tuple[DiskDevice, ...]
    nvram: bool
    arch: str
    firmware: str
    threads: int
    cpu_model: str
    pins: tuple[int, ...]
    bound: bool
    metadata: metadata.ServerMetadata | None
    task: Task | None

    @property
    def vcpus(self) -> int:
        """vCPUs that it has now."""
        return self.size.vcpus

    @property
    def memory(self) -> int:
        """MiB that it has now."""
        return self.size.memory


def system_disk(path: str, format: str, volume_id: str) -> DiskDevice:
    """The disk that a server boots from."""
    return DiskDevice(path, format, _SYSTEM_TARGET, disk_serial(volume_id), boot=True)


def config_drive(path: str) -> DiskDevice:
    """The config drive: a read-only virtio disk, as the cloud kernels' initramfs has no SATA CD-ROM."""
    return DiskDevice(path, "raw", _CONFIG_TARGET, _CONFIG_SERIAL, readonly=True)


def next_target(used: Iterable[str]) -> str:
    """The first free target for a data disk.

    :raises EcsError: ECS_QUOTA when the server has 23 data disks (spec S8).
    """
    taken = set(used)
    for number in range(1, DATA_DISKS + 1):
        target = f"vd{chr(ord('a') + number)}"
        if target not in taken:
            return target
    raise EcsError(f"a server takes {DATA_DISKS} data disks, all are in use", "ECS_QUOTA", "Detach one first")


def disk_element(disk: DiskDevice) -> ET.Element:
    """A virtio disk, for a domain or for hot-plug."""
    block = disk.path.startswith("/dev/")
    node = ET.Element("disk", type="block" if block else "file", device="disk")
    driver = ET.SubElement(node, "driver", name="qemu", type=disk.format)
    if not disk.readonly:
        driver.set("discard", "unmap")
    ET.SubElement(node, "source", {"dev" if block else "file": disk.path})
    ET.SubElement(node, "target", dev=disk.target, bus="virtio")
    if disk.readonly:
        ET.SubElement(node, "readonly")
    ET.SubElement(node, "serial").text = disk.serial
    if disk.boot:
        ET.SubElement(node, "boot", order="1")
    return node


def nic_element(nic: NicDevice, offloads: bool = True) -> ET.Element:
    """A virtio interface that OVN guards: its tap exists on the bridge with the port's id, or not at all."""
    node = ET.Element("interface", type="bridge")
    ET.SubElement(node, "mac", address=nic.mac)
    ET.SubElement(node, "source", bridge=INTEGRATION_BRIDGE)
    virtualport = ET.SubElement(node, "virtualport", type="openvswitch")
    ET.SubElement(virtualport, "parameters", interfaceid=nic.port_id)
    ET.SubElement(node, "target", dev=tap_name(nic.port_id))
    ET.SubElement(node, "model", type="virtio")
    if not offloads:
        driver = ET.SubElement(node, "driver")
        ET.SubElement(driver, "host", csum="off", gso="off", tso4="off", tso6="off", ecn="off", ufo="off")
        ET.SubElement(driver, "guest", csum="off", tso4="off", tso6="off", ecn="off", ufo="off")
    ET.SubElement(node, "mtu", size=str(nic.mtu))
    return node


def _add(parent: ET.Element, tag: str, text: object = None, **attributes: str) -> ET.Element:
    node = ET.SubElement(parent, tag, attributes)
    if text is not None:
        node.text = str(text)
    return node


def _add_cpu(root: ET.Element, spec: DomainSpec) -> None:
    model = cpu.model(spec.cpu_model, spec.type, spec.arch)
    if model in cpu.HOST_MODES:
        node = _add(root, "cpu", mode=model)
    else:
        # What an emulator lacks of a model the guest does without; under KVM a guest gets all of it or does not start.
        exact = spec.type == "kvm"
        node = _add(root, "cpu", mode="custom", match="exact", check="partial" if exact else "none")
        _add(node, "model", model, fallback="forbid" if exact else "allow")
    _add(node, "topology")  # laid out with the size
    if spec.topoext:
        _add(node, "feature", policy="require", name="topoext")


_MACHINES = {cpu.X86: "q35", cpu.ARM: "virt"}


def machine(arch: str) -> str:
    """The machine type of an architecture."""
    return _MACHINES[arch]


def _add_platform(root: ET.Element, spec: DomainSpec) -> None:
    uefi = spec.firmware == "uefi"
    os = _add(root, "os", **({"firmware": "efi"} if uefi else {}))
    _add(os, "type", "hvm", arch=spec.arch, machine=machine(spec.arch))
    if uefi:
        # libvirt chooses the firmware; one that only starts what Microsoft has signed is for those who ask for it.
        _add(_add(os, "firmware"), "feature", enabled="no", name="secure-boot")
    _add(os, "smbios", mode="sysinfo")
    features = _add(root, "features")
    _add(features, "acpi")
    if spec.arch == cpu.X86:
        _add(features, "apic")
    elif spec.type != "kvm":
        _add(features, "gic", version="3")  # the older one serves eight processors; under KVM it is the host's


def _add_screen(devices: ET.Element, spec: DomainSpec) -> None:
    graphics = _add(devices, "graphics", type="vnc", autoport="yes", listen="127.0.0.1")
    if spec.vnc_password:
        graphics.attrib.update(passwd=spec.vnc_password, passwdValidTo="1970-01-01T00:00:00")
    _add(_add(devices, "video"), "model", type="vga" if spec.arch == cpu.X86 else "virtio")
    if spec.arch != cpu.X86:
        _add(devices, "input", type="keyboard", bus="virtio")  # there is no PS/2


def _add_devices(root: ET.Element, spec: DomainSpec) -> None:
    devices = _add(root, "devices")
    _add(devices, "controller", type="pci", index="0", model="pcie-root")
    for _port in range(ROOT_PORTS):
        _add(devices, "controller", type="pci", model="pcie-root-port")
    _add(devices, "controller", type="usb", model="none")
    devices.extend(disk_element(disk) for disk in spec.disks)
    devices.extend(nic_element(nic, spec.offloads) for nic in spec.nics)
    serial = _add(devices, "serial", type="pty")
    _add(serial, "log", file=spec.console_log, append="on")
    _add(serial, "target", port="0")
    channel = _add(devices, "channel", type="unix")
    _add(channel, "target", type="virtio", name=AGENT_CHANNEL)
    _add_screen(devices, spec)
    rng = _add(devices, "rng", model="virtio")
    _add(rng, "backend", "/dev/urandom", model="random")


def build(spec: DomainSpec) -> str:
    """The XML of a server's domain; PCI addresses are left to libvirt, which keeps them once given."""
    root = ET.Element("domain", type=spec.type)
    _add(root, "name", spec.name)
    _add(root, "uuid", spec.uuid)
    _add(root, "title", spec.title)
    if spec.metadata.description:
        _add(root, "description", spec.metadata.description)
    _add(root, "metadata").append(metadata.element(spec.metadata))
    # cloud-init takes this product name, or asset tag, for an OpenStack cloud, whose data it then reads (spec MD24).
    sysinfo = _add(root, "sysinfo", type="smbios")
    system = _add(sysinfo, "system")
    _add(system, "entry", "altostratus", name="manufacturer")
    _add(system, "entry", _PRODUCT, name="product")
    _add(system, "entry", spec.uuid, name="uuid")
    _add(_add(sysinfo, "chassis"), "entry", _PRODUCT, name="asset")
    _add_platform(root, spec)
    _add_cpu(root, spec)
    _add(root, "clock", offset="localtime" if spec.metadata.os_type == "windows" else "utc")
    _add(root, "on_poweroff", "destroy")
    _add(root, "on_reboot", "restart")
    _add(root, "on_crash", "restart")
    _add_devices(root, spec)
    most = max(spec.vcpus, spec.max_vcpus), max(spec.memory, spec.max_memory)
    size = Size(spec.vcpus, spec.memory, *most, threads=spec.metadata.threads_per_core)
    domain_size.write(root, size)
    pinning.write(root, spec.tuning)
    return ET.tostring(root, encoding="unicode")


def edit(text: str, change: Callable[[ET.Element], object]) -> str:
    """A domain's XML after a change of its tree; what the change leaves alone stays, the metadata of others included."""
    for _event, (prefix, uri) in ET.iterparse(io.StringIO(text), events=["start-ns"]):  # noqa: S314 - what libvirt wrote
        with contextlib.suppress(ValueError):  # a prefix such as ns0, which is made up anew
            if prefix:
                ET.register_namespace(prefix, uri)
    parser = ET.XMLParser(target=ET.TreeBuilder(insert_comments=True))  # noqa: S314
    root = ET.fromstring(text, parser)  # noqa: S314 - what libvirt wrote
    change(root)
    return ET.tostring(root, encoding="unicode")


def nvram_path(text: str) -> str:
    """The file of a domain's UEFI variables; empty where it has none."""
    return ET.fromstring(text).findtext("os/nvram") or ""  # noqa: S314 - what libvirt wrote


def set_nvram(root: ET.Element, path: str) -> None:
    """Put a domain's UEFI variables into another file."""
    node = root.find("os/nvram")
    if node is not None:
        node.text = path


def exchange_system(root: ET.Element, system: DiskDevice, drive: str) -> None:
    """Put another system disk and config drive in the place of those that a domain has, with all that is settled about them.

    :param drive: the config drive's path.
    """
    for node in root.iterfind("devices/disk"):
        disk = _parse_disk(node)
        if disk.boot:
            _exchange(node, replace(system, target=disk.target))
        elif disk.is_config_drive:
            _exchange(node, config_drive(drive))


def _exchange(node: ET.Element, disk: DiskDevice) -> None:
    new = disk_element(disk)
    node.set("type", new.get("type", "file"))
    for tag in ("source", "serial"):
        old, fresh = node.find(tag), new.find(tag)
        if old is not None and fresh is not None:
            node[list(node).index(old)] = fresh
    for driver in node.findall("driver"):
        driver.set("type", disk.format)
    for backing in node.findall("backingStore"):
        node.remove(backing)


def _parse_disk(node: ET.Element) -> DiskDevice:
    source, driver, target = node.find("source"), node.find("driver"), node.find("target")
    path = "" if source is None else source.get("file") or source.get("dev") or ""
    return DiskDevice(
        path=path,
        format="raw" if driver is None else driver.get("type", "raw"),
        target="" if target is None else target.get("dev", ""),
        serial=node.findtext("serial", ""),
        readonly=node.find("readonly") is not None,
        boot=node.find("boot") is not None,
    )


def _parse_cpu_model(root: ET.Element) -> str:
    node = root.find("cpu")
    mode = "" if node is None else node.get("mode", "")
    return mode if mode in cpu.HOST_MODES else root.findtext("cpu/model", "")


def _without_controllers(text: str) -> str:
    """The XML without its controllers: two thirds of what libvirt tells of a server, since each disk that it may get has its PCI port.

    They stand together; where anything that matters is between them, all is left as it is.
    """
    head, _first, rest = text.partition("<controller ")
    between, found, tail = rest.rpartition("</controller>")
    return text if not found or "devices>" in between or "<disk " in between else head + tail


def parse(text: str) -> DomainFacts:
    """Read a domain's XML."""
    root = ET.fromstring(_without_controllers(text))  # noqa: S314 - what libvirt wrote
    kind, topology = root.find("os/type"), root.find("cpu/topology")
    uefi = root.find("os[@firmware='efi']") is not None or root.find("os/nvram") is not None
    return DomainFacts(
        name=root.findtext("name", ""),
        uuid=root.findtext("uuid", ""),
        size=domain_size.read(root),
        disks=tuple(_parse_disk(node) for node in root.iterfind("devices/disk")),
        nvram=uefi,
        arch="" if kind is None else kind.get("arch", ""),
        firmware="uefi" if uefi else "bios",
        threads=1 if topology is None else int(topology.get("threads", "1")),
        cpu_model=_parse_cpu_model(root),
        pins=pinning.parse_pins(root),
        bound=pinning.is_bound(root),
        metadata=metadata.parse(root),
        task=metadata.parse_task(root),
    )
