# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Scheduled deletion (spec D8)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from ansible_collections.altostratus.ecs.plugins.module_utils._model import leases, times
from ansible_collections.altostratus.ecs.plugins.module_utils._model.errors import InvalidInput
from ansible_collections.altostratus.ecs.plugins.module_utils._model.metadata import ServerMetadata
from ansible_collections.altostratus.ecs.plugins.module_utils._model.server_changes import is_due, update
from ansible_collections.altostratus.ecs.plugins.module_utils._model.server_request import requests

NOW = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2026-02-01T00:00:00Z", "2026-02-01T00:00:00Z"),
        ("2026-02-01T00:00:00+02:00", "2026-01-31T22:00:00Z"),
        ("2026-02-01 00:00:00+00:00", "2026-02-01T00:00:00Z"),  # what YAML makes of an unquoted one
        ("60m", "2026-01-31T13:00:00Z"),
        ("12h", "2026-02-01T00:00:00Z"),
        (" 7d ", "2026-02-07T12:00:00Z"),
        ("2w", "2026-02-14T12:00:00Z"),
        ("2029-01-31T12:00:00Z", "2029-01-31T12:00:00Z"),
        ("", ""),
    ],
)
def test_times_and_durations(text, at):
    assert leases.parse(text, NOW) == leases.Deletion(at)


@pytest.mark.parametrize("text", ["tomorrow", "2026-02-01T00:00:00", "2026-02-01", "-1h", "1y", "5", "0001-01-01T00:00:00+14:00", "h"])
def test_what_is_no_time(text):
    with pytest.raises(InvalidInput, match="scheduled_deletion") as failed:
        leases.parse(text, NOW)
    assert "2026-12-31T22:00:00Z" in str(failed.value), "the way out is named"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("59m", "sooner than an hour"),
        ("2026-01-31T12:59:59Z", "sooner than an hour"),
        ("2020-01-01T00:00:00Z", "sooner than an hour"),
        ("2029-01-31T12:00:01Z", "later than 3 years"),
        ("9999999w", "later than 3 years"),
        ("9999-12-31T23:59:59Z", "later than 3 years"),
    ],
)
def test_bounds(text, problem):
    """An hour at least, three years at most."""
    assert problem in str(leases.parse(text, NOW).refused)


def test_three_years_from_a_leap_day():
    leap = datetime(2028, 2, 29, tzinfo=UTC)
    assert leases.parse("2031-03-01T00:00:00Z", leap).refused is None
    assert leases.parse("2031-03-01T00:00:01Z", leap).refused is not None


def test_due():
    assert not leases.is_due("", NOW)
    assert not leases.is_due("2026-01-31T12:00:01Z", NOW)
    assert leases.is_due("2026-01-31T12:00:00Z", NOW)


def ask(**item):
    (only,) = requests([{"name": "web", **item}])
    return only


def test_changes():
    """A fixed time that the server has already is no change, whatever it is by now; not said is not compared; empty withdraws."""
    past = "2020-01-01T00:00:00Z"
    told = ServerMetadata("local", "shop", "web", scheduled_deletion=past)
    assert update(told, ask(scheduled_deletion=past))[2] == {}
    assert update(told, ask())[2] == {}
    new, before, after = update(told, ask(scheduled_deletion=""))
    assert (new.scheduled_deletion, before, after) == ("", {"scheduled_deletion": past}, {"scheduled_deletion": ""})


@pytest.mark.parametrize(
    ("told", "due"),
    [
        ({}, False),
        ({"scheduled_deletion": times.stamp(times.now())}, True),
        ({"reclaim_at": times.stamp(times.now())}, True),
        ({"scheduled_deletion": times.stamp(times.now() + timedelta(minutes=1))}, False),
        ({"reclaim_at": times.stamp(times.now() + timedelta(minutes=1))}, False),
    ],
)
def test_whose_time_has_come(told, due):
    """Spec D8, B7."""
    assert is_due(ServerMetadata("local", "shop", "web", **told)) is due
