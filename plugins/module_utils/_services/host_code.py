# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""This collection's code on a hypervisor, where its own timers start it: whole, or not at all, and as it is here."""

from __future__ import annotations

import compileall
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib.resources import files as resources
from importlib.resources.abc import Traversable
from pathlib import Path

from .._model.plan import Step

PACKAGE = "altostratus_ecs"
CURRENT = "current"
"""A link to the directory that holds the package; whoever runs goes on in the directory that it was started in."""
_FLOORS = ("_model", "_engines", "_services")
_ENTRY = ("__init__.py", "_host.py")


def sources() -> dict[str, bytes]:
    """The files of the package by their paths: all that came along with this one."""
    root = resources(__package__.rpartition(".")[0])
    found = {name: root.joinpath(name).read_bytes() for name in _ENTRY}
    return found | {f"{floor}/{path.name}": path.read_bytes() for floor in _FLOORS for path in _python(root.joinpath(floor))}


def _python(directory: Traversable) -> Iterator[Traversable]:
    return (path for path in directory.iterdir() if path.name.endswith(".py"))


def install(directory: str, wanted: Mapping[str, bytes], check: bool) -> list[Step]:
    """Put the files below *directory*, and let the link lead there; those before them stay until the next time, as they may be running."""
    root = Path(directory)
    digest = hashlib.sha256(b"".join(name.encode() + b"\0" + wanted[name] + b"\0" for name in sorted(wanted))).hexdigest()[:16]
    before = os.readlink(root / CURRENT) if (root / CURRENT).is_symlink() else ""
    if before == digest and _installed(root / digest / PACKAGE) == wanted:
        return []
    if not check:
        root.mkdir(mode=0o755, parents=True, exist_ok=True)
        _write(root, digest, wanted)
        _lead(root, digest)
        for old in root.iterdir():
            if old.name not in (CURRENT, digest, before):
                shutil.rmtree(old, ignore_errors=True)
    return [Step("install", "service", PACKAGE, {"version": before} if before else {}, {"version": digest})]


def _installed(package: Path) -> dict[str, bytes]:
    return {str(path.relative_to(package)): path.read_bytes() for path in package.rglob("*.py")}


def _write(root: Path, digest: str, wanted: Mapping[str, bytes]) -> None:
    made = Path(tempfile.mkdtemp(dir=root, prefix=f".{digest}."))
    package = made / PACKAGE
    for name, content in wanted.items():
        path = package / name
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        path.write_bytes(content)
    # Compiled now: the service may not write there.
    compileall.compile_dir(package, ddir=str(root / digest / PACKAGE), quiet=2)
    for path in (made, *made.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    with suppress(FileNotFoundError):
        shutil.rmtree(root / digest)
    made.rename(root / digest)


def _lead(root: Path, digest: str) -> None:
    link = root / f".{CURRENT}"
    link.unlink(missing_ok=True)
    link.symlink_to(digest)
    link.replace(root / CURRENT)
