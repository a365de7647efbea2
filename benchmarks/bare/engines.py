# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The bare engines of a hypervisor, for the scripts beside this file.

Those run on a host of the lab, and print, last, the seconds that their work took.
"""

from __future__ import annotations

import json
import socket
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import libvirt

RECORD = Path(__file__).resolve().parent
CONFIG_DRIVES = Path("/var/lib/altostratus/config-drives")
POOL = "standard"
OVERLAYS = Path("/var/lib/libvirt/images")
PEER = "peer-{:04d}"

libvirt.registerErrorHandler(lambda context, error: None, None)


def connect() -> Any:
    """The host's libvirt."""
    return libvirt.open("qemu:///system")


def transact(*operations: dict[str, Any]) -> list[dict[str, Any]]:
    """One transaction of the Northbound."""
    with socket.socket(socket.AF_UNIX) as server:
        server.connect("/run/ovn/ovnnb_db.sock")
        server.sendall(json.dumps({"method": "transact", "params": ["OVN_Northbound", *operations], "id": 1}).encode())
        answer = b""
        while True:
            answer += server.recv(1 << 20)
            try:
                results = json.loads(answer)["result"]
            except ValueError:
                continue
            if problems := [result for result in results if result and result.get("error")]:
                raise RuntimeError(str(problems))
            return results


def recipe(volume: Any) -> str:
    """What makes another volume like this one, an overlay of the same image."""
    found = ET.fromstring(volume.XMLDesc())
    made = ET.Element("volume")
    made.extend([node for node in found if node.tag in ("name", "capacity")])
    for part, children in (("target", ("format",)), ("backingStore", ("path", "format"))):
        ET.SubElement(made, part).extend([node for node in found.iterfind(f"{part}/*") if node.tag in children])
    return ET.tostring(made, encoding="unicode")
