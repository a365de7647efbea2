# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The metadata service: its way through OVN, what module server lays out for it, and nginx with the role's configuration asked by curl."""

from __future__ import annotations

import grp
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.altostratus.ecs.plugins.module_utils._engines import config_drive
from ansible_collections.altostratus.ecs.plugins.module_utils._engines.host import Host, read_host
from ansible_collections.altostratus.ecs.plugins.module_utils._engines.metadata_tree import Tree
from ansible_collections.altostratus.ecs.plugins.module_utils._model import cloud_init, northbound
from ansible_collections.altostratus.ecs.plugins.module_utils._model import metadata_service as model
from ansible_collections.altostratus.ecs.plugins.module_utils._model.metadata import ServerMetadata
from ansible_collections.altostratus.ecs.plugins.module_utils._services import metadata_service
from ansible_collections.altostratus.ecs.plugins.module_utils._services.exclusive import exclusive
from ansible_collections.altostratus.ecs.plugins.module_utils._services.site import open_site
from ansible_collections.altostratus.ecs.plugins.modules import eip, network_interface, security_group, server, vpc

from .conftest import LIBVIRT_URI, SHOP, VPC, Call, Hypervisor, Ovn, run

ROLES = Path(__file__).parents[2] / "roles"
FRONT = SHOP.id("subnet", "shop/front")
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGr0 ops"
WEB: dict[str, Any] = {
    "name": "web", "flavor": "s7n.small.05", "image": "mini", "nics": [{"subnet": "front"}], "key": "ops", "public_keys": [KEY],
    "user_data": "#!/bin/sh\ntrue\n",
}  # fmt: skip


def metadata_port(ovn: Ovn, subnet: str = FRONT) -> dict[str, str]:
    name = northbound.metadata_port_name(subnet)
    told = ovn.nbctl("--format=json", "--columns=type,addresses", "find", "Logical_Switch_Port", f"name={name}")
    rows = json.loads(told)["data"]
    return dict(zip(("type", "addresses"), rows[0], strict=True)) if rows else {}


def reaches(ovn: Ovn, sender: dict[str, Any]) -> bool:
    """Whether an interface reaches the port of the metadata service."""
    mac = str(metadata_port(ovn)["addresses"]).split()[0]
    fields = {"eth.dst": mac, "ip4.dst": "169.254.169.254"}
    return ovn.reaches(sender, northbound.metadata_port_name(FRONT), "tcp.dst == 80", **fields)


def test_every_subnet_has_a_localport_and_a_route_to_it(cloud: Call, northd: Ovn) -> None:
    """Spec MD1; RFC 3442: who takes the option ignores the router's."""
    port = metadata_port(northd)
    assert port["type"] == "localport"
    assert port["addresses"].endswith(" 169.254.169.254")
    options = northd.nbctl("--bare", "--columns=options", "find", "DHCP_Options", "cidr=10.20.1.0/24")
    assert "classless_static_route={169.254.169.254/32,0.0.0.0, 0.0.0.0/0,10.20.1.1}" in options
    assert northd.settle() == ""
    assert cloud(vpc, **VPC)["changed"] is False


def test_a_subnet_of_an_earlier_release_gets_its_port_by_the_next_run(cloud: Call, ovn: Ovn) -> None:
    ovn.nbctl("lsp-del", northbound.metadata_port_name(FRONT))
    assert cloud(vpc, check=True, **VPC)["steps"] == ["repair subnet shop/front"]
    assert metadata_port(ovn) == {}
    assert cloud(vpc, **VPC)["steps"] == ["repair subnet shop/front"]
    assert metadata_port(ovn)["type"] == "localport"
    assert cloud(vpc, **VPC)["changed"] is False
    assert cloud(vpc, name="shop", state="absent")["changed"] is True, "it is no interface of a user's"


def test_a_security_group_decides_who_reaches_it(cloud: Call, northd: Ovn) -> None:
    """Spec MD2: egress on TCP 80 to 169.254.0.0/16, which the default rules allow."""
    cloud(security_group, name="inside", rules=[{"direction": "egress", "destination": "10.0.0.0/8"}])
    cloud(security_group, name="guide", rules=[{"direction": "egress", "ports": 80, "destination": "169.254.0.0/16"}])
    port = cloud(network_interface, name="a", subnet="front")["network_interface"]
    northd.bind(port["id"])
    for groups, wanted in ((None, True), (["inside"], False), (["inside", "guide"], True), ([], False)):
        cloud(network_interface, name="a", subnet="front", security_groups=groups)
        northd.settle()
        assert reaches(northd, port) is wanted, groups


@pytest.fixture
def served(hypervisor: Hypervisor) -> Tree:
    """The same hypervisor with a metadata service; no systemd starts anything here."""
    path = hypervisor.directory / "host.json"
    tree = Tree(str(hypervisor.directory / "metadata"))
    path.write_text(json.dumps({**json.loads(path.read_text()), "metadata": tree.directory}))
    return tree


def left(tree: Tree) -> list[str]:
    return [str(path) for path in Path(tree.directory).rglob("*") if path.is_file() or path.is_symlink()]


def readable(tree: Tree, server_id: str, path: str) -> str:
    return tree.read(server_id)[path].decode()


def test_life(cloud: Call, hypervisor: Hypervisor, served: Tree) -> None:
    """Laid out before it starts, readable by the web server alone (spec MD23), gone with the server; the same as on the drive."""
    told = cloud(server, **WEB)["server"]
    content = config_drive.read(str(hypervisor.directory / "config-drives" / f"{told['id']}.iso"))
    assert model.drive(served.read(told["id"])) == content
    assert served.links() == {(FRONT, told["address"]): told["id"]}
    assert readable(served, told["id"], "latest/meta-data/security-groups") == "default"
    data = Path(served.server(told["id"], "current", "data"))
    group = grp.getgrnam("www-data").gr_gid
    for path in data.rglob("*"):
        status = path.stat()
        assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (0, group, 0o750 if path.is_dir() else 0o640), path
    assert Path(served.server(told["id"], "current", "password")).stat().st_mode & 0o777 == 0o770
    facts = dict(line.split("=") for line in served.noted(FRONT, "network").splitlines())
    assert facts["PORT"] == northbound.metadata_port_name(FRONT)
    assert (facts["CIDR"], facts["MTU"], len(facts["INTERFACE"])) == ("10.20.1.0/24", "1442", 13)
    assert model.read_neighbours(served.noted(FRONT, "neighbours")) == {told["address"]: told["nics"][0]["mac"]}
    assert not cloud(server, **WEB)["changed"]
    cloud(server, name="web", state="absent")
    assert left(served) == []


def test_two_servers_of_a_subnet(cloud: Call, hypervisor: Hypervisor, served: Tree) -> None:
    """The namespace goes with the last one."""
    one, two = cloud(server, servers=[{**WEB, "name": "one"}, {**WEB, "name": "two"}])["servers"]
    assert set(served.links().values()) == {one["id"], two["id"]}
    cloud(server, name="one", state="absent")
    assert served.links() == {(FRONT, two["address"]): two["id"]}
    assert list(model.read_neighbours(served.noted(FRONT, "neighbours"))) == [two["address"]]
    cloud(server, name="two", state="absent")
    assert left(served) == []


def test_changes_are_picked_up(cloud: Call, hypervisor: Hypervisor, served: Tree, ovn: Ovn) -> None:
    """A public address, which module eip binds, and other groups: by the next run, in check mode foreseen, and by refresh."""
    told = cloud(server, **WEB)["server"]
    address = cloud(eip, name="extra", network="public", server="web")["eip"]["address"]
    for check in (True, False):
        result = cloud(server, check=check, **WEB)
        assert result["steps"] == ["update metadata web"]
        assert result["diff"] == {"before": {"metadata web": {"public-ipv4": ""}}, "after": {"metadata web": {"public-ipv4": address}}}
    assert readable(served, told["id"], "latest/meta-data/public-ipv4") == address
    assert json.loads(readable(served, told["id"], "openstack/latest/network_data.json"))["links"][0]["public_ipv4"] == address
    assert not cloud(server, **WEB)["changed"]

    cloud(security_group, name="web", rules=[])
    grouped = {**WEB, "nics": [{"subnet": "front", "security_groups": ["web"]}]}
    assert cloud(server, check=True, **grouped)["steps"] == cloud(server, **grouped)["steps"]
    assert readable(served, told["id"], "latest/meta-data/security-groups") == "web"

    cloud(eip, name="extra", interface="")
    with open_site(LIBVIRT_URI, read_host(), SHOP, ovn.connect) as site:
        with exclusive(site.host.locks, {told["id"]: "web"}, 0):
            assert metadata_service.refresh(site) == [], "another run is at it"
        assert [str(step) for step in metadata_service.refresh(site)] == ["update metadata web"]
        assert metadata_service.refresh(site) == []
    assert readable(served, told["id"], "latest/meta-data/public-ipv4") == ""

    cloud(vpc, name="shop", subnets=[{"name": "front", "mtu": 1400}])
    assert cloud(server, **grouped)["steps"] == ["update metadata web"]
    assert "MTU=1400" in served.noted(FRONT, "network")
    assert not cloud(server, **grouped)["changed"]


@pytest.mark.parametrize("layout", ["config-2", "nocloud"])
def test_a_server_made_before_its_host_had_the_service(cloud: Call, hypervisor: Hypervisor, layout: str, request: Any) -> None:
    """Its config drive says all that there is to say."""
    wanted = {**WEB, "config_drive_format": layout}
    told = cloud(server, **wanted)["server"]
    tree: Tree = request.getfixturevalue("served")
    assert cloud(server, check=True, **wanted)["steps"] == ["create metadata web"]
    assert cloud(server, **wanted)["steps"] == ["create metadata web"]
    assert readable(tree, told["id"], "latest/meta-data/public-keys/0/openssh-key") == KEY
    assert readable(tree, told["id"], "openstack/latest/user_data") == WEB["user_data"]
    assert tree.links() == {(FRONT, told["address"]): told["id"]}
    assert not cloud(server, **wanted)["changed"]


def test_without_a_config_drive(cloud: Call, hypervisor: Hypervisor, served: Tree) -> None:
    """The service alone tells the guest; a new system is told the same (spec Q3)."""
    wanted = {**WEB, "config_drive": False}
    assert cloud(server, check=True, **wanted)["server"]["config_drive"] is None
    told = cloud(server, **wanted)["server"]
    assert told["config_drive"] is None
    assert not list((hypervisor.directory / "config-drives").glob("*"))
    assert "config-2" not in hypervisor.connection.lookupByName("shop.web").XMLDesc()
    assert readable(served, told["id"], "latest/user-data") == WEB["user_data"]
    assert not cloud(server, **wanted)["changed"]
    refused = cloud(server, fails=True, **{**WEB, "config_drive": True})
    assert "config_drive is False and cannot become True" in refused["msg"]

    cloud(server, name="web", state="rebuilt", allow_stop=True)
    about = json.loads(readable(served, told["id"], "openstack/latest/meta_data.json"))
    assert about["uuid"] == cloud_init.instance_id(told["id"], 2) != told["id"]
    assert about["public_keys"] == {"ops": KEY}
    assert readable(served, told["id"], "latest/user-data") == WEB["user_data"]
    assert sorted(os.listdir(served.server(told["id"]))) == ["2", "current"]
    cloud(server, name="web", state="absent")
    assert left(served) == []


def test_no_cloud(cloud: Call, hypervisor: Hypervisor) -> None:
    """The layout is remembered for the next system."""
    told = cloud(server, **WEB, config_drive_format="nocloud")["server"]
    assert told["config_drive"] == "nocloud"
    drive = hypervisor.directory / "config-drives" / f"{told['id']}.iso"
    assert run("blkid", "-p", "-o", "value", "-s", "LABEL", str(drive)).strip() == "cidata"
    assert set(config_drive.read(str(drive))) == {"meta-data", "user-data", "vendor-data", "network-config"}
    cloud(server, name="web", state="rebuilt", allow_stop=True)
    (drive,) = (hypervisor.directory / "config-drives").iterdir()
    content = config_drive.read(str(drive))
    assert yaml.safe_load(content["meta-data"])["public-keys"] == [KEY]
    assert content["user-data"].decode() == WEB["user_data"]


def test_what_a_server_without_a_drive_needs(cloud: Call, hypervisor: Hypervisor, request: Any) -> None:
    """Spec UD4: said before anything is made."""
    wanted = {**WEB, "config_drive": False}
    assert "hv1 has no metadata service" in cloud(server, fails=True, **wanted)["msg"]
    request.getfixturevalue("served")
    assert "it has no interface" in cloud(server, fails=True, **{**wanted, "nics": []})["msg"]
    cloud(vpc, name="shop", subnets=[{"name": "static", "cidr": "10.20.7.0/24", "dhcp": False}])
    assert "subnet static, which has no DHCP" in cloud(server, fails=True, **{**wanted, "nics": [{"subnet": "static"}]})["msg"]
    assert "config_drive is false" in cloud(server, fails=True, **wanted, config_drive_format="nocloud")["msg"]
    assert (hypervisor.domains, hypervisor.volumes) == ([], [])


def test_a_failed_creation_leaves_nothing(cloud: Call, hypervisor: Hypervisor, served: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    (hypervisor.directory / "consoles").touch()  # where its directory should be
    assert "Undone" in cloud(server, fails=True, **WEB)["msg"]
    assert left(served) == []


def test_a_failed_rebuild_gives_the_old_data_back(cloud: Call, hypervisor: Hypervisor, served: Tree) -> None:
    told = cloud(server, **WEB)["server"]
    before = served.read(told["id"])
    failed = cloud(server, fails=True, name="web", state="rebuilt", allow_stop=True, wait_for="agent", wait_timeout=1)
    assert "The old system is back" in failed["msg"]
    assert served.read(told["id"]) == before
    assert sorted(os.listdir(served.server(told["id"]))) == ["1", "current"]


def test_data_move_to_another_host(cloud: Call, hypervisor: Hypervisor, served: Tree, ovn: Ovn, tmp_path: Path) -> None:
    """All that is kept of a server, the announcement and the password included; one without a config drive has nothing else."""
    told = cloud(server, **WEB, config_drive=False)["server"]
    here = read_host()
    metadata_service.announce(here, told["id"], datetime.fromisoformat("2023-06-01T09:15:00+00:00"))
    Path(served.server(told["id"], "current", "password", "password")).write_text("ciphertext")
    there = Host(metadata=str(tmp_path / "there"), locks=str(tmp_path / "locks"), config_drives=str(tmp_path / "drives"))
    with open_site(LIBVIRT_URI, here, SHOP, ovn.connect) as site:
        path = Path(metadata_service.pack(here, told["id"]))
        assert path.stat().st_mode & 0o777 == 0o600
        Path(there.config_drives).mkdir()
        shutil.copy(path, there.config_drives)
        other = replace(site, host=there)
        assert [str(step) for step in metadata_service.refresh(other)] == ["create metadata web"]
        assert metadata_service.refresh(other) == []
        arrived = Tree(there.metadata)
        assert arrived.copy_out(told["id"]) == served.copy_out(told["id"])
        assert {"1/password/password", "instance-action"} < arrived.copy_out(told["id"]).keys()
        assert arrived.links() == served.links()
        assert list(Path(there.config_drives).iterdir()) == []

        domain = hypervisor.connection.lookupByName("shop.web")
        domain.destroy()
        domain.undefine()  # as a migration does here
        assert [str(step) for step in metadata_service.refresh(site)] == [f"delete metadata {told['id']}"]
    assert left(served) == []
    assert not path.exists()


@dataclass(frozen=True)
class Service:
    """nginx in a network namespace, and another one that two servers ask from."""

    directory: Path
    name: str
    tree: Tree
    servers: tuple[str, str]

    ADDRESSES = ("10.20.1.2", "10.20.1.3")

    def ask(self, path: str, *options: str, server: int = 0, user: str = "root") -> tuple[int, str]:
        """Status and body of what a server is answered; 0 for nothing at all."""
        asked = ["curl", "-s", "--max-time", "3", "--path-as-is", "--interface", self.ADDRESSES[server], "-w", "\n%{http_code}", *options]
        done = subprocess.run(
            ["ip", "netns", "exec", f"{self.name}g", "setpriv", f"--reuid={user}", *asked, f"http://169.254.169.254{path}"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        body, _newline, status = done.stdout.rpartition("\n")
        return int(status), body


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    """Two servers, each with its data; nginx runs as the unit runs it."""
    directory = Path(tempfile.mkdtemp(prefix="metadata-"))
    directory.chmod(0o755)
    name = f"ecsmd{os.getpid()}"
    tree = Tree(str(directory / "metadata"))
    servers = ("4a5b6c7d-1111-5222-8333-444455556666", "5a5b6c7d-1111-5222-8333-444455556666")
    for number, server_id in enumerate(servers):
        told = ServerMetadata("local", "shop", f"server{number}", az="az1", flavor="s3.medium.2", image="mini", hostname=f"server{number}")
        nic = model.Nic("port", FRONT, "fa:16:3e:00:00:01", "10.20.1.0/24", 1442, Service.ADDRESSES[number], None, ("web",))
        login = cloud_init.Login((KEY,), user_data=None if number else "#!/bin/sh\n")
        guest = cloud_init.GuestNic("port", nic.mac, 1442, FRONT, "vpc", nic.address)
        tree.write(server_id, 1, model.tree(cloud_init.files(server_id, told, [guest], login), [nic]))
        tree.switch(server_id, 1)
        tree.link(FRONT, nic.address, server_id)
    (directory / "run").mkdir()
    shutil.chown(directory / "run", "www-data", "www-data")
    (directory / "run/addresses").symlink_to(tree.subnet(FRONT))
    shutil.copy(ROLES / "hypervisor/templates/metadata.conf.j2", directory / "metadata.conf")
    for namespace in ("s", "g"):
        run("ip", "netns", "add", name + namespace)
    run("ip", "link", "add", "eth0", "netns", f"{name}s", "type", "veth", "peer", "name", "eth0", "netns", f"{name}g")
    inside = {namespace: ["ip", "-netns", name + namespace] for namespace in ("s", "g")}
    run(*inside["s"], "address", "add", "169.254.169.254/32", "dev", "eth0")
    for address in Service.ADDRESSES:
        run(*inside["g"], "address", "add", f"{address}/24", "dev", "eth0")
    for namespace in ("s", "g"):
        run(*inside[namespace], "link", "set", "eth0", "up")
    run(*inside["s"], "route", "add", "10.20.1.0/24", "dev", "eth0", "src", "169.254.169.254")
    run(*inside["g"], "route", "add", "169.254.169.254/32", "dev", "eth0")
    run("ip", "netns", "exec", f"{name}s", "sysctl", "-qw", "net.ipv4.ip_unprivileged_port_start=0")
    nginx = ["nginx", "-p", f"{directory}/run/", "-c", f"{directory}/metadata.conf", "-e", "stderr", "-g", "daemon off;"]
    identity = ["setpriv", "--reuid=www-data", "--regid=www-data", "--clear-groups"]
    process = subprocess.Popen(["ip", "netns", "exec", f"{name}s", *identity, *nginx], cwd=directory / "run")
    found = Service(directory, name, tree, servers)
    try:
        deadline = time.monotonic() + 10
        while found.ask("/openstack")[0] == 0:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield found
    finally:
        process.terminate()
        process.wait()
        for namespace in ("s", "g"):
            run("ip", "netns", "delete", name + namespace)
        shutil.rmtree(directory)


def test_each_server_reads_its_own(service: Service) -> None:
    """Spec MD1, MD3, MD4; no header makes a server another one."""
    for number, server_id in enumerate(service.servers):
        status, body = service.ask("/openstack/latest/meta_data.json", server=number)
        assert (status, json.loads(body)["uuid"]) == (200, server_id)
        assert service.ask("/latest/meta-data/hostname", server=number) == (200, f"server{number}.novalocal")
    forged = [f"{header}: {Service.ADDRESSES[1]}" for header in ("X-Forwarded-For", "X-Real-IP", "Forwarded", "X-Instance-ID", "Host")]
    told = service.ask("/latest/meta-data/hostname", *(item for header in forged for item in ("-H", header)))
    assert told == (200, "server0.novalocal")
    for path in ("/../10.20.1.3/current/data/latest/meta-data/hostname", "/..%2f..%2f10.20.1.3/current/data/latest/meta-data/hostname"):
        assert service.ask(path)[0] in (400, 404)


def test_versions_and_listings(service: Service) -> None:
    """With and without the slash, as cloud-init and people ask."""
    for path, line in (
        ("/", "latest"), ("/openstack", "2018-08-27"), ("/openstack/", "latest"), ("/openstack/2018-08-27", "meta_data.json"),
        ("/latest", "meta-data/"), ("/latest/meta-data", "public-keys/"), ("/latest/meta-data/", "instance-id"),
        ("/2009-04-04/meta-data/", "hostname"), ("/1.0/meta-data/public-keys/", "0=key"),
        ("/latest/meta-data/public-keys/0/", "openssh-key"),
    ):  # fmt: skip
        status, body = service.ask(path)
        assert status == 200, path
        assert line in body.splitlines(), path
    assert json.loads(service.ask("/openstack/2012-08-10/network_data.json")[1])["links"]
    assert service.ask("/latest/meta-data/public-keys/0/openssh-key") == (200, KEY)


def test_what_is_not_there_is_404(service: Service) -> None:
    """Spec MD9, MD17, MD18, in the guide's words."""
    assert service.ask("/openstack/latest/user_data") == (200, "#!/bin/sh\n")
    for path in ("user_data", "securitykey", "spot/instance-action", ".index", "nothing"):
        status, body = service.ask(f"/openstack/latest/{path}", server=1)
        assert status == 404, path
        assert path == ".index" or "The resource could not be found." in body
    assert service.ask("/latest/user-data", server=1)[0] == 404
    assert service.ask("/latest/meta-data/hostname", "-X", "POST")[0] == 405
    assert service.ask("/latest/meta-data/hostname", "-X", "DELETE")[0] == 405


def test_announcement_comes_and_goes(service: Service) -> None:
    """Spec MD18, for the server that it is meant for."""
    host = Host(metadata=service.tree.directory)
    path = "/openstack/latest/spot/instance-action"
    assert metadata_service.announce(host, service.servers[1], datetime.fromisoformat("2023-06-01T09:15:00+00:00"))
    status, body = service.ask(path, server=1)
    assert (status, json.loads(body)) == (200, {"action": "terminate", "timestamp": "2023-06-01 09:15:00"})
    assert service.ask(path, server=0)[0] == 404
    metadata_service.withdraw(host, service.servers[1])
    assert service.ask(path, server=1)[0] == 404
    assert not metadata_service.announce(host, "unknown", datetime.fromisoformat("2023-06-01T09:15:00+00:00"))


def test_password_is_set_once(service: Service) -> None:
    """Spec MD11: GET, POST once, DELETE; of each server its own."""
    path = "/openstack/latest/password"
    assert service.ask(path) == (200, "")
    assert service.ask(path, "-d", "")[0] == 400
    assert service.ask(path, "-d", "x" * 1021)[0] == 413
    assert service.ask(path, "-d", "ciphertext==")[0] in (200, 201)
    assert service.ask(path) == (200, "ciphertext==")
    assert service.ask("/openstack/2013-04-04/password") == (200, "ciphertext==")
    assert service.ask(path, "-d", "another")[0] == 409
    assert service.ask(path, "-X", "PUT", "-d", "another")[0] == 405
    assert service.ask(path, server=1) == (200, "")
    assert service.ask("/set-password", "-d", "another", server=1)[0] == 404
    file = Path(service.tree.server(service.servers[0], "current", "password", "password"))
    assert file.stat().st_mode & 0o777 == 0o640
    assert service.ask(path, "-X", "DELETE")[0] == 204
    assert service.ask(path) == (200, "")
    assert service.ask(path, "-d", "again")[0] in (200, 201)
    assert service.ask(path) == (200, "again")


def test_an_address_without_a_server_gets_nothing(service: Service) -> None:
    run("ip", "-netns", f"{service.name}g", "address", "add", "10.20.1.9/24", "dev", "eth0")
    for path in ("/openstack/latest/meta_data.json", "/openstack", "/openstack/latest/password"):
        assert service.ask(path, "--interface", "10.20.1.9")[0] == 404


def test_guard_leaves_it_to_root(service: Service) -> None:
    """Spec MD21: what role metadata_guard writes into a guest, loaded as its service loads it."""
    rules = (
        (ROLES / "metadata_guard/templates/metadata-guard.nft.j2").read_text().replace("{{ metadata_guard_users | join(', ') }}", "root")
    )
    path = service.directory / "guard.nft"
    path.write_text(rules)
    assert service.ask("/openstack", user="nobody")[0] == 200
    for _twice in range(2):
        run("ip", "netns", "exec", f"{service.name}g", "nft", "--file", str(path))
    try:
        assert service.ask("/openstack", user="nobody")[0] == 0
        assert service.ask("/openstack")[0] == 200
    finally:
        run("ip", "netns", "exec", f"{service.name}g", "nft", "delete", "table", "inet", "metadata_guard")
    assert service.ask("/openstack", user="nobody")[0] == 200
