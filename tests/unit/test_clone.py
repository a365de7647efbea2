# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A new server like one that exists (spec H2, H3)."""

from __future__ import annotations

import pytest

from ansible_collections.altostratus.ecs.plugins.module_utils._model.clone import find, like
from ansible_collections.altostratus.ecs.plugins.module_utils._model.errors import InvalidInput, NotFound
from ansible_collections.altostratus.ecs.plugins.module_utils._model.placement import place
from ansible_collections.altostratus.ecs.plugins.module_utils._model.server_request import requests

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGr0 ops"


def source(**changes):
    return {
        "id": "11111111-2222-5333-8444-555555555555",
        "name": "web",
        "status": "running",
        "flavor": "s7n.medium.2",
        "vcpus": 1,
        "memory": 2048,
        "image": "debian-13",
        "disks": [
            {"name": "web-system", "role": "system", "size": 20, "type": "fast"},
            {"name": "web-data", "role": "data", "size": 5, "type": "standard", "mount": "/srv", "filesystem": "ext4"},
            {"name": None, "role": "data", "size": None, "type": None},
        ],
        "nics": [{"name": "web-nic0", "subnet": "front", "vpc": "shop", "security_groups": ["web"], "address": "10.0.0.5"}],
        "tags": {"tier": "web"},
        "description": "the first",
        **changes,
    }


def test_what_is_taken_over():
    """Spec H2: size, image, disks, interfaces, tags; no address, no description."""
    item, notes = like({"name": "next", "public_keys": [KEY]}, source())
    assert item == {
        "name": "next", "public_keys": [KEY], "flavor": "s7n.medium.2", "image": "debian-13", "root_disk": 20, "disk_type": "fast",
        "tags": {"tier": "web"}, "data_disks": [{"name": "data", "size": 5, "type": "standard", "mount": "/srv", "filesystem": "ext4"}],
        "nics": [{"subnet": "front", "vpc": "shop", "security_groups": ["web"]}],
    }  # fmt: skip
    assert notes == []


def test_own_options_come_first():
    own = {"name": "next", "vcpus": 2, "memory": 512, "image": "mini", "nics": [], "data_disks": [], "tags": {}, "password": "Cloud.1234!"}
    item, notes = like(own, source())
    assert item == {**own, "root_disk": None, "disk_type": "fast"}, "a size belongs to its image"
    assert notes == []


def test_a_size_by_numbers():
    item, _notes = like({"name": "next"}, source(flavor=None))
    assert (item.get("flavor"), item["vcpus"], item["memory"]) == (None, 1, 2048)


def test_what_is_too_much_is_left_out_with_a_word():
    """Spec H3: data disks beyond 10, interfaces beyond 5, security groups beyond 5; the login."""
    disks = [{"name": f"web-d{number:02d}", "role": "data", "size": 1, "type": "standard"} for number in range(12)]
    nics = [{"name": f"web-nic{number}", "subnet": "s", "vpc": "v", "security_groups": list("abcdef")} for number in range(6)]
    item, notes = like({"name": "next"}, source(disks=disks, nics=nics))
    assert (len(item["data_disks"]), len(item["nics"]), item["nics"][0]["security_groups"]) == (10, 5, list("abcde"))
    told = " ".join(notes)
    assert "data disks beyond 10 are not taken over: d10, d11" in told
    assert "interfaces beyond 5 are not taken over: web-nic5" in told
    assert "security groups of web-nic0 beyond 5 are not taken over: f" in told
    assert "the login of web is not taken over" in told


def test_found_by_name_or_id():
    assert find("web", [source()]) == find(source()["id"], [source()]) == source()
    with pytest.raises(NotFound, match="server other does not exist"):
        find("other", [source()])


@pytest.mark.parametrize("flavor", ["e7.xlarge.14", "e3.26xlarge.14", "et2.large.16"])
def test_large_memory_servers_are_not_cloned(flavor):
    """Spec H2."""
    with pytest.raises(InvalidInput, match="large-memory"):
        find("web", [source(flavor=flavor)])


def test_a_batch_of_clones_and_those_that_exist():
    """What exists is not compared with the other server."""
    told = requests([{"name": "next", "count": 2, "clone_from": "web"}], [source(), source(name="next-0001")])
    assert [(request.name, request.image) for request in told] == [("next-0001", None), ("next-0002", "debian-13")]
    assert [bool(request.notes) for request in told] == [False, True]


def test_placement_does_not_clone():
    with pytest.raises(InvalidInput, match="clone_from"):
        place([{"name": "next", "clone_from": "web"}], [{"name": "hv1", "az": "az1", "cpus": 4, "memory": 4096}], "shop")
