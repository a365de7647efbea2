# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names and identities: every run on every machine computes the same ids (design: deterministic identity)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from .errors import InvalidInput

_NAMESPACE = "5f0c1f2e-6f0e-5b7e-9d3a-0e6f9b1c2d4a"
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_PROJECT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
_HOSTNAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
WINDOWS_NAME = 15
"""Characters of a Windows guest's name (spec M2)."""
_BATCH = re.compile(r"(?P<prefix>.*)\[(?P<begin>[0-9]{1,4}),(?P<bits>[1-4])\](?P<suffix>.*)")


def derived_id(namespace: str, name: str) -> str:
    """The UUIDv5 (RFC 9562) of a name within another UUID, as text; the standard library's takes four times as long, which tens of
    thousands of rows feel."""
    digest = hashlib.sha1(bytes.fromhex(namespace.replace("-", "")) + name.encode(), usedforsecurity=False).hexdigest()
    variant = "89ab"[int(digest[16], 16) & 3]
    return f"{digest[:8]}-{digest[8:12]}-5{digest[13:16]}-{variant}{digest[17:20]}-{digest[20:32]}"


@dataclass(frozen=True)
class Scope:
    """Where a resource lives: ids are unique within region and project."""

    region: str = "local"
    project: str = "default"

    def __post_init__(self) -> None:
        for option, value in (("region", self.region), ("project", self.project)):
            if not _PROJECT.fullmatch(value):
                raise InvalidInput(option, value, "is not a valid name", "Use 1 to 63 letters, digits, _ or -, first a letter or digit")

    def id(self, kind: str, name: str) -> str:
        """The id of a resource: UUIDv5 of region/project/kind/name."""
        return derived_id(_NAMESPACE, f"{self.region}/{self.project}/{kind}/{name}")

    def domain(self, server: str) -> str:
        """The libvirt domain's name; a project holds no dot, so the first dot parts the two."""
        return f"{self.project}.{server}"


def mac_address(port_id: str) -> str:
    """The MAC address of a port: the ECS prefix fa:16:3e (spec X-6) and three octets of a hash of the port's id."""
    digest = hashlib.sha256(port_id.encode()).digest()
    return "fa:16:3e:" + ":".join(f"{octet:02x}" for octet in digest[:3])


def tap_name(port_id: str) -> str:
    """The host interface of a port: tap + 11 characters of its id, within IFNAMSIZ (spec MD16)."""
    return f"tap{port_id[:11]}"


def disk_serial(volume_id: str) -> str:
    """The serial that a guest sees in /dev/disk/by-id: virtio-blk shows 20 characters only (spec D-05)."""
    return volume_id.replace("-", "")[:20]


def check_name(option: str, value: str) -> str:
    """Validate a resource name (spec M1, G3): 1 to 64 letters, digits, ``_``, ``.``, ``-``."""
    if not _NAME.fullmatch(value or ""):
        raise InvalidInput(option, value, "is not a valid name", "Use 1 to 64 letters, digits, _ . or -")
    return value


def check_hostname(option: str, value: str) -> str:
    """Validate a host name that the user gave (spec M3, RFC 952/1123): one label of letters, digits and inner hyphens."""
    if not _HOSTNAME.fullmatch(value or ""):
        raise InvalidInput(option, value, "is not a valid host name", "Use 1 to 63 letters, digits and, between them, hyphens")
    return value


def check_unique(option: str, names: Iterable[str], problem: str = "is listed twice") -> None:
    """Refuse a name that stands twice in what a user wrote."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise InvalidInput(option, name, problem, "Names are unique; merge the two entries, or rename one")
        seen.add(name)


def check_windows_name(option: str, value: str) -> None:
    """A Windows guest's name is its NetBIOS name (spec M2); that it is unique holds for every server."""
    if len(value) > WINDOWS_NAME:
        raise InvalidInput(option, value, f"has {len(value)} characters", f"A Windows server's name has at most {WINDOWS_NAME}")


def numbered_name(option: str, name: str, number: int) -> str:
    """The *number*-th name of a batch, from 0 on: ``-0001`` is appended, or ``prefix[begin,bits]suffix`` filled (spec M4, M5).

    :param option: where the name was written.
    :raises InvalidInput: when the number does not fit in the bits (spec appendix B).
    """
    pattern = _BATCH.fullmatch(name)
    if pattern is None:
        return f"{name}-{number + 1:04d}"
    begin, bits = int(pattern["begin"]), int(pattern["bits"])
    if len(str(begin + number)) > bits:
        raise InvalidInput(option, name, f"has {bits} digits, number {begin + number} needs more", "Raise the bits or lower begin or count")
    return f"{pattern['prefix']}{begin + number:0{bits}d}{pattern['suffix']}"


def batch_names(name: str, count: int | None, option: str = "name", check: Callable[[str, str], str] = check_name) -> list[str]:
    """The names of a batch of servers, or their host names (spec M4, M5), each checked.

    :param count: None for one, of just that name unless it is a pattern.
    """
    if count is None and _BATCH.fullmatch(name) is None:
        return [check(option, name)]
    return [check(option, numbered_name(option, name, number)) for number in range(count or 1)]


def hostname(name: str, server_id: str) -> str:
    """The guest's first host name, derived from the server's name (spec M3, RFC 952/1123)."""
    text = re.sub(r"^[^A-Za-z0-9]+", "", name)
    text = re.split(r"[^A-Za-z0-9_-]", text, maxsplit=1)[0]
    text = re.sub(r"[-_]*_[-_]*|-+", "-", text)
    return text.strip("-")[:63].rstrip("-") or f"ecs-{server_id[:8]}"
