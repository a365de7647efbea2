# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The config drive as cloud-init's source NoCloud reads it: the same that :mod:`.cloud_init` says, laid out otherwise."""

from __future__ import annotations

import email
import json
from collections.abc import Mapping
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from typing import Any

from .cloud_init import BASE, Login, login_of, render

LABEL = "cidata"


def files(content: Mapping[str, bytes]) -> dict[str, bytes]:
    """The drive's files by path.

    :param content: what :func:`cloud_init.files` says.
    """
    about = json.loads(content[f"{BASE}/meta_data.json"])
    networks = json.loads(content[f"{BASE}/network_data.json"])
    told = {
        "instance-id": about["uuid"],
        "local-hostname": about["hostname"],
        "availability-zone": about["availability_zone"],
        "region": about["region_id"],
        "public-keys": [key["data"] for key in about.get("keys", ())],
    }
    vendor = json.loads(content.get(f"{BASE}/vendor_data.json", b"{}")).get("cloud-init", [])
    return {
        "meta-data": render(told),
        # NoCloud takes a drive without it for none of its own.
        "user-data": content.get(f"{BASE}/user_data", b""),
        "vendor-data": _vendor_data([vendor] if isinstance(vendor, str) else vendor).encode(),
        "network-config": render(_network_config(networks)),
    }


def _network_config(networks: Mapping[str, Any]) -> dict[str, Any]:
    """Every interface by DHCP, known by its MAC address."""
    return {
        "version": 2,
        "ethernets": {
            link["id"]: {"match": {"macaddress": link["ethernet_mac_address"]}, "dhcp4": True, "mtu": link["mtu"]}
            for link in networks["links"]
        },
    }


def _vendor_data(parts: list[str]) -> str:
    if len(parts) < 2:
        return "".join(parts)
    message = MIMEMultipart(boundary="==ecs==")
    for part in parts:
        kind = part.split("\n", 1)[0].removeprefix("#")
        message.attach(MIMEText(part, kind, "us-ascii"))
    return message.as_string()


def read_login(content: Mapping[str, bytes]) -> Login:
    """What the drive says of those who log in; the reverse of :func:`files`."""
    about, vendor = json.loads(content["meta-data"]), email.message_from_bytes(content["vendor-data"])
    parts = [str(part.get_payload()) for part in vendor.walk() if not part.is_multipart()]
    user_data = content["user-data"]
    # Vendor data of one part is no message: all of it may have been taken for headers.
    text = "\n".join(parts) if vendor.is_multipart() else content["vendor-data"].decode()
    return login_of(about["public-keys"], text, user_data or None)
