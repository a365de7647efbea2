# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts prepared by site.yml: tunnels (P-503), who may talk to the networks' databases, storage, and what the hosts say of themselves."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import REPOSITORY, Host, Lab, execute, playbook

SITE = ("site.yml", "--inventory")
PORTS = {"vxlan": 4789, "geneve": 6081}
OVERHEAD = {"vxlan": 50, "geneve": 58}  # bytes
PROBE = (REPOSITORY / "roles/hypervisor/files/probe_kvm.py").read_text()

# Ask an OVSDB server for its databases, as argv says: HOST PORT tcp|ssl [CA CERTIFICATE KEY]
CLIENT = """
import socket, ssl, sys
host, port, kind, *files = sys.argv[1:]
stream = socket.create_connection((host, int(port)), timeout=10)
try:
    if kind == "ssl":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        if files:
            context.load_cert_chain(*files)
        stream = context.wrap_socket(stream)
    stream.sendall(b'{"method": "list_dbs", "params": [], "id": 0}')
    print(stream.recv(4096).decode() or "refused")
except (ssl.SSLError, ConnectionError):
    print("refused")
"""


def settings(host: Host) -> dict[str, object]:
    return json.loads(host.run(["cat", "/etc/altostratus/host.json"]).stdout)


def encapsulation(lab: Lab) -> str:
    return str(lab.hosts[0].variables.get("ecs_encap", "vxlan"))


def recap(output: str) -> dict[str, dict[str, int]]:
    """Hosts and their counts from the end of a playbook's output."""
    lines = re.findall(r"^(\S+) +: (ok=.*)$", output, re.MULTILINE)
    return {name: {key: int(count) for key, count in re.findall(r"(\w+)=(\d+)", counts)} for name, counts in lines}


def test_a_second_run_changes_nothing(lab: Lab) -> None:
    counts = recap(playbook(*SITE, lab.inventory).stdout)
    assert {name: count["changed"] for name, count in counts.items()} == {host.name: 0 for host in lab.hosts}


def test_every_hypervisor_is_a_chassis_with_its_tunnel_endpoint(lab: Lab) -> None:
    """P-503."""
    encaps = json.loads(lab.hosts[0].run(["ovn-sbctl", "--format=json", "--columns=chassis_name,type,ip", "list", "Encap"]).stdout)["data"]
    assert sorted(encaps) == [
        [host.name, encapsulation(lab), host.variables["hypervisor_underlay_address"].split("/")[0]] for host in lab.hosts
    ]


def test_hypervisors_reach_the_southbound_over_tls(lab: Lab) -> None:
    for host in lab.hosts:
        assert host.run(["ovn-appctl", "-t", "ovn-controller", "connection-status"]).stdout.strip() == "connected"
        assert host.run(["ovs-vsctl", "get", "Open_vSwitch", ".", "external_ids:ovn-remote"]).stdout.strip().startswith('"ssl:')


@pytest.fixture(scope="module")
def overlay(lab: Lab) -> Iterator[None]:
    """A logical switch with a port on each host, 192.0.2.1 and up, in namespace ``probe``."""
    control = lab.hosts[0]

    def clean() -> None:
        for host in lab.hosts:
            host.run(["ovs-vsctl", "--if-exists", "del-port", "probe"])
            host.run(["ip", "netns", "delete", "probe"], check=False)
        control.run(["ovn-nbctl", "--if-exists", "ls-del", "probe"])

    clean()
    control.run(["ovn-nbctl", "ls-add", "probe"])
    for number, host in enumerate(lab.hosts, 1):
        mac = f"02:00:00:00:00:{number:02x}"
        port = f"probe-{number}"
        control.run(["ovn-nbctl", "lsp-add", "probe", port, "--", "lsp-set-addresses", port, f"{mac} 192.0.2.{number}"])
        interface = ["set", "Interface", "probe", "type=internal", f'mac="{mac}"', f"external_ids:iface-id={port}"]
        host.run(["ovs-vsctl", "add-port", "br-int", "probe", "--", *interface])
        host.run(["ip", "netns", "add", "probe"])
        host.run(["ip", "link", "set", "probe", "netns", "probe"])
        host.run(["ip", "-n", "probe", "link", "set", "probe", "mtu", str(settings(host)["guest_mtu"]), "up"])
        host.run(["ip", "-n", "probe", "address", "add", f"192.0.2.{number}/24", "dev", "probe"])
    control.run(["ovn-nbctl", "--wait=hv", "--timeout=30", "sync"])
    yield
    clean()


@pytest.mark.usefixtures("overlay")
def test_full_frames_cross_the_underlay_in_the_encapsulation(lab: Lab) -> None:
    """P-503: what a guest sends at its MTU reaches the other host, and on the underlay it is the tunnel's UDP and nothing else."""
    sender, receiver = (host.variables["hypervisor_underlay_address"].split("/")[0] for host in lab.hosts[:2])
    port = PORTS[encapsulation(lab)]
    watch = ["timeout", "30", "tcpdump", "-l", "-nni", f"{lab.hosts[0].name}-under", "-c", "3", f"udp dst port {port} and src {sender}"]
    argv = ["ip", "netns", "exec", f"{lab.name}-lab", *watch]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as capture:
        assert capture.stdout
        while "listening" not in capture.stdout.readline():
            assert capture.poll() is None
        size = int(str(settings(lab.hosts[0])["guest_mtu"])) - 28  # less the IP and ICMP headers
        ping = ["ip", "netns", "exec", "probe", "ping", "-c", "4", "-i", "0.2", "-W", "5", "-M", "do", "-s", str(size), "192.0.2.2"]
        answers = lab.hosts[0].run(ping).stdout
        frames = capture.communicate(timeout=30)[0]
    assert f"{size + 8} bytes from 192.0.2.2" in answers
    assert f"> {receiver}.{port}: " in frames


def test_guests_are_told_the_largest_mtu_that_fits(lab: Lab) -> None:
    for host in lab.hosts:
        underlay = host.run(["cat", f"/sys/class/net/{host.variables['hypervisor_underlay_interface']}/mtu"]).stdout
        assert settings(host)["guest_mtu"] == int(underlay) - OVERHEAD[encapsulation(lab)]


@pytest.fixture(scope="module")
def identities(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Certificate and key of a hypervisor, of a stranger who made a certificate for himself, and of nobody."""
    files = tmp_path_factory.mktemp("tls")
    for name in ("cert.pem", "key.pem"):
        (files / name).write_text(lab.hosts[-1].run(["cat", f"/etc/altostratus/ovn/{name}"]).stdout)
    strange = [str(files / "strange.pem"), str(files / "strange-key.pem")]
    request = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc"]
    execute([*request, "-subj", "/CN=hv1", "-out", strange[0], "-keyout", strange[1]])
    return {"hypervisor": [str(files / "cert.pem"), str(files / "key.pem")], "stranger": strange, "nobody": []}


@pytest.mark.parametrize(("port", "database"), [(6641, "OVN_Northbound"), (6642, "OVN_Southbound")])
@pytest.mark.parametrize(
    ("kind", "identity", "admitted"),
    [("ssl", "hypervisor", True), ("ssl", "stranger", False), ("ssl", "nobody", False), ("tcp", "nobody", False)],
)
def test_databases_answer_only_clients_with_a_certificate(
    lab: Lab, identities: dict[str, list[str]], port: int, database: str, kind: str, identity: str, admitted: bool
) -> None:
    client = [sys.executable, "-c", CLIENT, lab.hosts[0].address, str(port), kind, *identities[identity]]
    answer = lab.controller(client).stdout
    assert (database in answer) == admitted
    assert (answer.strip() == "refused") != admitted


def test_a_certificate_near_its_end_is_renewed_with_the_same_key(lab: Lab) -> None:
    host = lab.hosts[-1]

    def files() -> list[str]:
        return [host.run(["cat", f"/etc/altostratus/ovn/{name}.pem"]).stdout for name in ("cert", "key", "ca")]

    before = files()
    playbook(*SITE, lab.inventory, "--limit", host.name, "--extra-vars", "network_control_certificate_renewal_days=731")
    after = files()
    assert after[0] != before[0]
    assert after[1:] == before[1:]
    served = f"import ssl; print(ssl.get_server_certificate(('{host.address}', 16514)))"
    assert host.run(["python3", "-c", served]).stdout.strip() in after[0], "libvirt shows the new one"
    northbound = ["ovn-nbctl", f"--db={settings(host)['ovn_nb']}", "--timeout=10"]
    for option, name in (("-c", "cert"), ("-p", "key"), ("-C", "ca")):
        northbound += [option, f"/etc/altostratus/ovn/{name}.pem"]
    assert host.run([*northbound, "get", "NB_Global", ".", "external_ids"]).stdout.strip() == f'{{"ecs:encap"={encapsulation(lab)}}}'


def test_private_keys_are_root_s_alone(lab: Lab) -> None:
    for host in lab.hosts:
        modes = host.run(["stat", "--format", "%a %U", "/etc/altostratus/host.json", "/etc/altostratus/ovn/key.pem"]).stdout.split("\n")
        assert modes[:2] == ["644 root", "600 root"]
    authority = lab.hosts[0].run(["stat", "--format", "%a %U", "/etc/altostratus/pki", "/etc/altostratus/pki/ca.key"]).stdout.split("\n")
    assert authority[:2] == ["700 root", "600 root"]


def test_storage_pools_run_now_and_after_a_reboot(lab: Lab) -> None:
    for host in lab.hosts:
        pool = dict(line.split(":", 1) for line in host.run(["virsh", "pool-info", "standard"]).stdout.splitlines() if ":" in line)
        assert {key: pool[key].strip() for key in ("State", "Persistent", "Autostart")} == {
            "State": "running",
            "Persistent": "yes",
            "Autostart": "yes",
        }


def test_hosts_tell_the_truth_about_kvm_and_the_datapath(lab: Lab) -> None:
    for host in lab.hosts:
        told = settings(host)
        assert told["kvm"] == (host.run(["python3", "-"], input=PROBE).stdout.strip() == "works")
        assert re.findall(r"^(\w+)@", host.run(["ovs-appctl", "dpif/show"]).stdout, re.MULTILINE) == [told["datapath"]]
        assert (told["name"], told["region"], told["az"]) == (host.name, host.variables["ecs_region"], host.variables["ecs_az"])


def test_the_guest_that_probes_kvm_runs_where_guests_run(lab: Lab) -> None:
    """Without this, a broken probe and a broken KVM would look the same."""
    assert lab.hosts[0].run(["python3", "-", "tcg", "max"], input=PROBE).stdout.strip() == "works"


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"hypervisor_underlay_interface": "eth7"}, ["hypervisor_underlay_interface", '"eth7"', "underlay0"]),
        ({"hypervisor_underlay_interface": "mgmt0"}, ["hypervisor_underlay_interface", "mgmt0", "198.18.0."]),
        ({"hypervisor_physical_networks": [{"name": "public", "interface": "mgmt0"}]}, ["hypervisor_physical_networks", "mgmt0"]),
        ({"hypervisor_pools": [{"name": "standard", "path": "/srv"}]}, ["hypervisor_pools", "standard", "/var/lib/altostratus/volumes"]),
        ({"hypervisor_encap": "gre"}, ["hypervisor_encap", "gre", "vxlan, geneve"]),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_wrong_variables_are_refused_before_anything_changes(lab: Lab, variables: dict[str, object], named: list[str]) -> None:
    host = lab.hosts[-1]
    result = playbook(*SITE, lab.inventory, "--limit", host.name, "--extra-vars", json.dumps(variables), check=False)
    told = " ".join((result.stdout + result.stderr).split())
    assert result.returncode
    assert [word for word in named if word not in told] == []
    assert recap(result.stdout)[host.name]["changed"] == 0


def test_a_client_certificate_is_left_for_the_controller(lab: Lab, tmp_path: Path) -> None:
    directory = tmp_path / "ovn"
    playbook(*SITE, lab.inventory, "--limit", lab.hosts[0].name, "--extra-vars", f"network_control_client_dir={directory}")
    assert {file.name: oct(file.stat().st_mode & 0o777) for file in directory.glob("key.pem")} == {"key.pem": "0o600"}
    client = [sys.executable, "-c", CLIENT, lab.hosts[0].address, "6641", "ssl", directory / "cert.pem", directory / "key.pem"]
    assert "OVN_Northbound" in lab.controller(list(map(str, client))).stdout
