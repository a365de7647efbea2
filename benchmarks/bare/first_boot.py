# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Powers off all guests; then boots one with a new system disk, to the end of cloud-init."""

from __future__ import annotations

import json
import sys
import time

import libvirt
import libvirt_qemu
from engines import POOL, connect, recipe

name = sys.argv[1]
connection = connect()
for domain in connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE):
    domain.destroy()
if not name:
    print(0)
    sys.exit()
pool = connection.storagePoolLookupByName(POOL)
volume = pool.storageVolLookupByName(f"{name}-system.qcow2")
again = recipe(volume)
volume.delete()
pool.createXML(again)
domain = connection.lookupByName(name)
is_done = json.dumps({"execute": "guest-file-open", "arguments": {"path": "/run/cloud-init/result.json"}})
started = time.perf_counter()
domain.create()
while True:
    try:
        libvirt_qemu.qemuAgentCommand(domain, is_done, 2, 0)
        break
    except libvirt.libvirtError:
        time.sleep(0.2)
print(time.perf_counter() - started)
