# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files that the metadata service serves, readable by the web server and root alone (spec MD23).

    servers/<server>/current -> <generation>    of the server's system
    servers/<server>/<generation>/data/...      by the path of the URL
    servers/<server>/<generation>/password/     the only directory that the web server may write (spec MD11)
    servers/<server>/instance-action            while the server is to be taken away (spec MD18)
    subnets/<subnet>/<address> -> ../../servers/<server>
    subnets/<subnet>/network, neighbours        for the subnet's network namespace

All of a server stands below one directory, so that it can be copied to another host.
"""

from __future__ import annotations

import grp
import io
import os
import shutil
import tarfile
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from . import files

GROUP = "www-data"


def _group() -> int:
    return grp.getgrnam(GROUP).gr_gid


def _directory(path: str, mode: int = 0o750) -> None:
    if not os.path.isdir(path):
        os.makedirs(path, exist_ok=True)
        os.chown(path, 0, _group())
        os.chmod(path, mode)


def _inside(top: str, path: str) -> None:
    """Make a directory and those above it up to *top*."""
    if path != top:
        _inside(top, os.path.dirname(path))
    _directory(path)


def _write(path: str, content: str | bytes) -> None:
    staging = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.new")
    files.remove(staging)
    with open(staging, "wb", opener=lambda name, flags: os.open(name, flags | os.O_EXCL, 0o600)) as stream:
        stream.write(content.encode() if isinstance(content, str) else content)
    os.chown(staging, 0, _group())
    os.chmod(staging, 0o640)
    os.replace(staging, path)


def _link(target: str, path: str) -> None:
    staging = f"{path}.new"
    files.remove(staging)
    os.symlink(target, staging)
    os.replace(staging, path)


@dataclass(frozen=True)
class Tree:
    """The tree below one directory."""

    directory: str

    def server(self, server_id: str, *parts: str) -> str:
        """A path of a server."""
        return os.path.join(self.directory, "servers", server_id, *parts)

    def subnet(self, subnet_id: str, *parts: str) -> str:
        """A path of a subnet."""
        return os.path.join(self.directory, "subnets", subnet_id, *parts)

    def generation(self, server_id: str) -> int:
        """Which system's data a server reads; 0 when it has none."""
        try:
            return int(os.readlink(self.server(server_id, "current")))
        except OSError:
            return 0

    def read(self, server_id: str) -> dict[str, bytes]:
        """What a server reads, by path; nothing when it has no data."""
        return _read(self.server(server_id, "current", "data"))

    def write(self, server_id: str, generation: int, content: Mapping[str, bytes]) -> None:
        """Lay out the data of a server's system, whole or not at all; nobody reads it until :meth:`switch`."""
        path = self.server(server_id, str(generation))
        staging = f"{path}.new"
        for old in (staging, path):
            shutil.rmtree(old, ignore_errors=True)
        _inside(self.directory, os.path.join(staging, "data"))
        _directory(os.path.join(staging, "password"), 0o770)
        self._fill(os.path.join(staging, "data"), content)
        os.rename(staging, path)

    def update(self, server_id: str, content: Mapping[str, bytes]) -> None:
        """Replace files that a server reads, each by rename."""
        self._fill(self.server(server_id, "current", "data"), content)

    @staticmethod
    def _fill(top: str, content: Mapping[str, bytes]) -> None:
        for name, text in content.items():
            path = os.path.join(top, name)
            _inside(top, os.path.dirname(path))
            _write(path, text)

    def switch(self, server_id: str, generation: int) -> None:
        """Let a server read the data of that system from now on."""
        _link(str(generation), self.server(server_id, "current"))

    def keep(self, server_id: str, generation: int) -> None:
        """Let a server read the data of that system, if there are any, and remove those of its other systems."""
        if os.path.isdir(self.server(server_id, str(generation))):
            self.switch(server_id, generation)
        with suppress(FileNotFoundError):
            for name in os.listdir(self.server(server_id)):
                if name.split(".")[0].isdigit() and name != str(generation):
                    shutil.rmtree(self.server(server_id, name))

    def remove(self, server_id: str) -> None:
        """Remove all of a server, if there is anything."""
        shutil.rmtree(self.server(server_id), ignore_errors=True)

    def announce(self, server_id: str, content: bytes | None) -> bool:
        """Write or remove what a server that is to be taken away reads; False when it has no data here."""
        path = self.server(server_id, "instance-action")
        if content is None:
            files.remove(path)
        elif os.path.isdir(self.server(server_id)):
            _write(path, content)
        return os.path.isdir(self.server(server_id))

    def copy_out(self, server_id: str) -> dict[str, bytes]:
        """All files of a server by their path below its directory, those of older systems left out."""
        generation = self.generation(server_id)
        content = _read(self.server(server_id, str(generation)))
        found = {f"{generation}/{path}": text for path, text in content.items()}
        with suppress(FileNotFoundError), open(self.server(server_id, "instance-action"), "rb") as stream:
            found["instance-action"] = stream.read()
        return found

    def copy_in(self, server_id: str, content: Mapping[str, bytes]) -> None:
        """Lay out what :meth:`copy_out` gave, on another host."""
        generation = _generation(content)
        self.write(server_id, generation, data_of(content))
        password = content.get(f"{generation}/password/password")
        if password is not None:
            path = self.server(server_id, str(generation), "password", "password")
            _write(path, password)
        if "instance-action" in content:
            _write(self.server(server_id, "instance-action"), content["instance-action"])
        self.switch(server_id, generation)

    def servers(self) -> list[str]:
        """Ids of the servers that have data here."""
        try:
            return os.listdir(os.path.join(self.directory, "servers"))
        except FileNotFoundError:
            return []

    def links(self) -> dict[tuple[str, str], str]:
        """Whose data is read from where: server ids by subnet id and address."""
        found = {}
        for subnet_id in self.subnets():
            for name in os.listdir(self.subnet(subnet_id)):
                path = self.subnet(subnet_id, name)
                if os.path.islink(path) and not name.endswith(".new"):
                    found[subnet_id, name] = os.path.basename(os.readlink(path))
        return found

    def subnets(self) -> list[str]:
        """Ids of the subnets that are served here."""
        try:
            return os.listdir(os.path.join(self.directory, "subnets"))
        except FileNotFoundError:
            return []

    def link(self, subnet_id: str, address: str, server_id: str) -> None:
        """Let what asks from an address of a subnet read the data of a server."""
        _inside(self.directory, self.subnet(subnet_id))
        _link(os.path.join("..", "..", "servers", server_id), self.subnet(subnet_id, address))

    def unlink(self, places: Iterable[tuple[str, str]]) -> None:
        """Let nothing read from these addresses any more."""
        for subnet_id, address in places:
            files.remove(self.subnet(subnet_id, address))

    def note(self, subnet_id: str, name: str, text: str) -> bool:
        """Write a file for a subnet's namespace; False when it says so already."""
        if self.noted(subnet_id, name) == text:
            return False
        _inside(self.directory, self.subnet(subnet_id))
        _write(self.subnet(subnet_id, name), text)
        return True

    def noted(self, subnet_id: str, name: str) -> str:
        """What a file for a subnet's namespace says."""
        try:
            with open(self.subnet(subnet_id, name), encoding="utf-8") as stream:
                return stream.read()
        except FileNotFoundError:
            return ""

    def drop_subnets(self, subnet_ids: Collection[str]) -> None:
        """Remove all that is kept of subnets."""
        for subnet_id in subnet_ids:
            shutil.rmtree(self.subnet(subnet_id), ignore_errors=True)


def _generation(content: Mapping[str, bytes]) -> int:
    return max(int(path.partition("/")[0]) for path in content if path[0].isdigit())


def data_of(content: Mapping[str, bytes]) -> dict[str, bytes]:
    """What a server reads, among what :meth:`Tree.copy_out` gave."""
    start = f"{_generation(content)}/data/"
    return {path.removeprefix(start): text for path, text in content.items() if path.startswith(start)}


def pack(content: Mapping[str, bytes]) -> bytes:
    """Files by path as one archive."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for path, text in content.items():
            entry = tarfile.TarInfo(path)
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text))
    return archive.getvalue()


def unpack(archive: bytes) -> dict[str, bytes]:
    """The reverse of :func:`pack`."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return {entry.name: stream.read() for entry in tar if (stream := tar.extractfile(entry))}


def _read(top: str) -> dict[str, bytes]:
    found = {}
    for directory, _directories, names in os.walk(top):
        for name in names:
            path = os.path.join(directory, name)
            # What the web server may write could be a link to what it may not read.
            with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW)) as stream:
                found[os.path.relpath(path, top)] = stream.read()
    return found
