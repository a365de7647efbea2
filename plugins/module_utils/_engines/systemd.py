# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Units of systemd."""

from __future__ import annotations

import os
import subprocess

from .._model.errors import EcsError


def systemctl(*arguments: str) -> None:
    """Call systemctl; where systemd does not run the machine there is nothing to start or stop.

    :raises EcsError: ECS_SYSTEMD with what it says.
    """
    if not os.path.isdir("/run/systemd/system"):
        return
    done = subprocess.run(["systemctl", *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        units = " ".join(arguments)
        raise EcsError(f"systemctl {units}: {done.stderr.strip()}", "ECS_SYSTEMD", "journalctl --unit tells more of what failed")
