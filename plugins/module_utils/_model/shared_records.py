# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is kept of a server beside its disks in shared storage, so that another host can start it when its own is dead (spec EV-22)."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from .errors import EcsError

DIRECTORY = ".altostratus"
"""In the directory of a shared pool; role hypervisor's file shared_owner.py knows it, too."""


@dataclass(frozen=True)
class Record:
    """A server.

    :param id: its own.
    :param owner: the host that may run it, and nobody else.
    :param heir: the host that it is moving to; empty for none.
    :param server: what hypervisor_info tells of it.
    :param running: whether it shall run.
    :param xml: its definition, secrets included.
    :param files: what else it has on its host, by path.
    """

    id: str
    owner: str
    heir: str
    server: Mapping[str, Any]
    running: bool
    xml: str = field(repr=False)
    files: Mapping[str, bytes] = field(repr=False)


def dump(record: Record) -> str:
    """The record as it is kept."""
    encoded = {path: base64.b64encode(content).decode() for path, content in record.files.items()}
    return json.dumps({**asdict(record), "files": encoded}, indent=1, sort_keys=True) + "\n"


def load(text: str, where: str) -> Record:
    """Read what :func:`dump` wrote; unknown keys are ignored so that older code reads newer files.

    :raises EcsError: ECS_SHARED_RECORD when it is broken.
    """
    try:
        data = json.loads(text)
        values = {item.name: data[item.name] for item in fields(Record)}
        decoded = {path: base64.b64decode(content, validate=True) for path, content in values["files"].items()}
        return Record(**{**values, "files": decoded})
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise EcsError(f"{where} is broken ({error})", "ECS_SHARED_RECORD", "A run of module server on its host writes it anew") from error
