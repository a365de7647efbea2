# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a server reads of itself, at 169.254.169.254 and on a config drive in NoCloud's layout."""

from __future__ import annotations

import email
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
import yaml

from ansible_collections.altostratus.ecs.plugins.module_utils._model import cloud_init, metadata_service, no_cloud
from ansible_collections.altostratus.ecs.plugins.module_utils._model.metadata import ServerMetadata
from ansible_collections.altostratus.ecs.plugins.module_utils._model.metadata_service import Nic

SERVER = "4a5b6c7d-1111-5222-8333-444455556666"
TOLD = ServerMetadata(
    region="r1", project="shop", name="web", az="az1.dc1", flavor="s3.medium.2", image="debian-13", image_id="image-id", key="ops",
    hostname="vm-test", tags={"tier": "web"}, user="root",
)  # fmt: skip
KEYS = ("ssh-ed25519 AAAA ops", "ssh-rsa BBBB other")
GUEST_NICS = [
    cloud_init.GuestNic(
        "68a9272d-7152-4ae7-a138-3ef53af669e7", "fa:16:3e:f7:c1:47", 1450, "front-id", "vpc-id", "10.0.0.2", None, ("9.9.9.9",)
    ),
    cloud_init.GuestNic("99a9272d-7152-4ae7-a138-3ef53af669e7", "fa:16:3e:f7:c1:48", 1450, "back-id", "vpc-id", "10.0.1.2"),
]  # fmt: skip
NICS = [
    Nic(GUEST_NICS[0].id, "front-id", GUEST_NICS[0].mac, "10.0.0.0/24", 1450, "10.0.0.2", None, ("base", "web")),
    Nic(GUEST_NICS[1].id, "back-id", GUEST_NICS[1].mac, "10.0.1.0/24", 1450, "10.0.1.2", None, ("db",)),
]


def drive(told: ServerMetadata = TOLD, **login: object) -> dict[str, bytes]:
    given = {"public_keys": KEYS, "user_data": "#!/bin/sh\necho ü\n", **login}
    return dict(cloud_init.files(SERVER, told, GUEST_NICS, cloud_init.Login(**given), "c2VlZA=="))


def read(nics: Sequence[Nic] = tuple(NICS), **login: object) -> dict[str, str]:
    return {path: content.decode() for path, content in metadata_service.tree(drive(**login), nics).items()}


def listing(files: dict[str, str], path: str) -> list[str]:
    return files[f"{path}/.index".lstrip("/")].splitlines()


def test_openstack_files_are_those_of_the_config_drive():
    """Spec MD1, MD3, MD6, MD7: one source for both."""
    content = drive()
    assert {path: metadata_service.tree(content, NICS)[path] for path in content} == content
    assert metadata_service.drive(metadata_service.tree(content, NICS)) == content


def test_ec2_keys():
    """Spec MD4, MD8, MD20: all of the guide's keys; MD5: of the rest only instance-id."""
    files = read([replace(NICS[0], public_address="203.0.113.5"), NICS[1]])
    keys = {path.removeprefix("latest/meta-data/"): text for path, text in files.items() if path.startswith("latest/meta-data/")}
    assert {key: text for key, text in keys.items() if not key.endswith(".index")} == {
        "hostname": "vm-test.novalocal",
        "local-hostname": "vm-test.novalocal",
        "public-hostname": "vm-test.novalocal",
        "instance-id": SERVER,
        "instance-type": "s3.medium.2",
        "local-ipv4": "10.0.0.2",
        "public-ipv4": "203.0.113.5",
        "placement/availability-zone": "az1.dc1",
        "public-keys/0/openssh-key": KEYS[0],
        "public-keys/1/openssh-key": KEYS[1],
        "security-groups": "base\nweb",
    }


def test_addresses_are_those_of_the_primary_interface():
    """Spec MD19."""
    files = read([NICS[0], replace(NICS[1], public_address="203.0.113.9")])
    assert (files["latest/meta-data/local-ipv4"], files["latest/meta-data/public-ipv4"]) == ("10.0.0.2", "")
    links = json.loads(files["openstack/latest/network_data.json"])["links"]
    assert [(link["local_ipv4"], link["public_ipv4"]) for link in links] == [("10.0.0.2", None), ("10.0.1.2", "203.0.113.9")]


def test_network_data_has_every_interface():
    """Spec MD12 to MD16."""
    networks = json.loads(read()["openstack/latest/network_data.json"])
    assert networks["services"] == [{"type": "dns", "address": "9.9.9.9"}]
    assert networks["qos"] == {"instance_min_bandwidth": -1, "instance_max_bandwidth": -1}
    assert networks["networks"][0] == {"network_id": "front-id", "type": "ipv4_dhcp", "link": "tap68a9272d-71", "id": "network0"}
    assert networks["links"][0] == {
        "vif_id": GUEST_NICS[0].id, "public_ipv4": None, "ethernet_mac_address": "fa:16:3e:f7:c1:47", "mtu": 1450,
        "local_ipv4": "10.0.0.2", "type": "cascading", "id": "tap68a9272d-71",
    }  # fmt: skip
    assert len(networks["links"]) == len(networks["networks"]) == 2


def test_user_data_are_bytes():
    """Spec MD9, MD10: as they are, and none is no file."""
    files = read()
    assert files["openstack/latest/user_data"] == files["latest/user-data"] == "#!/bin/sh\necho ü\n"
    without = read(user_data=None)
    assert not [path for path in without if "user" in path]
    assert listing(without, "latest") == ["meta-data/"]


def test_nothing_is_there_that_nobody_announced_or_granted():
    """Spec MD17, MD18: 404 comes from files that do not exist."""
    assert not [path for path in read() if "securitykey" in path or "spot" in path]


def test_listings():
    """What cloud-init asks for: versions of OpenStack's family, and a walk through EC2's."""
    files = read()
    assert listing(files, "openstack")[-1] == "latest"
    assert {"2018-08-27", "2015-10-15"} <= set(listing(files, "openstack"))
    assert listing(files, "")[-1] == "latest"
    assert "2009-04-04" in listing(files, "")
    assert set(listing(files, "openstack/latest")) == {"meta_data.json", "network_data.json", "password", "user_data", "vendor_data.json"}
    assert listing(files, "latest") == ["meta-data/", "user-data"]
    assert listing(files, "latest/meta-data") == [
        "hostname", "instance-id", "instance-type", "local-hostname", "local-ipv4", "placement/", "public-hostname", "public-ipv4",
        "public-keys/", "security-groups",
    ]  # fmt: skip
    assert listing(files, "latest/meta-data/public-keys") == ["0=ops", "1=ops-2"]
    assert listing(files, "latest/meta-data/public-keys/0") == ["openssh-key"]
    assert listing(files, "latest/meta-data/placement") == ["availability-zone"]
    assert "public-keys/" not in listing(read(public_keys=()), "latest/meta-data")


def test_every_entry_of_a_listing_is_there():
    files = read()
    for path, text in files.items():
        top = path.removesuffix(".index")
        if top == path or top in ("", "openstack/"):
            continue
        for name in text.splitlines():
            entry = top + name.partition("=")[0]
            assert entry == "openstack/latest/password" or any(
                file == entry or file.startswith(entry.rstrip("/") + "/") for file in files
            ), entry


def test_what_changed_is_told_without_secrets():
    live = metadata_service.tree(drive(), NICS)
    wanted = metadata_service.tree(drive(user_data="#!/bin/sh\nsecret\n"), [replace(NICS[0], public_address="203.0.113.5"), NICS[1]])
    assert metadata_service.changes(live, wanted) == ({"public-ipv4": ""}, {"public-ipv4": "203.0.113.5"})
    assert metadata_service.changes({}, wanted) == ({}, {"address": "169.254.169.254"})


def test_announcement():
    """Spec MD18: in UTC."""
    when = datetime(2023, 6, 1, 11, 15, tzinfo=timezone(timedelta(hours=2)))
    assert json.loads(metadata_service.instance_action(when)) == {"action": "terminate", "timestamp": "2023-06-01 09:15:00"}
    assert metadata_service.instance_action(when) == metadata_service.instance_action(when.astimezone(UTC))


def test_neighbours_are_read_back():
    macs = {"10.0.0.2": "fa:16:3e:f7:c1:47", "10.0.0.10": "fa:16:3e:f7:c1:48"}
    assert metadata_service.read_neighbours(metadata_service.neighbours(macs)) == macs
    assert metadata_service.read_neighbours("") == {}


def test_no_cloud_says_the_same():
    """The second layout of a config drive."""
    files = no_cloud.files(drive(replace(TOLD, timezone="UTC")))
    assert set(files) == {"meta-data", "user-data", "vendor-data", "network-config"}
    about = yaml.safe_load(files["meta-data"])
    assert (about["instance-id"], about["local-hostname"], about["public-keys"]) == (SERVER, "vm-test.novalocal", list(KEYS))
    assert files["user-data"].decode() == "#!/bin/sh\necho ü\n"
    assert yaml.safe_load(files["vendor-data"]) == {"disable_root": False, "timezone": "UTC"}
    networks = yaml.safe_load(files["network-config"])
    assert networks["version"] == 2
    assert networks["ethernets"]["tap68a9272d-71"] == {"match": {"macaddress": "fa:16:3e:f7:c1:47"}, "dhcp4": True, "mtu": 1450}


def test_no_cloud_with_a_password_has_two_parts():
    vendor = email.message_from_bytes(no_cloud.files(drive(public_keys=(), secret="$6$salt$hash"))["vendor-data"])
    assert [part.get_content_type() for part in vendor.walk()] == ["multipart/mixed", "text/cloud-config", "text/cloud-boothook"]
    assert "$6$salt$hash" in str(list(vendor.walk())[1].get_payload())


@pytest.mark.parametrize("user", ["root", "debian"])
@pytest.mark.parametrize(
    "login",
    [
        cloud_init.Login(),
        cloud_init.Login(KEYS, user_data="#!/bin/sh\necho 'chpasswd: none'\n"),
        cloud_init.Login(secret="$6$salt$a: b", user_data="#cloud-config\n"),
    ],
)
def test_no_cloud_is_read_back(login, user):
    """A new system has the login of the old one (spec Q3)."""
    content = cloud_init.files(SERVER, replace(TOLD, user=user), GUEST_NICS, login, root_login=user == "root")
    assert no_cloud.read_login(no_cloud.files(content)) == login
