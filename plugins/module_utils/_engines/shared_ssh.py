# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One SSH connection to a hypervisor for many libvirt connections: 0.03 s instead of 0.2 s or more for each after the first.

libvirt starts an ``ssh`` of its own for every ``+ssh`` URI. Its URI parameter ``command`` names the program to start, so a one-line script
there adds what libvirt has no parameter for.
"""

from __future__ import annotations

import os
import shlex
import stat
from hashlib import sha256
from pathlib import Path
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

_SOCKET_PATH = 104
"""Bytes in the path of a UNIX socket, the smallest limit among systems."""
_SOCKET_NAME = 80
"""Bytes of that which the name takes: two hashes, and ssh's own suffix while it makes the socket."""


def share_ssh(uri: str, directory: str, connect_timeout: int) -> str:
    """The URI with a ``command`` that shares one connection among all processes of this user, and never asks for a password.

    :param directory: of this user alone, for the script and the sockets. Where its path is too long for a socket, nothing is shared.
    :param connect_timeout: seconds until a dead host is given up.
    :returns: the URI as it was when it does not go over ssh. A ``command`` that it names is what the script starts.
    """
    parts = urlsplit(uri)
    if not parts.scheme.endswith("+ssh"):
        return uri
    parameters = dict(parse_qsl(parts.query))
    ssh = parameters.get("command", "ssh")
    options = ["BatchMode=yes", f"ConnectTimeout={connect_timeout}"]
    if len(os.fsencode(directory)) + _SOCKET_NAME <= _SOCKET_PATH:
        # The same address may be another host to another command.
        socket = f"{directory}/{_hash(ssh)}-%C"
        options += ["ControlMaster=auto", "ControlPersist=60s", f"ControlPath={socket}"]
    text = shlex.join(["exec", ssh, *(word for option in options for word in ("-o", option))])
    parameters["command"] = _script(directory, f'#!/bin/sh\n{text} "$@"\n')
    return urlunsplit(parts._replace(query=urlencode(parameters, safe="/", quote_via=quote)))


def _hash(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:12]


def _script(directory: str, text: str) -> str:
    """The script's path; its name holds a hash of its text, so that processes with other options do not meet."""
    path = Path(directory, f"ecs-ssh-{_hash(text)}")
    if not path.exists():
        path.parent.mkdir(mode=stat.S_IRWXU, parents=True, exist_ok=True)
        scratch = path.with_name(f"{path.name}.{os.getpid()}")
        scratch.write_text(text, encoding="utf-8")
        scratch.chmod(stat.S_IRWXU)
        scratch.replace(path)
    return str(path)
