# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that appear whole or not at all, and locks that vanish with their holder."""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

_CHUNK = 4 << 20


def sync(path: str) -> None:
    """Write a file's content, or a directory's entries, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def publish(temporary: str, path: str, mode: int) -> None:
    """Put a finished file in its place, for good: whoever reads *path* sees the old content or the new, also after a power cut."""
    os.chmod(temporary, mode)
    sync(temporary)
    os.replace(temporary, path)
    sync(os.path.dirname(path))


def write(path: str, content: str | bytes, mode: int | None = None) -> None:
    """Replace a file by rename.

    :param mode: None keeps mode and owner of the file that is there (0644 where there is none).
    """
    path = os.path.realpath(path)
    owner = None
    if mode is None:
        try:
            there = os.stat(path)
            owner, mode = (there.st_uid, there.st_gid), stat.S_IMODE(there.st_mode)
        except FileNotFoundError:
            mode = 0o644
    handle, temporary = tempfile.mkstemp(dir=os.path.dirname(path), prefix=f".{os.path.basename(path)}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content.encode() if isinstance(content, str) else content)
        if owner:
            os.chown(temporary, *owner)
        publish(temporary, path, mode)
    except BaseException:
        remove(temporary)
        raise


def remove(path: str) -> None:
    """Remove a file if it is there."""
    with suppress(FileNotFoundError):
        os.unlink(path)


@contextmanager
def lock(path: str, wait: bool = True, shared: bool = False) -> Iterator[bool]:
    """Hold a lock file for the length of a ``with`` block; the kernel frees it when the holder dies.

    The value is False when *wait* is false and another process holds it. The file goes when its last holder leaves, so
    whoever waited looks again whether what it locked is still the file of that name.

    :param shared: beside others that share it, and nobody who does not.
    """
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            os.close(handle)
            yield False
            return
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), os.stat(path)):
                break
        os.close(handle)
    try:
        yield True
    finally:
        if not shared:
            remove(path)
        os.close(handle)
        if shared:
            with lock(path, wait=False):  # whoever gets it was the last
                pass


def digests(path: str, algorithms: Iterable[str]) -> dict[str, str]:
    """Digests of a file, read once; hexadecimal, by algorithm."""
    hashes = {name: hashlib.new(name) for name in algorithms}
    with open(path, "rb") as stream:
        while chunk := stream.read(_CHUNK):
            for one in hashes.values():
                one.update(chunk)
    return {name: one.hexdigest() for name, one in hashes.items()}


def free(directory: str) -> int:
    """Bytes that may still be written in the file system of *directory*."""
    room = os.statvfs(directory)
    return room.f_bavail * room.f_frsize
