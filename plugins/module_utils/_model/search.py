# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finding servers among represented ones, by their properties or by bare values (spec V5 to V11)."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, ip_address
from typing import Any, TypeVar
from uuid import UUID

from . import flavors
from .domain_xml import parse as parse_domain
from .errors import InvalidInput
from .metadata import ServerMetadata
from .names import Scope
from .servers import Server, represent

_Told = TypeVar("_Told", bound=Mapping[str, Any])

_PARTIAL = frozenset({"name", "address", "flavor"})
"""Properties of which a part is enough (spec V7); all others must be complete (V8)."""
_PRIVATE = tuple(map(IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")))
_OF_NICS = frozenset({"subnet", "vpc", "vpc_id", "security_group"})
_TIME = re.compile(r"\d{4}(-\d\d(-\d\d(T\d\d(:\d\d(:\d\dZ?)?)?)?)?)?")


@dataclass(frozen=True)
class Search:
    """What to look for; :func:`parse` makes it.

    :param properties: a server has one of the values of each (spec V9).
    :param tags: keys and values, None for any value; a server has all of them (spec V10).
    :param words: complete ids, flavor names or addresses, of which a server has one; without any all are welcome (spec V6).
    """

    properties: Mapping[str, tuple[str, ...]]
    tags: tuple[tuple[str, str | None], ...]
    words: tuple[str, ...]

    def part_of_address(self) -> bool:
        """Whether a part of an address is enough: not when anything else is asked for (spec V8)."""
        return len(self.properties) == len(self.properties.get("address", ())) == 1 and not self.tags and not self.words


def _known() -> set[str]:
    nothing = represent(Server(parse_domain("<domain/>"), ServerMetadata("local", "default", ""), 0, ""))
    return {name for name, value in nothing.items() if not isinstance(value, (list, dict))} | _OF_NICS


def _text(value: Any) -> str:
    if value is None:
        return ""
    if hasattr(value, "isoformat"):  # YAML reads an unquoted date as one
        return str(value.isoformat()).replace("+00:00", "Z")
    return str(value).lower() if isinstance(value, bool) else str(value)


def _alternatives(name: str, wanted: Any) -> Iterator[str]:
    """The values of one property: a list, or a text with commas; ``|`` parts statuses as well (spec V9)."""
    for value in wanted if isinstance(wanted, (list, tuple)) else [wanted]:
        text = _text(value)
        parts = [text] if name == "description" else re.split(r"[,|]" if name == "status" else ",", text)
        yield from [part.strip() for part in parts if part.strip()] or [""]


def _tags(wanted: Any) -> Iterator[tuple[str, str | None]]:
    """Keys and values, from a dictionary or from a list of ``key`` and ``key=value`` (spec V10)."""
    if isinstance(wanted, Mapping):
        for key, values in wanted.items():
            for value in values if isinstance(values, (list, tuple)) else [values]:
                yield str(key), None if value is None else str(value)
        return
    for word in wanted if isinstance(wanted, (list, tuple)) else str(wanted).split(","):
        key, equals, value = str(word).strip().partition("=")
        yield key, value if equals else None


def _check_address(value: str) -> None:
    try:
        address = ip_address(value)
    except ValueError:
        if re.fullmatch(r"[0-9.]*", value):
            return  # a part of one
        raise InvalidInput("filters.address", value, "is no address nor a part of one", "Write for example 10.20.1.10 or 10.20.1") from None
    if isinstance(address, IPv4Address) and not any(address in network for network in _PRIVATE):
        ranges = ", ".join(map(str, _PRIVATE))
        raise InvalidInput("filters.address", value, f"is not a private address ({ranges})", "Public addresses are found by eip")


def _check_time(value: str) -> None:
    for end in value.split("/", 1):
        if not _TIME.fullmatch(end) and not (end == "" and "/" in value):
            hint = "Write a time in UTC or its beginning, such as 2026-01-31, or a range from/to, either of which may be left out"
            raise InvalidInput("filters.created", value, "is no time", hint)


def _word(value: str) -> str:
    """A bare value in the spelling that it is compared in (spec V6)."""
    for spelling in (lambda: str(UUID(value)), lambda: str(ip_address(value)), lambda: flavors.parse(value).name):
        try:
            return spelling()
        except (ValueError, InvalidInput):
            continue
    raise InvalidInput("search", value, "is no complete id, flavor name or address", "Look for names and for parts of values by filters")


def parse(filters: Mapping[str, Any] | None, search: str | None = None, more: Collection[str] = ()) -> Search:
    """Understand what a user looks for.

    :param filters: values by property, ``tags`` among them.
    :param search: bare values; commas part alternatives, of words parted by nothing else only the last counts (spec V6).
    :param more: properties that the servers have beside a server's own.
    :raises InvalidInput: when a property is unknown, a value cannot be one of it, or two cannot be combined (spec V11).
    """
    filters = filters or {}
    known = {*_known(), *more}
    for name in filters:
        if name not in known and name != "tags":
            raise InvalidInput("filters", name, "is not a property of a server", f"Use one of {', '.join(sorted({*known, 'tags'}))}")
    if "address" in filters and "eip" in filters:
        raise InvalidInput("filters", ["address", "eip"], "cannot be combined", "One of them says which server it is")
    properties = {name: tuple(_alternatives(name, wanted)) for name, wanted in filters.items() if name != "tags"}
    for value in filter(None, properties.get("address", ())):
        _check_address(value)
    for value in properties.get("created", ()):
        _check_time(value)
    words = tuple(_word(part.split()[-1]) for part in (search or "").split(",") if part.strip())
    return Search(properties, tuple(_tags(filters.get("tags") or {})), words)


def _values(told: Mapping[str, Any], name: str) -> set[str]:
    """The values that a server has of one property."""
    nics = told["nics"]
    if name == "address":
        return {nic["address"] for nic in nics if nic.get("address")} or {_text(told.get("address"))}
    if name == "vpc_id":
        return {Scope(told["region"], told["project"]).id("vpc", nic["vpc"]) for nic in nics if nic["vpc"]}
    if name == "security_group":
        return {group for nic in nics for group in nic["security_groups"]}
    return {nic[name] for nic in nics} if name in _OF_NICS else {_text(told.get(name))}


def _within(created: str, wanted: str) -> bool:
    """Whether a time begins as *wanted* says, or lies in its range; times in this notation sort as texts."""
    first, slash, last = wanted.partition("/")
    return created >= first and created[: len(last)] <= (last or created) if slash else created.startswith(first)


def _has(told: Mapping[str, Any], name: str, wanted: Iterable[str], part: bool) -> bool:
    have = _values(told, name)
    if name == "created":
        return any(_within(value, one) for value in have for one in wanted)
    if part:
        return any(one.lower() in value.lower() if one else not value for value in have for one in wanted)
    return not have.isdisjoint(wanted)


def matches(told: Mapping[str, Any], search: Search) -> bool:
    """Whether a represented server is one that is looked for."""
    for name, wanted in search.properties.items():
        if not _has(told, name, wanted, part=name in _PARTIAL and (name != "address" or search.part_of_address())):
            return False
    for key, value in search.tags:
        if key not in told["tags"] or value not in (None, told["tags"][key]):
            return False
    if not search.words:
        return True
    have = {told["id"], _text(told.get("flavor")), _text(told.get("eip"))} | _values(told, "address")
    return not have.isdisjoint(search.words)


def select(servers: Iterable[_Told], search: Search) -> list[_Told]:
    """Those of the servers that are looked for."""
    return [server for server in servers if matches(server, search)]
