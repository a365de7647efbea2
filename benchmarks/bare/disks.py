# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes many disks from one image, one qemu-img after another, and removes them: ``disks.py overlays|copies IMAGE COUNT``."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

DISKS = Path("/var/lib/libvirt/images")

if sys.argv[1] == "remove":
    for path in DISKS.glob("bare-*.qcow2"):
        path.unlink()
    print(0)
    sys.exit()
kind, image, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
command = (
    ["create", "-q", "-f", "qcow2", "-b", image, "-F", "qcow2"] if kind == "overlays" else ["convert", "-f", "qcow2", "-O", "qcow2", image]
)
started = time.perf_counter()
for number in range(count):
    subprocess.run(["qemu-img", *command, DISKS / f"bare-{number:04d}.qcow2"], check=True)
print(time.perf_counter() - started)
