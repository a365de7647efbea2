# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Disk initialisation: sectors, fstab, and the decision what to do with a disk (spec D-08 to D-26, V-01 to V-06)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ansible_collections.altostratus.ecs.plugins.module_utils._model import disks
from ansible_collections.altostratus.ecs.plugins.module_utils._model.disks import DiskFacts, DiskRequest, Mounts, Partition, Signature
from ansible_collections.altostratus.ecs.plugins.module_utils._model.errors import EcsError, InvalidInput
from ansible_collections.altostratus.ecs.plugins.module_utils._model.names import Scope, disk_serial

GIB, TIB = 1 << 30, 1 << 40
UUID = "0b3040e2-1367-4abb-841d-ddb0b92693df"
BLANK = DiskFacts("/dev/vdb", "0b3040e213674abb841d", 100 * GIB, Signature())
NOTHING = Mounts({}, "", {})
FIRST, LAST = disks.extent("gpt", 100 * GIB)
PARTITION = Partition("/dev/vdb1", 1, FIRST, LAST - FIRST + 1)
EXT4 = Signature(type="ext4", uuid=UUID)
PARTITIONED = replace(BLANK, signature=Signature("gpt"), partitions=(PARTITION,))
DONE = replace(PARTITIONED, partitions=(replace(PARTITION, signature=EXT4),))


@pytest.mark.parametrize(
    ("style", "size", "expected"),
    [
        pytest.param("mbr", 100 * GIB, (2048, 209715199), id="V-01"),
        pytest.param("mbr", 40 * GIB, (2048, 83886079), id="V-02"),
        pytest.param("gpt", 3 * TIB, (2048, 6442448895), id="V-04"),
        pytest.param("mbr", 2 * TIB, (2048, 4294967295), id="V-05"),
    ],
)
def test_sectors(style: str, size: int, expected: tuple[int, int]) -> None:
    assert disks.extent(style, size) == expected


@pytest.mark.parametrize(
    ("style", "size", "chosen"),
    [("auto", GIB, "gpt"), ("auto", 3 * TIB, "gpt"), ("mbr", 2 * TIB, "mbr"), ("none", 3 * TIB, "none")],
)
def test_the_style_follows_size_and_wish(style: str, size: int, chosen: str) -> None:
    """D-11."""
    assert disks.choose_style(style, size) == chosen


def test_mbr_is_refused_one_sector_above_2_tib() -> None:
    """V-05: tools take the first 2 TiB and say nothing."""
    with pytest.raises(InvalidInput, match="at most 2 TiB"):
        disks.choose_style("mbr", 2 * TIB + 512)


def test_a_disk_may_be_too_small_for_a_partition() -> None:
    with pytest.raises(EcsError, match="too small"):
        disks.plan(replace(BLANK, size=1 << 20), DiskRequest(), NOTHING)


@pytest.mark.parametrize(("device", "partition"), [("/dev/vdb", "/dev/vdb1"), ("/dev/nvme0n1", "/dev/nvme0n1p1")])
def test_partition_names(device: str, partition: str) -> None:
    assert disks.partition_device(device) == partition


def test_a_volume_is_found_by_the_serial_that_its_id_gives() -> None:
    volume = Scope("local", "shop").id("volume", "db-data")
    assert disks.serial_of(volume) == disk_serial(volume)
    with pytest.raises(InvalidInput, match="not the id of a volume"):
        disks.serial_of("db-data")


# --- fstab


def test_the_line_of_a_filesystem() -> None:
    """V-06."""
    assert disks.fstab_line(UUID, "/mnt/sdc", "ext4", "defaults") == f"UUID={UUID} /mnt/sdc ext4 defaults 0 2"


FSTAB = "# system\nUUID=aaaa / ext4 errors=remount-ro 0 1\n\ntmpfs\t/tmp tmpfs size=1G 0 0\n"
LINE = f"UUID={UUID} /data ext4 defaults 0 2\n"


@pytest.mark.parametrize(
    ("before", "request_", "after"),
    [
        pytest.param(FSTAB, {}, FSTAB + LINE, id="appended"),
        pytest.param("UUID=aaaa / ext4 defaults 0 1", {}, "UUID=aaaa / ext4 defaults 0 1\n" + LINE, id="no newline at the end"),
        pytest.param(FSTAB + LINE, {}, None, id="there already"),
        pytest.param(LINE.replace(" ", "\t"), {}, None, id="there with tabs"),
        pytest.param("/dev/vdb1 /data ext4 noatime 0 2\n" + FSTAB, {}, LINE.replace("defaults", "noatime") + FSTAB, id="D-24: by name"),
        pytest.param(LINE, {"mount_options": "noatime"}, LINE.replace("defaults", "noatime"), id="options"),
        pytest.param(LINE.replace("defaults", "nofail"), {}, None, id="options not asked for"),
        pytest.param(LINE.replace("/data", "/old"), {}, LINE, id="moved"),
        pytest.param("UUID=gone /data xfs noatime 0 2\n" + FSTAB, {}, LINE + FSTAB, id="what was there before is gone"),
        pytest.param("/dev/vdb1 /data ext4\n# x\n" + LINE, {}, LINE + "# x\n", id="twice"),
        pytest.param("", {"mount": "/my data"}, LINE.replace("/data", "/my\\040data"), id="a blank in the path"),
    ],
)
def test_fstab(before: str, request_: dict[str, str], after: str | None) -> None:
    mounts = Mounts({}, before, {"UUID=aaaa": "/dev/vda1", "/dev/vdb1": "/dev/vdb1", f"UUID={UUID}": "/dev/vdb1"})
    assert disks.plan(DONE, DiskRequest(**{"mount": "/data", **request_}), mounts).fstab == after
    if after is not None:
        assert disks.plan(DONE, DiskRequest(**{"mount": "/data", **request_}), replace(mounts, fstab=after)).fstab is None


@pytest.mark.parametrize(
    "line", ["/dev/vdc1 /data xfs defaults 0 2\n", "tmpfs /data tmpfs defaults 0 0\n", "nas:/x /data nfs defaults 0 0\n"]
)
def test_a_mount_point_of_another_filesystem_is_refused(line: str) -> None:
    with pytest.raises(EcsError, match="line 5 of fstab mounts"):
        disks.plan(BLANK, DiskRequest(mount="/data"), Mounts({}, FSTAB + line, {"/dev/vdc1": "/dev/vdc1"}))


# --- decisions


def test_a_blank_disk_gets_everything() -> None:
    plan = disks.plan(BLANK, DiskRequest(mount="/data"), NOTHING)
    assert (plan.table, plan.format, plan.filesystem, plan.target, plan.wipe, plan.mount) == ("gpt", True, "ext4", "/dev/vdb1", (), True)
    assert plan.fstab == f"UUID={plan.uuid} /data ext4 defaults 0 2\n"
    assert disks.plan(BLANK, DiskRequest(mount="/data"), NOTHING) == plan


def test_two_disks_without_serial_never_share_a_uuid() -> None:
    one, two = (disks.plan(replace(BLANK, serial=""), DiskRequest(), NOTHING).uuid for _number in range(2))
    assert one != two


def test_a_second_run_changes_nothing() -> None:
    mounts = Mounts({"/data": "/dev/vdb1"}, LINE, {f"UUID={UUID}": "/dev/vdb1"})
    plan = disks.plan(DONE, DiskRequest(style="gpt", filesystem="ext4", mount="/data"), mounts)
    assert (plan.wipe, plan.table, plan.format, plan.fstab, plan.mount, plan.remount) == ((), "", False, None, False, False)


@pytest.mark.parametrize(
    ("disk", "table"),
    [
        pytest.param(PARTITIONED, "", id="no filesystem yet"),
        pytest.param(replace(BLANK, signature=Signature("gpt")), "gpt", id="no partition yet"),
    ],
)
def test_a_killed_run_is_completed(disk: DiskFacts, table: str) -> None:
    plan = disks.plan(disk, DiskRequest(), NOTHING)
    assert (plan.table, plan.format, plan.wipe, plan.target) == (table, True, (), "/dev/vdb1")


@pytest.mark.parametrize(
    ("disk", "request_"),
    [
        (DONE, {}),
        (replace(DONE, signature=Signature("dos")), {"style": "mbr"}),
        (replace(BLANK, signature=EXT4), {}),
        (replace(BLANK, signature=EXT4), {"style": "none"}),
    ],
)
def test_a_disk_with_a_filesystem_is_only_mounted(disk: DiskFacts, request_: dict[str, str]) -> None:
    """D-08: from a snapshot, a backup, or another server."""
    plan = disks.plan(disk, DiskRequest(**request_, mount="/data"), NOTHING)
    assert (plan.wipe, plan.table, plan.format, plan.uuid, plan.mount) == ((), "", False, UUID, True)


@pytest.mark.parametrize(
    ("disk", "request_"),
    [
        pytest.param(DONE, {"filesystem": "xfs"}, id="other filesystem"),
        pytest.param(DONE, {"style": "mbr"}, id="other style"),
        pytest.param(DONE, {"style": "none"}, id="a table where none was wanted"),
        pytest.param(replace(BLANK, signature=EXT4), {"style": "gpt"}, id="no table where one was wanted"),
        pytest.param(replace(BLANK, signature=Signature(type="LVM2_member")), {}, id="LVM"),
        pytest.param(replace(BLANK, signature=Signature(type="ambiguous")), {}, id="ambiguous"),
        pytest.param(replace(BLANK, at_first=EXT4), {}, id="lost table"),
        pytest.param(replace(PARTITIONED, partitions=(replace(PARTITION, sectors=4096),)), {}, id="a partition of other measures"),
        pytest.param(replace(PARTITIONED, partitions=(PARTITION, replace(PARTITION, number=2))), {}, id="two partitions"),
        pytest.param(replace(PARTITIONED, partitions=(replace(PARTITION, signature=Signature(type="swap")),)), {}, id="swap"),
    ],
)
def test_a_disk_that_holds_something_else_needs_force(disk: DiskFacts, request_: dict[str, str]) -> None:
    """D-08, D-15."""
    with pytest.raises(EcsError) as caught:
        disks.plan(disk, DiskRequest(**request_), NOTHING)
    assert caught.value.code == "ECS_DISK_HAS_DATA"
    plan = disks.plan(disk, DiskRequest(**request_, force=True), NOTHING)
    assert plan.format
    assert plan.wipe[-1] == "/dev/vdb"


@pytest.mark.parametrize(
    ("disk", "mounted", "code"),
    [
        (replace(BLANK, uses={"/dev/vdb": "swap"}), {}, "ECS_DISK_IN_USE"),
        (replace(DONE, uses={"/dev/vdb1": "dm-0"}), {}, "ECS_DISK_IN_USE"),
        (DONE, {"/elsewhere": "/dev/vdb1"}, "ECS_DISK_IN_USE"),
        (BLANK, {"/data": "/dev/vdc1"}, "ECS_MOUNT"),
    ],
)
@pytest.mark.parametrize("force", [False, True])
def test_what_is_in_use_is_refused_even_by_force(disk: DiskFacts, mounted: dict[str, str], code: str, force: bool) -> None:
    """D-09."""
    with pytest.raises(EcsError) as caught:
        disks.plan(disk, DiskRequest(mount="/data", force=force), replace(NOTHING, mounted=mounted))
    assert caught.value.code == code


def test_a_mounted_disk_is_not_erased_by_force() -> None:
    with pytest.raises(EcsError, match="is mounted at /data"):
        disks.plan(DONE, DiskRequest(filesystem="xfs", mount="/data", force=True), replace(NOTHING, mounted={"/data": "/dev/vdb1"}))


def test_changed_options_are_applied_to_the_mount() -> None:
    mounts = Mounts({"/data": "/dev/vdb1"}, LINE, {f"UUID={UUID}": "/dev/vdb1"})
    plan = disks.plan(DONE, DiskRequest(mount="/data", mount_options="noatime"), mounts)
    assert (plan.mount, plan.remount) == (False, True)


def test_absent_gives_up_mounts_and_lines_and_nothing_else() -> None:
    mounts = Mounts({"/data": "/dev/vdb1", "/data/deep": "/dev/vdb1", "/": "/dev/vda1"}, FSTAB + LINE, {f"UUID={UUID}": "/dev/vdb1"})
    assert disks.plan_absent(DONE, DiskRequest(), mounts) == (["/data/deep", "/data"], FSTAB)
    assert disks.plan_absent(DONE, DiskRequest(), Mounts({}, FSTAB, {})) == ([], None)


def test_a_disk_that_is_detached_already_has_its_line_found_by_its_serial() -> None:
    line = disks.plan(BLANK, DiskRequest(mount="/data"), NOTHING).fstab
    gone = DiskFacts("", BLANK.serial, 0, Signature())
    assert disks.plan_absent(gone, DiskRequest(), Mounts({}, f"{FSTAB}{line}", {})) == ([], FSTAB)
