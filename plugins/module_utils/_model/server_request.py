# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a user asks of servers, validated without touching anything."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from . import clone, cloud_init, exact_count, flavors, leases, logins, preemption, times
from .cpu import CpuOptions, check_options
from .domain_xml import DATA_DISKS
from .errors import InvalidInput
from .names import batch_names, check_hostname, check_name, check_unique, numbered_name
from .passwords import check_password
from .public_keys import check_public_key
from .server_groups import check_group
from .tags import check_tags

# What the system disks of a server are called; the number is the generation's.
_SYSTEM = re.compile(r"system(-[0-9]+)?")
_DESCRIPTION = re.compile(r"[^<>]{0,255}")
_TIMEZONE = re.compile(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+){0,2}")


@dataclass(frozen=True)
class DataDisk:
    """A data disk; *size* in GiB, *type* a pool, *mount* and *filesystem* for whoever prepares it in the guest."""

    name: str
    size: int
    type: str | None = None
    mount: str | None = None
    filesystem: str | None = None


@dataclass(frozen=True)
class Nic:
    """A network interface; None leaves a port as it is, or takes the default for a new one."""

    subnet: str
    vpc: str | None = None
    address: str | None = None
    security_groups: tuple[str, ...] | None = None
    port_security: bool | None = None


@dataclass(frozen=True)
class Eip:
    """A public address for the first interface; *bandwidth* in Mbit/s."""

    bandwidth: int | None = None
    network: str | None = None


@dataclass(frozen=True)
class ServerRequest:
    """One server as the user wants it; None means not said.

    :param display_name: what people call it; empty for its name again.
    :param max_vcpus: up to which it can grow while it runs.
    :param max_memory: MiB, likewise.
    :param root_disk: GiB.
    :param key: name of the key pair whose public key is the first of *public_keys*.
    :param public_keys: lines as in authorized_keys.
    :param user_data_hash: sha256 of *user_data*; empty without.
    :param hostname: the guest's first host name, where it does not derive from the server's.
    :param timezone: as in the tz database.
    :param when_due: with state absent: only if its time has come, by its schedule or a notice; asked by the host itself, not by a user.
    :param config_drive: whether what the guest is told is on a disk.
    :param config_drive_format: how that is laid out.
    :param notes: what the user should know when the server is made.
    """

    name: str
    state: str = "present"
    display_name: str | None = None
    size: flavors.Flavor | None = None
    max_vcpus: int | None = None
    max_memory: int | None = None
    image: str | None = None
    root_disk: int | None = None
    disk_type: str | None = None
    data_disks: tuple[DataDisk, ...] = ()
    nics: tuple[Nic, ...] | None = None
    key: str | None = None
    public_keys: tuple[str, ...] = ()
    user_data: str | None = None
    user_data_hash: str = ""
    eip: Eip | None = None
    tags: Mapping[str, str] | None = None
    az: str | None = None
    dedicated: bool | None = None
    server_group: str | None = None
    server_group_policy: str | None = None
    description: str | None = None
    deletion_protection: bool | None = None
    scheduled_deletion: leases.Deletion | None = None
    preemptible: bool | None = None
    priority: int | None = None
    when_due: bool = False
    cpu: CpuOptions = field(default_factory=CpuOptions)
    firmware: str | None = None
    hostname: str | None = None
    timezone: str | None = None
    password: str | None = field(default=None, repr=False)
    config_drive: bool | None = None
    config_drive_format: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def drive(self) -> str | None:
        """The layout of the config drive, or that there is none; None where the user said nothing."""
        return cloud_init.NO_DRIVE if self.config_drive is False else self.config_drive_format

    @property
    def login(self) -> str:
        """The login mode of a new server (spec M7)."""
        return logins.mode(self.password is not None, bool(self.public_keys))


def _data_disks(items: Iterable[Mapping[str, Any]]) -> tuple[DataDisk, ...]:
    disks = tuple(DataDisk(**item) for item in items)
    names = [check_name("data_disks.name", disk.name) for disk in disks]
    if len(disks) > DATA_DISKS:
        raise InvalidInput("data_disks", len(disks), "are too many disks", f"A server takes {DATA_DISKS} data disks")
    for disk in disks:
        if names.count(disk.name) > 1 or _SYSTEM.fullmatch(disk.name):
            raise InvalidInput("data_disks.name", disk.name, "is taken", "Names are unique in a server, system is its first disk's")
        if disk.size < 1:
            raise InvalidInput("data_disks.size", disk.size, "is too small", "Give at least 1 (GiB)")
    return disks


def _nic(item: Mapping[str, Any]) -> Nic:
    groups = item.get("security_groups")
    return Nic(**{**item, "security_groups": None if groups is None else tuple(groups)})


def _check_login(item: Mapping[str, Any]) -> None:
    for public_key in item.get("public_keys") or ():
        check_public_key("public_keys", public_key)
    if item.get("password") is not None:
        if item.get("key") or item.get("public_keys"):
            hint = "A server has one login mode (spec M7): give password or key and public_keys, or none of them to set a password later"
            raise InvalidInput("password", "(hidden)", "stands beside a key pair", hint)
        check_password("password", item["password"])


def _check(item: Mapping[str, Any]) -> str:
    """Validate one server; returns the hash of its user data."""
    if item.get("eip") is not None and item.get("nics") == []:
        raise InvalidInput("eip", item["eip"], "needs an interface to sit on", "Give nics, or leave eip out")
    if item.get("config_drive") is False and item.get("config_drive_format") is not None:
        hint = "Leave out one of the two: a server without a config drive reads its data from the metadata service"
        raise InvalidInput("config_drive_format", item["config_drive_format"], "is the format of no drive, config_drive is false", hint)
    _check_login(item)
    if item.get("timezone") is not None and not _TIMEZONE.fullmatch(item["timezone"]):
        raise InvalidInput("timezone", item["timezone"], "is not the name of a time zone", "Write for example Europe/Berlin or UTC")
    if item.get("display_name"):
        check_name("display_name", item["display_name"])
    if not _DESCRIPTION.fullmatch(item.get("description") or ""):
        raise InvalidInput("description", item["description"], "is not valid", "Use at most 255 characters, no < or >")
    check_group(item.get("server_group"), item.get("server_group_policy"))
    preemption.check_request(item.get("preemptible"), item.get("priority"), item.get("deletion_protection"))
    if item.get("root_disk") is not None and item["root_disk"] < 1:
        raise InvalidInput("root_disk", item["root_disk"], "is too small", "Give at least 1 (GiB)")
    return cloud_init.check_user_data(item["user_data"]) if item.get("user_data") is not None else ""


def _counted(nic: Mapping[str, Any], number: int) -> dict[str, Any]:
    if nic.get("address") is None:
        return dict(nic)
    try:
        return {**nic, "address": str(ipaddress.ip_address(nic["address"]) + number)}
    except ValueError as error:
        raise InvalidInput("nics.address", nic["address"], "is not an IP address") from error


def expand(servers: Iterable[Mapping[str, Any]], existing: Iterable[Mapping[str, Any]] = ()) -> list[dict[str, Any]]:
    """Every single server of a list whose items may carry a count (spec M4, M5).

    A host name is numbered as the names are, an interface's address counts up from the given one (spec N4); all else passes untouched.

    :param existing: the project's servers, for items with ``exact_count``.
    :raises InvalidInput: when a name is invalid or stands there twice.
    """
    known = list(existing)
    expanded = [server for item in servers for server in _batch(item, known)]
    check_unique("name", (server["name"] for server in expanded), "stands there twice")
    return expanded


def _member(item: Mapping[str, Any], name: str, number: int) -> dict[str, Any]:
    """One server of a batch."""
    told = {key: value for key, value in item.items() if key not in ("count", "exact_count", "count_tags")}
    server = {**told, "name": check_name("name", name)}
    if item.get("nics"):
        server["nics"] = [_counted(nic, number) for nic in item["nics"]]
    return server


def _batch(item: Mapping[str, Any], existing: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    if not item.get("name"):
        raise InvalidInput("servers", dict(item), "has no name", "Give every server a name")
    count = None if item.get("count") is None else int(item["count"])
    if count is not None and count < 1:
        raise InvalidInput("count", count, "is too small", "Give at least 1")
    if item.get("exact_count") is not None:
        yield from exact_count.settle(item, existing, partial(_exact_member, item))
        return
    hostnames = batch_names(item["hostname"], count, "hostname", check_hostname) if item.get("hostname") else []
    for number, name in enumerate(batch_names(item["name"], count)):
        server = _member(item, name, number)
        yield {**server, "hostname": hostnames[number]} if hostnames else server


def _exact_member(item: Mapping[str, Any], name: str, number: int) -> dict[str, Any]:
    server = _member(item, name, number)
    if item.get("hostname"):
        server["hostname"] = check_hostname("hostname", numbered_name("hostname", item["hostname"], number))
    return server


def requests(items: Iterable[Mapping[str, Any]], existing: Sequence[Mapping[str, Any]] | None = None) -> list[ServerRequest]:
    """The servers that the module's options describe.

    :param existing: see :func:`expand`, as modules return them; None where nobody knows, so that nothing is cloned.
    :raises InvalidInput: when anything is wrong that can be seen without looking at the host.
    """
    return [_cloned(item, existing) for item in expand(items, existing or ())]


def _cloned(item: dict[str, Any], existing: Sequence[Mapping[str, Any]] | None) -> ServerRequest:
    """A server that is made like another one; one that exists goes its own ways."""
    wanted = item.get("clone_from")
    there = any(server["name"] == item["name"] and server["status"] != "creating" for server in existing or ())
    if not wanted or existing is None or there or item.get("state") not in (None, "present"):
        return _request(item)
    item, notes = clone.like(item, clone.find(wanted, existing))
    return replace(_request(item), notes=tuple(notes))


def _cpu(item: Mapping[str, Any]) -> CpuOptions:
    options = CpuOptions(item.get("threads_per_core"), item.get("model"))
    check_options(options)
    return options


def _request(item: Mapping[str, Any]) -> ServerRequest:
    hashed = _check(item)
    nics, tags, eip = item.get("nics"), item.get("tags"), item.get("eip")
    deletion = item.get("scheduled_deletion")
    return ServerRequest(
        name=item["name"],
        state=item.get("state") or "present",
        size=flavors.resolve(item.get("flavor"), item.get("vcpus"), item.get("memory")),
        display_name=item.get("display_name"),
        max_vcpus=item.get("max_vcpus"),
        max_memory=item.get("max_memory"),
        image=item.get("image"),
        root_disk=item.get("root_disk"),
        disk_type=item.get("disk_type"),
        data_disks=_data_disks(item.get("data_disks") or ()),
        nics=None if nics is None else tuple(map(_nic, nics)),
        key=item.get("key"),
        public_keys=tuple(item.get("public_keys") or ()),
        user_data=item.get("user_data"),
        user_data_hash=hashed,
        eip=None if eip is None else Eip(**eip),
        tags=None if tags is None else check_tags("tags", tags),
        az=item.get("az"),
        dedicated=item.get("dedicated"),
        server_group=item.get("server_group"),
        server_group_policy=item.get("server_group_policy"),
        description=item.get("description"),
        deletion_protection=item.get("deletion_protection"),
        scheduled_deletion=None if deletion is None else leases.parse(deletion, times.now()),
        preemptible=item.get("preemptible"),
        priority=item.get("priority"),
        cpu=_cpu(item.get("cpu_options") or {}),
        firmware=item.get("firmware"),
        hostname=item.get("hostname"),
        timezone=item.get("timezone"),
        password=item.get("password"),
        config_drive=item.get("config_drive"),
        config_drive_format=item.get("config_drive_format"),
    )
