# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a login password must be like (spec M9, P-01)."""

from __future__ import annotations

import string

from .errors import EcsError

SHORTEST, LONGEST = 8, 26
SPECIALS = "!@$%^&-_=+[{()}];:,./?~#*"
"""All that the guide's tables allow; they differ, so this is their union, for every operating system (spec F-01, appendix B)."""
_CLASSES = (string.ascii_uppercase, string.ascii_lowercase, string.digits, SPECIALS)
_HINT = f"Use {SHORTEST} to {LONGEST} characters of at least three kinds: capital and small letters, digits, {SPECIALS}"


def _problem(password: str, user: str, os_type: str) -> str:
    if not SHORTEST <= len(password) <= LONGEST:
        return f"has {len(password)} characters"
    if not set(password) <= set("".join(_CLASSES)):
        return "has a character that is not allowed"
    kinds = sum(bool(set(password) & set(kind)) for kind in _CLASSES)
    if kinds < 3:
        return f"has {kinds} of the four kinds of characters"
    text, name = password.lower(), user.lower()
    if name in text or name[::-1] in text:
        return f"contains the user name {user}, or it backwards"
    if os_type == "windows" and any(name[start : start + 3] in text for start in range(len(name) - 2)):
        return f"has three characters in a row from the user name {user}"
    return ""


def check_password(option: str, password: str, user: str = "root", os_type: str = "linux") -> str:
    """Validate a login password; the error never tells it.

    :param option: the module's option that it came by.
    :param user: whose password it shall be; neither it nor its reverse may occur, in any case.
    :param os_type: linux or windows.
    :raises EcsError: ECS_INVALID_INPUT tells what is wrong.
    """
    if problem := _problem(password, user, os_type):
        raise EcsError(f"{option}: the password {problem}", "ECS_INVALID_INPUT", _HINT)
    return password
