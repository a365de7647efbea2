# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build bootable disk images from Debian packages.

Run as root, in a mount namespace of its own (``unshare --mount build_image.py build ...``): whatever is mounted here, its loop device
included, ends with the process, however that ends. Prints one JSON object, ``{"changed": bool, "image": {...}}``; the image's part is what
``<name>.json`` holds next to ``<name>.qcow2``. An image is left alone while its recipe (these files, its packages, its size) is the
recorded one.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

RECIPE = Path(__file__).resolve().parent
MIB = 1 << 20
GIB = 1 << 30
PARTITION_OFFSET = MIB  # room for the boot record, and aligned for every storage

FULL_PACKAGES = (
    # Boot. tiny-initramfs loads the disk's driver and mounts the root file system: a second of emulated boot instead of six.
    "linux-image-cloud-amd64", "tiny-initramfs", "systemd-sysv", "udev", "dbus",
    # What a cloud expects of a guest. chrony rather than systemd-timesyncd, for which each boot would wait.
    "cloud-init", "cloud-guest-utils", "qemu-guest-agent", "openssh-server", "systemd-resolved", "chrony",
    # What an administrator and Ansible expect; gdisk is what growpart needs for GPT.
    "ca-certificates", "curl", "e2fsprogs", "gdisk", "iproute2", "iputils-ping", "less", "nano", "parted", "procps",
    "python3", "python3-apt", "sudo", "xfsprogs",
)  # fmt: skip
# What only waits, checks or downloads on a timer.
FULL_DISABLED = (
    "apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "e2scrub_reap.service",
    "xfs_scrub_all.timer",
)  # fmt: skip
# What loads kernel modules (each one unpacked by an emulated processor) that a server does not use: the mounts of kernel interfaces that
# load themselves when they are opened, graphics, foreign binaries, crash records of a firmware that is not there.
FULL_MASKED = (
    "modprobe@configfs.service", "modprobe@drm.service", "modprobe@efi_pstore.service", "modprobe@fuse.service",
    "proc-sys-fs-binfmt_misc.automount", "sys-fs-fuse-connections.mount", "sys-kernel-config.mount",
    "systemd-binfmt.service", "systemd-pstore.service",
)  # fmt: skip
FULL_LEFT_OVER = (
    "etc/*-", "etc/apt/apt.conf.d/99mmdebstrap", "etc/dpkg/dpkg.cfg.d/99mmdebstrap", "etc/ssh/ssh_host_*", "tmp/*", "var/cache/apt/*",
    "var/cache/debconf/*-old", "var/lib/apt/lists/*", "var/lib/dbus/machine-id", "var/lib/dpkg/*-old", "var/lib/systemd/random-seed",
)  # fmt: skip
MINI_PACKAGES = ("base-files", "busybox-static", "dropbear-bin", "libc-bin", "qemu-guest-agent", "systemd-boot-efi")
MINI_PROGRAMS = ("/usr/bin/dropbearkey", "/usr/sbin/dropbear", "/usr/sbin/qemu-ga")
MINI_MODULES = ("button", "evdev", "isofs", "virtio_balloon", "virtio_blk", "virtio_net", "virtio_pci", "virtio_rng")


class BuildError(Exception):
    """A cause that a user can act upon."""


@dataclass(frozen=True)
class Machine:
    """What differs between architectures."""

    debian: str  # Debian's name of it
    console: str  # the serial line
    loader: str  # systemd-boot, as Debian calls it, and where UEFI looks for what it starts by itself
    fallback: str


MACHINES = {
    "x86_64": Machine("amd64", "ttyS0", "systemd-bootx64.efi", "BOOTX64.EFI"),
    "aarch64": Machine("arm64", "ttyAMA0", "systemd-bootaa64.efi", "BOOTAA64.EFI"),
}


@dataclass(frozen=True)
class Wanted:
    """One item of ``guest_image_images`` and what all of them share."""

    name: str
    kind: str
    architecture: str
    packages: tuple[str, ...]
    disabled: tuple[str, ...]  # services that wait until user data starts them
    size: int | None  # GiB; None: as small as its content allows
    suite: str
    keyring: str

    @property
    def machine(self) -> Machine:
        return MACHINES[self.architecture]

    def recipe(self) -> str:
        """Hash of everything that decides the image's content, save for the versions that the mirror holds."""
        digest = hashlib.sha256(repr(self).encode())
        for path in sorted(path for path in RECIPE.rglob("*") if path.is_file() and "__pycache__" not in path.parts):
            digest.update(f"{path.relative_to(RECIPE)} {os.access(path, os.X_OK)} {path.stat().st_size}\n".encode())
            digest.update(path.read_bytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class Content:
    """What goes on the disk: the tree of its ext4 file system, and how its kernel starts.

    A disk that starts with BIOS and UEFI alike has a FAT file system before it, which UEFI reads; the kernel is there then.
    """

    label: str
    identity: str  # UUID of the file system
    tree: Path
    kernel: str  # paths in the tree that holds them
    initrd: str
    append: str
    headroom: int  # bytes that stay free for the guest
    boot: Path | None = None  # the tree of the FAT file system


def run(*argv: str | Path, stdin: str | None = None) -> str:
    """Standard output of a command; its standard error becomes the cause when it fails."""
    words, pipe = [str(word) for word in argv], subprocess.PIPE
    try:
        process = subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=pipe, text=True, start_new_session=True)
    except FileNotFoundError as error:
        raise BuildError(f"{argv[0]}: command not found; install guest_image_packages") from error
    with process:
        try:
            output, errors = process.communicate(stdin)
        except BaseException:  # a build that is ended takes all its children along: apt would go on in a tree that is being removed
            os.killpg(process.pid, signal.SIGKILL)
            raise
    if process.returncode:
        raise BuildError(f"{argv[0]} failed with {process.returncode}: {errors.strip()[-2000:]}")
    return output


def apt_sources(suite: str, keyring: str) -> str:
    """Source lines of ``suite`` on the mirrors that this machine itself uses for Debian."""
    query = ("apt-get", "indextargets", "--format", "$(LABEL)|$(REPO_URI)", "Created-By: Packages")
    if not (targets := run(*query).split()):
        run("apt-get", "update")
        targets = run(*query).split()
    mirrors = dict(reversed([target.split("|", 1) for target in targets if "|" in target]))
    if "Debian" not in mirrors:
        raise BuildError("the apt sources of this machine name no Debian mirror; add one, then run apt-get update")
    lines = [f"deb [signed-by={keyring}] {mirrors['Debian']} {part} main" for part in (suite, f"{suite}-updates")]
    if "Debian-Security" in mirrors:
        lines.append(f"deb [signed-by={keyring}] {mirrors['Debian-Security']} {suite}-security main")
    return "\n".join(lines) + "\n"


def apt_settings() -> str:
    """How this machine reaches its mirror: proxies, certificates, whether a frozen mirror may be old."""
    settings = run("apt-config", "dump").splitlines()
    reach = [line for line in settings if line.startswith(("Acquire::http", "Acquire::Check-", "Acquire::Retries"))]
    return "\n".join((*reach, 'Acquire::Languages "none";', 'APT::Install-Recommends "false";')) + "\n"


def bootstrap(wanted: Wanted, tree: Path, architecture: str, variant: str, packages: Iterable[str], *options: str) -> None:
    """A tree of Debian packages; apt refuses a mirror that the keyring does not verify."""
    settings = tree.with_suffix(".apt.conf")  # a file: a proxy's password is nothing for a command line
    write(settings, apt_settings(), 0o600)
    run(
        "mmdebstrap", f"--variant={variant}", f"--include={','.join(packages)}", f"--aptopt={settings}",
        f"--architectures={architecture}", *options, wanted.suite, tree, "-", stdin=apt_sources(wanted.suite, wanted.keyring),
    )  # fmt: skip


def kernel_version(tree: Path) -> str:
    versions = sorted(path.name for path in (tree / "usr/lib/modules").iterdir())
    if len(versions) != 1:
        raise BuildError(f"expected one kernel in the tree, found {versions}")
    return versions[0]


def write(path: Path, text: str = "", mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def overlay(kind: str, target: Path) -> Path:
    """A copy of this recipe's files for the guest: root's, with the modes they have there however this collection was installed."""
    shutil.copytree(RECIPE / kind, target, symlinks=True)
    for path in (target, *target.rglob("*")):
        os.chown(path, 0, 0)
        path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)
    return target


def full_content(wanted: Wanted, work: Path) -> Content:
    """Debian with cloud-init, generalised: nothing in it is one machine's own."""
    if wanted.architecture != "x86_64":
        raise BuildError(f"kind full is built for x86_64 only, not for {wanted.architecture}, as its packages are run; use mini")
    tree = work / "tree"
    excluded = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "info", "locale", "man")]
    bootstrap(
        wanted, tree, wanted.machine.debian, "minbase", (*FULL_PACKAGES, *wanted.packages), *excluded,
        "--dpkgopt=path-include=/usr/share/doc/*/copyright",
        f"--essential-hook=sync-in {overlay('full', work / 'overlay')} /",  # before the kernel's package makes its initramfs
    )  # fmt: skip
    kernel_version(tree)
    run("systemctl", f"--root={tree}", "enable", "systemd-networkd.service")
    run("systemctl", f"--root={tree}", "disable", *FULL_DISABLED, *wanted.disabled)
    run("systemctl", f"--root={tree}", "mask", *FULL_MASKED)
    # SSH over a socket to the hypervisor: three more modules, and OVN guards only the network.
    generators = tree / "etc/systemd/system-generators"
    generators.mkdir(exist_ok=True)
    (generators / "systemd-ssh-generator").symlink_to("/dev/null")

    identity = str(uuid.uuid4())
    generalise(tree)
    write(tree / "etc/fstab", f"UUID={identity} / ext4 defaults,errors=remount-ro 0 1\n")
    return Content("root", identity, tree, "/vmlinuz", "/initrd.img", f"root=UUID={identity} ro quiet", headroom=256 * MIB)


def generalise(tree: Path) -> None:
    """Leave nothing that is one machine's own, or that the first boot would make anew."""
    for pattern in FULL_LEFT_OVER:
        for path in tree.glob(pattern):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    for log in tree.glob("var/log/**/*"):
        if log.is_file():
            log.unlink()
    write(tree / "etc/hostname", "localhost\n")
    write(tree / "etc/locale.conf", "LANG=C.UTF-8\n")
    write(tree / "etc/machine-id")  # empty: each server makes its own, and this is no "first boot" that resets all units
    # "The caches are as new as /usr": else the first boot rebuilds the hardware database and the linker's cache.
    now = (tree / "usr").stat().st_mtime
    for name in ("etc/.updated", "var/.updated"):
        write(tree / name)
        os.utime(tree / name, (now, now))


def mini_content(wanted: Wanted, work: Path) -> Content:
    """A kernel and an initramfs, in which the whole guest lives, and a file system for what outlasts a restart."""
    packages, root, boot, state = work / "packages", work / "root", work / "boot", work / "state"
    machine = wanted.machine
    bootstrap(wanted, packages, machine.debian, "extract", (*MINI_PACKAGES, f"linux-image-cloud-{machine.debian}", *wanted.packages))
    kernel = kernel_version(packages)

    overlay("mini", root)
    write(root / "etc/inittab", (root / "etc/inittab").read_text().replace("ttyS0", machine.console))
    for name in ("boot", "dev", "proc", "root", "run", "sys", "tmp", "usr/bin", "usr/sbin", "usr/lib", "usr/lib64", "var/lib"):
        (root / name).mkdir(parents=True, exist_ok=True)
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / name).symlink_to(f"usr/{name}")
    (root / "var/run").symlink_to("../run")
    (root / "init").symlink_to("sbin/init")
    (root / "tmp").chmod(0o1777)
    (root / "root").chmod(0o700)
    (root / "etc/shadow").chmod(0o600)

    shutil.copy2(packages / "usr/bin/busybox", root / "usr/bin/busybox")
    for applet in applets(wanted, packages, work):
        link = root / "usr" / applet.removeprefix("usr/")
        if link.name != "busybox" and not link.exists():
            link.symlink_to("/usr/bin/busybox")
    for program in (*MINI_PROGRAMS, *extra_programs(packages, wanted.packages)):
        copy_program(packages, root, program, wanted.architecture)

    copy_modules(packages, root, kernel)
    boot.mkdir()
    state.mkdir()
    shutil.copy2(packages / f"boot/vmlinuz-{kernel}", boot / "vmlinuz")
    names = "\0".join(sorted(str(path.relative_to(root)) for path in root.rglob("*")))
    archive = work / "initrd"
    with archive.open("wb") as output:
        pack = ("cpio", "--null", "--create", "--format=newc", "--owner=0:0", "--quiet")
        subprocess.run(pack, input=names.encode(), stdout=output, cwd=root, check=True)
    # lz4 -l: the legacy frame is the only one that the kernel unpacks.
    run("lz4", "-q", "-l", "-9", archive, boot / "initrd")
    loader = boot / "EFI/BOOT" / machine.fallback
    loader.parent.mkdir(parents=True)
    shutil.copy2(packages / "usr/lib/systemd/boot/efi" / machine.loader, loader)
    append = "quiet mitigations=off no_timer_check"
    return Content("mini-boot", str(uuid.uuid4()), state, "/vmlinuz", "/initrd", append, headroom=16 * MIB, boot=boot)


def applets(wanted: Wanted, packages: Path, work: Path) -> list[str]:
    """Paths of busybox's programs. One for another processor cannot be asked: this machine's own can, and Debian builds both alike."""
    native = run("dpkg", "--print-architecture").strip()
    if native != wanted.machine.debian:
        packages = work / "native"
        bootstrap(wanted, packages, native, "extract", ["busybox-static"])
    return run(packages / "usr/bin/busybox", "--list-full").split()


def extra_programs(packages: Path, names: tuple[str, ...]) -> list[str]:
    """The programs of extra packages of a mini guest."""
    listed = [line for name in names for line in run("dpkg-query", f"--admindir={packages}/var/lib/dpkg", "--listfiles", name).split("\n")]
    paths = (Path(line) for line in listed if line)
    wanted = ("/bin", "/sbin", "/usr/bin", "/usr/sbin")
    return [str(path) for path in paths if str(path.parent) in wanted and (packages / path.relative_to("/")).is_file()]


def copy_program(packages: Path, root: Path, program: str, architecture: str) -> None:
    """A program and all libraries that it needs, found without its loader, which may be for another processor."""
    left, done = [program], set()
    while left:
        name = left.pop()
        if name in done:
            continue
        done.add(name)
        source, target = packages / name.lstrip("/"), root / name.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)  # a real program replaces busybox's
        shutil.copy2(source, target)
        if source.read_bytes()[:4] == b"\x7fELF":
            told = run("readelf", "--wide", "--program-headers", "--dynamic", source)
            left += re.findall(r"program interpreter: (\S+)\]", told)
            needed = re.findall(r"\(NEEDED\)\s+Shared library: \[(\S+)\]", told)
            left += [find_library(packages, library, architecture) for library in needed if not library.startswith("ld-linux")]


def find_library(packages: Path, name: str, architecture: str) -> str:
    """Where Debian keeps a library."""
    for directory in (f"usr/lib/{architecture}-linux-gnu", "usr/lib"):
        if (packages / directory / name).exists():
            return f"/{directory}/{name}"
    raise BuildError(f"the packages do not hold {name}, which one of their programs needs")


def copy_modules(packages: Path, root: Path, kernel: str) -> None:
    """The drivers and what they depend on, unpacked: the archive around them is compressed already."""
    run("depmod", "--basedir", packages, kernel)
    listed = run("modprobe", "--dirname", packages, "--set-version", kernel, "--show-depends", "--all", *MINI_MODULES)
    for line in sorted(set(listed.splitlines())):
        kind, rest = line.split(maxsplit=1)
        if kind != "insmod":  # "builtin NAME" needs no file
            continue
        source = Path(rest.split()[0])
        target = root / source.relative_to(packages).with_suffix("")
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as output:
            subprocess.run(("xz", "--decompress", "--stdout", source), stdout=output, check=True)
    for name in ("modules.builtin", "modules.order"):
        shutil.copy2(packages / "usr/lib/modules" / kernel / name, root / "usr/lib/modules" / kernel / name)
    run("depmod", "--basedir", root, kernel)
    write(root / "etc/modules", "\n".join(MINI_MODULES) + "\n")


def tell_boot_loaders(content: Content, console: str) -> None:
    """Write down how the kernel starts: for extlinux on ext4, or for syslinux (BIOS) and systemd-boot (UEFI) on FAT."""
    # console: the last one named is /dev/console.
    append = f"console=tty0 console={console},115200 {content.append}"
    start = f"  linux {content.kernel}\n  initrd {content.initrd}\n"
    linux = f"default linux\nprompt 0\ntimeout 0\nlabel linux\n{start}  append {append}\n"
    if content.boot is None:
        write(content.tree / "boot/extlinux/extlinux.conf", linux)
        return
    write(content.boot / "syslinux.cfg", linux)
    write(content.boot / "loader/loader.conf", "timeout 0\n")
    write(content.boot / "loader/entries/linux.conf", f"title linux\n{start}  options {append}\n")


def write_fat(tree: Path, raw: Path) -> int:
    """Write a FAT file system with this tree where the first partition begins. Returns the bytes that it takes there."""
    used = int(run("du", "--summarize", "--block-size=1", tree).split()[0])
    length = math.ceil((used + 2 * MIB) / MIB) * MIB
    with raw.open("wb") as disk:
        disk.truncate(PARTITION_OFFSET + length)
    sector = PARTITION_OFFSET // 512
    run("mkfs.vfat", "-n", "BOOT", "-h", str(sector), "--offset", str(sector), raw, str(length // 1024))
    run("mcopy", "-s", "-i", f"{raw}@@{PARTITION_OFFSET}", *sorted(tree.iterdir()), "::/")
    return length


def write_disk(content: Content, raw: Path, size: int | None, work: Path, architecture: str) -> int:
    """A bootable disk with an ext4 partition, the first or the one after FAT. Returns its size in bytes.

    No partition device is needed (a kernel that reads no partition tables builds as well): each file system is made at its offset.
    """
    tell_boot_loaders(content, MACHINES[architecture].console)
    fat = write_fat(content.boot, raw) if content.boot else 0
    offset = PARTITION_OFFSET + fat

    used = int(run("du", "--summarize", "--block-size=1", content.tree).split()[0])
    needed = offset + int(used * 1.06) + content.headroom  # 6% and some of the headroom are ext4's own
    step = 8 * MIB
    length = size * GIB if size else math.ceil(needed / step) * step
    if length < needed:
        raise BuildError(f"size {size} GiB is too small: the content needs {math.ceil(needed / GIB)} GiB; raise it or name fewer packages")

    with raw.open("ab") as disk:
        disk.truncate(length)
    partitions = [f"start={PARTITION_OFFSET // 512}, size={fat // 512}, type=ef", f"start={offset // 512}, type=83"][0 if fat else 1 :]
    run("sfdisk", "--quiet", raw, stdin="\n".join(["label: dos", f"{partitions[0]}, bootable", *partitions[1:]]) + "\n")
    # extlinux reads neither 64-bit ext4 nor the small blocks of a small file system. The rest are defaults: it can grow online.
    run(
        "mkfs.ext4", "-q", "-F", "-b", "4096", "-O", "^64bit", "-L", content.label, "-U", content.identity,
        "-E", f"offset={offset},root_owner=0:0", "-d", content.tree, raw, f"{(length - offset) // 1024}k",
    )  # fmt: skip
    if architecture == "x86_64":
        install_boot_record(raw, fat, work)
    return length


def install_boot_record(raw: Path, fat: int, work: Path) -> None:
    """Let BIOS start the disk, from its first partition."""
    if fat:
        run("syslinux", "--install", "--offset", str(PARTITION_OFFSET), raw)
    else:
        install_extlinux(raw, work / "mount")
    boot_record = Path("/usr/lib/syslinux/mbr/mbr.bin").read_bytes()
    with raw.open("r+b") as disk:
        disk.write(boot_record)


def install_extlinux(raw: Path, mount: Path) -> None:
    """Install the loader that reads ext4; it wants to see the file system mounted."""
    mount.mkdir()
    run("mount", "-t", "ext4", "-o", f"loop,offset={PARTITION_OFFSET}", raw, mount)
    try:
        run("extlinux", "--install", mount / "boot/extlinux")
    finally:
        run("umount", mount)


def build(wanted: Wanted, directory: Path, recipe: str) -> dict[str, object]:
    """Build the image, then put image and metadata in place by rename, the metadata last: it vouches for the image."""
    with tempfile.TemporaryDirectory(prefix=".build-", dir=directory) as name:
        work = Path(name)
        content = {"full": full_content, "mini": mini_content}[wanted.kind](wanted, work)
        raw, finished = work / "disk.raw", work / "disk.qcow2"
        length = write_disk(content, raw, wanted.size, work, wanted.architecture)
        run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-o", "preallocation=off", raw, finished)
        with finished.open("rb") as image:
            checksum = hashlib.file_digest(image, "sha256").hexdigest()
        metadata: dict[str, object] = {
            "name": wanted.name,
            "kind": wanted.kind,
            "path": str(directory / f"{wanted.name}.qcow2"),
            "format": "qcow2",
            "checksum": f"sha256:{checksum}",
            "virtual_size": length,
            "min_disk": math.ceil(length / GIB),
            "os_type": "linux",
            "default_user": "root",
            "architecture": wanted.architecture,
            "cloud_init": True,
            "packages": list(wanted.packages),
            "recipe": recipe,
        }
        description = work / "metadata.json"
        write(description, json.dumps(metadata, indent=2) + "\n")
        (directory / f"{wanted.name}.json").unlink(missing_ok=True)
        finished.rename(directory / f"{wanted.name}.qcow2")
        description.rename(directory / f"{wanted.name}.json")
    return metadata


def recorded(directory: Path, name: str) -> dict[str, object] | None:
    """The metadata of the image that is there, None when there is none."""
    try:
        metadata = json.loads((directory / f"{name}.json").read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return metadata if isinstance(metadata, dict) and (directory / f"{name}.qcow2").is_file() else None


def ours(directory: Path) -> list[Path]:
    """The metadata files of images that this program built."""
    return [path for path in sorted(directory.glob("*.json")) if "recipe" in (recorded(directory, path.stem) or {})]


def clean(directory: Path, check: bool) -> bool:
    """Remove the images that were built in a directory, what killed builds left there, and the directory once it is empty."""
    metadata = ours(directory)
    images = [path.with_suffix(".qcow2") for path in metadata]
    if not check:
        for path in (*metadata, *images):
            path.unlink()
        for left_over in directory.glob(".build-*"):
            shutil.rmtree(left_over)
        (directory / ".lock").unlink(missing_ok=True)
        if directory.is_dir() and not any(directory.iterdir()):
            directory.rmdir()
    return bool(metadata)


def ensure(wanted: Wanted, directory: Path, check: bool) -> tuple[bool, dict[str, object] | None]:
    """Whether the image had to be built, and its metadata."""
    recipe = wanted.recipe()
    metadata = recorded(directory, wanted.name)
    if metadata is not None and metadata.get("recipe") == recipe:
        return False, metadata
    if check:
        return True, metadata
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for left_over in directory.glob(".build-*"):  # of a build that was killed
            shutil.rmtree(left_over)
        return True, build(wanted, directory, recipe)


def main() -> int:
    parser = argparse.ArgumentParser(description="Build bootable disk images from Debian packages.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, purpose in (("build", "build one image, unless it is there"), ("clean", "remove the images that were built")):
        command = commands.add_parser(name, help=purpose)
        command.add_argument("--directory", type=Path, required=True, help="where images are kept")
        command.add_argument("--check", action="store_true", help="change nothing, tell what would change")
        if name == "build":
            command.add_argument("--name", required=True)
            command.add_argument("--kind", choices=("full", "mini"), required=True)
            command.add_argument("--architecture", choices=tuple(MACHINES), default="x86_64")
            command.add_argument("--package", action="append", default=[], help="one more package; may be repeated")
            command.add_argument("--disable", action="append", default=[], help="a service that shall not start at boot; may be repeated")
            command.add_argument("--size", type=int, help="GiB; without it the disk is as small as its content allows")
            command.add_argument("--suite", required=True)
            command.add_argument("--keyring", required=True)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # a plain exit removes the temporary directory
    result: dict[str, object]
    try:
        if options.command == "clean":
            result = {"changed": clean(options.directory, options.check)}
        else:
            packages, disabled = tuple(sorted(set(options.package))), tuple(sorted(set(options.disable)))
            settings = options.size, options.suite, options.keyring
            wanted = Wanted(options.name, options.kind, options.architecture, packages, disabled, *settings)
            changed, image = ensure(wanted, options.directory, options.check)
            result = {"changed": changed, "image": image}
    except BuildError as error:
        print(f"image {options.name}: {error}", file=sys.stderr)
        return 1
    json.dump(result, sys.stdout)
    return 0


if __name__ == "__main__":
    os.umask(0o022)
    sys.exit(main())
