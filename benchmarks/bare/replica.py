# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads one port, or changes it, by way of the library's replica of the whole Northbound; runs with the system's Python, whose ovs has
the parser in C.

``replica.py REMOTE SCHEMA NAME read|change``; prints, last, the seconds that it took.
"""

from __future__ import annotations

import sys
import time

import ovs.db.idl
import ovs.poller

remote, schema, name, what = sys.argv[1:]
started = time.perf_counter()
helper = ovs.db.idl.SchemaHelper(schema)
helper.register_all()
idl = ovs.db.idl.Idl(remote, helper)
while not idl.has_ever_connected():
    if not idl.run():
        poller = ovs.poller.Poller()
        idl.wait(poller)
        poller.block()
(port,) = (row for row in idl.tables["Logical_Switch_Port"].rows.values() if row.external_ids.get("ecs:name") == name)
if not port.addresses:
    raise SystemExit(f"port {name} has no address")
if what == "change":
    transaction = ovs.db.idl.Transaction(idl)
    port.port_security = [] if port.port_security else port.addresses
    if transaction.commit_block() != ovs.db.idl.Transaction.SUCCESS:
        raise SystemExit("the change failed")
print(time.perf_counter() - started)
