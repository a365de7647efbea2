# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What cloud-init reads from a config drive, in the layout of the guide's metadata service (spec MD1 to MD16, UD1 to UD17)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .errors import InvalidInput
from .metadata import ServerMetadata
from .names import Scope, tap_name

HOSTNAME_SUFFIX = ".novalocal"
"""Appended to the host name in the metadata (spec MD8)."""
USER_DATA_LIMIT = 32768
"""Bytes of user data, first line included (spec UD1)."""
_USER_DATA_STARTS = ("#!", "#include", "#cloud-boothook", "#cloud-config-archive", "## template: jinja", "Content-Type:", "MIME-Version:")
_ROOT_LOGIN = "#cloud-config\ndisable_root: false\n"


@dataclass(frozen=True)
class GuestNic:
    """A network interface as the guest is told of it; addresses come by DHCP.

    :param id: port id.
    :param network_id: subnet id.
    :param vpc_id: VPC id.
    """

    id: str
    mac: str
    mtu: int
    network_id: str
    vpc_id: str = ""
    address: str = ""
    public_address: str | None = None
    dns: Sequence[str] = ()


def check_user_data(user_data: str) -> str:
    """Validate user data for a Linux guest (spec UD1, UD6, UD7) and return its sha256.

    :raises InvalidInput: when it is too long, or cloud-init would not know what it is.
    """
    raw = user_data.encode()
    first = user_data.split("\n", 1)[0].rstrip("\r")
    if len(raw) > USER_DATA_LIMIT:
        raise InvalidInput(
            "user_data", first[:40], f"and what follows are {len(raw)} bytes, {USER_DATA_LIMIT} are allowed", "Let it fetch the rest"
        )
    if first != "#cloud-config" and not first.startswith(_USER_DATA_STARTS):
        raise InvalidInput(
            "user_data",
            first[:40],
            "is not a first line that cloud-init knows",
            "Begin with #! (script) or exactly #cloud-config, with no space before it",
        )
    return hashlib.sha256(raw).hexdigest()


def meta_data(server_id: str, told: ServerMetadata, public_keys: Sequence[str], seed: str, vpc_id: str) -> dict[str, Any]:
    """``meta_data.json`` with the guide's keys (spec MD6, MD7), the tags among its ``meta``.

    :param public_keys: OpenSSH public keys, first the one of the key pair named in *told*.
    :param seed: base64 text for the guest's entropy pool.
    """
    data: dict[str, Any] = {
        "uuid": server_id,
        "name": told.name,
        "hostname": told.hostname + HOSTNAME_SUFFIX,
        "availability_zone": told.az,
        "region_id": told.region,
        "project_id": Scope(told.region, told.project).id("project", told.project).replace("-", ""),
        "enterprise_project_id": "0",
        "launch_index": 0,
        "instance_type": told.flavor,
        "random_seed": seed,
        "meta": {
            **told.tags,
            "metering.image_id": told.image_id,
            "metering.imagetype": "gold",
            "metering.resourcespeccode": f"{told.flavor}.linux",
            "metering.cloudServiceType": "hws.service.type.ec2",
            "metering.resourcetype": "1",
            "cascaded.instance_extrainfo": "pcibridge:1",
            "charging_mode": "0",
            "image_name": told.image,
            "vpc_id": vpc_id,
            "os_bit": "64",
            "os_type": "Linux",
        },
    }
    if public_keys:
        name = told.key or "key"
        named = {name if number == 0 else f"{name}-{number + 1}": key.strip() for number, key in enumerate(public_keys)}
        data["public_keys"] = named
        data["keys"] = [{"name": name, "type": "ssh", "data": key} for name, key in named.items()]
    return data


def network_data(nics: Sequence[GuestNic]) -> dict[str, Any]:
    """``network_data.json``: every interface by DHCP (spec MD12 to MD16); ``cascading`` is a physical link to cloud-init."""
    return {
        "links": [
            {
                "id": tap_name(nic.id),
                "vif_id": nic.id,
                "type": "cascading",
                "ethernet_mac_address": nic.mac,
                "mtu": nic.mtu,
                "local_ipv4": nic.address,
                "public_ipv4": nic.public_address,
            }
            for nic in nics
        ],
        "networks": [
            {"id": f"network{number}", "type": "ipv4_dhcp", "link": tap_name(nic.id), "network_id": nic.network_id}
            for number, nic in enumerate(nics)
        ],
        "services": [{"type": "dns", "address": address} for address in dict.fromkeys(dns for nic in nics for dns in nic.dns)],
        "qos": {"instance_min_bandwidth": -1, "instance_max_bandwidth": -1},
    }


def files(
    server_id: str,
    told: ServerMetadata,
    nics: Sequence[GuestNic],
    public_keys: Sequence[str] = (),
    user_data: str | None = None,
    seed: str = "",
    root_login: bool = True,
) -> Mapping[str, bytes]:
    """The files of a config drive by their path on it.

    :param root_login: let the keys log in as root (spec UD17), for images whose user is root.
    """
    base = "openstack/latest"
    vpc_id = nics[0].vpc_id if nics else ""
    content = {
        f"{base}/meta_data.json": json.dumps(meta_data(server_id, told, public_keys, seed, vpc_id), indent=1).encode(),
        f"{base}/network_data.json": json.dumps(network_data(nics), indent=1).encode(),
    }
    if user_data is not None:
        content[f"{base}/user_data"] = user_data.encode()
    if root_login:
        content[f"{base}/vendor_data.json"] = json.dumps({"cloud-init": _ROOT_LOGIN}).encode()
    return content
