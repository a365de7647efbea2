# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Initialising a disk inside a guest (spec D-08 to D-26): from what is on it to what has to be done, without touching it."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from .errors import EcsError, InvalidInput
from .names import disk_serial

SECTOR = 512
FIRST = 2048
"""Where the first partition begins: 1 MiB, in sectors (spec D-17)."""
MBR_LARGEST = 2 << 40
"""Bytes of the largest disk that an MBR can describe (spec D-11)."""
FILESYSTEMS = ("ext4", "xfs", "ext3", "ext2", "btrfs")
_TABLES = {"gpt": "gpt", "dos": "mbr"}
_GPT_COPY = 33
_NAMESPACE = uuid.UUID("0c6a35a1-2b52-5f0f-8e35-4d4a6c1f7b9e")


@dataclass(frozen=True)
class Signature:
    """What ``blkid`` finds at the head of a disk or partition; all empty where there is nothing.

    :param table: ``gpt`` or ``dos``, or another kind of partition table.
    :param type: a filesystem, or swap, LVM2_member, linux_raid_member ...
    """

    table: str = ""
    type: str = ""
    uuid: str = ""

    def __str__(self) -> str:
        table = f"a {_TABLES.get(self.table, self.table)} partition table" if self.table else ""
        return " and ".join(filter(None, [table, self.type and f"{self.type} data"]))


@dataclass(frozen=True)
class Partition:
    """A partition; *start* and *sectors* in sectors of 512 bytes."""

    device: str
    number: int
    start: int
    sectors: int
    signature: Signature = Signature()


@dataclass(frozen=True)
class DiskFacts:
    """A disk as it is.

    :param size: bytes.
    :param at_first: the signature at sector 2048 of a disk without partition table: what is left when a table got lost.
    :param uses: device to what holds it otherwise than by a mount: swap, or the name of a mapper or RAID device.
    """

    device: str
    serial: str
    size: int
    signature: Signature
    partitions: tuple[Partition, ...] = ()
    at_first: Signature = Signature()
    uses: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Mounts:
    """Where this system mounts things.

    :param mounted: mount point to device.
    :param options: mount point to mount options.
    :param fstab: text of /etc/fstab.
    :param resolved: first field of a line of fstab to the device it stands for now; a field that stands for none is left out.
    """

    mounted: Mapping[str, str]
    fstab: str
    resolved: Mapping[str, str]


@dataclass(frozen=True)
class DiskRequest:
    """What the user wants; None leaves as it is, and means the default on a blank disk.

    :param style: auto, gpt, mbr, or none for a filesystem on the whole disk.
    """

    style: str = "auto"
    filesystem: str | None = None
    label: str | None = None
    mount: str | None = None
    mount_options: str | None = None
    force: bool = False


@dataclass(frozen=True)
class InitPlan:
    """What has to be done, in this order; each part may be empty.

    :param wipe: devices whose signatures go first.
    :param table: ``gpt`` or ``mbr``: write a table with one partition.
    :param format: make the filesystem.
    :param target: the device that bears the filesystem.
    :param uuid: the filesystem's.
    :param fstab: the new text; None to leave it.
    :param mount: mount it.
    :param remount: apply changed options.
    """

    target: str
    filesystem: str
    uuid: str
    style: str
    wipe: tuple[str, ...] = ()
    table: str = ""
    format: bool = False
    fstab: str | None = None
    mount: bool = False
    remount: bool = False


# --- sectors -------------------------------------------------------------------------------------------------------------------------


def choose_style(style: str, size: int) -> str:
    """The partition table for a blank disk of *size* bytes (spec D-11): GPT unless MBR was asked for and can hold it.

    :raises InvalidInput: for MBR on more than 2 TiB, of which tools silently use the first 2 TiB only (V-05).
    """
    if style == "mbr" and size > MBR_LARGEST:
        raise InvalidInput("partition_style", style, f"describes at most 2 TiB, the disk has {size} bytes", "Use gpt (spec D-11)")
    return "gpt" if style == "auto" else style


def extent(style: str, size: int) -> tuple[int, int]:
    """First and last sector of the one partition of a disk of *size* bytes (spec D-17, V-01, V-04).

    MBR goes to the last sector. GPT keeps a copy of itself there, so the partition ends at the last whole MiB before it.
    """
    total = size // SECTOR
    last = total - 1 if style == "mbr" else (total - _GPT_COPY) // FIRST * FIRST - 1
    if last < FIRST:
        raise EcsError(f"a disk of {size} bytes is too small for a partition", "ECS_DISK_TOO_SMALL", "Use partition_style: none")
    return FIRST, last


def partition_device(device: str, number: int = 1) -> str:
    """The name of a partition: /dev/vdb1, /dev/nvme0n1p1."""
    return f"{device}{'p' if device[-1].isdigit() else ''}{number}"


def filesystem_uuid(serial: str) -> str:
    """The filesystem of a disk with a serial gets a UUID that follows from it, so that check mode shows it and each run agrees."""
    return str(uuid.uuid5(_NAMESPACE, serial) if serial else uuid.uuid4())


def serial_of(volume: str) -> str:
    """The serial of a volume's disk, from the volume's id (spec D-05)."""
    if not re.fullmatch("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", volume):
        raise InvalidInput("volume", volume, "is not the id of a volume", "Give the id that module volume returns")
    return disk_serial(volume)


# --- fstab ---------------------------------------------------------------------------------------------------------------------------


def _escape(field: str) -> str:
    return "".join(f"\\{ord(char):03o}" if char in " \t\n\\" else char for char in field)


def _unescape(field: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), field)


@dataclass(frozen=True)
class FstabLine:
    """A line of fstab that mounts something; *number* counts from 0."""

    number: int
    source: str
    mount: str
    type: str
    options: str


def read_fstab(text: str) -> list[FstabLine]:
    """The lines that mount something."""
    lines = []
    for number, line in enumerate(text.splitlines()):
        fields = line.split()
        if len(fields) >= 3 and not fields[0].startswith("#"):
            options = fields[3] if len(fields) > 3 else "defaults"
            lines.append(FstabLine(number, _unescape(fields[0]), _unescape(fields[1]), fields[2], options))
    return lines


def is_device(source: str) -> bool:
    """Whether the first field of a line names a disk, and not a tmpfs or a network file system."""
    return source.startswith(("/dev/", "UUID=", "LABEL=", "PARTUUID=", "PARTLABEL="))


def fstab_line(filesystem_id: str, mount: str, filesystem: str, options: str) -> str:
    """The line that mounts a filesystem by its UUID, never by a device name, which may change (spec D-24, D-25, V-06)."""
    return f"UUID={filesystem_id} {_escape(mount)} {filesystem} {options} 0 2"


def _edit(text: str, drop: Sequence[int], line: str | None) -> str:
    """Put *line* where the first of the dropped lines was, or at the end; all other lines stay as they are."""
    lines = text.splitlines(keepends=True)
    if line is not None:
        if drop:
            lines[drop[0]] = line + "\n"
            drop = drop[1:]
        else:
            if lines and not lines[-1].endswith("\n"):
                lines[-1] += "\n"
            lines.append(line + "\n")
    return "".join(each for number, each in enumerate(lines) if number not in drop)


def plan_fstab(mounts: Mounts, target: str, filesystem_id: str, request: DiskRequest, filesystem: str) -> tuple[str | None, bool]:
    """The new text of fstab (None to leave it), and whether the options of the line changed.

    The line of this filesystem is the one with its UUID or with any name of its device; such names give way to the UUID. A line that
    mounts what does not exist any more at our mount point is replaced.

    :raises EcsError: ECS_MOUNT when another filesystem has the mount point.
    """
    if request.mount is None:
        return None, False
    wanted = FstabLine(0, f"UUID={filesystem_id}", request.mount, filesystem, request.mount_options or "defaults")
    ours: list[FstabLine] = []
    stale: list[FstabLine] = []
    for line in read_fstab(mounts.fstab):
        device = mounts.resolved.get(line.source)
        if line.source == wanted.source or device == target:
            ours.append(line)
        elif line.mount == wanted.mount:
            if device is not None or not is_device(line.source):
                problem = f"mount: line {line.number + 1} of fstab mounts {line.source} at {line.mount}"
                raise EcsError(problem, "ECS_MOUNT", "Choose another mount point, or remove that line")
            stale.append(line)
    if ours and request.mount_options is None:
        wanted = replace(wanted, options=ours[0].options)
    if len(ours) == 1 and not stale and replace(ours[0], number=0) == wanted:
        return None, False
    text = fstab_line(filesystem_id, wanted.mount, filesystem, wanted.options)
    drop = sorted(line.number for line in (*ours, *stale))
    return _edit(mounts.fstab, drop, text), bool(ours) and ours[0].options != wanted.options


# --- planning ------------------------------------------------------------------------------------------------------------------------


def plan(disk: DiskFacts, request: DiskRequest, mounts: Mounts) -> InitPlan:
    """What makes the disk as requested.

    A disk without any signature is initialised. One with the filesystem in its place is kept and mounted (spec D-08). A table with one
    empty partition of our own measures is what a run that was killed left; it is completed. All else needs force, and a disk that is
    in use is refused even then.

    :raises EcsError: ECS_DISK_IN_USE, ECS_DISK_HAS_DATA, ECS_MOUNT; nothing was touched.
    """
    if request.filesystem is not None and request.filesystem not in FILESYSTEMS:
        raise InvalidInput("filesystem", request.filesystem, "is not supported", f"Use one of {', '.join(FILESYSTEMS)}")
    for device, use in sorted(disk.uses.items()):
        raise EcsError(f"{device} is in use ({use})", "ECS_DISK_IN_USE", "Give it free first; force does not override this")
    found = _existing(disk, request) or _initialise(disk, request)
    _check_mounts(disk, found, request, mounts)
    fstab, changed = plan_fstab(mounts, found.target, found.uuid, request, found.filesystem)
    mounted = request.mount is not None and mounts.mounted.get(request.mount) == found.target
    return replace(found, fstab=fstab, mount=request.mount is not None and not mounted, remount=mounted and changed)


def _existing(disk: DiskFacts, request: DiskRequest) -> InitPlan | None:
    """The plan that keeps what is on the disk; None where it is not what was asked for."""
    if len(disk.partitions) == 1 and disk.signature.table in _TABLES:
        style, target, there = _TABLES[disk.signature.table], disk.partitions[0].device, disk.partitions[0].signature
    elif not disk.partitions and not disk.signature.table:
        style, target, there = "none", disk.device, disk.signature
    else:
        return None
    if request.style not in ("auto", style) or there.type not in FILESYSTEMS or request.filesystem not in (None, there.type):
        return None
    return InitPlan(target, there.type, there.uuid, style)


def _initialise(disk: DiskFacts, request: DiskRequest) -> InitPlan:
    """The plan that begins anew, or goes on where a run was killed."""
    style = choose_style(request.style, disk.size)
    ours = style != "none" and _ours(disk, style, request.style)
    if ours and disk.partitions:
        style = _TABLES[disk.signature.table]
    problem = None if ours else _data(disk)
    if problem and not request.force:
        wanted = f"{request.filesystem or 'a known filesystem'} with partition_style {request.style}"
        raise EcsError(
            f"disk {disk.device} holds {problem}, not {wanted}",
            "ECS_DISK_HAS_DATA",
            "Nothing was changed; set force to erase what it holds",
        )
    table = "" if style == "none" or (ours and disk.partitions) else style
    if table:
        extent(table, disk.size)
    return InitPlan(
        target=disk.device if style == "none" else partition_device(disk.device),
        filesystem=request.filesystem or FILESYSTEMS[0],
        uuid=filesystem_uuid(disk.serial),
        style=style,
        wipe=(*(each.device for each in disk.partitions), disk.device) if problem else (),
        table=table,
        format=True,
    )


def _ours(disk: DiskFacts, style: str, asked: str) -> bool:
    """Whether there is nothing but a table without partitions, or with one empty partition of the measures that we give it."""
    there = _TABLES.get(disk.signature.table)
    if there is None or asked not in ("auto", there) or disk.signature.type:
        return False
    if not disk.partitions:
        return there == style
    only = disk.partitions[0]
    first, last = extent(there, disk.size)
    return len(disk.partitions) == 1 and (only.start, only.sectors) == (first, last - first + 1) and only.signature == Signature()


def _data(disk: DiskFacts) -> str:
    """What a disk holds, in words; empty for a blank disk."""
    if disk.partitions:
        parts = [f"{each.device} with {each.signature}" if str(each.signature) else each.device for each in disk.partitions]
        return f"{disk.signature or 'partitions'} ({', '.join(parts)})"
    if str(disk.signature):
        return str(disk.signature)
    if str(disk.at_first):
        return f"{disk.at_first} at sector {FIRST} without its partition table"
    return ""


def _check_mounts(disk: DiskFacts, planned: InitPlan, request: DiskRequest, mounts: Mounts) -> None:
    parts = {disk.device, *(each.device for each in disk.partitions)}
    at = sorted(mount for mount, device in mounts.mounted.items() if device in parts)
    if at and (planned.format or (request.mount is not None and request.mount not in at)):
        hint = "Unmount it first (state: absent); force does not override this"
        raise EcsError(f"disk {disk.device} is mounted at {', '.join(at)}", "ECS_DISK_IN_USE", hint)
    other = mounts.mounted.get(request.mount or "")
    if other is not None and other not in parts:
        raise EcsError(f"mount: {other} is mounted at {request.mount}", "ECS_MOUNT", "Choose another mount point, or unmount it first")


def plan_absent(disk: DiskFacts, request: DiskRequest, mounts: Mounts) -> tuple[list[str], str | None]:
    """Where to unmount the disk, and the text of fstab without its lines (None to leave it); what is on the disk stays.

    A disk that is detached already has its line found by the UUID that follows from its serial.

    :param request: with a mount point, only that one is given up.
    """
    parts = {disk.device, *(each.device for each in disk.partitions)}
    known = {each.uuid for each in (disk.signature, *(part.signature for part in disk.partitions))} - {""}
    ids = {f"UUID={each}" for each in (*known, filesystem_uuid(disk.serial))}
    unmount = [mount for mount, device in mounts.mounted.items() if device in parts and request.mount in (None, mount)]
    drop = [
        line.number
        for line in read_fstab(mounts.fstab)
        if (line.source in ids or mounts.resolved.get(line.source) in parts) and request.mount in (None, line.mount)
    ]
    return sorted(unmount, reverse=True), _edit(mounts.fstab, drop, None) if drop else None
