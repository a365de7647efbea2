# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What cloud-init is given."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import yaml

from ansible_collections.altostratus.ecs.plugins.module_utils._model import cloud_init
from ansible_collections.altostratus.ecs.plugins.module_utils._model.errors import InvalidInput
from ansible_collections.altostratus.ecs.plugins.module_utils._model.metadata import ServerMetadata

TOLD = ServerMetadata(
    region="r1",
    project="shop",
    name="web",
    az="az1",
    flavor="s3.medium.2",
    image="debian-13",
    key="ops",
    hostname="vm-test",
    tags={"tier": "web"},
)
KEY = "ssh-ed25519 AAAA ops"
NIC = cloud_init.GuestNic(
    "68a9272d-7152-4ae7-a138-3ef53af669e7",
    "fa:16:3e:f7:c1:47",
    1450,
    "subnet-id",
    "vpc-id",
    "10.0.0.2",
    "203.0.113.5",
    ("10.0.0.1", "9.9.9.9"),
)


def files(told=TOLD, seed="", root_login=True, **login):
    written = cloud_init.files("server-id", told, [NIC], cloud_init.Login(**login), seed, root_login)
    return {name.removeprefix("openstack/latest/"): content.decode() for name, content in written.items()}


@pytest.mark.parametrize(
    "user_data",
    [
        "#!/bin/bash\ntrue",
        "#!/usr/bin/env python",
        "#cloud-config\npackages: []",
        "#cloud-config\r\n",
        "MIME-Version: 1.0\n",
        "#!" + "x" * 32766,
    ],
)
def test_user_data_accepted(user_data):
    """Spec UD1, UD6, UD7."""
    assert len(cloud_init.check_user_data(user_data)) == 64


@pytest.mark.parametrize(
    "user_data", [" #!/bin/bash", "#cloud-config: x", "\n#cloud-config", "echo hello", "", "#!" + "x" * 32767, "#!" + "ü" * 16384]
)
def test_user_data_refused(user_data):
    with pytest.raises(InvalidInput, match="user_data"):
        cloud_init.check_user_data(user_data)


@pytest.mark.parametrize(
    ("user_data", "os_type", "accepted"),
    [
        ("#!/bin/sh", "linux", True),
        ("#cloud-config", "linux", True),
        ("rem cmd\necho hi", "linux", False),
        ("#ps1\n", "linux", False),
        ("rem cmd\necho hi > C:\\1111.txt", "windows", True),
        ("#ps1\necho hi", "windows", True),
        ("#ps1_sysnative\necho hi", "windows", True),
        (" rem cmd", "windows", False),
        ("echo hi", "windows", False),
        (" #ps1", None, False),
        ("#ps1", None, True),
        ("#!/bin/sh", "other", True),
    ],
)
def test_first_line_of_user_data_by_system(user_data, os_type, accepted):
    """Spec UD6 to UD9, appendix B; while the image is unknown what suits either system will do."""
    if accepted:
        assert cloud_init.check_user_data(user_data, os_type)
    else:
        with pytest.raises(InvalidInput, match="Begin with"):
            cloud_init.check_user_data(user_data, os_type)


def test_user_data_at_its_limit():
    """Spec UD1, appendix B."""
    assert cloud_init.check_user_data("#!" + "x" * 32766)
    with pytest.raises(InvalidInput, match="32769 bytes"):
        cloud_init.check_user_data("#!" + "x" * 32767)


def vendor(told=TOLD, **options):
    """The parts of the vendor data, cloud-config read as YAML."""
    parts = json.loads(files(told, **options)["vendor_data.json"])["cloud-init"]
    config, *others = [parts] if isinstance(parts, str) else parts
    assert config.startswith("#cloud-config\n")
    return yaml.safe_load(config), others


def test_password_of_root():
    """Spec M9, UD5: the hash is vendor data's, beside user data, and sshd is told to let root in."""
    told = replace(TOLD, user="root", login="password")
    config, (boothook,) = vendor(told, secret="$6$salt$hash", user_data="#!/bin/sh\n")
    assert config["chpasswd"] == {"expire": False, "users": [{"name": "root", "password": "$6$salt$hash", "type": "hash"}]}
    assert config["ssh_pwauth"] is True
    assert boothook.startswith("#cloud-boothook\n#!/bin/sh\n")
    assert "PermitRootLogin yes" in boothook
    assert files(told, secret="$6$salt$hash", user_data="#!/bin/sh\n")["user_data"] == "#!/bin/sh\n"


def test_password_of_another_user():
    """Spec M8."""
    config, others = vendor(replace(TOLD, user="debian", login="password"), secret="$6$salt$hash", root_login=False)
    assert config["chpasswd"]["users"][0]["name"] == "debian"
    assert "disable_root" not in config
    assert others == []


def test_password_of_windows():
    """Cloudbase-Init takes no hash, and no vendor data."""
    written = files(replace(TOLD, os_type="windows", user="Administrator"), secret="Cloud.1234!", root_login=False)
    data = json.loads(written["meta_data.json"])
    assert data["admin_pass"] == "Cloud.1234!"
    assert (data["meta"]["os_type"], data["meta"]["metering.resourcespeccode"]) == ("Windows", "s3.medium.2.win")
    assert "vendor_data.json" not in written


def test_time_zone():
    """Spec T1, T2: nothing is said of the image's own."""
    assert vendor(replace(TOLD, timezone="Europe/Berlin"))[0]["timezone"] == "Europe/Berlin"
    assert "timezone" not in vendor()[0]


def test_meta_data_has_the_keys_of_the_guide():
    """Spec MD6, MD7, MD8."""
    data = json.loads(files(public_keys=[KEY, "ssh-rsa BBBB"], seed="c2VlZA==")["meta_data.json"])
    keys = "random_seed uuid availability_zone enterprise_project_id hostname launch_index instance_type meta region_id project_id name"
    assert data.keys() >= set(keys.split())
    assert (data["uuid"], data["hostname"], data["availability_zone"]) == ("server-id", "vm-test.novalocal", "az1")
    assert len(data["project_id"]) == 32
    assert data["public_keys"] == {"ops": KEY, "ops-2": "ssh-rsa BBBB"}
    assert data["keys"][0] == {"name": "ops", "type": "ssh", "data": KEY}
    assert (data["meta"]["metering.resourcespeccode"], data["meta"]["vpc_id"], data["meta"]["tier"]) == (
        "s3.medium.2.linux",
        "vpc-id",
        "web",
    )
    assert all(isinstance(value, str) for value in data["meta"].values())


def test_network_data():
    """Spec MD12 to MD16."""
    data = json.loads(files()["network_data.json"])
    assert data["links"] == [
        {
            "id": "tap68a9272d-71", "vif_id": NIC.id, "type": "cascading", "ethernet_mac_address": "fa:16:3e:f7:c1:47", "mtu": 1450,
            "local_ipv4": "10.0.0.2", "public_ipv4": "203.0.113.5",
        }
    ]  # fmt: skip
    assert data["networks"] == [{"id": "network0", "type": "ipv4_dhcp", "link": "tap68a9272d-71", "network_id": "subnet-id"}]
    assert [service["address"] for service in data["services"]] == ["10.0.0.1", "9.9.9.9"]


def test_files_that_depend_on_the_request():
    """No user data is no file (spec MD9); root logs in by key where the image's user is root (UD17)."""
    assert "user_data" not in files()
    assert files(user_data="#!/bin/sh\n")["user_data"] == "#!/bin/sh\n"
    assert "disable_root: false" in json.loads(files()["vendor_data.json"])["cloud-init"]
    assert "vendor_data.json" not in files(root_login=False)
    assert "public_keys" not in json.loads(files()["meta_data.json"])


@pytest.mark.parametrize("os_type", ["linux", "windows"])
@pytest.mark.parametrize("user", ["root", "debian"])
@pytest.mark.parametrize(
    "login",
    [
        cloud_init.Login(),
        cloud_init.Login((KEY, "ssh-rsa BBBB"), user_data="#!/bin/sh\necho 'chpasswd: none'\n"),
        cloud_init.Login(secret="$6$salt$a: b", user_data="#cloud-config\n"),
    ],
)
def test_who_logs_in_is_read_back(os_type, user, login):
    """A new system has the login of the old one (spec Q3)."""
    told = replace(TOLD, os_type=os_type, user=user, timezone="Europe/Berlin")
    assert cloud_init.read_login(cloud_init.files("4a5b6c7d-1111-5222-8333-444455556666", told, [NIC], login)) == login


def test_a_new_system_is_a_new_instance():
    """cloud-init runs anew; the server's id stays what it was (spec Q1)."""
    server = "4a5b6c7d-1111-5222-8333-444455556666"
    ids = [cloud_init.instance_id(server, generation) for generation in (1, 2, 3, 2)]
    assert (ids[0], len(set(ids)), ids[1]) == (server, 3, ids[3])
