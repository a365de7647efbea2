# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names and identities: every run on every machine computes the same ids (design: deterministic identity)."""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from .errors import InvalidInput

_NAMESPACE = uuid.UUID("5f0c1f2e-6f0e-5b7e-9d3a-0e6f9b1c2d4a")
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_PROJECT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
_BATCH = re.compile(r"(?P<prefix>.*)\[(?P<begin>[0-9]{1,4}),(?P<bits>[1-4])\](?P<suffix>.*)")


@dataclass(frozen=True)
class Scope:
    """Where a resource lives: ids are unique within region and project."""

    region: str = "local"
    project: str = "default"

    def __post_init__(self) -> None:
        for option, value in (("region", self.region), ("project", self.project)):
            if not _PROJECT.fullmatch(value):
                raise InvalidInput(
                    option, value, "is not a valid name", "Use 1 to 63 letters, digits, _ or -, first a letter or digit"
                )

    def id(self, kind: str, name: str) -> str:
        """The id of a resource: UUIDv5 of region/project/kind/name."""
        return str(uuid.uuid5(_NAMESPACE, f"{self.region}/{self.project}/{kind}/{name}"))

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


def check_unique(option: str, names: Iterable[str], problem: str = "is listed twice") -> None:
    """Refuse a name that stands twice in what a user wrote."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise InvalidInput(option, name, problem, "Names are unique; merge the two entries, or rename one")
        seen.add(name)


def batch_names(name: str, count: int | None) -> Iterator[str]:
    """The names of a batch of servers (spec M4, M5).

    ``None`` means one server of just that name; a count appends -0001, -0002 ..., or fills ``prefix[begin,bits]suffix``.

    :raises InvalidInput: when the numbers do not fit in the bits (spec appendix B).
    """
    pattern = _BATCH.fullmatch(name)
    if pattern is None:
        if count is None:
            yield check_name("name", name)
        else:
            for number in range(1, count + 1):
                yield check_name("name", f"{name}-{number:04d}")
        return
    begin, bits = int(pattern["begin"]), int(pattern["bits"])
    last = begin + (1 if count is None else count) - 1
    if len(str(last)) > bits:
        raise InvalidInput("name", name, f"has {bits} digits, number {last} needs more", "Raise the bits or lower begin or count")
    for number in range(begin, last + 1):
        yield check_name("name", f"{pattern['prefix']}{number:0{bits}d}{pattern['suffix']}")


def hostname(name: str, server_id: str) -> str:
    """The guest's first host name, derived from the server's name (spec M3, RFC 952/1123)."""
    text = re.sub(r"^[^A-Za-z0-9]+", "", name)
    text = re.split(r"[^A-Za-z0-9_-]", text, maxsplit=1)[0]
    text = re.sub(r"[-_]*_[-_]*|-+", "-", text)
    return text.strip("-")[:63].rstrip("-") or f"ecs-{server_id[:8]}"
