# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module disk_init on loop devices: real filesystems, mounts and fstab. What needs partitions is tested in guests."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

Call = Callable[..., dict[str, Any]]
PROGRAM = (
    "import json, sys; from ansible.module_utils.testing import patch_module_args\n"
    "from ansible_collections.altostratus.ecs.plugins.modules import disk_init\n"
    "with patch_module_args(json.loads(sys.argv[1])): disk_init.main()"
)


def run(*command: object, check: bool = True) -> str:
    return subprocess.run([str(word) for word in command], check=check, stdout=subprocess.PIPE, text=True).stdout.strip()


@pytest.fixture
def inside() -> Iterator[Callable[..., str]]:
    """Runs commands in a mount namespace of its own, so that no mount outlives the test or is held by another process."""
    with subprocess.Popen(["unshare", "--mount", "sh", "-c", "echo ready; exec sleep infinity"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield partial(run, "nsenter", f"--target={process.pid}", "--mount")
        process.send_signal(signal.SIGKILL)


@pytest.fixture
def disk(tmp_path: Path, inside: Callable[..., str]) -> Iterator[str]:
    """A blank disk of 400 MiB."""
    with (tmp_path / "disk").open("wb") as stream:
        stream.truncate(400 << 20)
    device = run("losetup", "--find", "--show", tmp_path / "disk")
    yield device
    inside("sh", "-c", f"while umount {device} 2>/dev/null; do :; done")
    run("losetup", "--detach", device)


@pytest.fixture
def call(inside: Callable[..., str], disk: str, tmp_path: Path) -> Call:
    """Runs the real module on the disk and returns what Ansible would get."""
    (tmp_path / "fstab").write_text("# system\nUUID=aaaa / ext4 errors=remount-ro 0 1\n")
    os.chmod(tmp_path / "fstab", 0o640)

    def execute(check: bool = False, **options: Any) -> dict[str, Any]:
        own = {} if {"disks", "serial"} & set(options) else {"device": disk, "partition_style": "none"}
        arguments = {"fstab": str(tmp_path / "fstab"), "_ansible_check_mode": check, "_ansible_diff": True, **own, **options}
        return json.loads(inside(sys.executable, "-c", PROGRAM, json.dumps(arguments), check=False))

    return execute


@pytest.mark.parametrize("filesystem", ["ext4", "xfs", "ext3", "ext2"])
def test_from_blank_to_mounted_and_back(call: Call, inside: Callable[..., str], disk: str, tmp_path: Path, filesystem: str) -> None:
    mount = tmp_path / "srv data"
    options = {"filesystem": filesystem, "label": "db", "mount": str(mount), "owner": "nobody", "group": "daemon", "mode": "0750"}
    planned = call(check=True, **options)
    assert (planned["changed"], mount.exists(), (tmp_path / "fstab").read_text().count("\n")) == (True, False, 2)

    made = call(**options)
    assert made.get("changed"), made
    assert made["steps"] == planned["steps"]
    told = made["disk"]
    line = f"UUID={told['uuid']} {str(mount).replace(' ', chr(92) + '040')} {filesystem} defaults 0 2"
    assert (tmp_path / "fstab").read_text() == f"# system\nUUID=aaaa / ext4 errors=remount-ro 0 1\n{line}\n"
    assert os.stat(tmp_path / "fstab").st_mode & 0o777 == 0o640
    assert made["diff"]["after"][f"file {tmp_path}/fstab"] == {"lines": [line]}
    assert inside("findmnt", "--noheadings", "--output", "SOURCE,FSTYPE", mount).split() == [disk, filesystem]
    assert inside("blkid", "-p", "-o", "value", "-s", "UUID", "-s", "LABEL", disk).split() == ["db", told["uuid"]]
    assert inside("stat", "--format", "%U %G %a", mount) == "nobody daemon 750"

    again = call(**options)
    assert (again["changed"], again["disk"]) == (False, told)

    # As after a boot that did not mount it.
    inside("umount", mount)
    assert call(**options)["steps"] == [f"mount directory {mount}", f"update directory {mount}"]
    assert not call(**options)["changed"]

    gone = call(state="absent")
    assert gone["steps"] == [f"unmount directory {mount}", f"update file {tmp_path}/fstab"]
    assert "UUID=aaaa" in (tmp_path / "fstab").read_text()
    assert told["uuid"] not in (tmp_path / "fstab").read_text()
    assert not call(state="absent")["changed"]
    assert inside("blkid", "-p", "-o", "value", "-s", "UUID", disk) == told["uuid"]


def test_a_disk_with_data_is_refused_and_force_erases_it(call: Call, inside: Callable[..., str], disk: str, tmp_path: Path) -> None:
    """D-08, D-15."""
    inside("mkfs.ext4", "-q", disk)
    held = inside("blkid", "-p", "-o", "value", "-s", "UUID", disk)
    for options in ({"filesystem": "xfs"}, {"partition_style": "gpt"}):
        result = call(mount=str(tmp_path / "data"), **options)
        assert (result["error_code"], "holds ext4 data" in result["msg"]) == ("ECS_DISK_HAS_DATA", True)
    assert inside("blkid", "-p", "-o", "value", "-s", "UUID", disk) == held
    erased = call(filesystem="xfs", force=True)
    assert erased["steps"] == [f"erase disk {disk}", f"create filesystem {disk}"]
    assert inside("blkid", "-p", "-o", "value", "-s", "TYPE", disk) == "xfs"


def test_a_disk_in_use_is_refused_even_by_force(call: Call, inside: Callable[..., str], disk: str, tmp_path: Path) -> None:
    """D-09."""
    (tmp_path / "elsewhere").mkdir()
    inside("mkfs.ext4", "-q", disk)
    inside("mount", disk, tmp_path / "elsewhere")
    for options in ({"mount": str(tmp_path / "data")}, {"filesystem": "xfs", "force": True}):
        result = call(**options)
        assert (result["error_code"], f"is mounted at {tmp_path}/elsewhere" in result["msg"]) == ("ECS_DISK_IN_USE", True)
    inside("umount", tmp_path / "elsewhere")
    inside("mkswap", "-q", disk)
    inside("swapon", disk)
    try:
        assert call(force=True)["error_code"] == "ECS_DISK_IN_USE"
    finally:
        inside("swapoff", disk)


def test_an_existing_filesystem_is_mounted_and_its_device_name_leaves_fstab(
    call: Call, inside: Callable[..., str], disk: str, tmp_path: Path
) -> None:
    """D-08, D-24."""
    inside("mkfs.ext4", "-q", disk)
    (tmp_path / "fstab").write_text(f"{disk} {tmp_path}/data ext4 noatime 0 2\n# end\n")
    made = call(mount=str(tmp_path / "data"))
    assert (tmp_path / "fstab").read_text() == f"UUID={made['disk']['uuid']} {tmp_path}/data ext4 noatime 0 2\n# end\n"
    assert "noatime" in inside("findmnt", "--noheadings", "--output", "OPTIONS", tmp_path / "data")
    changed = call(mount=str(tmp_path / "data"), mount_options="defaults,nodev")
    assert changed["steps"] == [f"update file {tmp_path}/fstab", f"remount directory {tmp_path}/data"]
    assert "nodev" in inside("findmnt", "--noheadings", "--output", "OPTIONS", tmp_path / "data")


def test_the_line_of_a_disk_that_is_gone_gives_way(call: Call, tmp_path: Path) -> None:
    (tmp_path / "fstab").write_text(f"UUID=9f0b4d5e-0000-4000-8000-000000000000 {tmp_path}/data ext4 noatime 0 2\n")
    made = call(mount=str(tmp_path / "data"))
    assert (tmp_path / "fstab").read_text() == f"UUID={made['disk']['uuid']} {tmp_path}/data ext4 defaults 0 2\n"


def test_a_mount_that_fails_takes_its_line_back(call: Call, disk: str, tmp_path: Path) -> None:
    before = (tmp_path / "fstab").read_text()
    result = call(mount=str(tmp_path / "data"), mount_options="nonsense=1")
    assert (result["error_code"], "Undone: 1 fstab line" in result["msg"]) == ("ECS_DISK", True), result
    assert (tmp_path / "fstab").read_text() == before
    assert call(mount=str(tmp_path / "data"))["changed"]


def test_a_mount_point_with_files_is_told(call: Call, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "precious").touch()
    assert "holds files" in str(call(mount=str(tmp_path / "data"))["warnings"])


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"device": "/dev/nonsense"}, "disk /dev/nonsense does not exist"),
        ({"serial": "0123456789"}, "with serial 0123456789 does not exist"),
        ({"disks": [{"mount": "/srv"}]}, "does not tell one disk"),
        ({"mount": "srv"}, "is not an absolute path"),
        ({"mount": "/"}, "below /"),
        ({"owner": "nobody"}, "needs a mount"),
        ({"mount": "/srv/x", "owner": "noone-of-that-name"}, "does not exist on this machine"),
        ({"mount": "/srv/x", "mode": "u=rwx"}, "is not an octal mode"),
        ({"mount": "/proc"}, "is mounted at /proc"),
    ],
)
def test_bad_input_touches_nothing(call: Call, inside: Callable[..., str], disk: str, options: dict[str, Any], told: str) -> None:
    result = call(**options)
    assert result.get("failed"), result
    assert told in result["msg"]
    assert subprocess.run(["blkid", "-p", disk], check=False).returncode == 2
