# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The password policy, with the guide's own examples (spec M9, P-01, V-11, appendix B)."""

from __future__ import annotations

import pytest

from ansible_collections.altostratus.ecs.plugins.module_utils._model.errors import EcsError
from ansible_collections.altostratus.ecs.plugins.module_utils._model.passwords import SPECIALS, check_password


@pytest.mark.parametrize(
    ("password", "user", "os_type"),
    [
        ("Cloud.1234!", "root", "linux"),
        ("Xnis12345!", "Administrator", "linux"),
        ("Abc12345", "root", "linux"),
        ("Ab1!" * 2, "root", "linux"),
        ("Ab1!" * 6 + "x1", "root", "linux"),
        *((f"Abcd123{special}", "root", os_type) for special in SPECIALS for os_type in ("linux", "windows")),
        ("Xni5sin1!", "Administrator", "windows"),
    ],
)
def test_good(password: str, user: str, os_type: str) -> None:
    assert check_password("password", password, user, os_type) == password


@pytest.mark.parametrize(
    ("password", "user", "os_type", "problem"),
    [
        ("Xnis12345!", "Administrator", "windows", "three characters in a row from the user name Administrator"),
        ("Hadm12345!", "Administrator", "windows", "three characters in a row"),
        ("toor!A1b2c", "root", "linux", "the user name root, or it backwards"),
        ("toor1234A", "root", "linux", "backwards"),
        ("Root1234!", "root", "linux", "the user name root"),
        ("Abcdefgh", "root", "linux", "has 2 of the four kinds"),
        ("abcdefgh", "root", "linux", "has 1 of the four kinds"),
        ("Abc123!", "root", "linux", "has 7 characters"),
        ("Ab1!" * 6 + "x1!", "root", "linux", "has 27 characters"),
        ("Abc 12345", "root", "linux", "not allowed"),
        ("Abc\n12345", "root", "linux", "not allowed"),
        ("Äbc12345", "root", "linux", "not allowed"),
        ("", "root", "linux", "has 0 characters"),
    ],
)
def test_bad(password: str, user: str, os_type: str, problem: str) -> None:
    """The error names the option and the rule, and keeps the password to itself."""
    with pytest.raises(EcsError) as caught:
        check_password("password", password, user, os_type)
    assert str(caught.value).startswith("password: the password ")
    assert problem in str(caught.value)
    assert caught.value.code == "ECS_INVALID_INPUT"
    assert not password or password not in str(caught.value)
