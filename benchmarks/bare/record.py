# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Records what ours has made: domains, volumes and config drives, the rows of the ports and where those hang."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from typing import Any

import libvirt
from engines import CONFIG_DRIVES, POOL, RECORD, connect, recipe, transact

connection = connect()
pool = connection.storagePoolLookupByName(POOL)
servers = []
for domain in connection.listAllDomains():
    if domain.name().startswith("bench."):
        drive = f"{domain.UUIDString()}.iso"
        shutil.copy(CONFIG_DRIVES / drive, RECORD)
        volume = pool.storageVolLookupByName(f"{domain.name()}-system.qcow2")
        servers.append({"xml": domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE), "drive": drive, "volume": recipe(volume)})

mine = ["external_ids", "includes", ["map", [["ecs:project", "bench"]]]]
tables = ("Logical_Switch_Port", "Logical_Switch", "Port_Group")
ports, switches, groups = (found["rows"] for found in transact(*({"op": "select", "table": table, "where": [mine]} for table in tables)))
ports = [port for port in ports if port["type"] == ""]
members = {port["_uuid"][1] for port in ports}


def hang(table: str, rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The operations that put the ports into the switches, or the groups, that hold them."""
    for row in rows:
        held = row["ports"][1] if row["ports"][0] == "set" else [row["ports"]]
        if held := [item for item in held if item[1] in members]:
            yield {
                "op": "mutate",
                "table": table,
                "where": [["_uuid", "==", row["_uuid"]]],
                "mutations": [["ports", "insert", ["set", held]]],
            }


operations = [
    {
        "op": "insert",
        "table": "Logical_Switch_Port",
        "uuid": port["_uuid"][1],
        "row": {column: value for column, value in port.items() if column not in ("_uuid", "_version", "up")},
    }
    for port in ports
]
operations += [*hang("Logical_Switch", switches), *hang("Port_Group", groups)]
if not servers or len(servers) != len(ports):
    raise SystemExit(f"{len(servers)} servers, {len(ports)} ports")
(RECORD / "record.json").write_text(json.dumps({"servers": servers, "operations": operations}))
print(0)
