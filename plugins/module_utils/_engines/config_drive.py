# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Config drives: small ISO 9660 images that cloud-init knows by their label, ``config-2`` unless said otherwise (spec MD1)."""

from __future__ import annotations

import glob
import os
from collections.abc import Mapping
from io import BytesIO
from pathlib import PurePosixPath
from typing import Any

from .._model.errors import EcsError
from . import files

LABEL = "config-2"


def _library() -> Any:
    try:
        import pycdlib
    except ImportError as error:
        raise EcsError(
            "the Python library pycdlib is missing", "ECS_CONFIG_DRIVE", "Install python3-pycdlib, or pycdlib from PyPI"
        ) from error
    return pycdlib


def path_of(directory: str, server_id: str, generation: int = 1) -> str:
    """Where the config drive of a server's system lies; each generation has its own."""
    return os.path.join(directory, f"{server_id}.iso" if generation == 1 else f"{server_id}-{generation}.iso")


def image(contents: Mapping[str, bytes], label: str = LABEL) -> bytes:
    """An ISO 9660 image with Rock Ridge and Joliet names.

    :param contents: by path on the drive.
    :raises EcsError: ECS_CONFIG_DRIVE when the library that makes it is missing.
    """
    iso = _library().PyCdlib()
    iso.new(interchange_level=3, joliet=3, rock_ridge="1.09", vol_ident=label)
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


def write(directory: str, server_id: str, contents: Mapping[str, bytes], generation: int = 1, label: str = LABEL) -> str:
    """Write a server's config drive, readable by its owner alone, complete or not at all.

    :param contents: by path on the drive.
    :returns: the drive's path.
    :raises EcsError: ECS_CONFIG_DRIVE when the library that makes it is missing.
    """
    data = image(contents, label)
    os.makedirs(directory, mode=0o711, exist_ok=True)
    path, staging = path_of(directory, server_id, generation), _staging(directory, server_id)
    # What a killed run left under that name would keep its mode.
    files.remove(staging)
    with os.fdopen(os.open(staging, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
        stream.write(data)
    os.replace(staging, path)
    return path


def read(path: str) -> dict[str, bytes]:
    """The files of a config drive by their path on it.

    :raises EcsError: ECS_CONFIG_DRIVE when there is none, or it is not one of ours.
    """
    library = _library()
    iso, found = library.PyCdlib(), {}
    try:
        iso.open(path)
        try:
            for directory, _directories, names in iso.walk(joliet_path="/"):
                for name in names:
                    inside = str(PurePosixPath(directory, name))
                    content = BytesIO()
                    iso.get_file_from_iso_fp(content, joliet_path=inside)
                    found[inside.removeprefix("/")] = content.getvalue()
        finally:
            iso.close()
    except (OSError, library.pycdlibexception.PyCdlibException) as error:
        raise EcsError(f"cannot read the config drive {path}: {error}", "ECS_CONFIG_DRIVE", "Is it there?") from error
    return found


def _staging(directory: str, server_id: str) -> str:
    return os.path.join(directory, f".{server_id}")


def remove(directory: str, server_id: str, keep: str = "") -> None:
    """Remove a server's config drives and what a killed run left of one, if there are any.

    :param keep: the path of the one that stays.
    """
    files.remove(_staging(directory, server_id))
    for path in glob.glob(os.path.join(glob.escape(directory), f"{server_id}*.iso")):
        if path != keep:
            files.remove(path)
