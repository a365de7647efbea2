# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A domain's screen: pictures of it, and the password that VNC lets somebody in by."""

from __future__ import annotations

import time
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from typing import Any

_LIFETIME = "%Y-%m-%dT%H:%M:%S"


@dataclass(frozen=True)
class Screen:
    """Where a domain's VNC server listens, and whether it asks for a password at all."""

    address: str
    port: int
    guarded: bool


def _graphics(domain: Any, flags: int) -> ET.Element | None:
    return ET.fromstring(domain.XMLDesc(flags)).find("devices/graphics[@type='vnc']")  # noqa: S314 - what libvirt wrote


def find_screen(domain: Any) -> Screen | None:
    """The screen of a running domain; None where it has none."""
    import libvirt

    node = _graphics(domain, libvirt.VIR_DOMAIN_XML_SECURE)
    if node is None:
        return None
    return Screen(node.get("listen", ""), int(node.get("port", "-1")), node.get("passwd") is not None)


def set_password(domain: Any, password: str, until: float, live: bool) -> None:
    """Let somebody in by a password until a time, who then may stay; nobody else.

    :param until: seconds since the epoch.
    :param live: for the running domain; else for its next start.
    """
    import libvirt

    flags = libvirt.VIR_DOMAIN_XML_SECURE | (0 if live else libvirt.VIR_DOMAIN_XML_INACTIVE)
    node = _graphics(domain, flags)
    if node is None:
        return
    node.set("passwd", password)
    node.set("passwdValidTo", time.strftime(_LIFETIME, time.gmtime(until)))
    affected = libvirt.VIR_DOMAIN_AFFECT_LIVE if live else libvirt.VIR_DOMAIN_AFFECT_CONFIG
    domain.updateDeviceFlags(ET.tostring(node, encoding="unicode"), affected)


def screenshot(connection: Any, domain: Any) -> tuple[str, bytes]:
    """What is on a running domain's screen: MIME type and picture."""
    stream = connection.newStream()
    kind = domain.screenshot(stream, 0)
    picture = bytearray()
    stream.recvAll(lambda stream, data, opaque: picture.extend(data), None)
    stream.finish()
    return str(kind), bytes(picture)
