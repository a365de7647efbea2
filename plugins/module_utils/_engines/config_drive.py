# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Config drives: small ISO 9660 images labelled ``config-2`` that cloud-init reads (spec MD1)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from io import BytesIO
from pathlib import PurePosixPath
from typing import Any

from .._model.errors import EcsError
from . import files

LABEL = "config-2"


def path_of(directory: str, server_id: str) -> str:
    """Where a server's config drive lies."""
    return os.path.join(directory, f"{server_id}.iso")


def image(contents: Mapping[str, bytes]) -> bytes:
    """An ISO 9660 image with Rock Ridge and Joliet names.

    :param contents: by path on the drive.
    :raises EcsError: ECS_CONFIG_DRIVE when the library that makes it is missing.
    """
    try:
        import pycdlib
    except ImportError as error:
        raise EcsError(
            "the Python library pycdlib is missing", "ECS_CONFIG_DRIVE", "Install python3-pycdlib, or pycdlib from PyPI"
        ) from error
    iso = pycdlib.PyCdlib()
    iso.new(interchange_level=3, joliet=3, rock_ridge="1.09", vol_ident=LABEL)
    try:
        _fill(iso, contents)
        written = BytesIO()
        iso.write_fp(written)
    finally:
        iso.close()
    return written.getvalue()


def _fill(iso: Any, contents: Mapping[str, bytes]) -> None:
    # Nobody reads the plain names of ISO 9660, eight capitals in the oldest sense: numbers do.
    plain = {PurePosixPath("/"): PurePosixPath("/")}
    for name, content in contents.items():
        path = PurePosixPath("/", name)
        for directory in reversed(path.parents[:-1]):
            if directory not in plain:
                plain[directory] = plain[directory.parent] / f"D{len(plain):07}"
                iso.add_directory(str(plain[directory]), rr_name=directory.name, joliet_path=str(directory))
        plain[path] = plain[path.parent] / f"F{len(plain):07}.;1"
        iso.add_fp(BytesIO(content), len(content), str(plain[path]), rr_name=path.name, joliet_path=str(path))


def write(directory: str, server_id: str, contents: Mapping[str, bytes]) -> str:
    """Write a server's config drive, readable by its owner alone, complete or not at all.

    :param contents: by path on the drive.
    :returns: the drive's path.
    :raises EcsError: ECS_CONFIG_DRIVE when the library that makes it is missing.
    """
    data = image(contents)
    os.makedirs(directory, mode=0o711, exist_ok=True)
    path, staging = path_of(directory, server_id), _staging(directory, server_id)
    # What a killed run left under that name would keep its mode.
    files.remove(staging)
    with os.fdopen(os.open(staging, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
        stream.write(data)
    os.replace(staging, path)
    return path


def _staging(directory: str, server_id: str) -> str:
    return os.path.join(directory, f".{server_id}")


def remove(directory: str, server_id: str) -> None:
    """Remove a server's config drive and what a killed run left of one, if there is any."""
    files.remove(_staging(directory, server_id))
    files.remove(path_of(directory, server_id))
