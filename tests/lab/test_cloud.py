# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cloud of cloud.yml, as its users meet it: guests answer, packets pass or are dropped."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import time

import pytest

from .conftest import Cloud, Lab

INTERNET_SITE = "198.51.100.1"
SCAN = """
import asyncio, sys
async def probe(port, limit):
    async with limit:
        try:
            _, writer = await asyncio.wait_for(asyncio.open_connection(sys.argv[1], port), 3)
        except OSError:
            return None
        writer.close()
        return port
async def main():
    limit = asyncio.Semaphore(600)
    print([port for port in await asyncio.gather(*(probe(port, limit) for port in [*range(1, 1025), 3306, 5900, 8080, 9090])) if port])
asyncio.run(main())
"""


def fetch(cloud: Cloud, server: str, url: str) -> str:
    """What a mini guest gets from a URL, empty when nothing comes within four seconds."""
    return cloud.guest(server).run(f"timeout 4 wget -q -O - {url}", check=False)


def test_inventory_shows_every_server_with_its_facts(cloud: Cloud) -> None:
    web, app = cloud.server("web"), cloud.server("app")
    assert (web["status"], web["az"], web["hypervisor"], web["vcpus"], web["image"]) == ("running", "az1", "hv1", 1, "mini")
    assert web["ansible_host"] == web["eip"]
    assert web["eip"].startswith("203.0.113.")
    assert (app["az"], app["ansible_connection"]) == ("az2", "altostratus.ecs.guest_agent")
    assert cloud.server("db")["address"] == "10.20.2.10"


@pytest.mark.parametrize(
    ("group", "members"),
    [
        ("project_lab", {"web", "db", "twin", "app"}),
        ("az_az2", {"db", "twin", "app"}),
        ("vpc_shop", {"web", "db", "app"}),
        ("tag_tier_db", {"db"}),
        ("status_running", {"web", "db", "twin", "app"}),
    ],
)
def test_inventory_groups(cloud: Cloud, group: str, members: set[str]) -> None:
    assert set(cloud.inventory[group]["hosts"]) == members


def test_ansible_reaches_a_server_without_address_through_its_agent(cloud: Cloud) -> None:
    assert "ping: pong" in cloud.ansible("app", "-m", "ansible.builtin.ping")


def test_guest_has_the_address_and_mtu_that_the_cloud_says(cloud: Cloud) -> None:
    """The overlay's 50 bytes are taken off the underlay's 1500 (spec X-5)."""
    for name in ("web", "db", "twin"):
        nic = cloud.server(name)["nics"][0]
        shown = cloud.guest(name).run("ip address show eth0")
        assert f"inet {nic['address']}/24" in shown
        assert nic["mac"] in shown
        assert "mtu 1450" in shown


def test_public_ip_opens_what_the_security_group_opens(cloud: Cloud, lab: Lab) -> None:
    """The guest listens on 22, 80, 3306 and 8080; group web lets 22, 80 and 443 in (spec S-02)."""
    assert lab.internet(["curl", "-sS", "--max-time", "10", f"http://{cloud.server('web')['eip']}/"]).stdout == "hello from web\n"
    assert json.loads(lab.internet(["python3", "-c", SCAN, cloud.server("web")["eip"]]).stdout) == [22, 80]


def test_private_address_is_not_reachable_from_outside(cloud: Cloud, lab: Lab) -> None:
    """A host of the public network that routes to the VPC through its router gets nowhere (spec E-06)."""
    router = lab.internet(["ip", "-o", "neigh", "show", "to", cloud.server("web")["eip"]]).stdout
    assert router, "the page was fetched, so the router is known"
    lab.internet(["ip", "route", "add", "10.20.2.10/32", "via", cloud.server("web")["eip"]])
    try:
        assert lab.internet(["curl", "-sS", "--max-time", "4", "http://10.20.2.10:3306/"], check=False).returncode != 0
    finally:
        lab.internet(["ip", "route", "delete", "10.20.2.10/32"])


def test_group_as_source_opens_its_port_to_its_members_only(cloud: Cloud) -> None:
    """Group db lets 3306 in from group web; db listens on 22 and 80 too (spec S-14)."""
    assert fetch(cloud, "web", "http://10.20.2.10:3306/") == "hello from db\n"
    assert fetch(cloud, "web", "http://10.20.2.10:80/") == ""
    assert cloud.guest("db").run("wget -q -O - http://127.0.0.1:80/") == "hello from db\n"
    assert cloud.guest("web").run("sleep 2 | timeout 4 nc 10.20.2.10 22", check=False) == ""
    assert cloud.guest("db").run("sleep 2 | timeout 4 nc 127.0.0.1 22", check=False).startswith("SSH-2.0")


def test_replies_pass_but_the_other_direction_is_closed(cloud: Cloud) -> None:
    """web is reached by db on 80, which group web opens, and not on 8080 (spec S-16)."""
    address = cloud.server("web")["address"]
    assert fetch(cloud, "db", f"http://{address}:80/") == "hello from web\n"
    assert fetch(cloud, "db", f"http://{address}:8080/") == ""


def test_vpcs_are_isolated(cloud: Cloud) -> None:
    """twin has the addresses of shop in a VPC of its own, and no way out of it (spec O5, E-06)."""
    assert fetch(cloud, "twin", "http://10.20.2.10:3306/") == ""
    assert fetch(cloud, "twin", f"http://{cloud.server('web')['address']}:80/") == ""
    assert "0 packets received" in cloud.guest("twin").run(f"ping -c 2 -W 2 {INTERNET_SITE}", check=False)


def test_snat_lets_a_server_without_public_ip_out(cloud: Cloud) -> None:
    assert " 0% packet loss" in cloud.guest("db").run(f"ping -c 3 -W 3 {INTERNET_SITE}")


def test_full_size_packets_pass_between_hypervisors(cloud: Cloud) -> None:
    assert fetch(cloud, "web", "http://10.20.2.10:3306/large | wc -c").strip() == str(512 * 1024)
    assert " 0% packet loss" in cloud.guest("web").run("ping -c 2 -W 2 -s 1422 10.20.1.1")


def test_traffic_between_hypervisors_is_vxlan(cloud: Cloud, lab: Lab) -> None:
    tcpdump = ["timeout", "20", "tcpdump", "-c", "12", "-lnni", "hv1-under", "udp port 4789 or net 10.20.0.0/16"]
    capture = subprocess.Popen(
        ["ip", "netns", "exec", f"{lab.name}-lab", *tcpdump],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    time.sleep(1)
    for _attempt in range(3):
        assert fetch(cloud, "web", "http://10.20.2.10:3306/") == "hello from db\n"
    seen = capture.communicate(timeout=30)[0].splitlines()
    outer = re.compile(r"\S+ IP 198\.18\.1\.1[12]\.\d+ > 198\.18\.1\.1[12]\.4789: VXLAN")
    inner = re.compile(rf"IP {re.escape(cloud.server('web')['address'])}\.\d+ > 10\.20\.2\.10\.3306: ")
    assert [line for before, line in itertools.pairwise(seen) if outer.match(before) and inner.match(line)]
    assert not [line for line in seen if re.match(r"\S+ IP 10\.20\.", line)], "no inner packet travels bare"


def test_spoofed_address_is_dropped(cloud: Cloud) -> None:
    """Port security: a wrong source address, then a wrong MAC address, gets no answer; the right ones do (spec N-12)."""
    web = cloud.guest("web")
    ping = "ping -c 2 -W 1 10.20.1.1"
    mac = cloud.server("web")["nics"][0]["mac"]
    assert " 0% packet loss" in web.run(ping)
    web.run("ip address add 10.20.1.99/32 dev eth0")
    assert "100% packet loss" in web.run(f"{ping} -I 10.20.1.99", check=False)
    web.run("ip address delete 10.20.1.99/32 dev eth0")
    web.run("ip link set eth0 address fa:16:3e:00:00:99")
    assert "100% packet loss" in web.run(ping, check=False)
    web.run(f"ip link set eth0 address {mac}")
    assert " 0% packet loss" in web.run(ping)


def test_key_pair_logs_in_through_the_public_ip(cloud: Cloud, lab: Lab) -> None:
    options = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "ConnectTimeout=10", "-o", "BatchMode=yes"]
    login = ["ssh", "-i", str(lab.directory / "ssh/id_ed25519"), *options, f"root@{cloud.server('web')['eip']}", "hostname"]
    assert lab.internet(login).stdout.strip() == "web"


def test_cloud_init_ran_and_the_root_filesystem_grew(cloud: Cloud) -> None:
    app = cloud.guest("app")
    assert json.loads(app.run("cat /run/cloud-init/result.json"))["v1"]["errors"] == []
    assert app.run("hostname").strip() == "app"
    size = int(app.run("findmnt --noheadings --bytes --output SIZE /"))
    assert size > (cloud.server("app")["disks"][0]["size"] - 0.5) * 2**30


def test_data_disk_is_mounted_by_uuid(cloud: Cloud) -> None:
    """GPT, one partition over the whole disk, ext4, an fstab line by UUID (spec D-11, D-21, D-24)."""
    app = cloud.guest("app")
    disk = next(disk for disk in cloud.server("app")["disks"] if disk["role"] == "data")
    device = app.run(f"readlink -f /dev/disk/by-id/virtio-{disk['serial']}").strip()
    assert app.run("findmnt --noheadings --output SOURCE,FSTYPE /srv/data").split() == [f"{device}1", "ext4"]
    uuid = app.run(f"blkid -o value -s UUID {device}1").strip()
    assert f"UUID={uuid} /srv/data ext4 defaults" in app.run("cat /etc/fstab")
    assert "gpt" in app.run(f"blkid -o value -s PTTYPE {device}")


def test_second_run_changes_nothing(cloud: Cloud, lab: Lab) -> None:
    recap = cloud.play("cloud").stdout.rpartition("PLAY RECAP")[2]
    assert re.findall(r"changed=(\d+)", recap)
    assert set(re.findall(r"changed=(\d+)", recap)) == {"0"}
    assert set(re.findall(r"failed=(\d+)", recap)) == {"0"}
