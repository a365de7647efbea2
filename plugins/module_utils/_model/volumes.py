# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Volumes: all that there is to know of one is in its name, its pool, its backing file and the domain that has it.

So no file beside it can get lost or lag behind; in a pool of files libvirt would take such a file for a volume.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from typing import Any

from .errors import InvalidInput
from .images import GIB, Image
from .names import Scope, disk_serial

LARGEST = 32768
"""GiB of the largest disk (spec D-07)."""
_FILE = re.compile(r"(?P<project>[A-Za-z0-9][A-Za-z0-9_-]{0,62})\.(?P<name>[A-Za-z0-9_.-]{1,64})\.qcow2")
_IMAGE = re.compile(r"/(?P<id>[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})\.qcow2")


@dataclass(frozen=True)
class VolumeRequest:
    """A volume as the user wants it; None leaves a field as it is.

    :param size: GiB.
    :param type: the pool.
    :param image: name of the image it begins as; empty for a blank one.
    :param role: ``system`` or ``data``.
    :param server: name of the server to attach it to; the empty string detaches it.
    """

    name: str
    size: int | None = None
    type: str | None = None
    image: str | None = None
    role: str = "data"
    server: str | None = None


@dataclass(frozen=True)
class Volume:
    """A volume of a pool.

    :param size: GiB, a part of one counts as one.
    :param image_id: the image it was made from; empty for a blank one.
    :param server: name of the server that has it; empty when it is free.
    """

    id: str
    name: str
    project: str
    region: str
    type: str
    path: str
    size: int
    format: str = "qcow2"
    role: str = "data"
    image_id: str = ""
    server: str = ""

    @property
    def serial(self) -> str:
        """What the guest shows in /dev/disk/by-id (spec D-05)."""
        return disk_serial(self.id)

    def represent(self) -> dict[str, Any]:
        """The volume as modules return it."""
        return {
            "id": self.id,
            "name": self.name,
            "project": self.project,
            "region": self.region,
            "type": self.type,
            "size": self.size,
            "path": self.path,
            "format": self.format,
            "role": self.role,
            "serial": self.serial,
            "image_id": self.image_id or None,
            "server": self.server or None,
            "status": "in_use" if self.server else "available",
        }


def file_name(scope: Scope, name: str) -> str:
    """The volume's name in its pool; a project name holds no dot, so the first dot parts the two."""
    return f"{scope.project}.{name}.qcow2"


def parse_file_name(file: str, region: str) -> tuple[Scope, str] | None:
    """Scope and name of a volume of a pool; None where it is not ours."""
    found = _FILE.fullmatch(file)
    return (Scope(region, found["project"]), found["name"]) if found else None


def build(scope: Scope, name: str, size: int, image: Image | None) -> str:
    """The XML of a new volume of *size* GiB: blank, or a copy-on-write overlay of *image*."""
    root = _blank(file_name(scope, name), str(size * GIB), "qcow2")
    if image is not None:
        backing = ET.SubElement(root, "backingStore")
        ET.SubElement(backing, "path").text = image.path
        ET.SubElement(backing, "format", type="qcow2")
    return ET.tostring(root, encoding="unicode")


def twin(xml: str) -> str:
    """The XML of an empty volume like this one, for another host: of the same size to the byte, on the same image."""
    old = _read(xml)
    form = old.find("target/format")
    root = _blank(old.findtext("name", ""), old.findtext("capacity", "0"), "raw" if form is None else form.get("type", "raw"))
    if path := backing_path(xml):
        backing = ET.SubElement(root, "backingStore")
        ET.SubElement(backing, "path").text = path
        ET.SubElement(backing, "format", type="qcow2")
    return ET.tostring(root, encoding="unicode")


def container(name: str, length: int) -> str:
    """The XML of a volume of so many bytes that a file is written into as it is, whatever its format."""
    return ET.tostring(_blank(name, str(length), "raw"), encoding="unicode")


def _blank(name: str, size: str, form: str) -> ET.Element:
    """A volume that takes no room yet, *size* bytes large; readable by its owner alone, as all of ours."""
    root = ET.Element("volume")
    ET.SubElement(root, "name").text = name
    ET.SubElement(root, "capacity").text = size
    ET.SubElement(root, "allocation").text = "0"
    target = ET.SubElement(root, "target")
    ET.SubElement(target, "format", type=form)
    # libvirt gives the disk to QEMU's user for as long as the server runs.
    ET.SubElement(ET.SubElement(target, "permissions"), "mode").text = "0600"
    return root


def image_of(path: str) -> str:
    """The id of the image that a file in the library is; empty where it is none."""
    found = _IMAGE.search(path)
    return found["id"] if found else ""


def _read(xml: str) -> ET.Element:
    return ET.fromstring(xml)  # noqa: S314 - what libvirt wrote


def backing_path(xml: str) -> str:
    """The file below a volume; empty where it stands alone."""
    return _read(xml).findtext("backingStore/path") or ""


def find_disk(xml: str, serial: str) -> ET.Element | None:
    """A domain's disk by its serial."""
    return next((disk for disk in _read(xml).iterfind("devices/disk") if disk.findtext("serial") == serial), None)


def parse(xml: str, pool: str, region: str) -> Volume | None:
    """Read a volume's XML; None where the volume is not ours."""
    root = _read(xml)
    named = parse_file_name(root.findtext("name") or "", region)
    if named is None:
        return None
    scope, name = named
    form = root.find("target/format")
    return Volume(
        id=scope.id("volume", name),
        name=name,
        project=scope.project,
        region=region,
        type=pool,
        path=root.findtext("target/path") or "",
        size=-(-int(root.findtext("capacity") or 0) // GIB),
        format="raw" if form is None else form.get("type", "raw"),
        image_id=image_of(root.findtext("backingStore/path") or ""),
    )


def check_size(option: str, size: int | None, image: Image | None) -> int:
    """The size of a new volume in GiB: what was asked, or else the image's least.

    :raises InvalidInput: when it is missing, beyond 32 TiB (spec D-07), or less than the image needs.
    """
    if size is None:
        if image is None:
            raise InvalidInput(option, size, "is missing for a new blank volume", "Give the size in GiB")
        return image.min_disk
    if not 1 <= size <= LARGEST:
        raise InvalidInput(option, size, "is no size of a disk", f"Give 1 to {LARGEST} GiB")
    if image is not None and size < image.min_disk:
        raise InvalidInput(option, size, f"is less than image {image.name} needs ({image.min_disk} GiB)", f"Give at least {image.min_disk}")
    return size
