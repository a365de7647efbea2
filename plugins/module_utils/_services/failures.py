# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Failures of servers, remembered on their host beside the console logs (spec V1, V2)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress

from .._engines import files
from .._engines.host import Host
from .._engines.libvirt_client import connect, read_domains
from .._model import failures as model
from .._model import metadata, times
from .._model.errors import EcsError
from .._model.failures import Failure
from .._model.names import Scope
from .._model.server_request import ServerRequest

_SLACK = 100  # the file is cut only now and then


def _path(host: Host) -> str:
    return os.path.join(host.console_logs, "failures.jsonl")


def _lines(host: Host) -> list[str]:
    try:
        with open(_path(host), encoding="utf-8") as stream:
            return stream.readlines()
    except FileNotFoundError:
        return []


def read(host: Host) -> list[Failure]:
    """All failures of this host, the oldest first."""
    return list(model.load(_lines(host)))


def record(uri: str, host: Host, scope: Scope, requests: Sequence[ServerRequest], error: EcsError) -> None:
    """Remember that a call on servers failed; that this cannot be written must not hide the error itself."""
    if not model.matters(error):
        return
    names = {request.name: request for request in requests}
    told = [error.server] if error.server in names else sorted(names)
    failure = Failure(
        time=times.stamp(times.now()),
        region=scope.region,
        project=scope.project,
        kind=model.CREATION if _is_creation(uri, scope, [names[name] for name in told]) else model.OPERATION,
        servers=tuple(told),
        task=", ".join(sorted({names[name].state for name in told})),
        code=error.code,
        message=error.message,
        undone=error.undone,
    )
    # What the host tries again and again by itself is remembered once.
    if not (all(request.when_due for request in requests) and model.is_repeated(failure, read(host))):
        remember(host, failure)


def remember(host: Host, failure: Failure) -> None:
    """Add a record; that it cannot be written is no failure itself."""
    with suppress(OSError):
        _append(host, model.dump(failure))


def _is_creation(uri: str, scope: Scope, requests: Sequence[ServerRequest]) -> bool:
    """Whether servers were to be made: they are not there, or not finished."""
    wanted = {scope.id("server", request.name) for request in requests if request.state == "present"}
    try:
        with connect(uri, readonly=True) as connection:
            live = read_domains(connection, wanted)
    except EcsError:
        return False
    told = {uuid: metadata.parse(domain.xml) for uuid, domain in live.items()}
    return any(told.get(uuid) is None or getattr(told[uuid], "creating", False) for uuid in wanted)


def _append(host: Host, line: str) -> None:
    os.makedirs(host.console_logs, mode=0o700, exist_ok=True)
    with files.lock(f"{_path(host)}.lock"):
        kept = _lines(host)
        if len(kept) >= model.KEPT + _SLACK:
            files.write(_path(host), "".join([*kept[1 - model.KEPT :], line]), 0o600)
            return
        handle = os.open(_path(host), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(line)
