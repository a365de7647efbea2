# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Disks inside a guest: partition, filesystem, fstab line, mount, and its directory's owner; or given up again."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from .._engines import block, files
from .._model import disks as model
from .._model.disks import DiskFacts, DiskRequest, InitPlan, Mounts, Signature
from .._model.errors import InvalidInput, NotFound
from .._model.plan import Step, changes
from .rollback import Rollback

_LOCK = "/run/altostratus-disk-init.lock"


@dataclass(frozen=True)
class DiskItem:
    """One disk of a call.

    :param serial: finds the disk when *device* is empty.
    :param directory: owner, group and mode that the mounted directory shall have; only what was set.
    """

    device: str
    serial: str
    request: DiskRequest
    directory: Mapping[str, str]
    absent: bool = False


def item(options: Mapping[str, Any]) -> DiskItem:
    """A disk from the options of module disk_init.

    :raises InvalidInput: when it is not told which disk, or the options do not go together.
    """
    given = [name for name in ("device", "serial", "volume") if options[name]]
    if len(given) != 1:
        raise InvalidInput("device", ", ".join(given) or None, "does not tell one disk", "Give one of device, serial and volume")
    mount = options["mount"]
    if mount is not None and (not os.path.isabs(mount) or os.path.normpath(mount) != mount or mount == "/"):
        raise InvalidInput("mount", mount, "is not an absolute path below /", "Write it as /srv/data")
    directory = {name: options[name] for name in ("owner", "group", "mode") if options[name] is not None}
    if directory and mount is None:
        raise InvalidInput(next(iter(directory)), None, "needs a mount", "Give mount as well")
    if "mode" in directory:
        directory["mode"] = _mode(directory["mode"])
    return DiskItem(
        device=options["device"] or "",
        serial=options["serial"] or (model.serial_of(options["volume"]) if options["volume"] else ""),
        request=DiskRequest(
            style=options["partition_style"],
            filesystem=options["filesystem"],
            label=options["label"],
            mount=mount,
            mount_options=options["mount_options"],
            force=options["force"],
        ),
        directory=directory,
        absent=options["state"] == "absent",
    )


def _mode(text: str) -> str:
    try:
        return f"{int(text, 8):04o}"
    except ValueError:
        raise InvalidInput("mode", text, "is not an octal mode", "Write it as '0750'") from None


def ensure(items: Sequence[DiskItem], fstab: str, check: bool) -> tuple[list[Step], list[dict[str, Any]], list[str]]:
    """Bring disks into the state that was asked for; all are planned before the first is touched.

    :param fstab: the file, normally /etc/fstab.
    :returns: steps, the disks, warnings.
    """
    if check:
        return _ensure(items, fstab, check)
    with files.lock(_LOCK):
        return _ensure(items, fstab, check)


def _ensure(items: Sequence[DiskItem], fstab: str, check: bool) -> tuple[list[Step], list[dict[str, Any]], list[str]]:
    mounts = block.read_mounts(fstab)
    work: list[_Present | _Absent] = []
    for one in items:
        planned = _Absent(one, mounts, fstab) if one.absent else _Present(one, mounts, fstab)
        work.append(planned)
        if planned.fstab is not None:
            mounts = replace(mounts, fstab=planned.fstab)
    steps = [step for job in work for step in job.steps()]
    warnings = [warning for job in work for warning in job.warnings()]
    if not check:
        for job in work:
            job.apply()
    return steps, [told for job in work if (told := job.represent())], warnings


def _fstab_step(path: str, before: str, after: str) -> Step:
    """The lines that go and come, one by one."""
    old, new = before.splitlines(), after.splitlines()
    gone, come = [line for line in old if line not in new], [line for line in new if line not in old]
    return Step("update", "file", path, {"lines": gone}, {"lines": come})


class _Present:
    """A disk that shall be there."""

    def __init__(self, one: DiskItem, mounts: Mounts, fstab: str) -> None:
        self.item, self.mounts, self.path = one, mounts, fstab
        self.disk: DiskFacts = block.read_disk(block.find(one.device, one.serial))
        self.plan: InitPlan = model.plan(self.disk, one.request, mounts)
        self.fstab = self.plan.fstab
        self.owner = _ids(one.directory)
        mount = one.request.mount
        there = {} if self.plan.mount or mount is None else _directory(mount)
        self.directory_change = changes(there, one.directory)

    def steps(self) -> list[Step]:
        """What is to be done, in order."""
        plan, request, disk = self.plan, self.item.request, self.disk
        steps = []
        if plan.wipe:
            holds = {each.device: str(each.signature) for each in disk.partitions}
            steps.append(Step("erase", "disk", disk.device, before={disk.device: str(disk.signature), **holds}))
        if plan.table:
            first, last = model.extent(plan.table, disk.size)
            steps.append(Step("create", "partition", plan.target, after={"style": plan.table, "first": first, "last": last}))
        if plan.format:
            after = {"type": plan.filesystem, "uuid": plan.uuid, **({"label": request.label} if request.label else {})}
            steps.append(Step("create", "filesystem", plan.target, after=after))
        if plan.fstab is not None:
            steps.append(_fstab_step(self.path, self.mounts.fstab, plan.fstab))
        if plan.mount:
            steps.append(Step("mount", "directory", str(request.mount), {"device": None}, {"device": plan.target}))
        if plan.remount:
            steps.append(Step("remount", "directory", str(request.mount)))
        before, after = self.directory_change
        if after:
            steps.append(Step("update", "directory", str(request.mount), before, after))
        return steps

    def apply(self) -> None:
        """Do it."""
        plan, request = self.plan, self.item.request
        for device in plan.wipe:
            block.wipe(device)
        if plan.table:
            block.write_table(self.disk.device, plan.table, self.disk.size)
        if plan.format:
            block.make_filesystem(plan.target, plan.filesystem, plan.uuid, request.label)
        with Rollback() as rollback:
            if plan.fstab is not None:
                rollback.add("fstab line", plan.target, partial(_write_fstab, self.path, self.mounts.fstab))
                _write_fstab(self.path, plan.fstab)
            if plan.mount:
                block.mount(self.path, str(request.mount))
            elif plan.remount:
                block.remount(self.path, str(request.mount))
            if self.directory_change[1]:
                os.chown(str(request.mount), *self.owner)
                if "mode" in self.item.directory:
                    os.chmod(str(request.mount), int(self.item.directory["mode"], 8))

    def represent(self) -> dict[str, Any]:
        """The disk as the module returns it."""
        return {
            "device": self.disk.device,
            "serial": self.disk.serial,
            "size": self.disk.size >> 30,
            "partition_style": self.plan.style,
            "partition": self.plan.target,
            "filesystem": self.plan.filesystem,
            "uuid": self.plan.uuid,
            "mount": self.item.request.mount,
        }

    def warnings(self) -> list[str]:
        """What the user may not expect."""
        mount = self.item.request.mount
        if mount and self.plan.mount and os.path.isdir(mount) and os.listdir(mount):
            return [f"{mount} holds files, which disk {self.disk.device} hides when it is mounted there"]
        return []


class _Absent:
    """A disk that shall be unmounted and gone from fstab; what is on it stays."""

    def __init__(self, one: DiskItem, mounts: Mounts, fstab: str) -> None:
        self.item, self.mounts, self.path = one, mounts, fstab
        try:
            self.disk = block.read_disk(block.find(one.device, one.serial, wait=0))
        except NotFound:
            self.disk = DiskFacts("", one.serial, 0, Signature())
        self.unmount, self.fstab = model.plan_absent(self.disk, one.request, mounts)

    def steps(self) -> list[Step]:
        """What is to be done, in order."""
        steps = [Step("unmount", "directory", mount, {"device": self.mounts.mounted[mount]}, {"device": None}) for mount in self.unmount]
        if self.fstab is not None:
            steps.append(_fstab_step(self.path, self.mounts.fstab, self.fstab))
        return steps

    def apply(self) -> None:
        """Do it."""
        for mount in self.unmount:
            block.unmount(mount)
        if self.fstab is not None:
            _write_fstab(self.path, self.fstab)

    def represent(self) -> None:
        """An absent disk is not in the result."""

    def warnings(self) -> list[str]:
        """None."""
        return []


def _write_fstab(path: str, text: str) -> None:
    files.write(path, text)
    block.reload_units()


def _ids(directory: Mapping[str, str]) -> tuple[int, int]:
    """Numbers of owner and group; -1 leaves as it is."""
    found = []
    for option, look in (("owner", lambda name: pwd.getpwnam(name).pw_uid), ("group", lambda name: grp.getgrnam(name).gr_gid)):
        name = directory.get(option)
        try:
            found.append(-1 if name is None else int(name) if name.isdigit() else look(name))
        except KeyError as error:
            raise InvalidInput(option, name, "does not exist on this machine", "Create it first, or give its number") from error
    return found[0], found[1]


def _directory(path: str) -> dict[str, str]:
    there = os.stat(path)
    return {
        "owner": _name(pwd.getpwuid, there.st_uid),
        "group": _name(grp.getgrgid, there.st_gid),
        "mode": f"{stat.S_IMODE(there.st_mode):04o}",
    }


def _name(look: Any, number: int) -> str:
    try:
        return str(look(number)[0])
    except KeyError:
        return str(number)
