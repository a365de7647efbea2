# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A data disk's life in a running Debian guest: plugged in, initialised, mounted, unplugged, plugged in again, grown."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from .conftest import Cloud

NAME = "lab-test-disk"
MOUNT = "/srv/more"
TIMEOUT = 120


def result(output: str) -> dict[str, Any]:
    """What the command ``ansible`` shows of a module's result."""
    told: dict[str, Any] = yaml.safe_load(output.partition("=>")[2])
    return told


@pytest.fixture(scope="module")
def volume(cloud: Cloud) -> Iterator[Callable[..., dict[str, Any]]]:
    """Runs module volume on the hypervisor of server app."""
    command = ["ansible", "-i", str(cloud.lab.inventory), cloud.server("app")["hypervisor"], "-m", "altostratus.ecs.volume", "-a"]

    def run(check: bool = True, **options: Any) -> dict[str, Any]:
        arguments = json.dumps({"project": "lab", "name": NAME, "detach_timeout": TIMEOUT, **options})
        return result(cloud.lab.controller([*command, arguments], check, timeout=400).stdout)

    run(size=2, server="app")
    yield run
    cloud.guest("app").run(f"umount {MOUNT}; sed -i '\\|{MOUNT}|d' /etc/fstab; true")
    run(server="", force=True)
    run(state="absent")


@pytest.fixture
def init(cloud: Cloud, volume: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """Runs module disk_init in server app on the volume."""
    serial = volume()["volume"]["serial"]

    def run(check: bool = True, **options: Any) -> dict[str, Any]:
        command = ["ansible", *cloud.arguments, "app", "-m", "altostratus.ecs.disk_init", "-a", json.dumps({"serial": serial, **options})]
        return result(cloud.lab.controller(command, check, timeout=400).stdout)

    return run


def test_life_of_a_data_disk(cloud: Cloud, volume: Callable[..., dict[str, Any]], init: Callable[..., dict[str, Any]]) -> None:
    """D-11, D-21, D-24, D-31, D-32, D-37."""
    app = cloud.guest("app")
    made = init(mount=MOUNT, filesystem="xfs")
    device, partition, uuid = (made["disk"][key] for key in ("device", "partition", "uuid"))
    assert made["changed"]
    assert not init(mount=MOUNT, filesystem="xfs")["changed"]
    assert app.run(f"findmnt -n -o SOURCE,FSTYPE,UUID {MOUNT}").split() == [partition, "xfs", uuid]
    assert app.run(f"grep {MOUNT} /etc/fstab") == f"UUID={uuid} {MOUNT} xfs defaults 0 2\n"
    assert app.run(f"blkid -p -o value -s PTTYPE {device}") == "gpt\n"
    # 2 GiB are 4194304 sectors; the partition ends at the last whole MiB before the table's copy.
    assert app.run(
        f"cat /sys/class/block/{partition.removeprefix('/dev/')}/start /sys/class/block/{partition.removeprefix('/dev/')}/size"
    ) == ("2048\n4190208\n")
    app.run(f"echo kept > {MOUNT}/file; sync")

    assert volume(size=3)["changed"]
    assert app.run(f"blockdev --getsize64 {device}") == f"{3 << 30}\n"

    refused = volume(server="", check=False)
    assert (refused["error_code"], MOUNT in refused["msg"]) == ("ECS_IN_USE", True)
    assert init(state="absent")["changed"]
    begin = time.monotonic()
    assert volume(server="")["volume"]["status"] == "available"
    # The guest's word ends the wait, not its timeout.
    assert time.monotonic() - begin < TIMEOUT
    assert app.run(f"test -e {device} && echo there || echo gone") == "gone\n"
    assert app.run(f"grep {MOUNT} /etc/fstab || echo none") == "none\n"

    assert volume(server="app")["changed"]
    again = init(mount=MOUNT)
    assert [step for step in again["steps"] if "filesystem" in step or "partition" in step] == []
    assert app.run(f"cat {MOUNT}/file") == "kept\n"


def test_a_disk_with_data_is_refused_and_a_killed_run_completed(cloud: Cloud, init: Callable[..., dict[str, Any]]) -> None:
    """D-08, D-15."""
    app = cloud.guest("app")
    init(state="absent")
    for options in ({"filesystem": "ext4"}, {"partition_style": "mbr"}):
        assert init(check=False, mount=MOUNT, **options)["error_code"] == "ECS_DISK_HAS_DATA"
    erased = init(mount=MOUNT, partition_style="mbr", force=True)
    partition = erased["disk"]["partition"]
    assert (erased["disk"]["filesystem"], erased["disk"]["partition_style"]) == ("ext4", "mbr")
    # A run that ends here has written the table and nothing else.
    app.run(f"umount {MOUNT} && wipefs -a {partition}")
    assert init(mount=MOUNT, partition_style="mbr")["steps"] == [f"create filesystem {partition}", f"mount directory {MOUNT}"]
    assert app.run(f"findmnt -n -o FSTYPE {MOUNT}") == "ext4\n"
