# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hashes of passwords, as /etc/shadow holds them (spec UD13). Python has lost its crypt module; every hypervisor has openssl."""

from __future__ import annotations

import subprocess

from .._model.errors import EcsError


def sha512_crypt(password: str) -> str:
    """The salted SHA-512 crypt of a password, which goes to openssl by its standard input.

    :raises EcsError: ECS_OPENSSL when openssl is missing or fails.
    """
    try:
        hashed = subprocess.run(["openssl", "passwd", "-6", "-stdin"], input=password, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise EcsError("cannot hash a password: openssl is missing", "ECS_OPENSSL", "Install openssl") from error
    if hashed.returncode or not hashed.stdout.startswith("$6$"):
        raise EcsError(f"openssl cannot hash a password: {hashed.stderr.strip()}", "ECS_OPENSSL", "Does openssl passwd -6 work?")
    return hashed.stdout.strip()
