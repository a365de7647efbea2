# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What cloud-init reads from a config drive, in the layout of the guide's metadata service (spec MD1 to MD16, UD1 to UD17)."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .errors import InvalidInput
from .metadata import ServerMetadata
from .names import Scope, tap_name

HOSTNAME_SUFFIX = ".novalocal"
"""Appended to the host name in the metadata (spec MD8)."""
USER_DATA_LIMIT = 32768
"""Bytes of user data, first line included (spec UD1)."""
BASE = "openstack/latest"
CONFIG_2, NO_CLOUD = "config-2", "nocloud"
"""How a config drive is laid out; for the second see :mod:`.no_cloud`."""
NO_DRIVE = "none"
"""In the place of a layout: a server that reads its data from the metadata service alone."""
_MIME_STARTS = ("Content-Type:", "MIME-Version:")
_USER_DATA_STARTS = {
    "linux": ("#!", "#include", "#cloud-boothook", "#cloud-config-archive", "## template: jinja", *_MIME_STARTS),
    # Cloudbase-Init's; the guide has rem cmd and #ps1 (spec UD8, UD9).
    "windows": ("rem cmd", "#ps1", "#!", *_MIME_STARTS),
}
_HINTS = {
    "linux": "Begin with #! (script) or exactly #cloud-config, with no space before it",
    "windows": "Begin with rem cmd (batch) or #ps1 (PowerShell), with no space before it",
}
# sshd lets root in by key only, unless it is told otherwise before it starts. A part of its own, so that no key of the user's cloud-config
# can take its place.
_ROOT_IN_SSHD = """#cloud-boothook
#!/bin/sh
exec cloud-init-per instance ecs-root-password sh -c '
if [ -d /etc/ssh/sshd_config.d ]; then echo "PermitRootLogin yes" >/etc/ssh/sshd_config.d/01-ecs.conf
else sed -i "1i PermitRootLogin yes" /etc/ssh/sshd_config; fi'
"""


@dataclass(frozen=True)
class Login:
    """Who logs in to a guest, and what it does at its first boot.

    :param public_keys: OpenSSH public keys, first the one of the key pair.
    :param secret: crypt(3) hash of the password that the user shall have; for Windows, which takes no hash, the password itself.
    """

    public_keys: tuple[str, ...] = ()
    secret: str = field(default="", repr=False)
    user_data: str | None = field(default=None, repr=False)


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


def check_user_data(user_data: str, os_type: str | None = None) -> str:
    """Validate user data (spec UD1, UD6 to UD9) and return its sha256.

    It may hold any characters, as what comes from a file may (spec UD2).

    :param os_type: the image's; None while it is not known.
    :raises InvalidInput: when it is too long, or cloud-init would not know what it is.
    """
    raw = user_data.encode()
    first = user_data.split("\n", 1)[0].rstrip("\r")
    if len(raw) > USER_DATA_LIMIT:
        raise InvalidInput(
            "user_data", first[:40], f"and what follows are {len(raw)} bytes, {USER_DATA_LIMIT} are allowed", "Let it fetch the rest"
        )
    systems = [os_type] if os_type in _USER_DATA_STARTS else list(_USER_DATA_STARTS)
    if first != "#cloud-config" and not first.startswith(tuple(start for system in systems for start in _USER_DATA_STARTS[system])):
        hint = "; ".join(_HINTS[name] for name in systems)
        raise InvalidInput("user_data", first[:40], "is not a first line that cloud-init knows", hint)
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
            "metering.resourcespeccode": f"{told.flavor}.{'win' if told.os_type == 'windows' else 'linux'}",
            "metering.cloudServiceType": "hws.service.type.ec2",
            "metering.resourcetype": "1",
            "cascaded.instance_extrainfo": "pcibridge:1",
            "charging_mode": "0",
            "image_name": told.image,
            "vpc_id": vpc_id,
            "os_bit": "64",
            "os_type": (told.os_type or "linux").capitalize(),
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


def vendor_data(told: ServerMetadata, root_login: bool, password_hash: str) -> list[str]:
    """What cloud-init is told besides the user data, which overrides it: who logs in and how (spec M7, M8, UD17), the time zone (T2).

    As the password is here and not in the user data, the two may stand side by side (spec UD5).
    """
    config: dict[str, Any] = {}
    if root_login:
        config["disable_root"] = False
    if password_hash:
        config["ssh_pwauth"] = True
        config["chpasswd"] = {"expire": False, "users": [{"name": told.user, "password": password_hash, "type": "hash"}]}
    if told.timezone:
        config["timezone"] = told.timezone
    parts = ["\n".join(["#cloud-config", *(f"{key}: {json.dumps(value)}" for key, value in config.items()), ""])] if config else []
    return [*parts, _ROOT_IN_SSHD] if password_hash and told.user == "root" else parts


def instance_id(server_id: str, generation: int) -> str:
    """What cloud-init knows an instance by: the server's id, and another one for each system that was put in its place (spec Q1)."""
    return server_id if generation == 1 else str(uuid.uuid5(uuid.UUID(server_id), str(generation)))


def render(data: Mapping[str, Any]) -> bytes:
    """A JSON file."""
    return json.dumps(data, indent=1).encode()


def files(
    server_id: str, told: ServerMetadata, nics: Sequence[GuestNic], login: Login, seed: str = "", root_login: bool = True
) -> Mapping[str, bytes]:
    """What a guest is told, by path: the files of a config drive, and what the metadata service says.

    :param root_login: let the keys log in as root (spec UD17), for images whose user is root.
    """
    about = meta_data(instance_id(server_id, told.generation), told, login.public_keys, seed, nics[0].vpc_id if nics else "")
    vendor = []
    if told.os_type == "windows":
        about |= {"admin_pass": login.secret} if login.secret else {}
    else:
        vendor = vendor_data(told, root_login, login.secret)
    content = {
        f"{BASE}/meta_data.json": render(about),
        f"{BASE}/network_data.json": render(network_data(nics)),
    }
    if login.user_data is not None:
        content[f"{BASE}/user_data"] = login.user_data.encode()
    if vendor:
        content[f"{BASE}/vendor_data.json"] = json.dumps({"cloud-init": vendor if len(vendor) > 1 else vendor[0]}).encode()
    return content


def read_login(content: Mapping[str, bytes]) -> Login:
    """What was said of those who log in; the reverse of :func:`files`."""
    about = json.loads(content.get(f"{BASE}/meta_data.json", b"{}"))
    vendor = json.loads(content.get(f"{BASE}/vendor_data.json", b"{}")).get("cloud-init", [])
    keys = about.get("public_keys", {}).values()
    text = "\n".join([vendor] if isinstance(vendor, str) else vendor)
    return login_of(keys, text, content.get(f"{BASE}/user_data"), about.get("admin_pass", ""))


def login_of(public_keys: Iterable[str], vendor: str, user_data: bytes | None, secret: str = "") -> Login:
    """Who logs in, from what a guest was told.

    :param vendor: text of the vendor data, which may hold the hash of a password.
    :param secret: the password, where it is not there.
    """
    for line in vendor.splitlines():
        if line.startswith("chpasswd: "):
            secret = json.loads(line.removeprefix("chpasswd: "))["users"][0]["password"]
    return Login(tuple(public_keys), secret, None if user_data is None else user_data.decode())
