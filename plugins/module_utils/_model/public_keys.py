# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Public keys, as lines of authorized_keys: [options] type key [comment]."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

from .errors import InvalidInput

_TYPES = ("ssh-", "ecdsa-", "sk-")


def check_public_key(option: str, line: str) -> str:
    """Validate one public key; returns it without the blanks around it.

    :raises InvalidInput: when it is not one line of a type and a key.
    """
    if len(line.split()) < 2 or "\n" in line.strip():
        raise InvalidInput(option, line, "is not an OpenSSH public key", "Paste the one line of the .pub file")
    return line.strip()


def identity(line: str) -> str:
    """The key itself: two lines of the same key may differ in options and comment."""
    words = line.split()
    return next((key for kind, key in itertools.pairwise(words) if kind.startswith(_TYPES)), line.strip())


def missing(wanted: Iterable[str], there: Sequence[str]) -> list[str]:
    """The wanted lines whose keys are not there."""
    known = set(map(identity, there))
    return [line for line in wanted if identity(line) not in known]


def found(there: Iterable[str], keys: Iterable[str]) -> list[str]:
    """The lines that are there of these keys."""
    asked = set(map(identity, keys))
    return [line for line in there if identity(line) in asked]
