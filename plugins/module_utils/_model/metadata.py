# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a domain's XML remembers about its server, in our namespace: the compute side's only database.

EIPs are not in here; the Northbound is their only truth.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass, field

NAMESPACE = "urn:altostratus:ecs:1"
PREFIX = "ecs"
TASK_NAMESPACE = "urn:altostratus:ecs:task:1"
TASK_PREFIX = "ecs-task"
"""An element of its own, since it changes while others change the server's."""
_TAG = f"{{{NAMESPACE}}}"
ET.register_namespace(PREFIX, NAMESPACE)


@dataclass(frozen=True)
class Nic:
    """One network interface, a port of the Northbound; *id* is the port's id."""

    id: str
    name: str
    mac: str
    address: str = ""
    cidr: str = ""
    subnet: str = ""
    vpc: str = ""
    security_groups: tuple[str, ...] = ()
    mtu: int = 0


@dataclass(frozen=True)
class Disk:
    """One disk; *id* is the volume's id.

    :param role: ``system`` or ``data``.
    :param size: GiB.
    :param type: the pool.
    :param mount: where the guest shall mount it; empty for nowhere.
    :param filesystem: what the guest shall format it with.
    """

    id: str
    name: str
    role: str = "data"
    size: int = 0
    type: str = ""
    mount: str = ""
    filesystem: str = ""


@dataclass(frozen=True)
class ServerMetadata:
    """A server as its creator described it.

    :param display_name: what people call it, where that is not its name.
    :param flavor: empty where vcpus and memory were given instead.
    :param user_data: sha256 of the user data, empty for none (spec MD9: it never changes).
    :param server_group: empty for none; *server_group_policy* is what the group had when the server became its member (spec D2).
    :param generation: how often the system disk was written from an image; 1 as created.
    :param created: UTC, ``2026-01-31T12:00:00Z``.
    :param cloud_init: whether the image runs cloud-init, so that there is something to wait for.
    :param login: how one logged in at first: ``password``, ``key_pair`` or ``later`` (spec M7); empty for servers of older runs.
    :param user: who logs in (spec M8).
    :param os_type: linux or windows.
    :param timezone: what the guest was told; empty for the image's own (spec T1).
    :param threads_per_core: what the user asked for (spec HT2); 0 for nothing.
    :param config_drive: ``nocloud`` or ``none``; empty for the usual layout, ``config-2``.
    :param creating: not finished yet; the next run completes it.
    :param deletion_protection: state absent is refused.
    :param scheduled_deletion: when it goes by itself, UTC as ``created``; empty for never (spec D8).
    :param preemptible: whether it gives way to others, by *priority*; *reclaim_at* is when, once it was told (spec B6 to B10).
    """

    region: str
    project: str
    name: str
    display_name: str = ""
    az: str = ""
    flavor: str = ""
    image: str = ""
    image_id: str = ""
    key: str = ""
    login: str = ""
    user: str = ""
    os_type: str = ""
    timezone: str = ""
    hostname: str = ""
    description: str = ""
    server_group: str = ""
    server_group_policy: str = ""
    user_data: str = ""
    config_drive: str = ""
    generation: int = 1
    created: str = ""
    cloud_init: bool = True
    creating: bool = False
    threads_per_core: int = 0
    deletion_protection: bool = False
    scheduled_deletion: str = ""
    preemptible: bool = False
    priority: int = 0
    reclaim_at: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    nics: tuple[Nic, ...] = ()
    disks: tuple[Disk, ...] = ()


@dataclass(frozen=True)
class Task:
    """What a run is doing to a server (spec appendix A); a run that is killed leaves it behind.

    :param name: the status meanwhile, such as ``stopping``.
    :param since: UTC, as ``created``.
    :param running: whether the server shall run when it is done.
    :param source: the host that a server comes from that moves; *destination* the one that it goes to.
    """

    name: str
    since: str
    running: bool = False
    source: str = ""
    destination: str = ""


_TEXTS = (
    "region", "project", "name", "display_name", "az", "flavor", "image", "image_id", "key", "login", "user", "os_type", "timezone",
    "hostname", "server_group", "server_group_policy", "user_data", "created", "scheduled_deletion", "reclaim_at",
    "config_drive",
)  # fmt: skip
_TASK_TEXTS = ("source", "destination")
_NIC_TEXTS = ("id", "name", "mac", "address", "cidr", "subnet", "vpc")
_DISK_TEXTS = ("id", "name", "role", "type", "mount", "filesystem")


def _child(parent: ET.Element, tag: str, attributes: Mapping[str, str]) -> ET.Element:
    return ET.SubElement(parent, tag, {key: value for key, value in attributes.items() if value})


def element(metadata: ServerMetadata, tag: str = _TAG) -> ET.Element:
    """The metadata as the one element that a domain's XML holds for our namespace.

    :param tag: namespace of the elements, in braces.
    """
    root = ET.Element(tag + "server", {name: getattr(metadata, name) for name in _TEXTS if getattr(metadata, name)})
    root.set("generation", str(metadata.generation))
    root.set("cloud_init", "yes" if metadata.cloud_init else "no")
    if metadata.creating:
        root.set("creating", "yes")
    if metadata.threads_per_core:
        root.set("threads_per_core", str(metadata.threads_per_core))
    if metadata.deletion_protection:
        root.set("deletion_protection", "yes")
    if metadata.preemptible:
        root.set("preemptible", "yes")
        root.set("priority", str(metadata.priority))
    if metadata.description:
        _child(root, tag + "description", {}).text = metadata.description
    for key, value in metadata.tags.items():
        _child(root, tag + "tag", {"key": key}).text = value
    for nic in metadata.nics:
        node = _child(root, tag + "nic", {name: getattr(nic, name) for name in _NIC_TEXTS})
        node.set("mtu", str(nic.mtu))
        for group in nic.security_groups:
            _child(node, tag + "security_group", {}).text = group
    for disk in metadata.disks:
        node = _child(root, tag + "disk", {name: getattr(disk, name) for name in _DISK_TEXTS})
        node.set("size", str(disk.size))
    return root


def build(metadata: ServerMetadata) -> str:
    """The metadata as ``virDomainSetMetadata`` takes it: without a namespace, which libvirt adds and refuses to find there."""
    return ET.tostring(element(metadata, ""), encoding="unicode")


def parse(source: str | ET.Element) -> ServerMetadata | None:
    """Read the metadata from a domain's XML, as text or parsed; None where the domain is not ours."""
    tree = ET.fromstring(source) if isinstance(source, str) else source  # noqa: S314 - what libvirt wrote
    root = tree.find(f"metadata/{_TAG}server")
    if root is None:
        return None
    return ServerMetadata(
        **{name: root.get(name, "") for name in _TEXTS},
        description=root.findtext(_TAG + "description") or "",
        generation=int(root.get("generation", "1")),
        cloud_init=root.get("cloud_init") != "no",
        creating=root.get("creating") == "yes",
        threads_per_core=int(root.get("threads_per_core", "0")),
        deletion_protection=root.get("deletion_protection") == "yes",
        preemptible=root.get("preemptible") == "yes",
        priority=int(root.get("priority", "0")),
        tags={tag.get("key", ""): tag.text or "" for tag in root.findall(_TAG + "tag")},
        nics=tuple(
            Nic(
                **{name: node.get(name, "") for name in _NIC_TEXTS},
                security_groups=tuple(group.text or "" for group in node.findall(_TAG + "security_group")),
                mtu=int(node.get("mtu", "0")),
            )
            for node in root.findall(_TAG + "nic")
        ),
        disks=tuple(
            Disk(**{name: node.get(name, "") for name in _DISK_TEXTS}, size=int(node.get("size", "0")))
            for node in root.findall(_TAG + "disk")
        ),
    )


def is_ours(tree: ET.Element) -> bool:
    """Whether a domain is a server of ours."""
    return tree.find(f"metadata/{_TAG}server") is not None


def put(tree: ET.Element, told: ServerMetadata) -> None:
    """Replace what a domain's XML, parsed, remembers of its server."""
    parent = tree.find("metadata")
    old = tree.find(f"metadata/{_TAG}server")
    if parent is not None and old is not None:
        parent[list(parent).index(old)] = element(told)


def threads(tree: ET.Element) -> int:
    """The threads of a core that the user asked for; 0 for nothing."""
    root = tree.find(f"metadata/{_TAG}server")
    return 0 if root is None else int(root.get("threads_per_core", "0"))


def set_threads(tree: ET.Element, threads: int) -> None:
    """Remember what the user asked for in a domain that is about to be defined."""
    root = tree.find(f"metadata/{_TAG}server")
    if root is not None:
        root.attrib.pop("threads_per_core", None)
        root.attrib.update({"threads_per_core": str(threads)} if threads else {})


def build_task(task: Task) -> str:
    """The task as ``virDomainSetMetadata`` takes it."""
    node = ET.Element("task", name=task.name, since=task.since, running="yes" if task.running else "no")
    node.attrib.update({name: value for name in _TASK_TEXTS if (value := getattr(task, name))})
    return ET.tostring(node, encoding="unicode")


def parse_task(tree: ET.Element) -> Task | None:
    """Read the task from a domain's XML; None where no run is at the server."""
    node = tree.find(f"metadata/{{{TASK_NAMESPACE}}}task")
    if node is None:
        return None
    hosts = {name: node.get(name, "") for name in _TASK_TEXTS}
    return Task(node.get("name", ""), node.get("since", ""), node.get("running") == "yes", **hosts)
