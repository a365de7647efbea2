# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lines of authorized_keys: which are keys, and which are the same key."""

from __future__ import annotations

import pytest

from ansible_collections.altostratus.ecs.plugins.module_utils._model import public_keys
from ansible_collections.altostratus.ecs.plugins.module_utils._model.errors import InvalidInput


@pytest.mark.parametrize(
    "line",
    [
        "ssh-ed25519 AAAAC3 ops",
        "ssh-ed25519 AAAAC3",
        "  ssh-ed25519   AAAAC3   another comment",
        'restrict,command="echo hello world" ssh-ed25519 AAAAC3 ops',
    ],
)
def test_the_same_key(line: str) -> None:
    assert public_keys.identity(line) == "AAAAC3"
    assert public_keys.missing([line], ["ssh-ed25519 AAAAC3 x"]) == []
    assert public_keys.found([line, "ssh-rsa AAAAB3"], ["ssh-ed25519 AAAAC3 x"]) == [line]


@pytest.mark.parametrize("line", ["ssh-rsa AAAAB3 ops", "ecdsa-sha2-nistp256 AAAAE2", "sk-ssh-ed25519@openssh.com AAAAGn"])
def test_another_key(line: str) -> None:
    assert public_keys.missing([line], ["ssh-ed25519 AAAAC3"]) == [line]
    assert public_keys.check_public_key("public_keys", f" {line}\n") == line


@pytest.mark.parametrize("line", ["", "ssh-rsa", "ssh-rsa AAAAB3\nssh-rsa AAAAB4", "---- BEGIN SSH2 PUBLIC KEY ----\nAAAAB3"])
def test_no_key(line: str) -> None:
    with pytest.raises(InvalidInput, match=r"Paste the one line of the \.pub file"):
        public_keys.check_public_key("public_keys", line)
