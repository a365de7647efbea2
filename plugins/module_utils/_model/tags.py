# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tags: what a key and a value may be (spec M13, TG-1 to TG-3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .errors import InvalidInput

TAGS = 10
"""Tags of one resource."""
_KEY, _VALUE = 36, 43


def check_tags(option: str, tags: Mapping[Any, Any]) -> dict[str, str]:
    """Validate tags and return them as texts; a value may be empty, and None is.

    :raises InvalidInput: when there are too many, a key is blank, or one is too long.
    """
    told = {str(key): "" if value is None else str(value) for key, value in tags.items()}
    if len(told) > TAGS:
        raise InvalidInput(option, sorted(told), f"are {len(told)}", f"Give at most {TAGS} tags")
    for key, value in told.items():
        if not key.strip() or len(key) > _KEY or not key.isprintable():
            raise InvalidInput(option, key, "is no key of a tag", f"Use 1 to {_KEY} printable characters, not only spaces")
        if len(value) > _VALUE or not value.isprintable():
            raise InvalidInput(f"{option}[{key}]", value, "is no value of a tag", f"Use at most {_VALUE} printable characters")
    return told
