# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server of another architecture than its host's: emulated, and otherwise one like all others (spec F1)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from .conftest import Cloud, Guest, run_module

IMAGE: dict[str, Any] = {"project": "lab", "name": "mini-aarch64"}
GROUP: dict[str, Any] = {"project": "lab", "name": "ping"}
SERVER: dict[str, Any] = {"project": "lab", "name": "arm"}
SPOOL = "/var/tmp/mini-aarch64.qcow2"


@pytest.fixture(scope="module")
def arm(cloud: Cloud) -> Iterator[dict[str, Any]]:
    """The server; it, its image and its security group go again."""
    lab = cloud.lab
    host, control = lab.hosts[-1], lab.hosts[0]

    def clean() -> None:
        run_module(lab, host, "server", **SERVER, state="absent")
        run_module(lab, host, "image", **IMAGE, state="absent")
        run_module(lab, control, "security_group", **GROUP, state="absent")
        host.run(["rm", "-f", SPOOL])

    clean()
    copy = ["ansible", host.name, "-i", str(lab.inventory), "-m", "ansible.builtin.copy", "-a"]
    lab.controller([*copy, f"src={cloud.images}/mini-aarch64.qcow2 dest={SPOOL}"])
    run_module(lab, host, "image", **IMAGE, source=SPOOL, architecture="aarch64", cloud_init=False)
    run_module(lab, control, "security_group", **GROUP, rules=[{"protocol": "icmp", "source": "0.0.0.0/0"}])
    nics = [{"vpc": "shop", "subnet": "back", "security_groups": ["ping"]}]
    made = run_module(
        lab, host, "server", **SERVER, flavor="kc1.small.05", image="mini-aarch64", nics=nics, wait_for="agent", wait_timeout=400
    )
    yield made["server"]
    clean()


def test_guest(cloud: Cloud, arm: dict[str, Any]) -> None:
    """It started with UEFI, has its address by DHCP, and answers from the other hypervisor."""
    assert (arm["architecture"], arm["firmware"]) == ("aarch64", "uefi")
    guest = Guest(cloud.lab.host(arm["hypervisor"]), "lab.arm")
    assert guest.run("uname -m; ls -d /sys/firmware/efi; hostname").split() == ["aarch64", "/sys/firmware/efi", "arm"]
    shown = guest.run("ip address show eth0")
    assert [word for word in (arm["nics"][0]["mac"], f"inet {arm['address']}/24") if word not in shown] == []
    assert " 0% packet loss" in cloud.guest("web").run(f"ping -c 3 -W 5 {arm['address']}")
    assert " /boot ext4 rw," in guest.run("cat /proc/mounts"), "what shall outlast a restart has its place"


def test_it_stops_by_itself(cloud: Cloud, arm: dict[str, Any]) -> None:
    """Its agent and its power button are heard as on any server (spec R10)."""
    host = cloud.lab.host(arm["hypervisor"])
    Guest(host, "lab.arm").run("(mv /usr/sbin/qemu-ga /usr/sbin/gone; sleep 1; killall qemu-ga) >/dev/null 2>&1 &")
    run_module(cloud.lab, host, "server", **SERVER, state="stopped", stop_timeout=60)
    assert host.run(["virsh", "domstate", "--reason", "lab.arm"]).stdout.strip() == "shut off (shutdown)"
