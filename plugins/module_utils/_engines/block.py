# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Block devices of the machine that this runs on: read through /sys, /proc and blkid, changed with the tools of every Linux."""

from __future__ import annotations

import glob
import os
import re
import shutil
import subprocess
import time
from collections.abc import Sequence

from .._model.disks import SECTOR, DiskFacts, Mounts, Partition, Signature, extent, is_device, read_fstab
from .._model.errors import EcsError, NotFound

_PACKAGES = {
    "blkid": "util-linux", "findfs": "util-linux", "mount": "mount", "umount": "mount", "wipefs": "util-linux", "sfdisk": "fdisk",
    "mkfs.xfs": "xfsprogs", "mkfs.btrfs": "btrfs-progs",
}  # fmt: skip
_WAIT = 5.0
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
# /sys counts sectors of 512 bytes, whatever the disk's are.
_SYS_SECTOR = 512


def _run(*command: str, stdin: str = "", accept: Sequence[int] = (0,)) -> tuple[int, str]:
    program = shutil.which(command[0], path=_PATH)
    if program is None:
        package = _PACKAGES.get(command[0], "e2fsprogs")
        raise EcsError(f"{command[0]} is missing in the guest", "ECS_TOOL_MISSING", f"Install package {package} there (spec D-19)")
    done = subprocess.run(
        [program, *command[1:]], input=stdin, capture_output=True, text=True, env={"PATH": _PATH, "LC_ALL": "C"}, check=False
    )
    if done.returncode not in accept:
        reason = (done.stderr or done.stdout).strip() or f"exit status {done.returncode}"
        raise EcsError(f"{' '.join(command)}: {reason}", "ECS_DISK", "See the guest's kernel log")
    return done.returncode, done.stdout


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read().strip()
    except OSError:
        return ""


# --- reading -------------------------------------------------------------------------------------------------------------------------


def find(device: str = "", serial: str = "", wait: float = _WAIT) -> str:
    """The device node of a whole disk, by any path to it or by its serial.

    :param wait: seconds for a disk that was plugged in a moment ago.
    :raises NotFound: when there is no such disk.
    """
    end = time.monotonic() + wait
    while True:
        node = os.path.realpath(device) if device else _by_serial(serial)
        name = os.path.basename(node)
        if name and os.path.isdir(f"/sys/block/{name}") and os.path.exists(node):
            return node
        if device and os.path.exists(f"/sys/class/block/{name}/partition"):
            raise EcsError(f"device: {device} is a partition", "ECS_INVALID_INPUT", "Give the whole disk")
        if time.monotonic() >= end:
            disks = ", ".join(f"/dev/{each}" for each in sorted(os.listdir("/sys/block")) if not each.startswith(("loop", "ram"))) or "none"
            raise NotFound("disk", device or f"with serial {serial}", "this machine", f"Is it attached? There are: {disks}")
        time.sleep(0.1)


def _by_serial(serial: str) -> str:
    for path in glob.glob("/sys/block/*/serial"):
        if _read(path) == serial:
            return f"/dev/{path.split('/')[3]}"
    # A SCSI disk shows its serial to udev only.
    links = [path for path in glob.glob("/dev/disk/by-id/*") if path.endswith((f"_{serial}", f"-{serial}"))]
    return os.path.realpath(links[0]) if links else ""


def _probe(device: str, offset: int = 0) -> Signature:
    # -p reads the disk itself: udev and blkid's cache may be of before.
    code, out = _run("blkid", "-p", "-o", "export", "-O", str(offset), device, accept=(0, 2, 8))
    if code == 8:
        return Signature(type="ambiguous")
    values = dict(line.partition("=")[::2] for line in out.splitlines())
    return Signature(values.get("PTTYPE", ""), values.get("TYPE", ""), values.get("UUID", ""))


def read_disk(device: str) -> DiskFacts:
    """What is on a disk, and what holds it."""
    name = os.path.basename(device)
    base = f"/sys/block/{name}"
    signature = _probe(device)
    partitions = []
    for path in glob.glob(f"{base}/{glob.escape(name)}*/partition"):
        directory = os.path.dirname(path)
        node = f"/dev/{os.path.basename(directory)}"
        partitions.append(
            Partition(node, int(_read(path)), int(_read(f"{directory}/start")), int(_read(f"{directory}/size")), _probe(node))
        )
    blank = not partitions and signature == Signature()
    return DiskFacts(
        device=device,
        serial=_read(f"{base}/serial"),
        size=int(_read(f"{base}/size")) * _SYS_SECTOR,
        signature=signature,
        partitions=tuple(sorted(partitions, key=lambda each: each.number)),
        at_first=_probe(device, 2048 * SECTOR) if blank else Signature(),
        uses=_uses(name, [each.device for each in partitions]),
    )


def _uses(name: str, partitions: Sequence[str]) -> dict[str, str]:
    uses = {}
    swaps = {os.path.realpath(line.split()[0]) for line in _read("/proc/swaps").splitlines()[1:]}
    for device in (f"/dev/{name}", *partitions):
        if device in swaps:
            uses[device] = "swap"
        holders = sorted(os.listdir(holding)) if os.path.isdir(holding := f"/sys/class/block/{os.path.basename(device)}/holders") else []
        if holders:
            uses[device] = ", ".join(holders)
    return uses


def read_mounts(fstab: str) -> Mounts:
    """What is mounted where, and what the file *fstab* says."""
    mounted: dict[str, str] = {}
    for line in _read("/proc/self/mountinfo").splitlines():
        fields, _dash, tail = line.partition(" - ")
        _id, _parent, number, _root, mount = fields.split()[:5]
        source = tail.split()[1]
        # btrfs has no device number of its own here.
        node = os.path.realpath(f"/sys/dev/block/{number}")
        device = f"/dev/{os.path.basename(node)}" if os.path.isdir(node) else os.path.realpath(source)
        mounted[re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), mount)] = device
    text = ""
    if os.path.exists(fstab):
        with open(fstab, encoding="utf-8") as stream:
            text = stream.read()
    sources = {line.source for line in read_fstab(text) if is_device(line.source)}
    found = {source: _resolve(source) for source in sources}
    return Mounts(mounted, text, {source: device for source, device in found.items() if device})


def _resolve(source: str) -> str:
    if source.startswith("/"):
        return os.path.realpath(source) if os.path.exists(source) else ""
    device = _run("findfs", source, accept=(0, 1))[1].strip()
    return os.path.realpath(device) if device else ""


# --- changing ------------------------------------------------------------------------------------------------------------------------


def wipe(device: str) -> None:
    """Erase the signatures of a partition or disk."""
    _run("wipefs", "--all", "--force", "--quiet", device)


def write_table(device: str, style: str, size: int) -> None:
    """Write a partition table with one partition, and wait until the kernel shows it."""
    name = os.path.basename(device)
    # sfdisk counts in the disk's own sectors.
    scale = int(_read(f"/sys/block/{name}/queue/logical_block_size") or SECTOR) // SECTOR
    first, last = extent(style, size)
    label, kind = ("dos", "83") if style == "mbr" else ("gpt", "linux")
    script = f"label: {label}\nstart={first // scale}, size={(last - first + 1) // scale}, type={kind}\n"
    _run("sfdisk", "--quiet", "--wipe", "always", "--wipe-partitions", "always", device, stdin=script)
    if shutil.which("udevadm", path=_PATH):
        _run("udevadm", "settle", "--timeout=10", accept=(0, 1))
    end = time.monotonic() + _WAIT
    while not any(
        os.path.exists(f"/dev/{os.path.basename(os.path.dirname(path))}") for path in glob.glob(f"/sys/block/{name}/*/partition")
    ):
        if time.monotonic() >= end:
            raise EcsError(f"the kernel does not show the partition of {device}", "ECS_DISK", "Does it read partition tables?")
        time.sleep(0.05)


def make_filesystem(device: str, filesystem: str, uuid: str, label: str | None) -> None:
    """Make a filesystem; whatever was there is lost."""
    named = ["-L", label] if label else []
    if filesystem == "xfs":
        _run("mkfs.xfs", "-q", "-f", "-m", f"uuid={uuid}", *named, device)
    elif filesystem == "btrfs":
        _run("mkfs.btrfs", "-q", "-f", "-U", uuid, *named, device)
    else:
        _run(f"mkfs.{filesystem}", "-q", "-F", "-U", uuid, *named, device)


def mount(fstab: str, directory: str) -> None:
    """Mount what the file *fstab* says for *directory*, as a boot will."""
    os.makedirs(directory, mode=0o755, exist_ok=True)
    _run("mount", "--fstab", fstab, directory)


def remount(fstab: str, directory: str) -> None:
    """Apply changed mount options."""
    _run("mount", "--fstab", fstab, "-o", "remount", directory)


def unmount(directory: str) -> None:
    """Unmount a directory.

    :raises EcsError: ECS_DISK when something in the guest uses it.
    """
    _run("umount", directory)


def reload_units() -> None:
    """Tell systemd that fstab has changed: it makes its mount units from it."""
    if os.path.isdir("/run/systemd/system"):
        _run("systemctl", "daemon-reload")
