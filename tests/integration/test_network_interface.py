# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module network_interface: addresses, groups, races, and a thousand at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.altostratus.ecs.plugins.module_utils._model.errors import EcsError
from ansible_collections.altostratus.ecs.plugins.module_utils._services import ports
from ansible_collections.altostratus.ecs.plugins.modules import eip, network_interface, network_interface_info, security_group, vpc

from .conftest import SHOP, Call, Ovn

TABLES = ("Logical_Switch_Port", "Port_Group", "ACL", "NAT", "QoS")


def members(ovn: Ovn, group: str) -> set[str]:
    return set(ovn.nbctl("--bare", "--columns=ports", "list", "Port_Group", group).split())


def test_life_of_an_interface(cloud: Call, ovn: Ovn) -> None:
    before = ovn.count(*TABLES)
    wanted = {"name": "a", "subnet": "front"}
    planned = cloud(network_interface, check=True, **wanted)
    assert ovn.count(*TABLES) == before
    made = cloud(network_interface, **wanted)
    assert made["network_interface"] == planned["network_interface"]
    port = made["network_interface"]
    assert (port["address"], port["gateway"], port["cidr"], port["mtu"]) == ("10.20.1.2", "10.20.1.1", "10.20.1.0/24", 1442)
    assert port["mac"].startswith("fa:16:3e:")
    assert port["security_groups"] == ["default"]
    assert cloud(network_interface, **wanted)["changed"] is False
    assert cloud(network_interface_info)["network_interfaces"] == [port]
    assert members(ovn, "ecs_ports") == {port["id"]}
    secured = ovn.nbctl("--bare", "--columns=port_security", "list", "Logical_Switch_Port", port["id"]).strip()
    assert secured == f"{port['mac']} {port['address']}"
    for changed in (True, False):
        assert cloud(network_interface, name="a", state="absent")["changed"] is changed
    assert members(ovn, "ecs_ports") == set()


def test_addresses_are_the_lowest_free_or_the_chosen_ones(cloud: Call) -> None:
    wanted = [
        {"name": "free1", "subnet": "front"},
        {"name": "chosen", "subnet": "front", "address": "10.20.1.2", "mac": "FA-16-3E-00-00-02"},
        {"name": "free2", "subnet": "front"},
    ]
    made = cloud(network_interface, network_interfaces=wanted)["network_interfaces"]
    assert [port["address"] for port in made] == ["10.20.1.3", "10.20.1.2", "10.20.1.4"]
    assert made[1]["mac"] == "fa:16:3e:00:00:02"
    cloud(network_interface, name="free1", state="absent")
    assert cloud(network_interface, name="next", subnet="front")["network_interface"]["address"] == "10.20.1.3"
    moved = cloud(network_interface, name="next", subnet="front", address="10.20.1.77")
    assert moved["diff"]["after"] == {"port next": {"address": "10.20.1.77"}}
    swapped = [{"name": "gone", "subnet": "front", "address": "10.20.1.77"}, {"name": "next", "state": "absent"}]
    assert cloud(network_interface, network_interfaces=swapped)["network_interfaces"][0]["address"] == "10.20.1.77"


def test_security_groups_are_replaced_as_a_set(cloud: Call, ovn: Ovn) -> None:
    """Spec S-17."""
    cloud(security_group, security_groups=[{"name": name} for name in "xyz"])
    cloud(network_interface, name="a", subnet="front", security_groups=["x", "y"])
    changed = cloud(network_interface, name="a", subnet="front", security_groups=["z", "y"])
    assert changed["diff"]["before"] == {"port a": {"security_groups": ["x", "y"]}}
    assert changed["diff"]["after"] == {"port a": {"security_groups": ["y", "z"]}}
    assert cloud(network_interface, name="a", subnet="front")["network_interface"]["security_groups"] == ["y", "z"]
    assert cloud(network_interface, name="a", subnet="front", security_groups=[])["network_interface"]["security_groups"] == []


def test_a_port_that_left_the_closing_group_is_put_back(cloud: Call, ovn: Ovn) -> None:
    port = cloud(network_interface, name="a", subnet="front")["network_interface"]["id"]
    ovn.nbctl("clear", "Port_Group", "ecs_ports", "ports")
    assert cloud(network_interface, name="a", subnet="front")["steps"] == ["repair port a"]
    assert members(ovn, "ecs_ports") == {port}


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"name": "a"}, "subnet.*is needed for interface a"),
        ({"name": "a", "subnet": "nowhere"}, "subnet nowhere does not exist in project shop .interface a"),
        ({"name": "a", "subnet": "front", "vpc": "other"}, "subnet front does not exist in VPC other"),
        ({"name": "a", "subnet": "twin"}, "is a subnet of several VPCs .shop, two"),
        ({"name": "a", "subnet": "front", "security_groups": ["none"]}, "security group none does not exist"),
        ({"name": "a", "subnet": "front", "address": "10.20.2.5"}, "is not in 10.20.1.0/24"),
        ({"name": "a", "subnet": "front", "address": "10.20.1.1"}, "in use or reserved"),
        ({"name": "a", "subnet": "front", "address": "10.20.1.254"}, "in use or reserved"),
        ({"name": "a", "subnet": "front", "address": "10.20.1.2"}, "in use or reserved"),
        ({"name": "a", "subnet": "front", "address": "front"}, "not an IPv4 address"),
        ({"name": "a", "subnet": "front", "mac": "01:00:5e:00:00:01"}, "not a unicast MAC"),
        ({"name": "taken", "subnet": "back"}, "cannot replace shop/front of interface taken"),
        ({"network_interfaces": [{"name": "a", "subnet": "front"}, {"name": "a", "subnet": "back"}]}, "listed twice"),
    ],
)
def test_bad_input_is_told_before_anything_changes(cloud: Call, ovn: Ovn, options: dict[str, Any], problem: str) -> None:
    twin = {"name": "twin", "cidr": "10.20.7.0/24"}
    cloud(vpc, vpcs=[{"name": "shop", "subnets": [twin]}, {"name": "two", "cidr": "10.20.0.0/16", "subnets": [twin]}])
    cloud(network_interface, name="taken", subnet="front")
    before = ovn.nbctl("show")
    with pytest.raises(AssertionError, match=problem):
        cloud(network_interface, **options)
    assert ovn.nbctl("show") == before


def test_check_mode_before_the_network_exists(call: Call, ovn: Ovn) -> None:
    result = call(network_interface, check=True, name="a", subnet="front", security_groups=["web"])
    assert result["network_interface"]["address"] is None
    assert "create port a" in result["steps"]
    assert "subnet front does not exist yet" in str(result["warnings"])
    assert "security group web does not exist yet" in str(result["warnings"])


def test_a_full_subnet_says_so(cloud: Call) -> None:
    cloud(vpc, name="shop", subnets=[{"name": "tiny", "cidr": "10.20.8.0/29"}])
    cloud(network_interface, network_interfaces=[{"name": f"p{number}", "subnet": "tiny"} for number in range(5)])
    assert "subnet shop/tiny has no free address" in cloud(network_interface, name="p5", subnet="tiny", fails=True)["msg"]


def request(name: str, **options: Any) -> ports.PortRequest:
    return ports.PortRequest(**{"name": name, "subnet": "front", **options})


def test_two_writers_never_share_an_address(cloud: Call, ovn: Ovn) -> None:
    """A plan that another writer overtook is made anew."""
    with ovn.connect() as slow, ovn.connect() as fast:
        plan = ports.plan_ports(slow, SHOP, [request("slow")])
        (overtaker,) = ports.apply_ports(fast, ports.plan_ports(fast, SHOP, [request("fast")]))
        (late,) = ports.apply_ports(slow, plan)
    assert (overtaker.address, late.address) == ("10.20.1.2", "10.20.1.3")


def test_the_same_interface_from_two_writers_is_one(cloud: Call, ovn: Ovn) -> None:
    with ovn.connect() as slow, ovn.connect() as fast:
        plan = ports.plan_ports(slow, SHOP, [request("same")])
        ports.apply_ports(fast, ports.plan_ports(fast, SHOP, [request("same")]))
        done = ports.commit_ports(slow, plan)
    assert (done.steps, done.created, done.ports[0].address) == ([], (), "10.20.1.2")


def test_a_group_deleted_meanwhile_opens_nothing(cloud: Call, ovn: Ovn) -> None:
    """A port never comes without the groups that were asked for."""
    cloud(security_group, name="web")
    with ovn.connect() as nb:
        plan = ports.plan_ports(nb, SHOP, [request("a", security_groups=["web"])])
        cloud(security_group, name="web", state="absent")
        with pytest.raises(EcsError, match="security group web does not exist"):
            ports.apply_ports(nb, plan)
    assert cloud(network_interface_info)["network_interfaces"] == []


def test_many_writers_at_once(cloud: Call, ovn: Ovn) -> None:
    def one(number: int) -> str | None:
        with ovn.connect() as nb:
            return ports.apply_ports(nb, ports.plan_ports(nb, SHOP, [request(f"p{number}")]))[0].address

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(one, range(24)))
    assert sorted(found, key=lambda address: IPv4Address(str(address))) == [f"10.20.1.{number}" for number in range(2, 26)]


def test_a_server_s_interface_is_not_deleted_here(cloud: Call, ovn: Ovn) -> None:
    server = SHOP.id("server", "web")
    with ovn.connect() as nb:
        wanted = [request("web-nic0", server="web", server_id=server, eip=ports.EipRequest("web", bandwidth=10))]
        plan = ports.commit_ports(nb, ports.plan_ports(nb, SHOP, wanted))
        assert "web-nic0 (server web)" in cloud(network_interface, name="web-nic0", state="absent", fails=True)["msg"]
        assert [port.eip for port in ports.read_ports(nb, server_ids=[server])] == ["203.0.113.101"]
        assert [str(step) for step in ports.plan_ports(nb, SHOP, wanted).steps] == []
        ports.undo_ports(nb, plan)
        assert ports.read_ports(nb, SHOP) == []
        assert ovn.count("NAT", "QoS") == {"NAT": 1, "QoS": 0}  # the VPC's SNAT
        ports.undo_ports(nb, plan)


@pytest.mark.parametrize("release", [True, False])
def test_removing_ports_unbinds_or_releases_their_eips(cloud: Call, ovn: Ovn, release: bool) -> None:
    with ovn.connect() as nb:
        plan = ports.commit_ports(nb, ports.plan_ports(nb, SHOP, [request("a", eip=ports.EipRequest("a"))]))
        told = [str(step) for step in ports.remove_ports(nb, plan.created, release_eips=release)]
        assert told == ["delete port a", "delete eip a" if release else "update eip a"]
        assert ports.remove_ports(nb, plan.created, release_eips=release) == []
    assert cloud(eip, name="a", state="absent")["changed"] is not release


def test_a_thousand_ports_in_one_call(cloud: Call, ovn: Ovn) -> None:
    cloud(vpc, name="big", cidr="10.64.0.0/16", subnets=[{"name": "wide", "cidr": "10.64.0.0/20"}])
    groups = [{"name": f"g{number}", "rules": [{"ports": str(port)} for port in range(80, 90)]} for number in range(50)]
    started = time.monotonic()
    cloud(security_group, security_groups=groups)
    with ovn.connect() as nb:
        wanted = [request(f"p{number}", subnet="wide", security_groups=[f"g{number % 50}"]) for number in range(1000)]
        made = ports.apply_ports(nb, ports.plan_ports(nb, SHOP, wanted))
        assert len({port.address for port in made}) == 1000
        assert ports.plan_ports(nb, SHOP, wanted).steps == []
        assert len(ports.read_ports(nb, SHOP)) == 1000
    assert time.monotonic() - started < 15  # far from what a busy machine needs; a quadratic step would not make it


def test_the_port_too_many_for_vxlan_is_refused(cloud: Call, ovn: Ovn) -> None:
    cloud(vpc, name="big", cidr="10.64.0.0/16", subnets=[{"name": "wide", "cidr": "10.64.0.0/20"}])
    with ovn.connect() as nb:
        fits = [request(f"p{number}", subnet="wide") for number in range(2045)]  # and two of ours
        with pytest.raises(EcsError, match=r"would have 2048 ports.*geneve"):
            ports.plan_ports(nb, SHOP, [*fits, request("more", subnet="wide")])
        assert len(ports.plan_ports(nb, SHOP, fits).ports) == 2045


def test_a_subnet_of_strangers_is_respected(cloud: Call, ovn: Ovn) -> None:
    """Ports that others made in our switch keep their addresses."""
    ovn.nbctl("lsp-add", "shop.shop.front", "foreign")
    ovn.nbctl("lsp-set-addresses", "foreign", "02:00:00:00:00:01 10.20.1.2")
    assert cloud(network_interface, name="a", subnet="front")["network_interface"]["address"] == "10.20.1.3"


def test_through_ansible_itself(cloud: Call, ovn: Ovn) -> None:
    """The same by the command line, with the options' fallbacks, check mode and idempotence."""

    def ansible(*flags: str) -> dict[str, Any]:
        arguments = json.dumps({"project": "shop", "name": "cli", "subnet": "front"})
        program = str(Path(sys.executable).with_name("ansible"))
        command = [program, "localhost", "-m", "altostratus.ecs.network_interface", "-a", arguments]
        command += ["-e", f"ansible_python_interpreter={sys.executable}"]
        environment = {**os.environ, "ANSIBLE_LOCALHOST_WARNING": "false", "ANSIBLE_CALLBACK_RESULT_FORMAT": "json"}
        environment |= {"ANSIBLE_COLLECTIONS_PATH": os.environ.get("ANSIBLE_COLLECTIONS_PATH") or os.environ["PYTHONPATH"]}
        done = subprocess.run([*command, *flags], capture_output=True, text=True, env=environment, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        result: dict[str, Any] = json.loads(done.stdout[done.stdout.index("{") :])
        return result

    assert ansible("--check")["steps"] == ["create security_group default", "create security_group ecs_ports", "create port cli"]
    assert ansible()["network_interface"]["address"] == "10.20.1.2"
    assert ansible()["changed"] is False
