# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Server groups (spec D2, R3, R4, R6) in placement."""

from __future__ import annotations

from collections import Counter

import pytest

from ansible_collections.altostratus.ecs.plugins.module_utils._model.errors import EcsError, InvalidInput, NotFound
from ansible_collections.altostratus.ecs.plugins.module_utils._model.placement import place
from ansible_collections.altostratus.ecs.plugins.module_utils._model.server_groups import declared, membership

WEB = {"name": "web", "flavor": "s7n.medium.2", "server_group": "web"}


def member(name, policy="anti-affinity", group="web", project="shop"):
    base = {"name": name, "project": project, "vcpus": 1, "memory": 2048}
    return {**base, "server_group": group, "server_group_policy": policy if group else None}


def host(name, *servers, az="az1", room=4, **more):
    """A host that has these servers, and room for so many more of 2 GiB."""
    used = 2048 * len(servers)
    base = {"name": name, "az": az, "memory": used + 2048 * room, "cpus": 16, "memory_allocated": used, "vcpus_allocated": len(servers)}
    return {**base, "servers": list(servers), **more}


def placed(count, hosts, policy="anti-affinity", spread=True, **options):
    servers = place([{**WEB, "count": count}], hosts, "shop", spread, [{"name": "web", "policy": policy}], **options).servers
    return [server["hypervisor"] for server in servers]


def test_anti_affinity_puts_each_member_on_a_host_of_its_own():
    """R3, whatever the policy between spread and pack; members that exist count, those of other projects and groups do not."""
    other_project, other_group = member("web-0001", project="bank"), member("db", group="db")
    hosts = [host("hv1"), host("hv2", member("web-0009")), host("hv3", other_project), host("hv4", other_group)]
    assert sorted(placed(3, hosts)) == sorted(placed(3, hosts, spread=False)) == ["hv1", "hv3", "hv4"]
    with pytest.raises(
        EcsError, match=r"server web-0004: .* in any hypervisor without a member of anti-affinity group web, there is none"
    ) as failure:
        placed(4, hosts)
    assert failure.value.code == "ECS_NO_CAPACITY"
    assert "use policy soft-anti-affinity" in str(failure.value)


def test_anti_affinity_tells_the_best_host_that_is_left():
    hosts = [host("hv1"), host("hv2", room=0)]
    with pytest.raises(EcsError, match="without a member of anti-affinity group web, the best, hv2, has 16 vCPUs and 0 MiB free"):
        placed(2, hosts)


def test_groups_are_independent():
    """R3."""
    hosts = [host("hv1"), host("hv2")]
    servers = [{**WEB, "count": 2}, {**WEB, "name": "db", "count": 2, "server_group": "db"}]
    told = place(servers, hosts, "shop", groups=[{"name": "web"}, {"name": "db"}]).servers
    assert {server["name"]: server["hypervisor"] for server in told} == {
        "web-0001": "hv1", "web-0002": "hv2", "db-0001": "hv1", "db-0002": "hv2",
    }  # fmt: skip
    assert {server["server_group_policy"] for server in told} == {"anti-affinity"}


@pytest.mark.parametrize("spread", [True, False])
def test_soft_anti_affinity_shares_hosts_when_it_must(spread):
    """The hosts with the fewest members come first; a full one is no hindrance."""
    hosts = [host("hv1", member("web-0009", "soft-anti-affinity")), host("hv2", room=5), host("hv3", room=1)]
    homes = placed(7, hosts, "soft-anti-affinity", spread)
    assert sorted(homes[:2]) == ["hv2", "hv3"]
    assert sorted(homes[2:4]) == ["hv1", "hv2"]
    assert Counter(homes) == {"hv1": 3, "hv2": 3, "hv3": 1}


@pytest.mark.parametrize("spread", [True, False])
def test_affinity_finds_a_host_for_all_of_them(spread):
    """The first does not go where the others would not fit."""
    hosts = [host("hv1", room=2), host("hv2", room=3), host("hv3", room=9)]
    assert placed(3, hosts, "affinity", spread) == ["hv3" if spread else "hv2"] * 3
    with pytest.raises(
        EcsError, match=r"server web-0001: flavor s7n.medium.2 needs 10 vCPUs and 20480 MiB in any hypervisor for all of affinity group web"
    ):
        placed(10, hosts, "affinity", spread)


def test_affinity_follows_the_members_that_exist():
    hosts = [host("hv1", room=9), host("hv2", member("web-0009", "affinity"), room=2)]
    assert placed(2, hosts, "affinity") == ["hv2", "hv2"]
    with pytest.raises(EcsError, match="in any hypervisor with affinity group web, the best, hv2, has 13 vCPUs and 0 MiB free"):
        placed(3, hosts, "affinity")


def test_affinity_takes_the_zone_dedication_and_flavors_of_all_members():
    """Whoever names no zone, or az random (spec C7), goes with the others."""
    hosts = [host("hv1", room=9), host("hv2", az="az2", flavors=["s7n.medium.2"]), host("hv3", az="az2")]
    group = [{"name": "web", "policy": "affinity"}]
    mixed = [{**WEB, "name": "a"}, {**WEB, "name": "b", "az": "random"}, {**WEB, "name": "c", "az": "az2", "flavor": "s7n.small.1"}]
    told = place(mixed, hosts, "shop", groups=group).servers
    assert [(server["hypervisor"], server.get("az")) for server in told] == [("hv3", None), ("hv3", "az2"), ("hv3", "az2")]
    with pytest.raises(InvalidInput, match=r"az: \['az1', 'az2'\] differ in affinity group web"):
        place([*mixed, {**WEB, "name": "d", "az": "az1"}], hosts, "shop", groups=group)
    with pytest.raises(InvalidInput, match=r"dedicated: .* differ in affinity group web"):
        place([*mixed, {**WEB, "name": "d", "dedicated": True}], hosts, "shop", groups=group)


@pytest.mark.parametrize("spread", [True, False])
def test_soft_affinity_keeps_together_while_there_is_room(spread):
    """One host for all where there is one; else the fullest of the group first."""
    assert placed(3, [host("hv1", room=2), host("hv2", room=3)], "soft-affinity", spread) == ["hv2"] * 3
    hosts = [host("hv1", room=3), host("hv2", member("web-0009", "soft-affinity"), room=2), host("hv3", room=2)]
    assert placed(2, hosts, "soft-affinity", spread) == ["hv2", "hv2"]
    assert (
        Counter(placed(6, hosts, "soft-affinity", spread)) == {"hv2": 2, "hv1": 3, "hv3": 1} if spread else {"hv2": 2, "hv3": 2, "hv1": 2}
    )


def test_what_exists_is_never_moved():
    """A group that is broken already is told, and grows by its policy."""
    hosts = [host("hv1", member("web-0001"), member("web-0002")), host("hv2")]
    told = place([{**WEB, "count": 3}], hosts, "shop", groups=[{"name": "web"}])
    assert [server["hypervisor"] for server in told.servers] == ["hv1", "hv1", "hv2"]
    assert told.warnings == ["server group web (anti-affinity): web-0001, web-0002 are on hv1; nothing is moved"]
    apart = [host("hv1", member("web-0001", "affinity")), host("hv2", member("web-0002", "affinity"))]
    told = place([{**WEB, "count": 3}], apart, "shop")
    assert [server["hypervisor"] for server in told.servers] == ["hv1", "hv2", "hv1"]
    assert told.warnings == ["server group web (affinity): web-0001 on hv1 and web-0002 on hv2; nothing is moved"]


@pytest.mark.parametrize(
    ("there", "policy", "code"),
    [
        ([[member("web-0001", group=None)], [member("web-0002", group=None)]], "anti-affinity", None),
        ([[member("web-0001", group=None), member("web-0002")], []], "anti-affinity", "ECS_SERVER_GROUP"),
        ([[member("web-0001", "soft-anti-affinity"), member("web-0002", "soft-anti-affinity")], []], "anti-affinity", "ECS_SERVER_GROUP"),
        ([[member("web-0001", group=None), member("web-0002")], []], "soft-anti-affinity", None),
        ([[member("web-0001", group=None)], [member("web-0002", "affinity")]], "affinity", "ECS_SERVER_GROUP"),
        ([[member("web-0001", group=None), member("web-0002", "affinity")], []], "affinity", None),
    ],
)
def test_an_existing_server_joins_where_it_may_stay(there, policy, code):
    """R4, without the move."""
    hosts = [host(f"hv{number}", *servers) for number, servers in enumerate(there)]
    wanted = [{**WEB, "count": 2}], hosts, "shop", True, [{"name": "web", "policy": policy}]
    if code is None:
        assert {server["server_group_policy"] for server in place(*wanted).servers} == {policy}
        return
    with pytest.raises(EcsError, match="cannot join server group web") as failure:
        place(*wanted)
    assert failure.value.code == code


def test_a_server_that_leaves_or_is_removed_frees_its_host():
    """R6."""
    hosts = [host("hv1", member("web-0001")), host("hv2", member("web-0002"))]
    wanted = [
        {"name": "web-0001", "server_group": ""}, {"name": "web-0002", "state": "absent"}, {**WEB, "name": "new", "count": 2},
    ]  # fmt: skip
    told = place(wanted, hosts, "shop").servers
    assert sorted(server["hypervisor"] for server in told[2:]) == ["hv1", "hv2"]


def test_a_group_that_exists_need_not_be_listed():
    hosts = [host("hv1", member("web-0009", "soft-anti-affinity")), host("hv2")]
    (told,) = place([{**WEB, "name": "a"}], hosts, "shop").servers
    assert (told["hypervisor"], told["server_group_policy"]) == ("hv2", "soft-anti-affinity")
    (told,) = place([{**WEB, "name": "a", "server_group": "own", "server_group_policy": "affinity"}], hosts, "shop").servers
    assert told["server_group_policy"] == "affinity"
    with pytest.raises(
        NotFound, match=r"server group wbe does not exist in project shop \(server a\)\. List it in server_groups; known: web"
    ):
        place([{**WEB, "name": "a", "server_group": "wbe"}], hosts, "shop")


@pytest.mark.parametrize(
    ("server", "groups", "words"),
    [
        ({"server_group_policy": "apart"}, [{"name": "web"}], "'apart' is not a policy"),
        ({"server_group": "", "server_group_policy": "affinity"}, [], "needs a server_group"),
        ({"server_group_policy": "affinity"}, [{"name": "web"}], "contradicts its group's"),
        ({"server_group": "two words"}, [], "server_group: 'two words' is not a valid name"),
        ({}, [{"name": "web"}, {"name": "web"}], "'web' is listed twice"),
        ({}, [{"name": "web", "policy": "apart"}], "'apart' is not a policy"),
        ({}, [{"name": ""}], "server_groups.name: '' is not a valid name"),
    ],
)
def test_wrong_groups_are_refused(server, groups, words):
    with pytest.raises(InvalidInput) as failure:
        place([{**WEB, **server}], [host("hv1")], "shop", groups=groups)
    assert words in str(failure.value)


def test_the_policy_of_the_guide_is_the_default():
    """R3."""
    assert declared([{"name": "web"}, {"name": "db", "policy": "affinity"}]) == {"web": "anti-affinity", "db": "affinity"}
    assert membership("web", None) == ("web", "anti-affinity")
    assert membership("web", None, ("web", "affinity")) == ("web", "affinity")
    assert membership("db", None, ("web", "affinity")) == ("db", "anti-affinity")
    assert membership(None, None, ("web", "affinity")) == ("web", "affinity")
    assert membership("", None, ("web", "affinity")) == ("", "")


def test_quotas_hold_for_what_comes():
    """R3: number of groups and number of members are quotas; what is there already is left alone."""
    hosts = [host("hv1", member("web-0001")), host("hv2", member("web-0002")), host("hv3", member("db-0001", group="db")), host("hv4")]
    assert placed(3, hosts, quotas={"server_groups": 2, "server_group_members": 3}) == ["hv1", "hv2", "hv3"]
    assert placed(2, hosts, quotas={"server_groups": 1, "server_group_members": 1}) == ["hv1", "hv2"]
    with pytest.raises(EcsError, match="server group web: it would have 3 members, the quota is 2") as failure:
        placed(3, hosts, quotas={"server_group_members": 2})
    assert failure.value.code == "ECS_QUOTA"
    more = [{**WEB, "name": "a", "server_group": "more"}], hosts, "shop", True, [{"name": "more"}]
    assert place(*more, quotas={"server_groups": 3}).servers[0]["hypervisor"]
    with pytest.raises(EcsError, match="server group more: it would be number 3, the quota of the project is 2"):
        place(*more, quotas={"server_groups": 2, "server_group_members": None})
