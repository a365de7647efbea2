# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Config drives: small ISO 9660 images labelled ``config-2`` that cloud-init reads (spec MD1)."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Mapping

from .._model.errors import EcsError

LABEL = "config-2"
_PROGRAMS = ("genisoimage", "xorrisofs", "mkisofs")


def path_of(directory: str, server_id: str) -> str:
    """Where a server's config drive lies."""
    return os.path.join(directory, f"{server_id}.iso")


def write(directory: str, server_id: str, files: Mapping[str, bytes]) -> str:
    """Write a server's config drive, readable by its owner alone, complete or not at all.

    :param files: content by path on the drive.
    :returns: the drive's path.
    :raises EcsError: ECS_CONFIG_DRIVE when there is no program to make it, or it fails.
    """
    program = next(filter(None, map(shutil.which, _PROGRAMS)), None)
    if program is None:
        raise EcsError(
            f"cannot make a config drive: none of {', '.join(_PROGRAMS)} is installed", "ECS_CONFIG_DRIVE", "Install genisoimage"
        )
    os.makedirs(directory, mode=0o711, exist_ok=True)
    target = path_of(directory, server_id)
    # Staged beside the target, so that the rename stays in one file system; its fixed name lets the next run find what a killed one left.
    staging = _staging(directory, server_id)
    shutil.rmtree(staging, ignore_errors=True)
    os.mkdir(staging, mode=0o700)
    try:
        root, image = os.path.join(staging, "root"), os.path.join(staging, "image")
        for name, content in files.items():
            os.makedirs(os.path.dirname(os.path.join(root, name)), exist_ok=True)
            with open(os.path.join(root, name), "wb") as stream:
                stream.write(content)
        made = subprocess.run(
            [program, "-quiet", "-o", image, "-V", LABEL, "-J", "-R", "-input-charset", "utf-8", root],
            check=False,
            capture_output=True,
            text=True,
            umask=0o077,
        )
        if made.returncode:
            raise EcsError(f"cannot make the config drive {target}: {made.stderr.strip()}", "ECS_CONFIG_DRIVE", "Is the disk full?")
        os.replace(image, target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return target


def _staging(directory: str, server_id: str) -> str:
    return os.path.join(directory, f".{server_id}")


def remove(directory: str, server_id: str) -> None:
    """Remove a server's config drive and what a killed run left of one, if there is any."""
    shutil.rmtree(_staging(directory, server_id), ignore_errors=True)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path_of(directory, server_id))
