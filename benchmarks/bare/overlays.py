# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes the disks for a peer that has no words for them."""

from __future__ import annotations

import subprocess
import sys

from engines import OVERLAYS, PEER

image, count = sys.argv[1], int(sys.argv[2])
for number in range(count):
    path = OVERLAYS / f"{PEER.format(number)}.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", image, "-F", "qcow2", path], check=True)
print(0)
