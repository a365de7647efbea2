# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What has failed with servers: creations, which were undone, and operations (spec V1, V2); and who was told to go (spec K1)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from .errors import EcsError, InvalidInput, NotFound
from .names import Scope

CREATION, OPERATION, INTERRUPTION = "creation", "operation", "interruption"
KEPT = 1000
"""So many failures of a host are remembered."""


@dataclass(frozen=True)
class Failure:
    """One failed task.

    :param time: when, in UTC.
    :param kind: ``creation``, ``operation`` or ``interruption``.
    :param servers: names of the servers of the call, or only of the one that failed.
    :param task: what was asked, such as ``present`` or ``stopped``.
    :param code: the error's.
    :param undone: what was given back.
    """

    time: str
    region: str
    project: str
    kind: str
    servers: tuple[str, ...]
    task: str
    code: str
    message: str
    undone: str = ""

    def represent(self, scope: Scope) -> dict[str, Any]:
        """The failure as modules return it."""
        told = {key: value for key, value in asdict(self).items() if key not in ("region", "project", "servers")}
        return {**told, "servers": [{"name": name, "id": scope.id("server", name)} for name in self.servers], "undone": self.undone or None}


def matters(error: EcsError) -> bool:
    """Whether an error is a failure to be remembered: one that tells of a wrong word only is not."""
    return not isinstance(error, (InvalidInput, NotFound))


def is_repeated(failure: Failure, before: Iterable[Failure]) -> bool:
    """Whether the last failure of the same servers was the same, but for the time."""
    last = next((old for old in reversed(list(before)) if (old.region, old.project, old.servers) == _whose(failure)), None)
    return last is not None and replace(last, time=failure.time) == failure


def _whose(failure: Failure) -> tuple[str, str, tuple[str, ...]]:
    return failure.region, failure.project, failure.servers


def dump(failure: Failure) -> str:
    """A failure as one line."""
    return json.dumps(asdict(failure)) + "\n"


def load(lines: Iterable[str]) -> Iterator[Failure]:
    """Failures from their lines; what a power cut left of one is passed by."""
    for line in lines:
        try:
            told = json.loads(line)
            yield Failure(**{**told, "servers": tuple(told["servers"])})
        except (ValueError, TypeError, KeyError):
            continue


def select(failures: Sequence[Failure], scope: Scope, server: str | None, since: str | None) -> list[Failure]:
    """Those of a project, the newest first.

    :param server: only those of that server.
    :param since: a time in UTC, or its beginning.
    """
    return [
        failure
        for failure in reversed(failures)
        if (failure.region, failure.project) == (scope.region, scope.project)
        and (server is None or server in failure.servers)
        and (since is None or failure.time >= since)
    ]
