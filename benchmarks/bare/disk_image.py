# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes a raw disk of 1 GiB, a quarter of it data."""

from __future__ import annotations

import os
import sys
from pathlib import Path

MIB = 1 << 20
with Path(sys.argv[1]).open("wb") as stream:
    stream.truncate(1024 * MIB)
    for offset in range(0, 1024, 16):
        stream.seek(offset * MIB)
        stream.write(os.urandom(4 * MIB))
print(0)
