# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Moments as they are written everywhere: UTC to the second, ``2026-01-31T12:00:00Z``."""

from __future__ import annotations

from datetime import UTC, datetime


def stamp(moment: datetime) -> str:
    """A moment as text."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def now() -> datetime:
    """This moment."""
    return datetime.now(UTC)


def age(text: str) -> float:
    """Seconds since a moment written as text."""
    return (now() - datetime.fromisoformat(text)).total_seconds()
