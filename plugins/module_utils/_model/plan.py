# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plans: what a run will do, as data. Check mode reports a plan, diff mode renders it, a real run executes it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Step:
    """One change of one resource.

    :param action: create, update, delete, start, stop, attach, detach ...
    :param kind: the resource: server, port, volume, vpc ...
    :param name: the resource's name as the user knows it.
    :param before: the fields that change, as they are; empty for a create.
    :param after: the fields that change, as they will be; empty for a delete.
    """

    action: str
    kind: str
    name: str
    before: Mapping[str, Any] = field(default_factory=dict)
    after: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.action} {self.kind} {self.name}"


def changes(live: Mapping[str, Any], wanted: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The fields of *wanted* that differ in *live*, as (before, after); None in *wanted* means "leave as it is"."""
    keys = [key for key, value in wanted.items() if value is not None and live.get(key) != value]
    return {key: live.get(key) for key in keys}, {key: wanted[key] for key in keys}


def diff(steps: Iterable[Step]) -> dict[str, dict[str, Any]]:
    """Render steps for Ansible's --diff: one mapping before, one after, keyed by ``kind name``."""
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}
    for step in steps:
        key = f"{step.kind} {step.name}"
        if step.before:
            before.setdefault(key, {}).update(step.before)
        if step.after:
            after.setdefault(key, {}).update(step.after)
    return {"before": before, "after": after}
