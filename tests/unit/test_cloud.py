# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A whole cloud's description: every fault is found before anything is touched, and says what to do."""

from __future__ import annotations

import copy

import pytest

from ansible_collections.altostratus.ecs.plugins.module_utils._model.cloud import Cloud, check, decide
from ansible_collections.altostratus.ecs.plugins.module_utils._model.errors import EcsError

GOOD = {
    "images": [{"name": "debian-13", "checksum": "sha256:" + "0" * 64}],
    "keypairs": [{"name": "ops", "public_key": "ssh-ed25519 AAAA ops"}],
    "security_groups": [{"name": "web", "rules": [{"ports": "80"}]}, {"name": "db", "rules": [{"ports": 3306, "source_group": "web"}]}],
    "vpcs": [{"name": "shop", "cidr": "10.20.0.0/16", "snat": "public", "subnets": [{"name": "front", "cidr": "10.20.1.0/24"}]}],
    "servers": [
        {
            "name": "web",
            "count": 2,
            "flavor": "s7n.small.1",
            "image": "debian-13",
            "key": "ops",
            "nics": [{"subnet": "front", "security_groups": ["web"]}],
        }
    ],
    "volumes": [{"name": "extra", "size": 1, "server": "web-0002"}],
}
EXISTING = Cloud(external_networks=[{"name": "public"}])
HOSTS = {name: {"name": "other", "az": az, "cpus": 4, "memory": 4096, "servers": []} for name, az in (("hv1", "az1"), ("hv2", "az2"))}


def test_a_good_cloud_passes_and_is_decided():
    check(Cloud(**GOOD), EXISTING)
    decision = decide(Cloud(**GOOD), HOSTS, "shop", spread=True)
    assert [(server["name"], server["hypervisor"]) for server in decision["servers"]] == [("web-0001", "hv1"), ("web-0002", "hv2")]
    assert decision["placement"]["hv2"][0]["public_keys"] == ["ssh-ed25519 AAAA ops"]
    assert decision["volumes"] == {"hv2": [{"name": "extra", "size": 1, "server": "web-0002"}]}


def test_a_server_that_exists_stays_where_it_is():
    hosts = copy.deepcopy(HOSTS)
    hosts["hv2"]["servers"] = [{"name": "web-0001", "project": "shop", "vcpus": 1, "memory": 1024}]
    assert decide(Cloud(**GOOD), hosts, "shop", spread=True)["servers"][0]["hypervisor"] == "hv2"


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("servers.0.flavor", "huge", "flavor: 'huge' is not a flavor name"),
        ("servers.0.image", "debian-12", "image debian-12 does not exist"),
        ("servers.0.key", "nobody", "key pair nobody does not exist"),
        ("servers.0.nics.0.subnet", "back", "subnet back does not exist"),
        ("servers.0.nics.0.address", "10.20.2.1", "is not in 10.20.1.0/24"),
        ("servers.0.nics.0.security_groups", ["wbe"], "security group wbe does not exist"),
        ("servers", [{"name": "a", "flavor": "s7n.small.1"}] * 2, "'a' stands there twice"),
        ("vpcs.0.subnets", [{"name": "a", "cidr": "10.20.1.0/24"}, {"name": "b", "cidr": "10.20.1.128/25"}], "overlaps"),
        ("vpcs.0.subnets.0.cidr", "10.20.1.0/30", "is too small"),
        ("vpcs.0.subnets.0.cidr", "10.21.1.0/24", "is not inside the VPC's CIDR"),
        ("vpcs.0.snat", "pubic", "external network pubic does not exist"),
        ("security_groups.0.rules.0.ports", "70000", "is out of range"),
        ("security_groups.1.rules.0.source_group", "wbe", "security group wbe does not exist"),
        ("images.0.checksum", "md5:1234", "is no checksum"),
        ("images", [{"name": "a"}, {"name": "a"}], "stands there twice"),
        ("keypairs.0.public_key", "secret", "is not an OpenSSH public key"),
    ],
)
def test_a_fault_is_named_with_its_value(path, value, words):
    description = copy.deepcopy(GOOD)
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    place = description
    for part in parents:
        place = place[part]
    place[last] = value
    with pytest.raises(EcsError) as failure:
        check(Cloud(**description), EXISTING)
    assert words in str(failure.value)


def test_a_volume_without_a_home_is_refused():
    with pytest.raises(EcsError, match="there is no hypervisor to hold it"):
        decide(Cloud(volumes=[{"name": "lost", "size": 1}]), HOSTS, "shop", spread=True)


def test_server_groups_are_checked_and_resolved():
    """D2: a group is told to each of its members, and those that nobody listed are a fault."""
    description = copy.deepcopy(GOOD)
    description["server_groups"] = [{"name": "web"}]
    description["servers"][0]["server_group"] = "web"
    check(Cloud(**description), EXISTING)
    decision = decide(Cloud(**description), HOSTS, "shop", spread=False)
    assert [decision["placement"][name][0]["server_group_policy"] for name in ("hv1", "hv2")] == ["anti-affinity"] * 2
    assert decision["warnings"] == []
    with pytest.raises(EcsError, match="the quota is 1"):
        decide(Cloud(**description), HOSTS, "shop", True, {"server_group_members": 1})
    with pytest.raises(EcsError, match=r"server_groups.name: 'web' stands there twice"):
        check(Cloud(**{**description, "server_groups": [{"name": "web"}] * 2}), EXISTING)
    with pytest.raises(EcsError, match="server group web does not exist"):
        decide(Cloud(**{**description, "server_groups": []}), HOSTS, "shop", spread=True)
