# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes again what was recorded: one transaction, then as many servers at once as there are cores."""

from __future__ import annotations

import json
import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor

from engines import CONFIG_DRIVES, POOL, RECORD, connect, transact

record = json.loads((RECORD / "record.json").read_text())
started = time.perf_counter()
connection = connect()
pool = connection.storagePoolLookupByName(POOL)
transact(*record["operations"])


def make(server: dict[str, str]) -> None:
    """One server."""
    pool.createXML(server["volume"])
    shutil.copy(RECORD / server["drive"], CONFIG_DRIVES)
    domain = connection.defineXML(server["xml"])
    domain.setAutostart(1)
    domain.create()


with ThreadPoolExecutor(os.cpu_count()) as threads:
    list(threads.map(make, record["servers"]))
print(time.perf_counter() - started)
