# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The domain XML, read by another eye than the one that wrote it, and what it remembers."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace
from datetime import timedelta

import pytest

from ansible_collections.altostratus.ecs.plugins.module_utils._model import domain_xml, metadata, servers, times
from ansible_collections.altostratus.ecs.plugins.module_utils._model.errors import EcsError

TOLD = metadata.ServerMetadata(
    region="local",
    project="shop",
    name="web",
    az="az1",
    flavor="s7n.medium.2",
    image="debian-13",
    image_id="11111111-2222-5333-8444-555555555555",
    key="ops",
    hostname="web",
    description='a "quoted" <text> & more',
    server_group="web",
    server_group_policy="soft-anti-affinity",
    user_data="ab" * 32,
    created="2026-01-31T12:00:00Z",
    cloud_init=False,
    creating=True,
    tags={"tier": "web", "empty": "", "öäü <&>": "'"},
    nics=(
        metadata.Nic(
            "68a9272d-7152-4ae7-a138-3ef53af669e7", "web-nic0", "fa:16:3e:00:00:01", "10.0.0.2", "10.0.0.0/24", "front", "shop",
            ("web", "db"), 1450,
        ),
        metadata.Nic("78a9272d-7152-4ae7-a138-3ef53af669e7", "web-nic1", "fa:16:3e:00:00:02"),
    ),
    disks=(
        metadata.Disk("88a9272d-7152-4ae7-a138-3ef53af669e7", "web-system", "system", 10, "standard"),
        metadata.Disk("98a9272d-7152-4ae7-a138-3ef53af669e7", "web-data", "data", 20, "fast", "/srv", "ext4"),
    ),
)  # fmt: skip
SPEC = domain_xml.DomainSpec(
    name="shop.web",
    uuid="4a5b6c7d-1111-5222-8333-444455556666",
    title="web",
    metadata=TOLD,
    type="kvm",
    vcpus=1,
    memory=2048,
    console_log="/var/log/altostratus/shop.web.log",
    disks=[
        domain_xml.system_disk("/pool/system.qcow2", "qcow2", TOLD.disks[0].id),
        domain_xml.DiskDevice("/dev/vg/data", "raw", "vdb", "98a9272d71524ae7a138"),
        domain_xml.config_drive("/drives/web.iso"),
    ],
    nics=[domain_xml.NicDevice(TOLD.nics[0].id, TOLD.nics[0].mac, 1450)],
)


def xml(**changes: object) -> ET.Element:
    return ET.fromstring(domain_xml.build(replace(SPEC, **changes)))


def test_what_was_written_is_read_back():
    facts = domain_xml.parse(domain_xml.build(SPEC))
    assert facts.metadata == TOLD
    assert (facts.name, facts.uuid, facts.vcpus, facts.memory) == ("shop.web", SPEC.uuid, 1, 2048)
    assert facts.disks == tuple(SPEC.disks)
    assert [disk.is_config_drive for disk in facts.disks] == [False, False, True]


CONTROLLERS = """
    <controller type='pci' index='1' model='pcie-root-port'>
      <model name='pcie-root-port'/>
    </controller>
    <controller type='usb' index='0' model='none'/>
    <controller type='virtio-serial' index='0'>
      <address type='pci' domain='0x0000' bus='0x02' slot='0x00' function='0x0'/>
    </controller>
"""
DISKS = [
    "<disk type='file'><source file='/a'/><target dev='vda'/></disk>",
    "<disk type='block'><source dev='/b'/><target dev='vdb'/></disk>",
]


@pytest.mark.parametrize(
    "devices",
    [
        [*DISKS, CONTROLLERS, "<interface type='bridge'/>"],
        [CONTROLLERS, *DISKS],
        [DISKS[0], CONTROLLERS, DISKS[1], CONTROLLERS],
        [*DISKS, "<controller type='usb' index='0' model='none'/>"],
        DISKS,
    ],
)
@pytest.mark.parametrize("foreign", ["", "<metadata><controller xmlns='urn:x'><disk a='b'/></controller></metadata>"])
def test_controllers_are_not_read_wherever_they_are(devices, foreign):
    text = f"<domain><name>x</name>{foreign}<vcpu>2</vcpu><devices>{''.join(devices)}</devices></domain>"
    facts = domain_xml.parse(text)
    assert [(disk.path, disk.target) for disk in facts.disks] == [("/a", "vda"), ("/b", "vdb")]
    assert (facts.name, facts.vcpus) == ("x", 2)


def test_domain_of_others_has_no_metadata():
    assert domain_xml.parse("<domain><name>x</name><memory>65536</memory></domain>").metadata is None
    assert servers.from_domain("<domain><name>x</name><memory>65536</memory></domain>", 1, "hv1") is None


def test_accelerator_and_cpu():
    """Only KVM has a host CPU to pass through."""
    assert xml().find("cpu").get("mode") == "host-passthrough"
    assert xml(type="qemu").findtext("cpu/model") == "Nehalem"


def test_a_named_model_is_given_whole_under_kvm():
    """What an emulator lacks of it the guest does without."""
    assert xml(cpu_model="EPYC").find("cpu").attrib == {"mode": "custom", "match": "exact", "check": "partial"}
    assert xml(cpu_model="EPYC").find("cpu/model").get("fallback") == "forbid"
    assert xml(cpu_model="EPYC", type="qemu").find("cpu").get("check") == "none"


def test_threads_of_a_core():
    """Spec HT2: the flavor's vCPUs are threads; with one a core the guest sees half as many, and the flavor's number is told."""
    assert xml(vcpus=4).find("cpu/topology").attrib == {"sockets": "1", "cores": "2", "threads": "2"}
    off = xml(vcpus=4, metadata=replace(TOLD, threads_per_core=1))
    assert (off.findtext("vcpu"), off.find("cpu/topology").get("cores"), off.find("cpu/topology").get("threads")) == ("2", "2", "1")
    facts = domain_xml.parse(ET.tostring(off, encoding="unicode"))
    assert (facts.vcpus, facts.threads) == (4, 1)


def test_guests_of_amd_are_told_of_threads():
    assert xml(vcpus=4, topoext=True).find("cpu/feature").attrib == {"policy": "require", "name": "topoext"}
    assert xml(vcpus=4).find("cpu/feature") is None


def test_firmware_and_architecture():
    """Spec F1."""
    bios, arm = xml(), xml(arch="aarch64", firmware="uefi", type="qemu")
    assert (bios.find("os").get("firmware"), bios.find("os/type").attrib) == (None, {"arch": "x86_64", "machine": "q35"})
    assert (arm.find("os").get("firmware"), arm.find("os/type").attrib) == ("efi", {"arch": "aarch64", "machine": "virt"})
    assert arm.find("features/apic") is None
    assert domain_xml.parse(domain_xml.build(replace(SPEC, firmware="uefi"))).nvram


@pytest.mark.parametrize("arch", ["x86_64", "aarch64"])
def test_the_machine_says_that_its_cloud_is_openstacks_kind(arch):
    """Spec MD24: by product name and by asset tag, one of which cloud-init looks for."""
    told = {entry.get("name"): entry.text for entry in xml(arch=arch).iterfind("sysinfo//entry")}
    assert (told["product"], told["asset"], told["uuid"]) == ("OpenStack Nova", "OpenStack Nova", SPEC.uuid)
    assert xml(arch=arch).find("os/smbios").get("mode") == "sysinfo"


def test_clock():
    """Spec T2: Windows takes the clock for local time."""
    assert xml().find("clock").get("offset") == "utc"
    assert xml(metadata=replace(TOLD, os_type="windows")).find("clock").get("offset") == "localtime"


def test_interface_is_bound_by_its_port_id():
    interface = xml().find("devices/interface")
    assert interface.find("virtualport/parameters").get("interfaceid") == TOLD.nics[0].id
    assert (interface.find("target").get("dev"), interface.find("source").get("bridge")) == ("tap68a9272d-71", "br-int")
    assert interface.find("mtu").get("size") == "1450"


def test_offloads_are_off_for_the_userspace_datapath_only():
    assert xml().find("devices/interface/driver") is None
    assert xml(offloads=False).find("devices/interface/driver/guest").get("csum") == "off"


def test_room_for_hot_plug():
    """24 disks (spec S8), the config drive, four devices of the machine, and interfaces."""
    ports = [node for node in xml().iterfind("devices/controller") if node.get("model") == "pcie-root-port"]
    assert len(ports) >= 24 + 1 + 3


def test_config_drive_is_a_read_only_disk_behind_all_others():
    drive = xml().findall("devices/disk")[2]
    assert drive.find("readonly") is not None
    assert drive.find("target").get("dev") > "vdx"


def test_data_disks_take_23_targets():
    used = ["vda", "vdz"]
    for _number in range(23):
        used.append(domain_xml.next_target(used))
    assert (used[2], used[-1]) == ("vdb", "vdx")
    used.remove("vdc")
    assert domain_xml.next_target(used) == "vdc"
    with pytest.raises(EcsError, match="23 data disks"):
        domain_xml.next_target([*used, "vdc"])


def test_metadata_for_libvirt_carry_no_namespace():
    """virDomainSetMetadata adds the namespace itself, and fails where it is there."""
    assert metadata.NAMESPACE not in metadata.build(TOLD)


def test_represent():
    server = servers.from_domain(domain_xml.build(replace(SPEC, metadata=replace(TOLD, creating=False))), 5, "hv1")
    told = servers.represent(server, "203.0.113.5")
    assert (told["status"], told["hypervisor"], told["address"], told["eip"]) == ("stopped", "hv1", "10.0.0.2", "203.0.113.5")
    assert told["disks"][1] == {
        "id": TOLD.disks[1].id, "name": "web-data", "role": "data", "size": 20, "type": "fast", "serial": "98a9272d71524ae7a138",
        "target": "vdb", "mount": "/srv", "filesystem": "ext4",
    }  # fmt: skip
    assert told["nics"][0]["security_groups"] == ["web", "db"]
    assert told["tags"] == TOLD.tags


@pytest.mark.parametrize(("state", "status"), [(1, "running"), (3, "paused"), (4, "stopping"), (5, "stopped"), (6, "faulty")])
def test_status(state, status):
    """Spec appendix A."""
    done = replace(SPEC, metadata=replace(TOLD, creating=False))
    assert servers.from_domain(domain_xml.build(done), state, "hv1").status == status
    assert servers.from_domain(domain_xml.build(SPEC), state, "hv1").status == "creating"


TASKS = ("starting", "stopping", "restarting", "deleting", "resizing", "reinstalling", "changing_os")


@pytest.mark.parametrize(("age", "stuck"), [(0, False), (1790, False), (1810, True)])
@pytest.mark.parametrize("task", TASKS)
def test_status_while_a_run_is_at_it(task, age, stuck):
    """Spec appendix A, R9: what is being done, and faulty when that takes more than half an hour."""
    since = times.stamp(times.now() - timedelta(seconds=age))
    done = replace(SPEC, metadata=replace(TOLD, creating=False))
    facts = replace(domain_xml.parse(domain_xml.build(done)), task=metadata.Task(task, since))
    assert servers.Server(facts, facts.metadata, 1, "hv1").status == ("faulty" if stuck else task)


def test_exchanged_system_keeps_all_that_is_settled():
    """Bus, target, boot order and limits are the device's; file, format and serial are the disk's (spec Q1, Q6)."""
    settled = '<iotune><total_iops_sec>9</total_iops_sec></iotune><backingStore type="file"/></disk>'
    text = domain_xml.build(SPEC).replace("</disk>", settled, 1)
    system = domain_xml.system_disk("/dev/vg/new", "raw", "a8a9272d-7152-4ae7-a138-3ef53af669e7")
    new = domain_xml.edit(text, lambda root: domain_xml.exchange_system(root, system, "/drives/web-2.iso"))
    assert domain_xml.parse(new).disks == (system, SPEC.disks[1], domain_xml.config_drive("/drives/web-2.iso"))
    disk = ET.fromstring(new).find("devices/disk")
    assert [(node.tag, dict(node.attrib)) for node in disk] == [
        ("driver", {"name": "qemu", "type": "raw", "discard": "unmap"}), ("source", {"dev": "/dev/vg/new"}),
        ("target", {"dev": "vda", "bus": "virtio"}), ("serial", {}), ("boot", {"order": "1"}), ("iotune", {}),
    ]  # fmt: skip
    assert (disk.get("type"), disk.findtext("iotune/total_iops_sec")) == ("block", "9")
