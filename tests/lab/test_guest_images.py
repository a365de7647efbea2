# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guest images, each booted by QEMU alone: no hypervisor, no network but the one inside QEMU, a config drive as a cloud gives it."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.altostratus.ecs.plugins.module_utils._engines import config_drive

from .conftest import execute, playbook

IMAGES = Path(os.environ.get("ECS_IMAGE_DIR", "/var/cache/altostratus-lab/images"))
BOOT_TIMEOUT = 600  # seconds; an emulated guest on a busy machine
DISK_SIZE = "4G"
INSTANCE = "1b7a1a4c-0000-4000-8000-000000000001"
DHCP_MAC, FIXED_MAC = "fa:16:3e:00:00:01", "fa:16:3e:00:00:02"
USER_DATA = "#!/bin/sh\necho user $(id -u) >> /boot/proof\n"  # /boot outlasts a restart in both
NETWORKS = {
    "links": [
        {"id": "tap0", "type": "phy", "ethernet_mac_address": DHCP_MAC, "mtu": 1400},
        {"id": "tap1", "type": "phy", "ethernet_mac_address": FIXED_MAC, "mtu": 1300},
    ],
    "networks": [
        {"id": "network0", "type": "ipv4_dhcp", "link": "tap0", "network_id": "n0"},
        {
            "id": "network1", "type": "ipv4", "link": "tap1", "network_id": "n1", "ip_address": "192.0.2.5", "netmask": "255.255.255.240",
            "routes": [{"network": "198.51.100.0", "netmask": "255.255.255.0", "gateway": "192.0.2.1"}],
        },
    ],
    "services": [],
}  # fmt: skip


def wait(what: str, answer: Callable[[], Any], process: subprocess.Popen[bytes], timeout: float = BOOT_TIMEOUT) -> Any:
    """The first true answer; a guest that died fails at once."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        assert process.poll() is None, f"QEMU ended with {process.returncode} while waiting for {what}"
        try:
            if result := answer():
                return result
        except (OSError, ValueError, subprocess.SubprocessError):
            pass
        time.sleep(0.2)
    raise AssertionError(f"no {what} within {timeout} s")


@dataclass
class Guest:
    """A running guest, seen through its agent, its SSH port and QEMU's own control socket."""

    kind: str
    directory: Path
    process: subprocess.Popen[bytes]
    ssh_port: int

    def talk(self, name: str, *messages: dict[str, Any]) -> Any:
        """The reply to the last message on one of QEMU's sockets."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(30)
            connection.connect(str(self.directory / f"{name}.socket"))
            stream = connection.makefile("rwb")
            reply: dict[str, Any] = {}
            for message in messages:
                stream.write(json.dumps(message).encode() + b"\n")
                stream.flush()
                reply = {}
                while "return" not in reply and "error" not in reply:
                    reply = json.loads(stream.readline())
            if "return" not in reply:
                raise ValueError(f"{messages[-1]}: {reply}")
            return reply["return"]

    def agent(self, command: str, **arguments: Any) -> Any:
        sync = {"execute": "guest-sync", "arguments": {"id": time.monotonic_ns() % 2**31}}
        return self.talk("agent", sync, {"execute": command, "arguments": arguments})

    def run(self, script: str) -> str:
        """What a shell script prints in the guest."""
        pid = self.agent("guest-exec", **{"path": "/bin/sh", "arg": ["-c", script], "capture-output": True})["pid"]
        while not (status := self.agent("guest-exec-status", pid=pid))["exited"]:
            time.sleep(0.2)
        assert status["exitcode"] == 0, (script, base64.b64decode(status.get("err-data", "")))
        return base64.b64decode(status.get("out-data", "")).decode()

    def ssh(self, key: str) -> subprocess.CompletedProcess[str]:
        options = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "IdentitiesOnly=yes", "BatchMode=yes", "ConnectTimeout=30")
        words = [word for option in options for word in ("-o", option)]
        target = ("-i", self.directory / key, "-p", str(self.ssh_port), "root@127.0.0.1")
        return execute(["ssh", *words, *target, "hostname"], check=False)

    def wait_for_boot(self) -> float:
        """Seconds until the guest has done all that a boot does."""
        started = time.monotonic()
        wait("guest agent", lambda: self.agent("guest-ping") == {}, self.process)
        answered = time.monotonic() - started
        wait("end of the boot", lambda: "done" in self.run("cloud-init status --wait"), self.process)
        print(f"{self.kind}: agent after {answered:.1f} s, booted after {time.monotonic() - started:.1f} s")
        return time.monotonic() - started


def make_config_drive(directory: Path) -> str:
    """The ISO that a server gets: OpenStack's layout, label config-2."""
    metadata = {
        "uuid": INSTANCE, "hostname": "web-0001", "name": "web-0001",
        "public_keys": {"ops": (directory / "key.pub").read_text(), "second": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA== second"},
    }  # fmt: skip
    contents = {"meta_data.json": json.dumps(metadata), "network_data.json": json.dumps(NETWORKS), "user_data": USER_DATA}
    encoded = {f"openstack/latest/{name}": text.encode() for name, text in contents.items()}
    return config_drive.write(str(directory), INSTANCE, encoded)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def images() -> dict[str, dict[str, Any]]:
    """The metadata of the role's default images, by kind, after a run of the playbook that may build them."""
    playbook("guest_images.yml", "-e", f"guest_image_dir={IMAGES}")
    return {image["kind"]: image for image in (json.loads((IMAGES / f"{name}.json").read_text()) for name in ("debian-13", "mini"))}


@pytest.fixture(scope="module", params=["mini", "full"])
def guest(request: pytest.FixtureRequest, images: dict[str, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    directory = tmp_path_factory.mktemp(request.param)
    for key in ("key", "other"):
        execute(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", directory / key])
    drive, disk, port = make_config_drive(directory), directory / "disk.qcow2", free_port()
    image = images[request.param]
    execute(["qemu-img", "create", "-q", "-f", "qcow2", "-F", image["format"], "-b", image["path"], disk, DISK_SIZE])
    # One CPU: an emulated second one may run into code that the first is just changing, and panic.
    arguments = [
        "qemu-system-x86_64", "-machine", "q35", "-accel", "tcg", "-cpu", "qemu64", "-smp", "1", "-nodefaults",
        "-m", {"mini": "192", "full": "1024"}[request.param], "-display", "none", "-serial", f"file:{directory}/console.log",
        "-drive", f"file={disk},if=none,id=system", "-device", "virtio-blk-pci,drive=system",
        "-drive", f"file={drive},format=raw,readonly=on,if=none,id=config", "-device", "virtio-blk-pci,drive=config",
        "-netdev", f"user,id=nic0,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:22", "-device", f"virtio-net-pci,netdev=nic0,mac={DHCP_MAC}",
        "-netdev", "hubport,id=nic1,hubid=1", "-device", f"virtio-net-pci,netdev=nic1,mac={FIXED_MAC}",
        "-chardev", f"socket,path={directory}/agent.socket,server=on,wait=off,id=agent", "-device", "virtio-serial",
        "-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0", "-device", "virtio-rng-pci",
        "-qmp", f"unix:{directory}/qmp.socket,server=on,wait=off",
    ]  # fmt: skip
    with subprocess.Popen(arguments) as process:
        guest = Guest(request.param, directory, process, port)
        try:
            guest.wait_for_boot()
            yield guest
        finally:
            process.kill()


def interfaces(guest: Guest) -> dict[str, dict[str, Any]]:
    """The guest's interfaces by MAC."""
    return {nic["hardware-address"]: nic for nic in guest.agent("guest-network-get-interfaces") if "hardware-address" in nic}


def test_images_are_described_and_up_to_date(images: dict[str, dict[str, Any]]) -> None:
    for image in images.values():
        with Path(image["path"]).open("rb") as file:
            assert image["checksum"] == f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
        assert (image["default_user"], image["os_type"], image["architecture"]) == ("root", "linux", "x86_64")  # M8
    foreign = json.loads((IMAGES / "mini-aarch64.json").read_text())
    assert (foreign["kind"], foreign["architecture"]) == ("mini", "aarch64")
    assert "changed=0" in playbook("guest_images.yml", "-e", f"guest_image_dir={IMAGES}").stdout
    assert str(IMAGES) not in Path("/proc/mounts").read_text() + execute(["losetup", "--all"]).stdout


def test_identity_comes_from_the_config_drive(guest: Guest) -> None:
    assert guest.agent("guest-get-host-name")["host-name"] == "web-0001"
    assert guest.agent("guest-get-osinfo")["id"] == {"mini": "mini", "full": "debian"}[guest.kind]
    assert guest.ssh("key").stdout == "web-0001\n"  # M8: root, by key
    assert guest.ssh("other").returncode == 255


def test_networks(guest: Guest) -> None:
    nics = interfaces(guest)
    dhcp = nics[DHCP_MAC]
    assert any(entry["ip-address"].startswith("10.0.2.") for entry in dhcp["ip-addresses"])  # QEMU's DHCP server
    fixed = {(entry["ip-address"], entry["prefix"]) for entry in nics[FIXED_MAC]["ip-addresses"] if entry["ip-address-type"] == "ipv4"}
    assert fixed == {("192.0.2.5", 28)}
    assert [guest.run(f"cat /sys/class/net/{nics[mac]['name']}/mtu").strip() for mac in (DHCP_MAC, FIXED_MAC)] == ["1400", "1300"]
    assert "via 192.0.2.1" in guest.run("ip route show 198.51.100.0/24")


def test_disk_may_be_larger_than_the_image(guest: Guest) -> None:
    assert guest.run("cat /sys/block/vda/size").strip() == str(4 * 2**30 // 512)
    if guest.kind == "full":
        total = int(guest.run("df --output=size --block-size=1M / | tail -n 1"))
        assert total > 3800, "the root file system grows into the disk at first boot"


def test_user_data_runs_once_for_an_instance(guest: Guest) -> None:
    assert guest.run("cat /boot/proof") == "user 0\n"
    host_key = guest.run("cat /etc/ssh/ssh_host_ed25519_key.pub 2>/dev/null || dropbearkey -y -f /run/mini/host-key | grep ^ssh")
    boot = guest.run("cat /proc/sys/kernel/random/boot_id")
    guest.agent("guest-exec", path="/bin/sh", arg=["-c", "reboot"])
    wait("restart", lambda: guest.run("cat /proc/sys/kernel/random/boot_id") != boot, guest.process)
    guest.wait_for_boot()
    assert guest.run("cat /boot/proof") == "user 0\n"
    assert host_key == guest.run("cat /etc/ssh/ssh_host_ed25519_key.pub 2>/dev/null || dropbearkey -y -f /run/mini/host-key | grep ^ssh")


def test_power_button_shuts_down(guest: Guest) -> None:
    """Last: what a cloud's stop presses."""
    guest.talk("qmp", {"execute": "qmp_capabilities"}, {"execute": "system_powerdown"})
    assert guest.process.wait(timeout=180) == 0
