# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The metadata service as guests meet it: each reads its own data, and a full guest comes up from it alone."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from typing import Any

import pytest

from .conftest import Cloud, Guest, Host, Lab, command, run_module
from .test_server import run

SERVICE = "169.254.169.254"
# One that OVN guards and that has no config drive, and one that may send what it likes.
GUARDED: dict[str, Any] = {
    "project": "lab", "name": "meta-a", "flavor": "s7n.small.025", "image": "mini", "nics": [{"vpc": "shop", "subnet": "front"}],
    "config_drive": False, "user_data": "#!/bin/sh\necho guarded\n", "wait_for": "agent", "wait_timeout": 300,
}  # fmt: skip
LOOSE: dict[str, Any] = {
    **GUARDED, "name": "meta-b", "config_drive": True, "user_data": None,
    "nics": [{"vpc": "shop", "subnet": "front", "port_security": False}],
}  # fmt: skip


def ask(guest: Guest, path: str, method: str = "GET", body: str = "", header: str = "Host: x") -> tuple[int, str]:
    """Status and body of an answer; 0 when there is none within five seconds."""
    lines = [f"{method} {path} HTTP/1.0", header, *([f"Content-Length: {len(body)}"] if body else []), "", body]
    request = shlex.quote("\r\n".join(lines))
    told = guest.run(f"printf %s {request} | timeout 5 nc {SERVICE} 80", check=False)
    head, _empty, content = told.replace("\r\n", "\n").partition("\n\n")
    return (int(head.split()[1]) if head else 0), content


def served(host: Host) -> dict[str, list[str]]:
    """What there is of the service on a host."""
    commands = {
        "namespaces": ["sh", "-c", "ip netns list | cut -d' ' -f1"],
        "units": ["systemctl", "list-units", "--all", "--plain", "--no-legend", "altostratus-metadata*@*"],
        "files": ["find", "/var/lib/altostratus/metadata", "-type", "f"],
        "links": ["find", "/sys/class/net", "-name", "md*"],
        "ports": ["sh", "-c", "ovs-vsctl list-ports br-int | grep ^md || true"],
        "processes": ["sh", "-c", "pgrep -a nginx || true"],
    }
    return {name: host.run(command).stdout.splitlines() for name, command in commands.items()}


@pytest.fixture(scope="module")
def host(lab: Lab) -> Host:
    return lab.hosts[-1]


@pytest.fixture(scope="module")
def before(lab: Lab, host: Host) -> Iterator[dict[str, list[str]]]:
    """What was there before; afterwards nothing else is."""
    for wanted in (GUARDED, LOOSE):
        run(lab, host, **{**wanted, "state": "absent", "delete_eip": True})
    told = served(host)
    yield told
    for wanted in (GUARDED, LOOSE):
        run(lab, host, **{**wanted, "state": "absent", "delete_eip": True})
    after = served(host)
    assert {name: len(lines) for name, lines in after.items()} == {name: len(lines) for name, lines in told.items()}
    assert set(after["files"]) == set(told["files"])


@pytest.fixture(scope="module")
def servers(lab: Lab, host: Host, before: dict[str, list[str]]) -> list[dict[str, Any]]:
    """Both at once: they boot side by side."""
    call = ("project", "wait_for", "wait_timeout")
    listed = [{key: value for key, value in wanted.items() if key not in call} for wanted in (GUARDED, LOOSE)]
    made: list[dict[str, Any]] = run_module(lab, host, "server", servers=listed, **{key: GUARDED[key] for key in call})["servers"]
    return made


@pytest.fixture(scope="module")
def guests(host: Host, servers: list[dict[str, Any]]) -> list[Guest]:
    return [Guest(host, f"lab.{server['name']}") for server in servers]


def test_the_guests_of_the_cloud_read_their_own_data(cloud: Cloud) -> None:
    """Spec MD1, MD4, MD6: on every hypervisor; the public address is there, and equal networks of two VPCs are kept apart."""
    for name in ("web", "db", "twin"):
        server, guest = cloud.server(name), cloud.guest(name)
        about = json.loads(ask(guest, "/openstack/latest/meta_data.json")[1])
        assert (about["uuid"], about["name"], about["availability_zone"]) == (server["id"], name, server["az"])
        assert ask(guest, "/latest/meta-data/local-ipv4") == (200, server["address"])
    assert ask(cloud.guest("web"), "/latest/meta-data/public-ipv4") == (200, cloud.server("web")["eip"])
    assert f"{SERVICE} dev eth0" in cloud.guest("web").run("ip route")


def test_a_guest_without_a_drive_reads_all_of_it(guests: list[Guest], servers: list[dict[str, Any]], lab: Lab, host: Host) -> None:
    """Spec MD3, MD9, MD10, MD17, MD18."""
    assert guests[0].run("ls /run/mini/drive 2>/dev/null || true") == ""
    assert ask(guests[0], "/openstack/latest/user_data") == (200, GUARDED["user_data"])
    assert ask(guests[0], "/latest/user-data") == (200, GUARDED["user_data"])
    assert guests[0].run(f"wget -q -O - http://{SERVICE}/openstack/2018-08-27/user_data") == GUARDED["user_data"]
    networks = json.loads(ask(guests[0], "/openstack/latest/network_data.json")[1])
    assert [link["ethernet_mac_address"] for link in networks["links"]] == [servers[0]["nics"][0]["mac"]]
    for path in ("securitykey", "spot/instance-action", "nothing"):
        assert ask(guests[0], f"/openstack/latest/{path}")[0] == 404
    assert ask(guests[1], "/openstack/latest/user_data")[0] == 404
    assert not run(lab, host, **GUARDED)["changed"]


def test_nobody_reads_a_neighbours_data(guests: list[Guest], servers: list[dict[str, Any]]) -> None:
    """Neither by a header nor from its address, with anti-spoofing and without; nor from another subnet's address."""
    path = "/latest/meta-data/instance-id"
    for mine, (guest, other) in enumerate(((guests[0], servers[1]), (guests[1], servers[0]))):
        assert ask(guest, path, header=f"X-Forwarded-For: {other['address']}") == (200, servers[mine]["id"])
        guest.run(f"ip address add {other['address']}/32 dev eth0 && ip route replace {SERVICE} dev eth0 src {other['address']} metric 1")
        try:
            assert ask(guest, path)[0] == 0
        finally:
            guest.run(f"ip route delete {SERVICE} metric 1; ip address delete {other['address']}/32 dev eth0")
        assert ask(guest, path) == (200, servers[mine]["id"])
    assert ask(guests[0], path) == (200, servers[0]["id"]), "its answers still come to it"


def test_a_password_is_posted_once(guests: list[Guest]) -> None:
    """Spec MD11."""
    path = "/openstack/latest/password"
    assert ask(guests[0], path) == (200, "")
    assert ask(guests[0], path, "POST", "ciphertext==")[0] in (200, 201)
    assert ask(guests[0], path, "POST", "another")[0] == 409
    assert ask(guests[0], path) == (200, "ciphertext==")
    assert ask(guests[1], path) == (200, "")
    assert ask(guests[0], path, "DELETE")[0] == 204
    assert ask(guests[0], path) == (200, "")


def test_a_security_group_without_egress_closes_it(lab: Lab, host: Host, guests: list[Guest]) -> None:
    """Spec MD2: the guide's rule opens it again."""
    rules = {"meta-closed": [{"direction": "egress", "destination": "10.0.0.0/8"}]}
    rules["meta-open"] = [*rules["meta-closed"], {"direction": "egress", "ports": "80", "destination": "169.254.0.0/16"}]
    groups = [{"name": name, "rules": rule} for name, rule in rules.items()]
    run(lab, host, "security_group", project="lab", security_groups=groups)
    try:
        for name, status in (("meta-closed", 0), ("meta-open", 200)):
            run(lab, host, **{**GUARDED, "nics": [{"vpc": "shop", "subnet": "front", "security_groups": [name]}]})
            assert ask(guests[0], "/openstack")[0] == status
        assert ask(guests[0], "/latest/meta-data/security-groups") == (200, "meta-open")
    finally:
        run(lab, host, **{**GUARDED, "nics": [{"vpc": "shop", "subnet": "front", "security_groups": ["default"]}]})
        run(lab, host, "security_group", project="lab", security_groups=groups, state="absent")


@pytest.fixture
def left_alone(host: Host) -> Iterator[None]:
    """What the host does by itself every few minutes would come before the run that is looked at."""
    host.run(["systemctl", "stop", "altostratus-host.timer"])
    yield
    host.run(["systemctl", "start", "altostratus-host.timer"])


@pytest.mark.usefixtures("left_alone")
def test_a_public_address_shows_after_the_next_run(lab: Lab, host: Host, guests: list[Guest]) -> None:
    address = run(lab, host, "eip", project="lab", name="meta-a", network="public", server="meta-a")["eip"]["address"]
    foreseen = lab.controller([*command(lab, host, "server", GUARDED), "--check"]).stdout
    assert "update metadata meta-a" in foreseen
    assert ask(guests[0], "/latest/meta-data/public-ipv4") == (200, "")
    assert run(lab, host, **GUARDED)["steps"] == ["update metadata meta-a"]
    assert ask(guests[0], "/latest/meta-data/public-ipv4") == (200, address)
    assert not run(lab, host, **GUARDED)["changed"]


def test_the_service_is_back_after_what_a_host_goes_through(host: Host, guests: list[Guest], servers: list[dict[str, Any]]) -> None:
    """Killed, and started with the host: the namespace is made anew from what is on the disk."""
    path = "/latest/meta-data/instance-id"
    (subnet,) = host.run(["sh", "-c", f"dirname /var/lib/altostratus/metadata/subnets/*/{servers[1]['address']}"]).stdout.split()
    unit = f"altostratus-metadata@{subnet.rpartition('/')[2]}.service"
    host.run(["systemctl", "kill", "--signal=KILL", unit])
    wait = f"for i in $(seq 100); do sleep 0.1; wget -q -O - http://{SERVICE}{path} && break; done"
    assert guests[0].run(wait) == servers[0]["id"]
    host.run(["systemctl", "stop", unit])
    assert ask(guests[0], path)[0] == 0
    host.run(["systemctl", "restart", "altostratus-metadata.service"])
    assert guests[0].run(wait) == servers[0]["id"]


def test_a_server_that_goes_leaves_its_neighbour_alone(
    lab: Lab, host: Host, guests: list[Guest], servers: list[dict[str, Any]], before: dict[str, list[str]]
) -> None:
    """The last one of a subnet takes namespace, process and files with it; *before* sees to that."""
    run(lab, host, **{**GUARDED, "state": "absent", "delete_eip": True})
    assert ask(guests[1], "/latest/meta-data/instance-id") == (200, servers[1]["id"])
    assert not [line for line in served(host)["files"] if servers[0]["id"] in line]


def test_a_full_guest_comes_up_from_the_service_alone(lab: Lab, host: Host, before: dict[str, list[str]]) -> None:
    """Spec MD24, UD4, UD6, UD10, M8: host name, key, user data, without a config drive."""
    key = (lab.directory / "ssh/id_ed25519.pub").read_text().strip()
    wanted = {
        **GUARDED, "name": "meta-c", "flavor": "s7n.small.1", "image": "debian-13", "key": "lab", "public_keys": [key],
        "nics": [{"vpc": "shop", "subnet": "front", "security_groups": ["web"]}], "eip": {},
        "user_data": "#!/bin/sh\necho once >> /root/ran\n", "wait_for": "cloud_init", "wait_timeout": 600,
    }  # fmt: skip
    try:
        server = run(lab, host, **wanted)["server"]
        guest = Guest(host, "lab.meta-c")
        assert guest.run("lsblk --noheadings --output SERIAL").split() == [server["disks"][0]["serial"]]
        result = json.loads(guest.run("cat /run/cloud-init/result.json"))["v1"]
        assert (result["errors"], "OpenStack" in result["datasource"]) == ([], True)
        assert guest.run("hostname").strip() == "meta-c"
        assert guest.run("cat /var/lib/cloud/data/instance-id").strip() == server["id"]
        assert guest.run("cat /root/ran") == "once\n"
        assert guest.run(f"curl -sS http://{SERVICE}/openstack/latest/user_data") == wanted["user_data"]
        options = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "ConnectTimeout=20", "-o", "BatchMode=yes"]
        login = ["ssh", "-i", str(lab.directory / "ssh/id_ed25519"), *options, f"root@{server['eip']}", "hostname"]
        assert lab.internet(login).stdout.strip() == "meta-c"
    finally:
        run(lab, host, **{**wanted, "state": "absent", "delete_eip": True})
