# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""IP addresses: what a user wrote, checked and in one spelling; which are reserved; which is the next free one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from ipaddress import AddressValueError, IPv4Address, IPv4Network, IPv6Network
from itertools import pairwise
from operator import itemgetter

from .errors import EcsError, InvalidInput

SMALLEST_SUBNET = 29
METADATA = "169.254.169.254"
"""Where every server finds its own data (spec MD1)."""
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")


def any_network(option: str, value: str) -> IPv4Network | IPv6Network:
    """A CIDR or single address of either IP version, with no host bits set."""
    kind = IPv6Network if ":" in value else IPv4Network
    try:
        return kind(value.strip())
    except ValueError:
        pass
    try:
        loose = kind(value.strip(), strict=False)
    except ValueError as error:
        raise InvalidInput(option, value, "is not an IP address or CIDR", "Write for example 10.20.0.0/16") from error
    raise InvalidInput(option, value, "has host bits set", f"Write {loose}, or one address without a prefix length")


def network(option: str, value: str) -> IPv4Network:
    """An IPv4 CIDR such as ``10.20.0.0/16``."""
    checked = any_network(option, value)
    if not isinstance(checked, IPv4Network):
        raise InvalidInput(option, value, "is IPv6", "Networks are IPv4; security group rules take both")
    if "/" not in value:
        raise InvalidInput(option, value, "has no prefix length", f"Write for example {value}/24")
    return checked


def address(option: str, value: str, within: IPv4Network | None = None) -> IPv4Address:
    """An IPv4 address, inside *within* when given."""
    try:
        checked = IPv4Address(value)
    except AddressValueError as error:
        raise InvalidInput(option, value, "is not an IPv4 address", "Write for example 10.20.1.10") from error
    if within is not None and checked not in within:
        raise InvalidInput(option, value, f"is not in {within}", "Choose an address inside it")
    return checked


def mac(option: str, value: str) -> str:
    """A unicast MAC address in lower case with colons."""
    checked = value.lower().replace("-", ":")
    if not _MAC.fullmatch(checked) or int(checked[:2], 16) & 1:
        raise InvalidInput(option, value, "is not a unicast MAC address", "Write for example fa:16:3e:12:34:56")
    return checked


def subnet(option: str, value: str, vpc: IPv4Network) -> IPv4Network:
    """A subnet's CIDR: at least /29, inside the VPC's."""
    checked = network(option, value)
    if checked.prefixlen > SMALLEST_SUBNET:
        hint = f"A subnet needs at least /{SMALLEST_SUBNET}: network, gateway and broadcast address are reserved"
        raise InvalidInput(option, value, "is too small", hint)
    if not checked.subnet_of(vpc):
        raise InvalidInput(option, value, f"is not inside the VPC's CIDR {vpc}", "Choose another CIDR, or widen the VPC's")
    return checked


def check_overlaps(option: str, networks: Iterable[tuple[str, IPv4Network]]) -> None:
    """Refuse named networks that share addresses; in their order, one that does shares them with its neighbour."""
    for (name, first), (other, second) in pairwise(sorted(networks, key=itemgetter(1))):
        if first.overlaps(second):
            raise InvalidInput(option, f"{name} {first}", f"overlaps {other} {second}", "Give each subnet a CIDR of its own")


def default_gateway(within: IPv4Network) -> IPv4Address:
    """The first address of a subnet (spec C2)."""
    return within.network_address + 1


def reserved(within: IPv4Network, gateway: IPv4Address) -> frozenset[IPv4Address]:
    """Addresses that no port gets: network, gateway, broadcast, and from /28 up the two before it (spec C2: .0 .1 .253-.255)."""
    last = 3 if within.prefixlen < SMALLEST_SUBNET else 1
    tail = {within.broadcast_address - offset for offset in range(last)}
    return frozenset({within.network_address, gateway} | tail)


def address_range(option: str, value: str, within: IPv4Network) -> tuple[IPv4Address, IPv4Address]:
    """A range ``first-last`` inside a network, both ends included."""
    first_text, dash, last_text = value.partition("-")
    if not dash:
        raise InvalidInput(option, value, "is not a range", "Write first-last, for example 198.51.100.10-198.51.100.99")
    first, last = (address(option, part.strip(), within) for part in (first_text, last_text))
    if first > last:
        raise InvalidInput(option, value, "ends before it begins", f"Write {last}-{first}")
    return first, last


class Pool:
    """The free addresses of one network; hands out the lowest, or one by request.

    :param name: for messages, e.g. ``subnet front``.
    """

    def __init__(self, name: str, first: IPv4Address, last: IPv4Address, used: Iterable[IPv4Address]) -> None:
        self.name = name
        self._next, self._first, self._last = int(first), first, last
        self._used = {int(item) for item in used}

    def claim(self, option: str, wanted: IPv4Address) -> IPv4Address:
        """Take one given address.

        :raises InvalidInput: when it lies outside the pool or is taken.
        """
        if not self._first <= wanted <= self._last:
            raise InvalidInput(option, str(wanted), f"is not between {self._first} and {self._last} of {self.name}")
        if int(wanted) in self._used:
            raise InvalidInput(option, str(wanted), f"of {self.name} is in use or reserved", "Choose another, or leave the option out")
        self._used.add(int(wanted))
        return wanted

    def take(self) -> IPv4Address:
        """Take the lowest free address.

        :raises EcsError: ECS_NO_ADDRESS when none is left.
        """
        while self._next in self._used:
            self._next += 1
        if self._next > int(self._last):
            raise EcsError(f"{self.name} has no free address", "ECS_NO_ADDRESS", "Delete what is not needed, or use another network")
        self._used.add(self._next)
        return IPv4Address(self._next)


def subnet_pool(name: str, within: IPv4Network, gateway: IPv4Address, used: Sequence[IPv4Address]) -> Pool:
    """The pool of a subnet's port addresses."""
    return Pool(f"subnet {name}", within.network_address, within.broadcast_address, [*used, *reserved(within, gateway)])
