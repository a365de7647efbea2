# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses: what a user wrote is checked, what is reserved stays free, the lowest free one is next."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network

import pytest

from ansible_collections.altostratus.ecs.plugins.module_utils._model import addresses
from ansible_collections.altostratus.ecs.plugins.module_utils._model.errors import EcsError, InvalidInput

VPC = IPv4Network("10.20.0.0/16")


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("10.20.1.5/24", "host bits.*10.20.1.0/24"),
        ("10.20.1.0/33", "not an IP address or CIDR"),
        ("front", "not an IP address or CIDR"),
        ("10.20.1.0", "no prefix length"),
        ("2001:db8::/64", "IPv6"),
        ("10.20.1.0/30", "too small.*at least /29"),
        ("10.21.0.0/24", "not inside the VPC's CIDR 10.20.0.0/16"),
        ("10.0.0.0/8", "not inside"),
    ],
)
def test_wrong_subnets_are_told(value: str, problem: str) -> None:
    with pytest.raises(InvalidInput, match=problem):
        addresses.subnet("cidr", value, VPC)


def test_overlaps_name_both() -> None:
    networks = [("a", IPv4Network("10.20.0.0/24")), ("b", IPv4Network("10.20.1.0/24")), ("c", IPv4Network("10.20.0.128/25"))]
    with pytest.raises(InvalidInput, match=r"a 10.20.0.0/24.*overlaps c 10.20.0.128/25"):
        addresses.check_overlaps("subnets", networks)


@pytest.mark.parametrize(
    ("cidr", "usable"),
    [
        # Spec C2: a /24 shows 250 or 251 free addresses: .0 .1 .253 .254 .255 are reserved.
        ("192.168.0.0/24", ["192.168.0.2", "192.168.0.252", 251]),
        ("192.168.0.0/28", ["192.168.0.2", "192.168.0.12", 11]),
        ("192.168.0.0/29", ["192.168.0.2", "192.168.0.6", 5]),
    ],
)
def test_reserved_addresses_are_never_handed_out(cidr: str, usable: list[str | int]) -> None:
    within = IPv4Network(cidr)
    pool = addresses.subnet_pool("front", within, addresses.default_gateway(within), [])
    taken = [str(pool.take()) for count in range(int(usable[2]))]
    assert taken[0] == usable[0]
    assert taken[-1] == usable[1]
    with pytest.raises(EcsError, match="subnet front has no free address"):
        pool.take()


def test_the_lowest_free_address_is_next_and_claimed_ones_are_skipped() -> None:
    pool = addresses.subnet_pool("front", IPv4Network("10.0.0.0/24"), IPv4Address("10.0.0.1"), [IPv4Address("10.0.0.3")])
    pool.claim("address", IPv4Address("10.0.0.4"))
    assert [str(pool.take()) for count in range(3)] == ["10.0.0.2", "10.0.0.5", "10.0.0.6"]


@pytest.mark.parametrize("wanted", ["10.0.0.0", "10.0.0.1", "10.0.0.3", "10.0.0.253", "10.0.0.255", "10.0.1.7"])
def test_taken_reserved_and_foreign_addresses_cannot_be_claimed(wanted: str) -> None:
    pool = addresses.subnet_pool("front", IPv4Network("10.0.0.0/24"), IPv4Address("10.0.0.1"), [IPv4Address("10.0.0.3")])
    with pytest.raises(InvalidInput, match="subnet front"):
        pool.claim("address", IPv4Address(wanted))


@pytest.mark.parametrize(
    ("check", "value", "problem"),
    [
        (addresses.mac, "01:00:5e:00:00:01", "not a unicast MAC"),
        (addresses.mac, "fa:16:3e:00:00", "not a unicast MAC"),
        (addresses.address, "10.0.0.256", "not an IPv4 address"),
        (lambda option, value: addresses.address_range(option, value, VPC), "10.20.0.5", "not a range"),
        (lambda option, value: addresses.address_range(option, value, VPC), "10.20.0.9-10.20.0.5", "ends before"),
        (lambda option, value: addresses.address_range(option, value, VPC), "10.20.0.9-10.21.0.5", "not in 10.20.0.0/16"),
    ],
)
def test_wrong_values_are_told(check: Callable[[str, str], object], value: str, problem: str) -> None:
    with pytest.raises(InvalidInput, match=problem):
        check("option", value)


def test_mac_has_one_spelling() -> None:
    assert addresses.mac("mac", "FA-16-3E-00-00-01") == "fa:16:3e:00:00:01"
