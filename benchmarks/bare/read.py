# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads as many servers, definition and state, and all ports: what a run with nothing to change has to know."""

from __future__ import annotations

import sys
import time

import libvirt
from engines import transact

count = int(sys.argv[1])
started = time.perf_counter()
connection = libvirt.openReadOnly("qemu:///system")
found = [domain for domain, _state in connection.getAllDomainStats(libvirt.VIR_DOMAIN_STATS_STATE) if domain.name().startswith("bench.")]
texts = [domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE) for domain in found[:count]]
columns = ["name", "addresses", "port_security", "external_ids", "options"]
(ports,) = transact({"op": "select", "table": "Logical_Switch_Port", "where": [], "columns": columns})
seconds = time.perf_counter() - started
if len(texts) != count or len(ports["rows"]) < count:
    raise SystemExit(f"{len(texts)} servers, {len(ports['rows'])} ports")
print(seconds)
