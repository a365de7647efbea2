# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the inventory makes of servers: names, groups, variables."""

from __future__ import annotations

import itertools
import uuid

import pytest

from ansible_collections.altostratus.ecs.plugins.module_utils._engines.shared_ssh import share_ssh
from ansible_collections.altostratus.ecs.plugins.module_utils._model.errors import InvalidInput
from ansible_collections.altostratus.ecs.plugins.module_utils._model.inventory import Options, build


def server(name="web", project="shop", **fields):
    nics = [{"vpc": vpc, "subnet": "front", "security_groups": ["web"]} for vpc in fields.pop("vpcs", ["shop"])]
    defaults = {
        "id": str(uuid.uuid5(uuid.NAMESPACE_OID, f"{project}/{name}")),
        "name": name,
        "project": project,
        "region": "local",
        "az": "az1",
        "hypervisor": "hv1",
        "status": "running",
        "flavor": "s7n.medium.2",
        "image": "debian-13",
        "nics": nics,
        "address": "10.20.1.10",
        "eip": None,
        "server_group": None,
        "tags": {},
        "domain": f"{project}.{name}",
        "libvirt_uri": "qemu:///system",
    }
    return {**defaults, **fields}


def names(servers, taken=None, **options):
    return [host.name for host in build(servers, Options(**options), taken or {}).hosts]


def only(found, **options):
    (host,) = build([found], Options(**options), {}).hosts
    return host


def test_every_property_is_a_group_whose_name_ansible_accepts():
    tags = {"tier": "web", "cost-centre": "R&D/7", "spot": ""}
    host = only(server(vpcs=["shop", "back office", "shop"], tags=tags, status="stopped", server_group="db-1"))
    assert set(host.groups) == {
        "server_group_db_1",
        "project_shop",
        "az_az1",
        "hypervisor_hv1",
        "flavor_s7n_medium_2",
        "status_stopped",
        "vpc_shop",
        "vpc_back_office",
        "tag_tier_web",
        "tag_cost_centre_R_D_7",
        "tag_spot",
    }
    assert len(host.groups) == len(set(host.groups))


def test_a_server_sized_by_hand_has_no_flavor_group():
    assert not [group for group in only(server(flavor=None)).groups if group.startswith("flavor")]


@pytest.mark.parametrize("order", itertools.permutations(range(3)))
def test_names_of_two_projects_get_their_project_in_any_order(order):
    servers = [server("web", "shop"), server("web", "bank"), server("db", "shop")]
    built = build([servers[place] for place in order], Options(), {})
    assert [host.name for host in built.hosts] == ["bank.web", "db", "shop.web"]
    assert [host.variables["ecs_project"] for host in built.hosts] == ["bank", "shop", "shop"]
    assert built.warnings == ("names that are not unique or taken, shown with their project: web",)


def test_a_name_that_looks_like_a_qualified_one_gives_way():
    assert names([server("web", "shop"), server("web", "bank"), server("shop.web", "other")]) == ["bank.web", "other.shop.web", "shop.web"]


def test_regions_part_what_projects_cannot():
    assert names([server(), server(region="far", id="2")]) == ["far.shop.web", "local.shop.web"]


@pytest.mark.parametrize("name", ["hv1", "localhost", "all", "127.0.0.1"])
def test_a_server_cannot_take_the_place_of_another_host(name):
    assert names([server(name)], {"hv1": None}) == [f"shop.{name}"]


@pytest.mark.parametrize("name", ["az_az1", "status_running", "frontend"])
def test_a_server_cannot_take_the_place_of_a_group(name):
    """Neither of its own groups nor of those that the inventory has already."""
    assert names([server(name)], {"frontend": None}) == [f"shop.{name}"]


def test_a_server_that_another_source_showed_keeps_its_name():
    assert names([server()], {"web": server()["id"]}) == ["web"]


def test_qualified_names():
    assert names([server("web", "shop"), server("db", "shop")], qualified_names=True) == ["shop.db", "shop.web"]


def test_a_server_on_two_hypervisors_is_shown_where_it_runs():
    built = build([server(status="stopped", hypervisor="hv1"), server(hypervisor="hv2")], Options(), {})
    assert [host.variables["ecs_hypervisor"] for host in built.hosts] == ["hv2"]
    assert built.warnings == ("server shop.web is on hv2 and hv1; the first is shown",)


@pytest.mark.parametrize(
    ("connection", "eip", "expected"),
    [
        ("auto", "203.0.113.9", {"ansible_host": "203.0.113.9", "ansible_user": "debian"}),
        ("auto", None, {"ansible_connection": "altostratus.ecs.guest_agent", "ansible_python_interpreter": "/usr/bin/python3"}),
        ("ssh", None, {"ansible_host": "10.20.1.10", "ansible_user": "debian"}),
        (
            "guest_agent",
            "203.0.113.9",
            {"ansible_connection": "altostratus.ecs.guest_agent", "ansible_python_interpreter": "/usr/bin/python3"},
        ),
        ("none", "203.0.113.9", {}),
    ],
)
def test_how_ansible_reaches_a_server(connection, eip, expected):
    found = only(server(eip=eip), connection=connection, user="debian").variables
    assert {name: value for name, value in found.items() if name.startswith("ansible_")} == expected
    assert found["ecs_domain"] == "shop.web"
    assert found["ecs_eip"] == eip


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"project": "shop"}, ["db", "web"]),
        ({"project": ["shop", "bank"], "status": "running"}, ["vault", "web"]),
        ({"vpc": "vault"}, ["vault"]),
        ({"tags": {"tier": "db"}}, ["db"]),
        ({"tags": {"tier": "db"}, "status": "running"}, []),
    ],
)
def test_filters(filters, expected):
    servers = [server("web"), server("db", status="stopped", tags={"tier": "db"}), server("vault", "bank", vpcs=["shop", "vault"])]
    assert names(servers, filters=filters) == expected


def test_an_unknown_filter_is_refused():
    with pytest.raises(InvalidInput, match="colour"):
        names([server()], filters={"colour": "red"})


def test_ssh_is_shared_by_those_who_start_it_alike(tmp_path):
    plain, other = (
        share_ssh(uri, str(tmp_path / "cp"), 5) for uri in ("qemu+ssh://hv1/system", "qemu+ssh://hv1/system?command=/lab/ssh&no_tty=1")
    )
    scripts = {
        uri: next((tmp_path / "cp").glob(uri.rpartition("command=")[2].partition("&")[0].rpartition("/")[2])) for uri in (plain, other)
    }
    assert scripts[plain].read_text().splitlines()[1].startswith("exec ssh -o BatchMode=yes -o ConnectTimeout=5")
    assert scripts[other].read_text().splitlines()[1].startswith("exec /lab/ssh -o BatchMode=yes -o ConnectTimeout=5")
    assert "no_tty=1" in other
    assert (tmp_path / "cp").stat().st_mode & 0o777 == 0o700
    assert share_ssh("qemu:///system", str(tmp_path / "unused"), 5) == "qemu:///system"
    assert not (tmp_path / "unused").exists()


def test_ssh_is_not_shared_where_a_socket_path_would_be_too_long(tmp_path):
    directory = tmp_path / ("d" * 60)
    share_ssh("qemu+ssh://hv1/system", str(directory), 5)
    (script,) = directory.iterdir()
    assert "ConnectTimeout=5" in script.read_text()
    assert "Control" not in script.read_text()
