# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a file that calls itself a disk image really is, found in its bytes before any tool opens it.

A disk image may name other files: a backing file, a data file, extents, a parent. A tool that reads such an image reads those files too,
with the rights of whoever runs it, so an import could hand /etc/shadow to a tenant. Hence: an image stands alone, or it is refused.
"""

from __future__ import annotations

import re
import struct
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from .errors import EcsError, InvalidInput

FORMATS = ("qcow2", "raw", "vmdk", "vhd", "vhdx", "vdi")
SECTOR = 512
LARGEST = 32 << 40
"""Bytes of the largest disk (spec D-07)."""
_HEADER = 1 << 16

Read = Callable[[int, int], bytes]
"""``read(offset, length)``: the bytes there, fewer at the end of the file."""


@dataclass(frozen=True)
class ImageFacts:
    """A disk image that stands alone.

    :param format: one of ``FORMATS``.
    :param virtual_size: bytes of the disk inside.
    """

    format: str
    virtual_size: int

    @property
    def qemu_format(self) -> str:
        """QEMU's name of the format."""
        return "vpc" if self.format == "vhd" else self.format


def _refuse(problem: str, hint: str = "") -> EcsError:
    return EcsError(problem, "ECS_IMAGE_REFUSED", hint)


def _truncated(name: str) -> EcsError:
    return _refuse(f"is a truncated {name} image", "Fetch or copy it again")


_FLATTEN = "Make it stand alone first, e.g. with qemu-img convert, where all its files are"


def _unpack(layout: str, data: bytes, offset: int, name: str) -> tuple[int, ...]:
    try:
        return struct.unpack_from(layout, data, offset)
    except struct.error as error:
        raise _truncated(name) from error


# --- qcow2 ---------------------------------------------------------------------------------------------------------------------------

_QCOW2_DIRTY, _QCOW2_CORRUPT, _QCOW2_DATA_FILE, _QCOW2_COMPRESSION, _QCOW2_EXTENDED_L2 = (1 << bit for bit in range(5))
_QCOW2_KNOWN = _QCOW2_DIRTY | _QCOW2_COMPRESSION | _QCOW2_EXTENDED_L2
_QCOW2_DATA_FILE_NAME = 0x44415441


def _qcow2(read: Read, size: int) -> int:
    head = read(0, 112)
    version, backing_offset, _backing_length, cluster_bits, virtual_size, encryption = _unpack(">IQIIQI", head, 4, "qcow2")
    if version not in (2, 3):
        raise _refuse(f"is a qcow image of version {version}", "Convert it to qcow2 (version 2 or 3)")
    if not 9 <= cluster_bits <= 21:
        raise _refuse("has a broken qcow2 header")
    if backing_offset:
        raise _refuse("is a qcow2 image with a backing file", _FLATTEN)
    if encryption:
        raise _refuse("is an encrypted qcow2 image", "Decrypt it first")
    length = 72
    if version == 3:
        features, _compatible, _autoclear, _order, length = _unpack(">QQQII", head, 72, "qcow2")
        if features & _QCOW2_DATA_FILE:
            raise _refuse("is a qcow2 image with an external data file", _FLATTEN)
        if features & _QCOW2_CORRUPT:
            raise _refuse("is a qcow2 image marked as corrupt", "Repair it with qemu-img check -r, or fetch it again")
        if features & ~_QCOW2_KNOWN:
            raise _refuse(f"is a qcow2 image with unknown features ({features:#x})")
    for kind in _qcow2_extensions(read, length, 1 << cluster_bits):
        if kind == _QCOW2_DATA_FILE_NAME:
            raise _refuse("is a qcow2 image with an external data file", _FLATTEN)
    if size < 1 << cluster_bits:
        raise _truncated("qcow2")
    return virtual_size


def _qcow2_extensions(read: Read, offset: int, end: int) -> list[int]:
    """The types of the header extensions, which lie in the first cluster."""
    kinds = []
    while offset + 8 <= end:
        kind, length = _unpack(">II", read(offset, 8), 0, "qcow2")
        if kind == 0:
            break
        kinds.append(kind)
        offset += 8 + (length + 7) // 8 * 8
    return kinds


# --- vmdk ----------------------------------------------------------------------------------------------------------------------------

_VMDK_HEADER = "<IIQQQQIQQQ"
_VMDK_GD_AT_END = (1 << 64) - 1
_VMDK_DESCRIPTOR = 1 << 20
# QEMU looks for the parent's name here, wherever the header puts the descriptor.
_VMDK_DESCRIPTOR_AT = SECTOR
_VMDK_EXTENT = re.compile(r'^\s*(RW|RDONLY|NOACCESS)\s+\d+\s+(?P<type>\S+)(\s+"(?P<file>[^"]*)")?', re.MULTILINE)


def _vmdk(read: Read, size: int) -> int:
    capacity, offset, length, directory = _vmdk_header(read(0, SECTOR))
    descriptors = {(offset * SECTOR, length * SECTOR)}
    if directory == _VMDK_GD_AT_END:
        # A stream ends in a footer, whose header counts instead of the first.
        footer = read(max(0, -(-size // SECTOR) - 2) * SECTOR, SECTOR)
        if footer[:4] != b"KDMV":
            raise _truncated("vmdk")
        capacity, offset, length, directory = _vmdk_header(footer)
        descriptors.add((offset * SECTOR, length * SECTOR))
    for begin, span in sorted(descriptors):
        if begin:
            _vmdk_descriptor(read(begin, min(span, _VMDK_DESCRIPTOR)), required=True)
    _vmdk_descriptor(read(_VMDK_DESCRIPTOR_AT, 20 * SECTOR), required=False)
    if directory * SECTOR > size:
        raise _truncated("vmdk")
    return capacity * SECTOR


def _vmdk_header(data: bytes) -> tuple[int, int, int, int]:
    version, _flags, capacity, _grain, offset, length, _entries, _copy, directory, _grains = _unpack(_VMDK_HEADER, data, 4, "vmdk")
    if version not in (1, 2, 3):
        raise _refuse(f"is a vmdk image of unknown version {version}")
    if not capacity:
        raise _refuse("is a vmdk image whose extents are other files", _FLATTEN)
    return capacity, offset, length, directory


def _vmdk_descriptor(data: bytes, required: bool) -> None:
    text = data.split(b"\0", 1)[0].decode("latin-1")
    values = {key.strip().lower(): value.strip().strip('"') for key, value in re.findall(r"^([^#=\n]+)=(.*)$", text, re.MULTILINE)}
    if not required and "createtype" not in values and "parentcid" not in values:
        return
    kind = values.get("createtype", "")
    if kind.lower() not in ("monolithicsparse", "streamoptimized"):
        raise _refuse(f"is a vmdk image of type {kind or 'unknown'}", "Use monolithicSparse or streamOptimized")
    if values.get("parentcid", "ffffffff").lower() != "ffffffff" or "parentfilenamehint" in values:
        raise _refuse("is a vmdk image with a parent", _FLATTEN)
    extents = list(_VMDK_EXTENT.finditer(text))
    for extent in extents:
        if extent["type"].upper() != "SPARSE" or "/" in (extent["file"] or "") or "\\" in (extent["file"] or ""):
            raise _refuse(f"is a vmdk image with an extent outside itself ({extent['file'] or extent['type']})", _FLATTEN)
    if len(extents) > 1:
        raise _refuse(f"is a vmdk image of {len(extents)} extents, which are other files", _FLATTEN)


# --- vhd, vhdx, vdi ------------------------------------------------------------------------------------------------------------------


def _vhd(read: Read, size: int) -> int:
    footer = read(size - SECTOR, SECTOR)
    if footer[:8] != b"conectix":
        raise _truncated("vhd")
    # QEMU reads the copy at the head of a dynamic image, others the footer: what neither may say is "differencing".
    for copy in (footer, read(0, SECTOR)):
        if copy[:8] == b"conectix":
            (kind,) = _unpack(">I", copy, 60, "vhd")
            if kind not in (2, 3):
                raise _refuse("is a vhd image with a parent" if kind == 4 else f"is a vhd image of unknown type {kind}", _FLATTEN)
    return _unpack(">Q", footer, 48, "vhd")[0]


_VHDX_METADATA = uuid.UUID("8b7ca206-4790-4b9a-b8fe-575f050f886e").bytes_le
_VHDX_PARAMETERS = uuid.UUID("caa16737-fa36-4d43-b3b6-33f0aa44e76b").bytes_le
_VHDX_SIZE = uuid.UUID("2fa54224-cd1b-4876-b211-5dbed83bf4b8").bytes_le
_VHDX_PARENT = uuid.UUID("a8d35f2d-b30b-454d-abf7-d3d84834ab0c").bytes_le


def _vhdx(read: Read, size: int) -> int:
    sizes = set()
    # Either copy of the region table may be the one that counts.
    for table in (read(192 << 10, _HEADER), read(256 << 10, _HEADER)):
        if table[:4] != b"regi":
            continue
        (count,) = _unpack("<I", table, 8, "vhdx")
        for number in range(min(count, 2047)):
            entry = table[16 + 32 * number :][:32]
            if entry[:16] == _VHDX_METADATA:
                sizes.add(_vhdx_metadata(read, *_unpack("<Q", entry, 16, "vhdx")))
    if len(sizes) != 1:
        raise _truncated("vhdx") if not sizes else _refuse("is a vhdx image whose two headers disagree")
    return sizes.pop()


def _vhdx_metadata(read: Read, region: int) -> int:
    table = read(region, _HEADER)
    if table[:8] != b"metadata":
        raise _truncated("vhdx")
    (count,) = _unpack("<H", table, 10, "vhdx")
    virtual_size = 0
    for number in range(min(count, 2047)):
        entry = table[32 + 32 * number :][:32]
        offset, _length = _unpack("<II", entry, 16, "vhdx")
        if entry[:16] == _VHDX_PARENT:
            raise _refuse("is a vhdx image with a parent", _FLATTEN)
        if entry[:16] == _VHDX_PARAMETERS and _unpack("<II", read(region + offset, 8), 0, "vhdx")[1] & 2:
            raise _refuse("is a vhdx image with a parent", _FLATTEN)
        if entry[:16] == _VHDX_SIZE:
            (virtual_size,) = _unpack("<Q", read(region + offset, 8), 0, "vhdx")
    return virtual_size


def _vdi(read: Read, size: int) -> int:
    head = read(0, SECTOR)
    (kind,) = _unpack("<I", head, 0x4C, "vdi")
    if kind not in (1, 2) or any(head[0x1A8:0x1C8]):
        raise _refuse("is a vdi image with a parent", _FLATTEN)
    (data,) = _unpack("<I", head, 0x158, "vdi")
    virtual_size, block, _extra, _blocks, allocated = _unpack("<QIIII", head, 0x170, "vdi")
    if data + block * allocated > size:
        raise _truncated("vdi")
    return virtual_size


# --- raw -----------------------------------------------------------------------------------------------------------------------------

_FILESYSTEMS = (
    (0x438, b"\x53\xef"),  # ext2, ext3, ext4
    (0, b"XFSB"),
    (0x10040, b"_BHRfS_M"),  # btrfs
    (0x8001, b"CD001"),  # ISO 9660
    (0xFF6, b"SWAPSPACE2"),
    (0x218, b"LVM2 001"),
)


def _looks_like_a_disk(read: Read) -> bool:
    head = read(0, _HEADER + (1 << 10))
    return head[510:512] == b"\x55\xaa" or any(head[at : at + len(magic)] == magic for at, magic in _FILESYSTEMS)


def _raw(read: Read, size: int) -> int:
    if size % SECTOR:
        raise _truncated("raw")
    header = read(SECTOR, SECTOR)
    # The partition table's copy lies in the last sector of the disk.
    if header[:8] == b"EFI PART" and _unpack("<Q", header, 32, "raw")[0] * SECTOR >= size:
        raise _truncated("raw")
    return size


# --- what is no image at all ---------------------------------------------------------------------------------------------------------

_UNPACK = "Unpack it first"
_OTHERS = (
    (0, b"\x1f\x8b", "a gzip archive", _UNPACK),
    (0, b"\xfd7zXZ\0", "an xz archive", _UNPACK),
    (0, b"BZh", "a bzip2 archive", _UNPACK),
    (0, b"\x28\xb5\x2f\xfd", "a zstd archive", _UNPACK),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (0, b"PK\x03\x04", "a zip archive", _UNPACK),
    (257, b"ustar", "a tar archive", _UNPACK),
    (0, b"\x7fELF", "a program", ""),
    (0, b"%PDF", "a PDF document", ""),
    (0, b"QED\0", "a qed image", "Convert it to qcow2 first"),
    (0, b"COWD", "a vmdk image of an old kind (COWD)", "Convert it to qcow2 first"),
    (0, b"WithoutFreeSpace", "a Parallels image", "Convert it to qcow2 first"),
    (0, b"WithouFreSpacExt", "a Parallels image", "Convert it to qcow2 first"),
)
_PRINTABLE = frozenset(range(32, 127)) | frozenset(b"\t\n\r\f") | frozenset(range(128, 256))


def _other(head: bytes) -> tuple[str, str] | None:
    """What a file is that is no disk image, and the way out."""
    for at, magic, what, hint in _OTHERS:
        if head[at : at + len(magic)] == magic:
            return what, hint
    if b"# disk descriptorfile" in head[:2048].lower():
        return "the descriptor of a vmdk image whose extents are other files", _FLATTEN
    if not all(byte in _PRINTABLE for byte in head):
        return None
    start = head.lstrip()[:200].lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return "an HTML page", "Does the URL need a login, or name a page about the image?"
    return "a text", ""


_INSPECTORS: dict[str, Callable[[Read, int], int]] = {
    "qcow2": _qcow2, "vmdk": _vmdk, "vhd": _vhd, "vhdx": _vhdx, "vdi": _vdi, "raw": _raw,
}  # fmt: skip


def _signatures(head: bytes, tail: bytes) -> list[str]:
    """Formats whose mark the file bears; more than one is an attempt to be read as the other."""
    marks = {
        "qcow2": head[:4] == b"QFI\xfb",
        "vmdk": head[:4] == b"KDMV",
        "vhd": head[:8] == b"conectix" or tail[:8] == b"conectix",
        "vhdx": head[:8] == b"vhdxfile",
        "vdi": head[0x40:0x44] == b"\x7f\x10\xda\xbe",
    }
    return [name for name, found in marks.items() if found]


def inspect(read: Read, size: int, claim: str | None = None) -> ImageFacts:
    """Find out what an image is and that it stands alone.

    :param read: reads bytes of the file.
    :param size: bytes of the file.
    :param claim: the format that the user says it has; a file that looks like nothing at all passes as raw only when claimed.
    :raises EcsError: ECS_IMAGE_REFUSED; the message begins with a verb, for the caller to put the image's name before it.
    """
    if not size:
        raise _refuse("is empty")
    head = read(0, 4096)
    found = _signatures(head, read(size - SECTOR, SECTOR) if size >= SECTOR else b"")
    if len(found) > 1:
        raise _refuse(f"bears the marks of several formats ({', '.join(found)})")
    if not found:
        if other := _other(head):
            raise _refuse(f"is {other[0]}, not a disk image", other[1])
        if claim != "raw" and not _looks_like_a_disk(read):
            known = f"no {claim} image" if claim else "no disk image that can be recognised"
            raise _refuse(f"is {known}", "If it is a raw disk without any partition table or filesystem, say format: raw")
        found = ["raw"]
    if claim not in (None, found[0]):
        raise _refuse(f"is a {found[0]} image, not {claim} as claimed", "Correct the format or leave it out")
    facts = ImageFacts(found[0], _INSPECTORS[found[0]](read, size))
    if not 0 < facts.virtual_size <= LARGEST:
        raise _refuse(f"holds a disk of {facts.virtual_size} bytes", "A disk has 1 byte to 32 TiB")
    return facts


_DIGESTS = {"sha256": 64, "sha512": 128}


def parse_checksum(text: str) -> tuple[str, str]:
    """Algorithm and digest of ``sha256:...`` or ``sha512:...``."""
    algorithm, _colon, digest = text.strip().lower().partition(":")
    if len(digest) != _DIGESTS.get(algorithm) or not re.fullmatch("[0-9a-f]+", digest):
        raise InvalidInput("checksum", text, "is no checksum", "Write sha256: and 64, or sha512: and 128 hexadecimal digits")
    return algorithm, digest
