# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Server groups (spec D2, R3, R4, R6): what a host keeps and refuses, and how placement sees it, on libvirt's test driver."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.altostratus.ecs.plugins.module_utils._model.metadata import NAMESPACE
from ansible_collections.altostratus.ecs.plugins.modules import hypervisor_info, placement, server, server_info

WEB = {"flavor": "s7n.small.05", "image": "mini", "nics": []}
APART = {"server_group": "web", "server_group_policy": "anti-affinity"}


def info(call: Any) -> dict[str, Any]:
    return call(hypervisor_info, project=None)["hypervisor"]


def test_membership_is_told_kept_and_changed(call: Any, hypervisor: Any) -> None:
    """D2 at creation, R4 later, R6: the group is in server, server_info and hypervisor_info; what is not asked stays."""
    made = call(server, name="web", **WEB, server_group="web")
    assert made["diff"]["after"]["server web"]["server_group"] == "web"
    assert (made["server"]["server_group"], made["server"]["server_group_policy"]) == ("web", "anti-affinity")
    assert not call(server, name="web", **WEB)["changed"]
    assert not call(server, name="web", **WEB, server_group="web")["changed"]

    softened = call(server, check=True, name="web", server_group="web", server_group_policy="soft-anti-affinity")
    assert softened["diff"] == {
        "before": {"server web": {"server_group_policy": "anti-affinity"}},
        "after": {"server web": {"server_group_policy": "soft-anti-affinity"}},
    }
    assert info(call)["servers"][0]["server_group_policy"] == "anti-affinity"

    left = call(server, name="web", server_group="")
    assert (left["steps"], left["server"]["server_group"], left["server"]["server_group_policy"]) == (["update server web"], None, None)
    assert not call(server, name="web", server_group="")["changed"]
    assert call(server, name="web", server_group="db")["server"]["server_group"] == "db"
    (told,) = call(server_info, filters={"server_group": "db"})["servers"]
    assert (told["name"], told["status"]) == ("web", "running")
    assert call(server_info, filters={"server_group": "web"})["servers"] == []


def test_a_host_takes_one_member_of_an_anti_affinity_group(call: Any, hypervisor: Any) -> None:
    """R3, R4: one after the other, both in one call, by joining; another project's group of the same name is another group."""
    hypervisor.connection.defineXML(
        "<domain type='test'><name>bank.a</name><memory unit='MiB'>64</memory><os><type>hvm</type></os><metadata>"
        f"<ecs:server xmlns:ecs='{NAMESPACE}' region='local' project='bank' name='a' server_group='web'"
        " server_group_policy='anti-affinity'/></metadata></domain>"
    )
    call(server, name="a", **WEB, **APART)
    failed = call(server, fails=True, name="b", **WEB, **APART)
    assert failed["error_code"] == "ECS_SERVER_GROUP"
    assert "server b: a, of the same server group web (anti-affinity), is on hv1 as well. Let module placement" in failed["msg"]
    call(server, name="b", **WEB)
    assert call(server, fails=True, name="b", server_group="web")["error_code"] == "ECS_SERVER_GROUP"
    both = [{"name": name, **WEB, "server_group": "db"} for name in ("c", "d")]
    assert call(server, fails=True, servers=both)["error_code"] == "ECS_SERVER_GROUP"
    assert hypervisor.domains == ["bank.a", "shop.a", "shop.b"]
    assert call(server, name="b", server_group="web", server_group_policy="soft-anti-affinity")["changed"]


def test_who_leaves_makes_room(call: Any, hypervisor: Any) -> None:
    """R6, within one call."""
    call(server, name="a", **WEB, **APART)
    call(server, servers=[{"name": "a", "state": "absent"}, {"name": "b", **WEB, **APART}])
    call(server, servers=[{"name": "b", "server_group": ""}, {"name": "c", **WEB, **APART}])
    assert {one["name"]: one["server_group"] for one in info(call)["servers"]} == {"b": None, "c": "web"}


@pytest.mark.parametrize("policy", ["affinity", "soft-affinity", "soft-anti-affinity"])
def test_other_policies_are_placements_business(call: Any, hypervisor: Any, policy: str) -> None:
    call(server, servers=[{"name": name, **WEB, "server_group": "web", "server_group_policy": policy} for name in ("a", "b")])
    assert {one["server_group_policy"] for one in info(call)["servers"]} == {policy}


def test_placement_and_server_fit_together(call: Any, hypervisor: Any) -> None:
    """What placement chose can be created as it stands, and is seen by the next run."""
    hosts = [info(call)]
    hosts.append({**hosts[0], "name": "hv2"})
    wanted: dict[str, Any] = {
        "servers": [{"name": "web", "count": 2, **WEB, "server_group": "web"}],
        "server_groups": [{"name": "web"}],
    }
    placed = call(placement, hypervisors=hosts, **wanted)
    assert {one["name"]: one["hypervisor"] for one in placed["servers"]} == {"web-0001": "hv1", "web-0002": "hv2"}
    assert call(server, servers=placed["placement"]["hv1"])["changed"]
    assert not call(server, servers=placed["placement"]["hv1"])["changed"]
    hosts[0] = info(call)
    wanted["servers"].append({"name": "more", **WEB, "server_group": "web"})
    failed = call(placement, fails=True, hypervisors=hosts, **wanted)
    assert failed["error_code"] == "ECS_NO_CAPACITY"
    quota = call(placement, fails=True, hypervisors=hosts, quotas={"server_group_members": 2}, **wanted)
    assert quota["error_code"] == "ECS_QUOTA"
    soft = call(placement, hypervisors=hosts, **{**wanted, "server_groups": [{"name": "web", "policy": "soft-anti-affinity"}]})
    assert soft["servers"][0]["hypervisor"] == "hv1"
    assert call(server, servers=[one for one in soft["placement"]["hv1"] if one["name"] == "web-0001"])["steps"] == [
        "update server web-0001"
    ]


def test_a_broken_group_is_a_warning(call: Any, hypervisor: Any) -> None:
    """Nothing that exists is moved, or in the way of what has nothing to do with it."""
    call(server, servers=[{"name": name, **WEB, "server_group": "web", "server_group_policy": "soft-anti-affinity"} for name in ("a", "b")])
    host = info(call)
    for one in host["servers"]:
        one["server_group_policy"] = "anti-affinity"
    told = call(placement, hypervisors=[host], servers=[{"name": "c", **WEB}])
    assert any("server group web (anti-affinity): a, b are on hv1; nothing is moved" in str(warning) for warning in told["warnings"])
    assert told["servers"][0]["hypervisor"] == "hv1"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"server_group_policy": "affinity"}, "needs a server_group"),
        ({"server_group": "two words"}, "is not a valid name"),
        ({"server_group": "web", "server_group_policy": "apart"}, "value of server_group_policy must be one of"),
    ],
)
def test_wrong_groups_are_refused(call: Any, hypervisor: Any, options: dict[str, Any], words: str) -> None:
    assert words in call(server, fails=True, name="web", **WEB, **options)["msg"]
    assert hypervisor.domains == []
