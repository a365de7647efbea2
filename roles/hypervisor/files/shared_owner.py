# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps this host from running servers that another host has taken over from it while it was dead.

libvirt runs it as a hook before each start, with the domain's XML on its standard input, and starts nothing when it fails; it may not
talk to libvirt then. With the argument ``sweep``, after the host's own start, it removes what is left here of such servers.
"""

from __future__ import annotations

import glob
import json
import os
import shutil
import subprocess
import sys
from typing import Any
from xml.etree import ElementTree

HOST_FILE = "/etc/altostratus/host.json"
LOGS = "/var/log/altostratus"


def settings() -> dict[str, Any]:
    with open(HOST_FILE, encoding="utf-8") as stream:
        return json.load(stream)


def owner(host: dict[str, Any], server: str) -> str:
    """The other host that the server belongs to; empty where it may run here."""
    for path in host.get("shared_pools", {}).values():
        try:
            with open(os.path.join(path, ".altostratus", f"{server}.json"), encoding="utf-8") as stream:
                record = json.load(stream)
        except FileNotFoundError:
            continue
        if host["name"] not in (record["owner"], record["heir"]):
            return str(record["owner"])
    return ""


def check_start(host: dict[str, Any], xml: str) -> int:
    root = ElementTree.fromstring(xml)  # noqa: S314 - written by the local libvirt
    if elsewhere := owner(host, root.findtext("uuid", "")):
        print(f"{root.findtext('name')} belongs to {elsewhere}, which took it over from {host['name']}", file=sys.stderr)
        return 1
    return 0


def sweep(host: dict[str, Any]) -> int:
    import libvirt

    connection, running = libvirt.open("qemu:///system"), 0
    flags = libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
    for domain in connection.listAllDomains():
        server = domain.UUIDString()
        if elsewhere := owner(host, server):
            if domain.isActive():
                print(f"{domain.name()} runs here, but belongs to {elsewhere}: stop one of them", file=sys.stderr)
                running += 1
                continue
            interfaces = ElementTree.fromstring(domain.XMLDesc()).iterfind("devices/interface/target")  # noqa: S314 - as above
            domain.undefineFlags(flags)
            for path in (*glob.glob(f"{host['config_drives']}/{server}*"), *glob.glob(f"{LOGS}/{domain.name()}.log*")):
                os.unlink(path)
            for link in glob.glob(f"{host['metadata']}/subnets/*/*"):
                if os.path.islink(link) and os.path.basename(os.readlink(link)) == server:
                    os.unlink(link)
            shutil.rmtree(f"{host['metadata']}/servers/{server}", ignore_errors=True)
            # A switch that lost its power remembers the ports of guests that never ended.
            for port in [target.get("dev", "") for target in interfaces]:
                subprocess.run(["ovs-vsctl", "--if-exists", "del-port", "br-int", port], check=False)
            print(f"{domain.name()} belongs to {elsewhere} now")
    return min(running, 1)


if __name__ == "__main__":
    if sys.argv[1:] == ["sweep"]:
        sys.exit(sweep(settings()))
    if sys.argv[2:4] == ["prepare", "begin"]:
        sys.exit(check_start(settings(), sys.stdin.read()))
