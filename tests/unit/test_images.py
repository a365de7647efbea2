# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The inspection of disk images, on headers made by hand: what stands alone passes, what names other files is refused."""

from __future__ import annotations

import struct
import uuid

import pytest

from ansible_collections.altostratus.ecs.plugins.module_utils._model.errors import EcsError, InvalidInput
from ansible_collections.altostratus.ecs.plugins.module_utils._model.image_formats import ImageFacts, inspect, parse_checksum

GIB = 1 << 30
CLUSTER = 1 << 16


def look(data: bytes, claim: str | None = None) -> ImageFacts:
    return inspect(lambda offset, length: data[offset : offset + length], len(data), claim)


def qcow2(version: int = 3, backing: int = 0, encryption: int = 0, features: int = 0, extensions: bytes = b"", size: int = GIB) -> bytes:
    head = struct.pack(">4sIQIIQI", b"QFI\xfb", version, backing, 9 if backing else 0, 16, size, encryption).ljust(72, b"\0")
    head += struct.pack(">QQQII", features, 0, 0, 4, 104) if version == 3 else b""
    return (head + extensions + bytes(8)).ljust(4 * CLUSTER, b"\0")


MONOLITHIC = 'createType="monolithicSparse"\nparentCID=ffffffff\nRW 2097152 SPARSE "disk.vmdk"\n'


def vmdk(descriptor: str = MONOLITHIC, capacity: int = GIB // 512, at_end: bool = False, footer: bytes = b"", at: int = 1) -> bytes:
    directory = (1 << 64) - 1 if at_end else 21
    head = struct.pack("<4sIIQQQQIQQQ", b"KDMV", 3 if at_end else 1, 3, capacity, 128, at, 20, 512, 0, directory, 128).ljust(512, b"\0")
    text = b"# Disk DescriptorFile\nversion=1\n" + descriptor.encode()
    body = (head + bytes((at - 1) * 512) + text).ljust(1 << 16, b"\0")
    return body + bytes(512) + footer.ljust(512, b"\0") + bytes(512)


def stream(descriptor: str = MONOLITHIC.replace("monolithicSparse", "streamOptimized")) -> bytes:
    return vmdk(descriptor, at_end=True, footer=vmdk()[:512])


def vhd(kind: int = 3, head: bool = True, footer: bool = True) -> bytes:
    copy = struct.pack(">8sIIQI4sI4sQQII", b"conectix", 2, 0x10000, 512, 0, b"qemu", 0, b"Wi2k", GIB, GIB, 0, kind).ljust(512, b"\0")
    return (copy if head else bytes(512)) + bytes(8192) + (copy if footer else bytes(512))


def vdi(kind: int = 1, parent: bytes = bytes(16), blocks: int = 0) -> bytes:
    head = b"<<< QEMU VM Virtual Disk Image >>>\n".ljust(0x40, b"\0") + b"\x7f\x10\xda\xbe" + struct.pack("<III", 0x10001, 0x190, kind)
    head = head.ljust(0x154, b"\0") + struct.pack("<II", 512, 1024)
    head = head.ljust(0x170, b"\0") + struct.pack("<QIIII", GIB, 1 << 20, 0, 1024, blocks)
    return (head.ljust(0x1B8, b"\0") + parent).ljust(4096, b"\0")


def vhdx(parent: bool = False, locator: bool = False) -> bytes:
    def guid(text: str) -> bytes:
        return uuid.UUID(text).bytes_le

    region = (
        b"regi" + struct.pack("<III", 0, 1, 0) + guid("8b7ca206-4790-4b9a-b8fe-575f050f886e") + struct.pack("<QII", 1 << 20, 1 << 20, 1)
    )
    entries = [("caa16737-fa36-4d43-b3b6-33f0aa44e76b", 65536, 8), ("2fa54224-cd1b-4876-b211-5dbed83bf4b8", 65544, 8)]
    if locator:
        entries.append(("a8d35f2d-b30b-454d-abf7-d3d84834ab0c", 65552, 8))
    table = (b"metadata" + struct.pack("<HH", 0, len(entries))).ljust(32, b"\0")
    table += b"".join(guid(name) + struct.pack("<IIQ", offset, length, 0) for name, offset, length in entries)
    head = b"vhdxfile".ljust(192 << 10, b"\0") + region.ljust(64 << 10, b"\0") + region.ljust(64 << 10, b"\0")
    return head.ljust(1 << 20, b"\0") + table.ljust(65536, b"\0") + struct.pack("<IIQ", 1 << 25, 2 if parent else 0, GIB)


MBR = bytes(510) + b"\x55\xaa" + bytes(4096)


@pytest.mark.parametrize(
    ("data", "format"),
    [
        (qcow2(), "qcow2"),
        (qcow2(version=2), "qcow2"),
        (qcow2(extensions=struct.pack(">II8s", 0x6803F857, 5, b"names")), "qcow2"),
        (vmdk(), "vmdk"),
        (stream(), "vmdk"),
        (vhd(), "vhd"),
        (vhd(kind=2, head=False), "vhd"),
        (vhdx(), "vhdx"),
        (vdi(), "vdi"),
    ],
)
def test_what_stands_alone_passes(data: bytes, format: str) -> None:
    assert look(data) == ImageFacts(format, GIB)
    assert look(data, claim=format).format == format
    with pytest.raises(EcsError, match=f"is a {format} image, not raw as claimed"):
        look(data, claim="raw")


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (qcow2(backing=1024), "backing file"),
        (qcow2(features=4), "external data file"),
        (qcow2(extensions=struct.pack(">II8s", 0x44415441, 8, b"/etc/pwd")), "external data file"),
        (qcow2(encryption=2), "encrypted"),
        (qcow2(features=2), "corrupt"),
        (qcow2(features=1 << 20), "unknown features"),
        (qcow2(version=1), "version 1"),
        (qcow2()[:1000], "truncated"),
        (qcow2(size=1 << 60), "1152921504606846976 bytes"),
        (vmdk(MONOLITHIC.replace("disk.vmdk", "/etc/passwd")), "extent outside itself"),
        (vmdk(MONOLITHIC + 'RW 1 SPARSE "other.vmdk"\n'), "2 extents"),
        (vmdk(MONOLITHIC + 'RW 1 FLAT "disk-flat.vmdk" 0\n'), "outside itself"),
        (vmdk(MONOLITHIC.replace("ffffffff", "1234abcd")), "parent"),
        (vmdk(MONOLITHIC + 'parentFileNameHint="/etc/passwd"\n'), "parent"),
        (vmdk('createType="monolithicFlat"\n'), "monolithicFlat"),
        (vmdk(capacity=0), "other files"),
        # QEMU reads the parent at sector 1, wherever the header puts the descriptor.
        (vmdk(at=40)[:512] + vmdk(MONOLITHIC + 'parentFileNameHint="/etc/shadow"\n')[512:8192] + vmdk(at=40)[8192:], "parent"),
        (stream()[:-1024], "truncated"),
        (b'# Disk DescriptorFile\ncreateType="monolithicFlat"\nRW 1 FLAT "/etc/passwd" 0\n', "extents are other files"),
        (vhd(kind=4), "parent"),
        (vhd(footer=False), "truncated"),
        (vhdx(parent=True), "parent"),
        (vhdx(locator=True), "parent"),
        (vhdx()[: 1 << 18], "truncated"),
        (vdi(kind=4), "parent"),
        (vdi(parent=b"x" * 16), "parent"),
        (vdi(blocks=10), "truncated"),
        (qcow2()[:-512] + vhd()[-512:], "several formats"),
        (b"", "empty"),
        (b"hello\n" * 1000, "is a text, not a disk image"),
        (b"<!DOCTYPE html><html>404</html>", "HTML page"),
        (b"\x1f\x8b\x08" + bytes(5000), "gzip archive"),
        (b"PK\x03\x04" + bytes(5000), "zip archive"),
        (b"disk.ovf".ljust(257, b"\0") + b"ustar" + bytes(5000), "tar archive"),
        (b"\x7fELF" + bytes(5000), "a program"),
        (bytes(8192), "no disk image that can be recognised"),
        (MBR[:-1], "truncated raw"),
        (bytes(510) + b"\x55\xaaEFI PART" + bytes(24) + struct.pack("<Q", 4000) + bytes(8192 - 40 - 512), "truncated raw"),
    ],
)
def test_what_names_other_files_or_is_no_image_is_refused(data: bytes, told: str) -> None:
    with pytest.raises(EcsError, match=told) as caught:
        look(data)
    assert caught.value.code == "ECS_IMAGE_REFUSED"


@pytest.mark.parametrize(
    "data",
    [
        MBR,
        bytes(0x438) + b"\x53\xef" + bytes(8192 - 0x438 - 2),
        b"XFSB" + bytes(8188),
        bytes(0x8001) + b"CD001" + bytes(40960 - 0x8001 - 5),
    ],
)
def test_a_raw_disk_is_known_by_its_table_or_filesystem(data: bytes) -> None:
    assert look(data) == look(data, "raw") == ImageFacts("raw", len(data))


def test_a_blank_raw_disk_needs_the_claim_and_a_text_is_never_raw() -> None:
    assert look(bytes(8192), "raw") == ImageFacts("raw", 8192)
    with pytest.raises(EcsError, match="is a text"):
        look(b"x" * 1024, "raw")


@pytest.mark.parametrize("text", ["", "md5:" + "0" * 32, "sha256:12", "sha512:" + "0" * 64, "sha256:" + "g" * 64])
def test_a_bad_checksum_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="is no checksum"):
        parse_checksum(text)


def test_checksums_in_any_case() -> None:
    assert parse_checksum("SHA256:" + "AB" * 32) == ("sha256", "ab" * 32)
