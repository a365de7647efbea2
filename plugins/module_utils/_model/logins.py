# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How one logs in to a new server, and as whom (spec M7, M8)."""

from __future__ import annotations

PASSWORD, KEY_PAIR, LATER = "password", "key_pair", "later"
_CORE = "core"


def mode(password: bool, key_pair: bool) -> str:
    """The login mode (spec M7); without password and key pair somebody sets a password later."""
    return PASSWORD if password else KEY_PAIR if key_pair else LATER


def user(default_user: str, os_type: str, login: str) -> str:
    """Who logs in: the image's user, else root or Administrator (spec M8).

    CoreOS knows its user ``core`` by key only; with a password it is root there too.
    """
    if default_user == _CORE and login == PASSWORD:
        return "root"
    return default_user or ("Administrator" if os_type == "windows" else "root")
