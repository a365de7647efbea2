# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Scheduled deletion: when a server goes by itself (spec D8)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from . import times
from .errors import InvalidInput

SOONEST = timedelta(hours=1)
YEARS = 3
"""Not sooner, not later than that (spec D8)."""
_DURATION = re.compile(r"([0-9]{1,7})([mhdw])")
_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
_HINT = "Write a time such as 2026-12-31T22:00:00Z, or a number of minutes, hours, days or weeks from now such as 90m, 12h, 7d or 2w"


@dataclass(frozen=True)
class Deletion:
    """What is asked for.

    :param at: the moment, as :func:`times.stamp` writes it; empty for none.
    :param refused: why it cannot be set anew; a server that has it already keeps it.
    """

    at: str
    refused: InvalidInput | None = None


def parse(value: str, now: datetime) -> Deletion:
    """Read option ``scheduled_deletion``: a time, a duration from now on, or nothing for none.

    :raises InvalidInput: when it is neither.
    """
    text = value.strip()
    if not text:
        return Deletion("")
    moment = _moment(value, text, now)
    refused, now_is = None, f"from now ({times.stamp(now)})"
    if moment < now + SOONEST:
        hint = "Give a time at least an hour ahead, or leave it out; an empty text withdraws one that is set"
        refused = InvalidInput("scheduled_deletion", value, f"is sooner than an hour {now_is}", hint)
    elif moment > _latest(now):
        refused = InvalidInput("scheduled_deletion", value, f"is later than {YEARS} years {now_is}", "Give an earlier time")
    return Deletion(times.stamp(moment), refused)


def _moment(value: str, text: str, now: datetime) -> datetime:
    if duration := _DURATION.fullmatch(text):
        # Every duration has an end within the calendar: that it is too long is told as of any time that is too late.
        return now + min(int(duration[1]) * _UNITS[duration[2]], timedelta(days=366 * 100))
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise InvalidInput("scheduled_deletion", value, "does not tell its time zone", _HINT)
        return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidInput("scheduled_deletion", value, "is neither a time nor a duration", _HINT) from None


def _latest(now: datetime) -> datetime:
    try:
        return now.replace(year=now.year + YEARS)
    except ValueError:  # on 29 February
        return now.replace(year=now.year + YEARS, month=3, day=1)


def is_due(at: str, now: datetime) -> bool:
    """Whether a moment that is kept with a server has come; an empty one never does."""
    return bool(at) and at <= times.stamp(now)
