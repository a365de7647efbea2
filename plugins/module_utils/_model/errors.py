# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one error that users meet: what was asked, what was found, what to do, and a code."""

from __future__ import annotations


class EcsError(Exception):
    """A failure that a user can act on.

    :param message: what was asked and what was found, e.g. ``flavor s7n.medium.2 needs 2048 MiB, hv1 has 1210 MiB free``.
    :param code: stable upper-case handle, e.g. ``ECS_NO_SPACE``; scripts may match on it.
    :param hint: the way out, one sentence.
    :param undone: what a failed run gave back, e.g. ``2 volumes, 1 port``.
    :param server: name of the server that it happened to, where it is one.
    """

    def __init__(self, message: str, code: str, hint: str = "", undone: str = "", server: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.hint = hint
        self.undone = undone
        self.server = server

    def __str__(self) -> str:
        parts = [self.message.rstrip(".") + "."]
        if self.undone:
            parts.append(f"Undone: {self.undone}.")
        if self.hint:
            parts.append(self.hint.rstrip(".") + ".")
        return " ".join(parts) + f"  [{self.code}]"


class InvalidInput(EcsError):
    """A value that the user wrote is wrong; nothing was touched."""

    def __init__(self, option: str, value: object, problem: str, hint: str = "") -> None:
        super().__init__(f"{option}: {value!r} {problem}", "ECS_INVALID_INPUT", hint)
        self.option = option


class NotFound(EcsError):
    """A resource that the user named does not exist."""

    def __init__(self, kind: str, name: str, where: str = "", hint: str = "") -> None:
        place = f" in {where}" if where else ""
        super().__init__(f"{kind} {name} does not exist{place}", "ECS_NOT_FOUND", hint)
