# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Removes what the peers have made."""

from __future__ import annotations

from engines import OVERLAYS, POOL, connect

connection = connect()
for domain in connection.listAllDomains():
    if domain.name().startswith("peer-"):
        if domain.isActive():
            domain.destroy()
        domain.undefine()
pool = connection.storagePoolLookupByName(POOL)
pool.refresh()
for volume in pool.listAllVolumes():
    if volume.name().startswith("peer-"):
        volume.delete()
for path in OVERLAYS.glob("peer-*.qcow2"):
    path.unlink()
print(0)
