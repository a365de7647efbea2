# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""virt-install, one server after another, as a loop in a shell would call it."""

from __future__ import annotations

import subprocess
import sys
import time

from engines import PEER, POOL

image, count = sys.argv[1], int(sys.argv[2])
started = time.perf_counter()
for number in range(count):
    subprocess.run(
        [
            "virt-install", "--connect", "qemu:///system", "--name", PEER.format(number), "--memory", "64", "--vcpus", "1",
            "--virt-type", "qemu", "--osinfo", "detect=off,require=off", "--import", "--network", "none", "--graphics", "none",
            "--disk", f"pool={POOL},size=1,backing_store={image},backing_format=qcow2", "--noautoconsole",
        ],
        check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
    )  # fmt: skip
print(time.perf_counter() - started)
