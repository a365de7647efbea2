# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a server reads at 169.254.169.254 (spec MD1 to MD19): the files of its config drive, the same in EC2's words, and the listings.

A path here is the path of the URL, so that a web server for static files is all that is needed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from .addresses import METADATA
from .cloud_init import BASE, render

LISTING = ".index"
"""The name of a directory's listing; the web server answers with it when it is asked for the directory."""
OPENSTACK_VERSIONS = (
    "2012-08-10", "2013-04-04", "2013-10-17", "2015-10-15", "2016-06-30", "2016-10-06", "2017-02-22", "2018-08-27", "2020-10-14",
)  # fmt: skip
"""Of which clients take the newest that they know; here they are all the same."""
EC2_VERSIONS = ("1.0", "2007-01-19", "2007-03-01", "2007-08-29", "2007-10-10", "2007-12-15", "2008-02-01", "2008-09-01", "2009-04-04")
_META_DATA = "latest/meta-data"


@dataclass(frozen=True)
class Nic:
    """What changes in a server's data while it lives.

    :param id: port id.
    :param subnet_id: where it asks from.
    """

    id: str
    subnet_id: str
    mac: str
    cidr: str
    mtu: int
    address: str = ""
    public_address: str | None = None
    security_groups: Sequence[str] = ()


def tree(content: Mapping[str, bytes], nics: Sequence[Nic]) -> dict[str, bytes]:
    """Everything that a server can read, by path.

    :param content: the files of its config drive, as OpenStack lays them out.
    :param nics: the primary one first.
    """
    files = {**content, **_with_addresses(content, nics)}
    files |= {f"{_META_DATA}/{key}": value.encode() for key, value in _ec2(files, nics).items()}
    if f"{BASE}/user_data" in files:
        files["latest/user-data"] = files[f"{BASE}/user_data"]
    return files | _listings(files)


def drive(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The files of the config drive among those that a server can read; the reverse of :func:`tree`."""
    return {path: content for path, content in files.items() if path.startswith(f"{BASE}/") and not path.endswith(f"/{LISTING}")}


def _with_addresses(content: Mapping[str, bytes], nics: Sequence[Nic]) -> dict[str, bytes]:
    """The networks with the addresses that the ports have now; a public one may have come after the config drive was written."""
    path = f"{BASE}/network_data.json"
    known, networks = {nic.id: nic for nic in nics}, json.loads(content[path])
    for link in networks["links"]:
        if nic := known.get(link["vif_id"]):
            link |= {"local_ipv4": nic.address, "public_ipv4": nic.public_address}
    return {path: render(networks)}


def _ec2(files: Mapping[str, bytes], nics: Sequence[Nic]) -> dict[str, str]:
    """EC2's keys (spec MD4), of the primary interface only (MD19).

    Of those that mean nothing here (spec MD5) only instance-id is told, as cloud-init needs it.
    """
    about: dict[str, Any] = json.loads(files[f"{BASE}/meta_data.json"])
    first = nics[0] if nics else Nic("", "", "", "", 0)
    return {
        **dict.fromkeys(("hostname", "local-hostname", "public-hostname"), about["hostname"]),
        "instance-id": about["uuid"],
        "instance-type": about["instance_type"],
        "local-ipv4": first.address,
        "placement/availability-zone": about["availability_zone"],
        "public-ipv4": first.public_address or "",
        "security-groups": "\n".join(first.security_groups),
        **{f"public-keys/{number}/openssh-key": key["data"] for number, key in enumerate(about.get("keys", ()))},
    }


def _listings(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """What stands in each directory, a line each; directories end in a slash."""
    entries: dict[str, dict[str, None]] = {"": {}}
    for path in sorted([*files, f"{BASE}/password"]):
        parts = path.split("/")
        for depth, name in enumerate(parts):
            last = depth == len(parts) - 1
            entries.setdefault("/".join(parts[:depth]), {})[name if last else f"{name}/"] = None
    entries[""] = dict.fromkeys((*EC2_VERSIONS, "latest"))
    entries["openstack"] = dict.fromkeys((*OPENSTACK_VERSIONS, "latest"))
    keys = json.loads(files[f"{BASE}/meta_data.json"]).get("keys", ())
    if keys:
        entries[f"{_META_DATA}/public-keys"] = {f"{number}={key['name']}": None for number, key in enumerate(keys)}
    return {f"{path}/{LISTING}".lstrip("/"): "".join(f"{name}\n" for name in names).encode() for path, names in entries.items()}


_SHOWN = (f"{_META_DATA}/local-ipv4", f"{_META_DATA}/public-ipv4", f"{_META_DATA}/security-groups")


def changes(live: Mapping[str, bytes], wanted: Mapping[str, bytes]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a user should know of the files that differ, as (before, after); keys and user data may hold secrets."""
    shown = [path for path in _SHOWN if live.get(path) != wanted.get(path)]
    before, after = ({path.rpartition("/")[2]: files.get(path, b"").decode() for path in shown} for files in (live, wanted))
    return (before, after) if live else ({}, {"address": METADATA})


def instance_action(when: datetime) -> bytes:
    """That a server is about to be taken away, and when (spec MD18)."""
    return json.dumps({"action": "terminate", "timestamp": when.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")}).encode()


def neighbours(macs: Mapping[str, str]) -> str:
    """Who has which address, as ``ip -batch`` takes it.

    So that nobody, not even a port without anti-spoofing, gets the answer to what it asks in another's name.
    """
    return "".join(f"neighbour replace {address} lladdr {mac} nud permanent dev eth0\n" for address, mac in sorted(macs.items()))


def read_neighbours(text: str) -> dict[str, str]:
    """MAC by address; the reverse of :func:`neighbours`."""
    return {words[2]: words[4] for words in map(str.split, text.splitlines())}


def environment(values: Mapping[str, object]) -> str:
    """Settings as systemd's EnvironmentFile takes them."""
    return "".join(f"{name}={value}\n" for name, value in values.items())


def by_subnet(nics: Iterable[Nic]) -> dict[str, list[Nic]]:
    """Interfaces that have an address, by the id of their subnet."""
    found: dict[str, list[Nic]] = {}
    for nic in nics:
        if nic.address:
            found.setdefault(nic.subnet_id, []).append(nic)
    return found
