# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a server's serial console has said, fit to be shown: a guest must not steer the reader's terminal."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from .errors import InvalidInput

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[ -/]*[0-~])")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@dataclass(frozen=True)
class Asked:
    """What is asked of a console.

    :param lines: so many of the log.
    :param screenshot: file on the host; None for no picture.
    :param vnc: seconds that a password lets somebody in; None for nobody.
    """

    lines: int = 0
    screenshot: str | None = None
    vnc: int | None = None


def check_asked(lines: int, screenshot: str | None, vnc: int | None) -> Asked:
    """See that it can be meant."""
    if lines < 0:
        raise InvalidInput("lines", lines, "is too small", "Give 0 or more")
    if screenshot is not None and not screenshot.startswith("/"):
        raise InvalidInput("screenshot", screenshot, "is not a whole path", "Write it from the root on, as in /root/web.png")
    if vnc is not None and not 10 <= vnc <= 3600:
        raise InvalidInput("vnc_timeout", vnc, "is too short or too long", "Give 10 to 3600 seconds")
    return Asked(lines, screenshot, vnc)


def clean(line: str) -> str:
    """A line without escape sequences and control characters; of what was written over itself, the last."""
    return _CONTROLS.sub("", _ESCAPES.sub("", line).rstrip("\r").rpartition("\r")[2])


def last_lines(texts: Iterable[bytes], count: int) -> list[str]:
    """The last lines of a log that was rotated.

    :param texts: the log's parts, the newest first; no more of them are looked at than needed.
    """
    lines: list[str] = []
    rest = b""
    for text in texts:
        found = (text + rest).split(b"\n")
        # The first line of a part may have begun in the one before.
        rest, lines = found[0], [*map(_decode, found[1:]), *lines]
        if len(lines) > count:
            break
    else:
        lines = [_decode(rest), *lines]
    if lines and not lines[-1]:
        lines.pop()  # what follows the last line's end
    return lines[max(0, len(lines) - count) :]


def _decode(line: bytes) -> str:
    return clean(line.decode("utf-8", "replace"))
