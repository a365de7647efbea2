# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module server on libvirt's test driver and a private Northbound."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from typing import Any

import libvirt
import pytest
import yaml

from ansible_collections.altostratus.ecs.plugins.module_utils._model import domain_xml, metadata
from ansible_collections.altostratus.ecs.plugins.module_utils._model.names import Scope
from ansible_collections.altostratus.ecs.plugins.modules import (
    eip_info,
    external_network,
    hypervisor_info,
    server,
    server_failure_info,
    server_info,
    vpc,
)

SHOP = Scope("local", "shop")
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGr0 ops"
NICS = [{"subnet": "front"}]
WEB: dict[str, Any] = {"name": "web", "flavor": "s7n.small.05", "image": "mini", "nics": NICS}


@pytest.fixture
def network(call: Any) -> None:
    """A VPC with a subnet, and an external network."""
    outside = {"cidr": "203.0.113.0/24", "gateway": "203.0.113.1", "allocation": "203.0.113.2-203.0.113.9"}
    call(external_network, name="public", physical_network="public", gateway_chassis=["hv1"], **outside)
    call(vpc, name="shop", cidr="10.20.0.0/16", snat="public", subnets=[{"name": "front", "cidr": "10.20.1.0/24"}])


def ports(ovn: Any) -> list[str]:
    """Names of the servers' ports."""
    with ovn.connect() as nb:
        rows = nb.select("Logical_Switch_Port", [("external_ids", "includes", {"ecs:kind": "port"})], ["external_ids"])
    return sorted(row["external_ids"]["ecs:name"] for row in rows)


def nothing_is_left(hypervisor: Any, ovn: Any) -> bool:
    """Whether neither domain, volume, port nor config drive exists."""
    drives = hypervisor.directory / "config-drives"
    return not (hypervisor.domains or hypervisor.volumes or ports(ovn) or (drives.is_dir() and list(drives.iterdir())))


def test_life(call: Any, hypervisor: Any, ovn: Any, network: None) -> None:
    """Created and started, unchanged, stopped, started, removed; disk and address that were kept come back (spec D10, R10, R12)."""
    wanted = {
        **WEB, "data_disks": [{"name": "data", "size": 2, "mount": "/srv"}], "tags": {"tier": "web"}, "key": "ops", "public_keys": [KEY],
        "user_data": "#!/bin/sh\ntrue", "eip": {"bandwidth": 10},
    }  # fmt: skip
    created = call(server, **wanted)
    told = created["server"]
    assert created["steps"][-1] == "create server web"
    assert created["diff"]["after"]["server web"]["image"] == "mini"
    assert (told["id"], told["hypervisor"], told["status"]) == (SHOP.id("server", "web"), "hv1", "running")
    assert [(disk["name"], disk["role"], disk["target"], disk["size"]) for disk in told["disks"]] == [
        ("web-system", "system", "vda", 1), ("web-data", "data", "vdb", 2),
    ]  # fmt: skip
    assert told["disks"][1]["mount"] == "/srv"
    assert (told["address"], told["eip"]) == (told["nics"][0]["address"], "203.0.113.3")
    drive = hypervisor.directory / "config-drives" / f"{told['id']}.iso"
    assert drive.stat().st_mode & 0o777 == 0o600
    probe = ["blkid", "-p", "-o", "value", "-s", "TYPE", "-s", "LABEL", drive]
    assert subprocess.run(probe, check=True, capture_output=True, text=True).stdout.split() == ["config-2", "iso9660"]
    assert ports(ovn) == ["web-nic0"]

    again = call(server, **wanted)
    assert (again["changed"], again["server"]) == (False, told)

    assert call(server, name="web", state="stopped")["server"]["status"] == "stopped"
    assert not call(server, name="web", state="stopped")["changed"]
    assert not call(server, **wanted)["changed"], "present leaves a stopped server stopped"
    assert call(server, name="web", state="running")["server"]["status"] == "running"
    assert call(server, name="web", state="restarted")["steps"] == ["stop server web", "start server web"]

    gone = call(server, name="web", state="absent")
    assert gone["server"] is None
    assert not call(server, name="web", state="absent")["changed"]
    assert (hypervisor.domains, hypervisor.volumes, ports(ovn)) == ([], ["shop.web-data.qcow2"], [])
    assert not drive.exists()
    assert call(eip_info, name="web")["eips"][0]["status"] == "unbound"

    back = call(server, **wanted)
    assert [back["server"][key] for key in ("id", "eip", "disks")] == [told[key] for key in ("id", "eip", "disks")]
    call(server, name="web", state="absent", delete_data_disks=True, delete_eip=True)
    assert nothing_is_left(hypervisor, ovn)
    assert call(eip_info, name="web")["eips"] == []


def test_check_mode(call: Any, hypervisor: Any, ovn: Any, network: None) -> None:
    """A dry run tells what will be, and makes nothing."""
    foreseen = call(server, check=True, **WEB)
    assert nothing_is_left(hypervisor, ovn)
    made = call(server, **WEB)
    assert foreseen["steps"] == made["steps"]
    unknown = {"created"}
    assert {key: value for key, value in foreseen["server"].items() if key not in unknown} == {
        key: value for key, value in made["server"].items() if key not in unknown
    }
    assert call(server, check=True, name="web", state="stopped")["server"]["status"] == "stopped"
    assert call(server, check=True, name="web", state="absent")["server"] is None
    assert hypervisor.domains == ["shop.web"]


def test_check_mode_on_nothing(call: Any, hypervisor: Any, ovn: Any) -> None:
    """What an earlier task would have made is a warning in check mode."""
    told = call(server, check=True, **{**WEB, "image": "later", "eip": {}})
    assert told["steps"][-1] == "create server web"
    assert any("image later" in str(warning) for warning in told["warnings"])
    assert any("subnet front" in str(warning) for warning in told["warnings"])


@pytest.mark.parametrize("kind", ["kvm", "qemu"])
@pytest.mark.parametrize("offloads", [True, False])
def test_definition_follows_libvirts_schema(hypervisor: Any, kind: str, offloads: bool) -> None:
    """What is right for one driver is for all; this one only asks for its own name as the type."""
    spec = domain_xml.DomainSpec(
        name="shop.web",
        uuid=SHOP.id("server", "web"),
        title="web",
        metadata=metadata.ServerMetadata("local", "shop", "web", description="text", tags={"a": "b"}),
        type=kind,
        vcpus=2,
        memory=2048,
        console_log="/var/log/web.log",
        disks=[
            domain_xml.system_disk("/pool/a.qcow2", "qcow2", SHOP.id("volume", "web-system")),
            domain_xml.DiskDevice("/dev/vg/b", "raw", "vdb", "b"),
            domain_xml.config_drive("/web.iso"),
        ],
        nics=[domain_xml.NicDevice(SHOP.id("port", "web-nic0"), "fa:16:3e:00:00:01", 1450)],
        offloads=offloads,
    )
    text = domain_xml.build(spec).replace(f'type="{kind}"', 'type="test"', 1)
    domain = hypervisor.connection.defineXMLFlags(text, libvirt.VIR_DOMAIN_DEFINE_VALIDATE)
    assert domain_xml.parse(domain.XMLDesc()).metadata == spec.metadata
    assert domain_xml.parse(domain.XMLDesc()).disks == tuple(spec.disks)


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ({"flavor": "tiny"}, "ECS_INVALID_INPUT", "s7n.medium.2"),
        ({"flavor": None}, "ECS_INVALID_INPUT", "flavor"),
        ({"flavor": "s7n.small.01"}, "ECS_INVALID_INPUT", "image mini needs 256"),
        ({"flavor": "c7.xlarge.4"}, "ECS_NO_CAPACITY", "needs 16384 MiB, host hv1 has 2048 MiB free"),
        ({"image": "none"}, "ECS_NOT_FOUND", "there are: mini"),
        ({"image": None}, "ECS_INVALID_INPUT", "image"),
        ({"nics": [{"subnet": "nowhere"}]}, "ECS_NOT_FOUND", "subnet nowhere"),
        ({"nics": [{"subnet": "front", "security_groups": ["none"]}]}, "ECS_NOT_FOUND", "security group none"),
        ({"eip": {"network": "none"}}, "ECS_NOT_FOUND", "none"),
        ({"az": "az9"}, "ECS_INVALID_INPUT", "az1"),
        ({"key": "ops"}, "ECS_INVALID_INPUT", "public_keys"),
        ({"public_keys": ["rubbish"]}, "ECS_INVALID_INPUT", "public key"),
        ({"disk_type": "fast"}, "ECS_NOT_FOUND", "pool fast"),
        ({"data_disks": [{"name": "data", "size": 20000}]}, "ECS_NO_SPACE", "step 5 of 7, volume data: "),
        ({"data_disks": [{"name": f"d{number}", "size": 1} for number in range(24)]}, "ECS_INVALID_INPUT", "23"),
        ({"data_disks": [{"name": "a", "size": 1}, {"name": "a", "size": 1}]}, "ECS_INVALID_INPUT", "unique"),
        ({"tags": {str(number): "" for number in range(11)}}, "ECS_INVALID_INPUT", "at most 10"),
        ({"user_data": " #!/bin/sh"}, "ECS_INVALID_INPUT", "user_data"),
        ({"user_data": "#ps1\n"}, "ECS_INVALID_INPUT", "Begin with #!"),
        ({"password": "Abcdefgh"}, "ECS_INVALID_INPUT", "password: the password has 2 of the four kinds"),
        ({"password": "Cloud.1234!", "public_keys": [KEY]}, "ECS_INVALID_INPUT", "one login mode"),
        ({"timezone": "Europe/Nowhere"}, "ECS_INVALID_INPUT", "timezone: 'Europe/Nowhere' is not a time zone"),
        ({"hostname": "a_b"}, "ECS_INVALID_INPUT", "hostname: 'a_b' is not a valid host name"),
        ({"tags": {"k": "v" * 44}}, "ECS_INVALID_INPUT", "tags[k]"),
        ({"state": "running"}, "ECS_NOT_FOUND", "State present creates it"),
    ],
)
def test_refused_before_anything_is_touched(
    call: Any, hypervisor: Any, ovn: Any, network: None, options: dict[str, Any], code: str, message: str
) -> None:
    """A request that cannot be fulfilled names the reason and the way out; nothing was made."""
    failed = call(server, fails=True, servers=[WEB | {"name": "good"}, WEB | options])
    assert failed["error_code"] == code
    assert message in failed["msg"]
    assert nothing_is_left(hypervisor, ovn)


def test_failure_undoes_everything(call: Any, hypervisor: Any, ovn: Any, network: None) -> None:
    """What fails late takes back ports, volumes and domains of all servers of the call, and says so."""
    (hypervisor.directory / "config-drives").write_text("in the way")
    wanted = [WEB | {"data_disks": [{"name": "data", "size": 1}], "eip": {}}, WEB | {"name": "db"}]
    failed = call(server, fails=True, servers=wanted)
    assert "server web (project shop): step 6 of 7, config drive: " in failed["msg"]
    assert "Undone: 3 volumes, 2 ports, 2 servers." in failed["msg"]
    assert nothing_is_left(hypervisor, ovn)
    assert call(eip_info, name="web")["eips"] == []


def test_name_in_use(call: Any, hypervisor: Any, ovn: Any, network: None) -> None:
    """A domain of that name that is not ours is left alone, and nothing stays behind."""
    hypervisor.connection.defineXML("<domain type='test'><name>shop.web</name><memory>65536</memory><os><type>hvm</type></os></domain>")
    failed = call(server, fails=True, servers=[WEB | {"name": "db"}, WEB])
    assert "server web (project shop): step 6 of 7, domain: " in failed["msg"]
    assert (hypervisor.domains, hypervisor.volumes, ports(ovn)) == (["shop.web"], [], [])


@pytest.mark.parametrize("running", [True, False])
def test_killed_run_is_finished_by_the_next(call: Any, hypervisor: Any, ovn: Any, network: None, running: bool) -> None:
    """A server that a run left in creation, before its start or while it was waited for, becomes whole."""
    whole = call(server, **WEB)["server"]
    domain = hypervisor.connection.lookupByName("shop.web")
    left = replace(metadata.parse(domain.XMLDesc()), creating=True)
    domain.setMetadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, metadata.build(left), metadata.PREFIX, metadata.NAMESPACE, 3)
    if not running:
        domain.destroy()
        (hypervisor.directory / "config-drives" / f"{whole['id']}.iso").unlink()
    assert call(server_info)["servers"][0]["status"] == "creating"
    if not running:
        assert call(server, fails=True, name="web", state="running")["error_code"] == "ECS_INCOMPLETE"
    finished = call(server, **WEB)
    assert finished["changed"]
    assert finished["server"] | {"created": ""} == whole | {"created": ""}
    assert not call(server, **WEB)["changed"]
    call(server, name="web", state="absent")
    assert nothing_is_left(hypervisor, ovn)


def test_killed_run_is_removed_or_resumed_differently(call: Any, hypervisor: Any, ovn: Any, network: None) -> None:
    """A reservation knows its ports: they go with it, also when the next run wants fewer, or fails."""
    two = {**WEB, "nics": [*NICS, *NICS]}
    call(server, **two)
    domain = hypervisor.connection.lookupByName("shop.web")
    domain.destroy()
    told = replace(metadata.parse(domain.XMLDesc()), creating=True)
    spec = domain_xml.DomainSpec("shop.web", domain.UUIDString(), "web", told, "test", 1, 512, "/tmp/log")
    hypervisor.connection.defineXML(domain_xml.build(spec))

    failed = call(server, fails=True, **{**two, "image": "none"})
    assert failed["error_code"] == "ECS_NOT_FOUND"
    assert ports(ovn) == ["web-nic0", "web-nic1"]
    resumed = call(server, **WEB)
    assert "delete port web-nic1" in resumed["steps"]
    assert ports(ovn) == ["web-nic0"]

    hypervisor.connection.defineXML(domain_xml.build(replace(spec, metadata=replace(told, nics=told.nics[:1]))))
    call(server, name="web", state="absent")
    assert nothing_is_left(hypervisor, ovn)


def test_power_without_northbound(call: Any, hypervisor: Any, network: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server can be stopped while nobody knows its public address."""
    call(server, **WEB)
    monkeypatch.setenv("ECS_OVN_NB", f"unix:{hypervisor.directory}/nothing.sock")
    stopped = call(server, name="web", state="stopped")
    assert stopped["server"]["status"] == "stopped"
    assert "no public addresses" in str(stopped["warnings"])


def test_changes(call: Any, hypervisor: Any, network: None) -> None:
    """What may change converges and shows in the diff; what was not set stays (spec M13)."""
    call(server, **WEB, tags={"tier": "web"}, description="first")
    changed = call(server, **WEB, tags={"tier": "db"})
    assert changed["diff"] == {"before": {"server web": {"tags": {"tier": "web"}}}, "after": {"server web": {"tags": {"tier": "db"}}}}
    assert changed["server"]["description"] == "first"
    assert call(server, **WEB, description="second")["server"]["description"] == "second"
    with_address = call(server, **WEB, eip={})
    assert with_address["server"]["eip"] == "203.0.113.3"
    closed = call(server, **{**WEB, "nics": [{"subnet": "front", "security_groups": []}]})
    assert closed["server"]["nics"][0]["security_groups"] == []
    assert not call(server, **WEB, tags={"tier": "db"}, description="second", eip={})["changed"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"flavor": "s7n.small.1"}, "memory is 512 and cannot become 1024"),
        ({"user_data": "#!/bin/sh\nfalse"}, "user_data differs"),
        ({"nics": []}, "nics"),
        ({"root_disk": 9}, "root_disk is 1"),
    ],
)
def test_what_never_changes(call: Any, hypervisor: Any, network: None, options: dict[str, Any], message: str) -> None:
    """Another size, user data (spec MD9), interfaces or system disk are refused for a server that exists."""
    call(server, **WEB)
    failed = call(server, fails=True, **{**WEB, **options})
    assert failed["error_code"] == "ECS_IMMUTABLE"
    assert message in failed["msg"]


def test_batch(call: Any, hypervisor: Any, ovn: Any, network: None) -> None:
    """A count makes numbered servers with addresses that count up (spec M4, N4); the same words remove them."""
    made = call(server, **{**WEB, "nics": [{"subnet": "front", "address": "10.20.1.50"}]}, count=3)
    assert [(told["name"], told["address"]) for told in made["servers"]] == [
        ("web-0001", "10.20.1.50"), ("web-0002", "10.20.1.51"), ("web-0003", "10.20.1.52"),
    ]  # fmt: skip
    assert "server" not in made
    assert len(call(server_info, filters={"status": "running", "vpc": "shop"})["servers"]) == 3
    assert call(server_info, filters={"status": ["stopped", "faulty"]})["servers"] == []
    assert [told["name"] for told in call(server_info, name="web-0002")["servers"]] == ["web-0002"]
    call(server, name="web", count=3, state="absent")
    assert nothing_is_left(hypervisor, ovn)


def test_agent_that_never_comes(call: Any, hypervisor: Any) -> None:
    """A wait that fails says so and keeps the server, which the next run finishes."""
    alone = {**WEB, "nics": []}
    failed = call(server, fails=True, **alone, wait_for="agent", wait_timeout=1)
    assert failed["error_code"] == "ECS_TIMEOUT"
    assert "step 7 of 7, wait: the guest agent of web did not answer within 1 s" in failed["msg"]
    assert call(server_info)["servers"][0]["status"] == "creating"
    assert call(server, **alone)["server"]["status"] == "running"


def test_server_info_without_northbound(call: Any, hypervisor: Any, network: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers are told even when nobody knows their public addresses."""
    call(server, **WEB)
    monkeypatch.setenv("ECS_OVN_NB", f"unix:{hypervisor.directory}/nothing.sock")
    told = call(server_info)
    assert told["servers"][0]["name"] == "web"
    assert "no public addresses" in str(told["warnings"])


def test_search(call: Any, hypervisor: Any, network: None) -> None:
    """Filters, bare values and a query over what exists (spec V5 to V11)."""
    call(server, servers=[WEB | {"eip": {}, "tags": {"tier": "web"}}, WEB | {"name": "db", "flavor": "s7n.small.1"}])

    def names(**wanted: Any) -> list[str]:
        return [told["name"] for told in call(server_info, **wanted)["servers"]]

    web = call(server_info, name="web")["servers"][0]
    assert names(search=f"{web['eip']},s7n.small.1") == ["db", "web"]
    assert names(search=web["id"]) == names(search=web["address"]) == ["web"]
    assert names(filters={"name": "w", "tags": ["tier=web"]}) == ["web"]
    assert names(filters={"vpc_id": SHOP.id("vpc", "shop")}) == ["db", "web"]
    asked = call(server_info, filters={"status": "running"}, query="[?memory > `600`].{name: name, memory: memory}")
    assert asked["result"] == [{"name": "db", "memory": 1024}]
    assert len(asked["servers"]) == 2
    assert call(server_info, query="length(@)")["result"] == 2


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ({"filters": {"address": "8.8.8.8"}}, "ECS_INVALID_INPUT", "filters.address: '8.8.8.8' is not a private address"),
        ({"filters": {"colour": "red"}}, "ECS_INVALID_INPUT", "Use one of"),
        ({"search": "web"}, "ECS_INVALID_INPUT", "search: 'web' is no complete id"),
        ({"query": "[?"}, "ECS_INVALID_INPUT", "query: '[?' is not a JMESPath expression"),
        ({"query": "sum(@)"}, "ECS_INVALID_INPUT", "query: 'sum(@)'"),
    ],
)
def test_search_refused(call: Any, hypervisor: Any, network: None, options: dict[str, Any], code: str, message: str) -> None:
    """What cannot be meant is refused, whether there are servers or not."""
    call(server, **WEB)
    failed = call(server_info, fails=True, **options)
    assert (failed["error_code"], message in failed["msg"]) == (code, True)


def test_query_without_its_library(call: Any, hypervisor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that lacks jmespath says what to install; filters work without it."""
    monkeypatch.setitem(sys.modules, "jmespath", None)
    failed = call(server_info, fails=True, query="[]")
    assert failed["error_code"] == "ECS_JMESPATH"
    assert "python3-jmespath" in failed["msg"]
    assert call(server_info, filters={"name": "web"})["servers"] == []


def drive_file(hypervisor: Any, told: dict[str, Any], name: str) -> str:
    """A file of a server's config drive."""
    drive = hypervisor.directory / "config-drives" / f"{told['id']}.iso"
    assert drive.stat().st_mode & 0o777 == 0o600
    read = ["isoinfo", "-R", "-i", str(drive), "-x", f"/openstack/latest/{name}"]
    return subprocess.run(read, check=True, capture_output=True, text=True).stdout


def test_login_by_password(call: Any, hypervisor: Any) -> None:
    """The guest is given a hash of the password, and nobody else anything of it (spec M7, M9, UD5)."""
    wanted = {**WEB, "nics": [], "password": "Cloud.1234!", "timezone": "Europe/Berlin", "user_data": "#!/bin/sh\ntrue"}
    made = call(server, **wanted)
    assert [made["server"][key] for key in ("login", "user", "os_type", "timezone")] == ["password", "root", "linux", "Europe/Berlin"]
    assert "Cloud.1234!" not in json.dumps(made)
    config, _boothook = json.loads(drive_file(hypervisor, made["server"], "vendor_data.json"))["cloud-init"]
    (user,) = yaml.safe_load(config)["chpasswd"]["users"]
    salt = user["password"].split("$")[2]
    check = ["openssl", "passwd", "-6", "-salt", salt, "Cloud.1234!"]
    assert user == {
        "name": "root", "password": subprocess.run(check, check=True, capture_output=True, text=True).stdout.strip(), "type": "hash",
    }  # fmt: skip
    assert "Cloud.1234!" not in "".join(drive_file(hypervisor, made["server"], name) for name in ("meta_data.json", "user_data"))
    assert "Cloud.1234!" not in hypervisor.connection.lookupByName("shop.web").XMLDesc()
    assert not call(server, **wanted)["changed"]


def test_host_names_of_a_batch(call: Any, hypervisor: Any) -> None:
    """They are numbered as the names are, derive from them by default, and never change (spec M3, M5, R1)."""
    wanted = {**WEB, "nics": [], "name": "web_[9,2]", "count": 2}
    derived = call(server, **wanted)["servers"]
    assert [(told["name"], told["hostname"]) for told in derived] == [("web_09", "web-09"), ("web_10", "web-10")]
    given = call(server, **{**wanted, "name": "db"}, hostname="node[0,1]")["servers"]
    assert [(told["name"], told["hostname"]) for told in given] == [("db-0001", "node0"), ("db-0002", "node1")]
    assert json.loads(drive_file(hypervisor, given[1], "meta_data.json"))["hostname"] == "node1.novalocal"
    failed = call(server, fails=True, name="db-0001", hostname="other")
    assert "hostname is node0 and cannot become other" in failed["msg"]


def describe_image(hypervisor: Any, **described: Any) -> None:
    """Change what the library says of image mini."""
    path = hypervisor.directory / "images" / f"{SHOP.id('image', 'mini')}.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **described}))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "x" * 16}, "at most 15"),
        ({"hostname": "x" * 16}, "at most 15"),
        ({"user_data": "#cloud-boothook\n"}, "Begin with rem cmd"),
        ({"timezone": "Europe/Berlin"}, "a Windows guest"),
        ({"password": "Xnis12345!"}, "three characters in a row"),
    ],
)
def test_windows_guests(call: Any, hypervisor: Any, options: dict[str, Any], message: str) -> None:
    """Names, user data and passwords as Windows takes them (spec M2, M8, M9, UD8); its password is Cloudbase-Init's to hash."""
    describe_image(hypervisor, os_type="windows")
    wanted = {**WEB, "nics": [], "password": "Cloud.1234!", "user_data": "rem cmd\necho hi"}
    assert message in call(server, fails=True, **{**wanted, **options})["msg"]
    made = call(server, **wanted)["server"]
    assert (made["user"], made["os_type"]) == ("Administrator", "windows")
    assert json.loads(drive_file(hypervisor, made, "meta_data.json"))["admin_pass"] == "Cloud.1234!"


PROCESSORS: dict[str, Any] = {"name": "web", "vcpus": 4, "memory": 512, "image": "mini", "nics": []}


def test_processors(call: Any, hypervisor: Any) -> None:
    """Hyper-threading and CPU model are chosen when the server is made (spec D6, HT1 to HT3); all vCPUs count for the host."""
    wanted = {**PROCESSORS, "cpu_options": {"threads_per_core": 1, "model": "Skylake-Server"}}
    made = call(server, **wanted)["server"]
    assert (made["vcpus"], made["cpu_options"]) == (4, {"threads_per_core": 1, "model": "Skylake-Server"})
    assert hypervisor.connection.lookupByName("shop.web").info()[3] == 2
    assert call(hypervisor_info, project=None)["hypervisor"]["vcpus_allocated"] == 4
    assert not call(server, **wanted)["changed"]
    assert not call(server, **{**wanted, **{name: made[name] for name in ("vcpus", "firmware", "cpu_options")}})["changed"]
    failed = call(server, fails=True, **{**wanted, "cpu_options": {"threads_per_core": 2}})
    assert "cpu_options.threads_per_core is 1 and cannot become 2" in failed["msg"]
    grown = {**wanted, "vcpus": 8, "cpu_options": {"threads_per_core": 2}, "allow_stop": True}
    foreseen = call(server, check=True, **grown)["server"]
    assert call(server, **grown)["server"] == foreseen
    assert (foreseen["vcpus"], foreseen["cpu_options"]["threads_per_core"]) == (8, 2), "spec HT1: together with the flavor it may change"
    assert not call(server, **grown)["changed"]
    by_default = call(server, **{**PROCESSORS, "name": "db"})["server"]
    assert (by_default["vcpus"], by_default["cpu_options"]["threads_per_core"]) == (4, 2)


def test_firmware(call: Any, hypervisor: Any) -> None:
    """The user chooses, else the image, else the architecture; it stays for life (spec Q7)."""
    assert call(server, **PROCESSORS)["server"]["firmware"] == "bios"
    assert "firmware is bios and cannot become uefi" in call(server, fails=True, **PROCESSORS, firmware="uefi")["msg"]
    describe_image(hypervisor, properties={"hw_firmware_type": "uefi"})
    assert call(server, **{**PROCESSORS, "name": "db"})["server"]["firmware"] == "uefi"
    assert call(server, **{**PROCESSORS, "name": "old"}, firmware="bios")["server"]["firmware"] == "bios"
    call(server, servers=[{"name": "web"}, {"name": "db"}, {"name": "old"}], state="absent")
    assert hypervisor.domains == []


def test_architectures(call: Any, hypervisor: Any, qemu: Any) -> None:
    """A host runs what its QEMU can: an image for another processor is emulated (spec F1, P-804)."""
    describe_image(hypervisor, architecture="aarch64")
    planned = call(server, check=True, libvirt_uri=qemu.uri, **PROCESSORS)["server"]
    assert (planned["architecture"], planned["firmware"]) == ("aarch64", "uefi")
    assert planned["cpu_options"] == {"threads_per_core": 1, "model": "cortex-a72"}
    assert "for aarch64, host hv1 is" in call(server, fails=True, **PROCESSORS)["msg"], "libvirt's test driver is no QEMU"


@pytest.mark.parametrize(
    ("image", "options", "message"),
    [
        ({}, {"cpu_options": {"model": "Z80"}}, "is not what host hv1 can give under qemu. It has 486"),
        ({}, {"flavor": "kc1.small.05", "vcpus": None, "memory": None}, "is of aarch64, image mini is for x86_64"),
        ({}, {"vcpus": 3, "cpu_options": {"threads_per_core": 1}}, "does not go with 3 vCPUs"),
        ({"architecture": "aarch64"}, {"cpu_options": {"threads_per_core": 2}}, "cannot be chosen for aarch64"),
        ({"architecture": "aarch64"}, {"firmware": "bios"}, "that architecture has UEFI only"),
        ({"architecture": "s390x"}, {}, "Servers are x86_64 or aarch64"),
        ({"properties": {"hw_firmware_type": "coreboot"}}, {}, "Use bios or uefi"),
    ],
)
def test_machines_refused(call: Any, hypervisor: Any, qemu: Any, image: dict[str, Any], options: dict[str, Any], message: str) -> None:
    """Flavor, image, options and host have to go together (spec F1, HT1)."""
    describe_image(hypervisor, **image)
    failed = call(server, fails=True, libvirt_uri=qemu.uri, **{**PROCESSORS, **options})
    assert failed["error_code"] == "ECS_INVALID_INPUT"
    assert message in failed["msg"]


def test_user_of_the_image(call: Any, hypervisor: Any) -> None:
    """Spec M8: an image may have a user of its own, whom keys and password belong to."""
    describe_image(hypervisor, default_user="debian")
    told = call(server, **{**WEB, "nics": [], "password": "Cloud.1234!"})["server"]
    assert told["user"] == "debian"
    assert '"name": "debian"' in json.loads(drive_file(hypervisor, told, "vendor_data.json"))["cloud-init"]
    assert "debian" in call(server, fails=True, **{**WEB, "name": "db", "password": "Nb.Naibed1"})["msg"]


def test_exact_count(call: Any, hypervisor: Any, ovn: Any, network: None) -> None:
    """As many servers with the tags as asked for: made, kept as they are, removed; a second run changes nothing."""
    fleet = {**WEB, "name": "worker", "tags": {"role": "worker"}}
    assert [told["name"] for told in call(server, check=True, **fleet, exact_count=2)["servers"]] == ["worker-0001", "worker-0002"]
    made = call(server, **fleet, exact_count=2)
    assert [told["name"] for told in made["servers"]] == ["worker-0001", "worker-0002"]
    assert "server" not in made
    kept = call(server, **{**fleet, "flavor": "s7n.small.1"}, exact_count=2)
    assert (kept["changed"], kept["servers"]) == (False, made["servers"]), "those that stay are left as they are"
    call(server, name="worker-0001", tags={"role": "retired"})
    more = call(server, **fleet, exact_count=2)
    assert "create server worker-0003" in more["steps"]
    less = call(server, **fleet, exact_count=1)
    assert [step for step in less["steps"] if "server" in step] == ["delete server worker-0002"]
    assert [told["name"] for told in less["servers"]] == ["worker-0003"]
    call(server, name="worker", tags={"role": "worker"}, exact_count=0)
    assert hypervisor.domains == ["shop.worker-0001"]


def test_clone(call: Any, hypervisor: Any, network: None) -> None:
    """A server like another one, with disks and addresses of its own (spec H2, H3); later it goes its own ways."""
    disks = [{"name": "data", "size": 2, "mount": "/srv", "filesystem": "ext4"}]
    first = call(server, **WEB, root_disk=3, data_disks=disks, tags={"tier": "web"}, eip={}, description="first")["server"]
    made = call(server, name="next", clone_from="web")
    told = made["server"]
    same = ("flavor", "image", "tags", "vcpus", "memory")
    assert [told[key] for key in same] == [first[key] for key in same]
    assert [(disk["name"], disk["size"], disk.get("mount")) for disk in told["disks"]] == [
        ("next-system", 3, None),
        ("next-data", 2, "/srv"),
    ]
    assert told["nics"][0]["subnet"] == "front"
    assert told["address"] != first["address"]
    assert (told["eip"], told["description"]) == (None, "")
    assert any("the login of web is not taken over" in str(warning) for warning in made["warnings"])
    call(server, name="web", tags={"tier": "old"})
    assert not call(server, name="next", clone_from="web")["changed"]
    by_id = call(server, name="third", clone_from=first["id"], nics=[], tags={}, password="Cloud.1234!")
    assert (by_id["server"]["nics"], by_id["server"]["tags"], by_id["server"]["login"]) == ([], {}, "password")
    failed = call(server, fails=True, name="fourth", clone_from="nobody")
    assert (failed["error_code"], "server nobody does not exist" in failed["msg"]) == ("ECS_NOT_FOUND", True)


def test_failures_are_remembered(call: Any, hypervisor: Any, ovn: Any, network: None) -> None:
    """A creation that failed is undone, and told with its code; so are operations; a wrong word is not (spec V1, V2)."""
    drives = hypervisor.directory / "config-drives"
    drives.write_text("in the way")
    call(server, fails=True, **WEB)
    call(server, fails=True, **{**WEB, "flavor": "c7.xlarge.4"})
    call(server, fails=True, **{**WEB, "flavor": "tiny"})
    call(server, fails=True, check=True, **{**WEB, "flavor": "c7.xlarge.4"})
    drives.unlink()
    call(server, **WEB)
    call(server, fails=True, name="web", flavor="s7n.small.1")
    told = call(server_failure_info)["failures"]
    assert [(failure["kind"], failure["code"]) for failure in told] == [
        ("operation", "ECS_IMMUTABLE"), ("creation", "ECS_NO_CAPACITY"), ("creation", told[2]["code"]),
    ]  # fmt: skip
    assert told[2]["servers"] == [{"name": "web", "id": SHOP.id("server", "web")}]
    assert "step 6 of 7, config drive" in told[2]["message"]
    assert (told[2]["undone"], told[2]["task"]) == ("1 volume, 1 port, 1 server", "present")
    assert call(server_failure_info, name="db")["failures"] == []
    assert call(server_failure_info, since="2999")["failures"] == []
    assert call(server_failure_info, project="bank")["failures"] == []
    kept = hypervisor.directory / "consoles/failures.jsonl"
    assert kept.stat().st_mode & 0o777 == 0o600
    kept.write_text(kept.read_text().splitlines(True)[0] * 1100)
    call(server, fails=True, **{**WEB, "name": "db", "flavor": "c7.xlarge.4"})
    told = call(server_failure_info)["failures"]
    assert (len(told), told[0]["servers"][0]["name"]) == (1000, "db")


def test_what_a_guest_without_cloud_init_will_not_hear(call: Any, hypervisor: Any, ovn: Any, network: None) -> None:
    """Told when it is created, in check mode too, and not again; nothing to say where nothing was told (spec UD3)."""
    path = next((hypervisor.directory / "images").glob("*.json"))
    path.write_text(json.dumps({**json.loads(path.read_text()), "cloud_init": False}))
    wanted = {**WEB, "key": "ops", "public_keys": [KEY], "user_data": "#cloud-config\n"}
    for check in (True, False):
        warnings = [str(warning) for warning in call(server, check=check, **wanted).get("warnings", [])]
        assert [warning for warning in warnings if "runs no cloud-init: user_data, key has an effect only" in warning], warnings
    assert not call(server, **wanted).get("warnings")
    assert not call(server, **{**WEB, "name": "db"}).get("warnings")
