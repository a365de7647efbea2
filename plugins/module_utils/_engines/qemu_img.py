# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""qemu-img on images that strangers made: the format is always told, never guessed, and its memory and time have limits.

A crafted image can make qemu-img take all memory or run for ever (CVE-2015-5162); the limits are the kernel's (prlimit).
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from typing import Any

from .._model.errors import EcsError

_MEMORY = 2 << 30
_SECONDS = 60
# Processor time to convert, beyond _SECONDS: inflating a compressed image runs at 50 MB/s and more.
_SECONDS_PER_GIB = 30


def _limited(seconds: int, *arguments: str) -> list[str]:
    return ["prlimit", f"--as={_MEMORY}", f"--cpu={seconds}", "--", "qemu-img", *arguments]


def _start(command: list[str]) -> subprocess.Popen[str]:
    try:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace"
        )
    except FileNotFoundError as error:
        hint = "Install qemu-utils and util-linux, or run role hypervisor"
        raise EcsError(f"{error.filename} is missing", "ECS_QEMU_IMG", hint) from error


def _run(*arguments: str) -> tuple[int, str, str]:
    with _start(_limited(_SECONDS, *arguments)) as process:
        out, err = process.communicate()
    return process.returncode, out, err


def _json(*arguments: str) -> Any:
    code, out, err = _run(*arguments)
    if code:
        raise _failure(arguments[0], code, err)
    return json.loads(out)


def _failure(what: str, code: int, err: str) -> EcsError:
    if code in (-9, -24):
        reason = "stopped by the limit of its processor time"
    else:
        reason = (err.strip().splitlines() or [f"exit status {code}"])[-1]
    return EcsError(f"cannot be read (qemu-img {what}: {reason})", "ECS_IMAGE_REFUSED", "Is it complete?")


def check(path: str, format: str) -> None:
    """Verify that an image is sound and complete, for the formats that know (all but raw and vpc).

    A qcow2 that was cut off would otherwise read as zeros where its end is missing.

    :raises EcsError: ECS_IMAGE_REFUSED.
    """
    if format in ("raw", "vpc"):
        return
    code, _out, err = _run("check", "-q", "--output=json", "-f", format, path)
    # 3 means clusters that nothing uses: harmless to read.
    if code not in (0, 3):
        found = (err.strip().splitlines() or [f"exit status {code}"])[0]
        raise EcsError(f"is corrupt or truncated (qemu-img check: {found})", "ECS_IMAGE_REFUSED", "Fetch or copy it again")


def required(path: str, format: str) -> int:
    """Bytes that the image would take as qcow2."""
    return int(_json("measure", "--output=json", "-f", format, "-O", "qcow2", path)["required"])


def virtual_size(path: str) -> int:
    """Bytes of the disk inside a qcow2 of our own making."""
    return int(_json("info", "--output=json", "-f", "qcow2", path)["virtual-size"])


def in_use(path: str, format: str) -> bool:
    """Whether a guest has the image open for writing, here or on another host that sees it: QEMU locks what it writes to."""
    code, _out, err = _run("info", "--output=json", "-f", format, path)
    if code and "lock" not in err:
        raise _failure("info", code, err)
    return bool(code)


_PROGRESS = re.compile(r"\((\d+)(?:\.\d+)?/100%\)")


def convert(source: str, format: str, target: str, size: int, progress: Callable[[int], None]) -> None:
    """Write *source* as a qcow2.

    :param size: bytes of the disk inside, which the time limit depends on.
    :param progress: called with the percentage, when it has risen.
    :raises EcsError: ECS_IMAGE_REFUSED.
    """
    seconds = _SECONDS + _SECONDS_PER_GIB * (size >> 30)
    shown = -1
    with _start(_limited(seconds, "convert", "-p", "-f", format, "-O", "qcow2", source, target)) as process:
        try:
            # Percentages end in a carriage return, which text mode reads as the end of a line.
            for line in process.stdout or ():
                if (found := _PROGRESS.search(line)) and int(found[1]) > shown:
                    shown = int(found[1])
                    progress(shown)
            err = process.stderr.read() if process.stderr else ""
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        raise _failure("convert", process.returncode, err)
