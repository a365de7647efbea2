# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Print, as one JSON object, what role hypervisor needs to know about this host. Reads only.

Argument: a JSON object with what a prepared host has: ``packages``, ``services``, the ``paths`` of directories and files, and ``links``.
While any of the packages or services is missing or stopped, only ``missing`` and ``stopped`` are printed.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree


def output(*arguments: str) -> str:
    """Standard output of a program, whatever its exit code."""
    return subprocess.run(arguments, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False).stdout


def missing(packages: list[str]) -> list[str]:
    installed = output("dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status}\n", *packages).splitlines()
    return [package for package in packages if f"{package} installed" not in installed]


def active(unit: str) -> bool:
    return output("systemctl", "is-active", unit).strip() == "active"


def runs(service: str) -> bool:
    """Whether a service runs now and will after a reboot; one that waits behind its socket runs well enough."""
    sockets = output("systemctl", "show", "--property=TriggeredBy", "--value", service).split()
    return output("systemctl", "is-enabled", service).strip() != "disabled" and any(map(active, [service, *sockets]))


def state(path: Path) -> str:
    """Mode of a directory, mode and SHA-256 of a file, nothing of what is not there."""
    if not path.exists():
        return ""
    mode = f"{path.stat().st_mode & 0o7777:04o}"
    return mode if path.is_dir() else f"{mode} {hashlib.sha256(path.read_bytes()).hexdigest()}"


def interfaces() -> dict[str, dict[str, Any]]:
    return {
        link["ifname"]: {
            "mac": link.get("address", ""),
            "mtu": link["mtu"],
            "addresses": [f"{item['local']}/{item['prefixlen']}" for item in link["addr_info"] if item["scope"] == "global"],
        }
        for link in json.loads(output("ip", "-json", "address", "show"))
    }


def default_interface() -> str:
    routes = json.loads(output("ip", "-json", "route", "show", "default") or "[]")
    return next((route["dev"] for route in routes if "dev" in route), "")


def decode(value: Any) -> Any:
    """OVSDB's JSON notation of maps and sets (RFC 7047, 5.1) as dict and list."""
    if isinstance(value, list) and len(value) == 2 and value[0] == "map":
        return dict(value[1])
    if isinstance(value, list) and len(value) == 2 and value[0] == "set":
        return [decode(item) for item in value[1]]
    return value


def switch() -> dict[str, Any]:
    """Settings and bridges of Open vSwitch."""

    def rows(table: str, columns: str) -> list[dict[str, Any]]:
        listed = json.loads(output("ovs-vsctl", "--format=json", f"--columns={columns}", "list", table))
        return [dict(zip(listed["headings"], map(decode, row), strict=True)) for row in listed["data"]]

    ssl = next(iter(rows("SSL", "private_key,certificate,ca_cert")), {})
    return {
        "external_ids": rows("Open_vSwitch", "external_ids")[0]["external_ids"],
        "ssl": [ssl.get(column, "") for column in ("private_key", "certificate", "ca_cert")],
        "bridges": {
            bridge["name"]: {
                "datapath_type": bridge["datapath_type"],
                "hwaddr": bridge["other_config"].get("hwaddr", ""),
                "ports": output("ovs-vsctl", "list-ports", bridge["name"]).split(),
            }
            for bridge in rows("Bridge", "name,datapath_type,other_config")
        },
        # Fails where the kernel lacks the datapath.
        "kernel_datapath": subprocess.run(["ovs-dpctl", "dump-dps"], capture_output=True, check=False).returncode == 0,
    }


def pools() -> dict[str, dict[str, Any]]:
    import libvirt

    connection = libvirt.open("qemu:///system")
    try:
        found = {}
        for pool in connection.listAllStoragePools():
            xml = ElementTree.fromstring(pool.XMLDesc())  # noqa: S314 - written by the local libvirt
            found[pool.name()] = {
                "type": xml.get("type"),
                "path": xml.findtext("target/path", ""),
                "active": bool(pool.isActive()),
                "autostart": bool(pool.autostart()),
            }
        return found
    finally:
        connection.close()


def settings(path: str) -> str:
    """The role's own part of a file of libvirt's."""
    rest = Path(path).read_text().partition("# BEGIN altostratus.ecs\n")[2]
    return rest.partition("# END altostratus.ecs")[0]


def settled() -> dict[str, Any]:
    """What an earlier run wrote for the collection's modules."""
    try:
        return json.loads(Path("/etc/altostratus/host.json").read_text())
    except (OSError, ValueError):
        return {}


def survey(packages: list[str], services: list[str], paths: list[str], links: list[str]) -> dict[str, Any]:
    ready = {"missing": missing(packages), "stopped": []}
    ready["stopped"] = [] if ready["missing"] else [service for service in services if not runs(service)]
    if ready["missing"] or ready["stopped"]:
        return ready
    return {
        **ready,
        "machine": platform.machine(),
        "container": output("systemd-detect-virt", "--container").strip() not in ("", "none"),
        "kvm_device": Path("/dev/kvm").exists(),
        "interfaces": interfaces(),
        "default_interface": default_interface(),
        "switch": switch(),
        "pools": pools(),
        "paths": {path: state(Path(path)) for path in paths},
        "qemu_settings": settings("/etc/libvirt/qemu.conf"),
        "libvirtd_settings": settings("/etc/libvirt/libvirtd.conf"),
        "links": {link: os.readlink(link) for link in links if os.path.islink(link)},
        "tls_socket": runs("libvirtd-tls.socket"),
        "network_service": runs("altostratus-network.service"),
        "metadata_service": runs("altostratus-metadata.service"),
        "timers": all(map(runs, ("altostratus-host.timer", "altostratus-reclaim.timer"))),
        "settled": settled(),
    }


if __name__ == "__main__":
    print(json.dumps(survey(**json.loads(sys.argv[1]))))
