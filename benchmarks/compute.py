# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers on a hypervisor of the lab: many created at once, many with nothing to change, and the demo's cloud as a whole.

The servers are tiny and boot from an empty disk: what is measured is the way to a running QEMU and not a guest. The limit replays what ours
has made, byte for byte: it is recorded after a run of ours.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator

from harness import BUILD, IN_LAB, LAB, ROOT, Figure, Play, on_host, pings, prepared_lab, run, take_turns

HOST = "hv1"
SCOPE = {"module_defaults": {"group/altostratus.ecs.project": {"project": "bench"}}}


def _servers(count: int, state: str = "present", **options: object) -> Play:
    server = {"name": "tiny", "count": count, "vcpus": 1, "memory": 64, "image": "empty", "nics": [{"subnet": "bench"}], "state": state}
    task = {"altostratus.ecs.server": {"servers": [server], **options}}
    return Play(f"servers {count} {state}", [task], hosts=HOST, lab=True, settings=SCOPE)


def _remove(count: int) -> Play:
    return _servers(count, "absent", force=True, stop_timeout=0)


def _prepare() -> str:
    """A project with an empty image, a subnet and a security group; returns the image's path on the host."""
    prepared_lab()
    run(LAB / "bin/ssh", HOST, "qemu-img", "create", "-q", "-f", "qcow2", "/var/tmp/empty.qcow2", "1G")
    tasks = [
        {"altostratus.ecs.image": {"name": "empty", "source": "/var/tmp/empty.qcow2", "cloud_init": False}, "register": "made"},
        {"altostratus.ecs.vpc": {"name": "bench", "cidr": "10.99.0.0/16", "subnets": [{"name": "bench", "cidr": "10.99.0.0/20"}]}},
        {"altostratus.ecs.security_group": {"name": "default", "rules": [{"ports": 22, "source": "10.99.0.0/16"}]}},
        {
            "ansible.builtin.copy": {"content": "{{ made.image.path }}", "dest": str(BUILD / "image"), "mode": "0644"},
            "delegate_to": "localhost",
        },
    ]
    Play("bench project", tasks, hosts=HOST, lab=True, settings=SCOPE)()
    _remove(200)()
    on_host(HOST, "remove_peers.py")
    return (BUILD / "image").read_text()


def _give_back() -> None:
    _remove(200)()
    on_host(HOST, "remove_peers.py")
    tasks = [
        {"altostratus.ecs.vpc": {"name": "bench", "state": "absent"}},
        {"altostratus.ecs.security_group": {"name": "default", "state": "absent"}},
        {"altostratus.ecs.image": {"name": "empty", "state": "absent"}},
        {"ansible.builtin.file": {"path": "/var/tmp/empty.qcow2", "state": "absent"}},
    ]
    Play("bench project removed", tasks, hosts=HOST, lab=True, settings=SCOPE)()


def _peer_loop(count: int, states_only: str = "") -> Play:
    """The peer's module in a loop: define and start, no networks; or only the state of the domains whose names begin with *states_only*."""
    names = [f"{states_only or 'peer-'}{number + (1 if states_only else 0):04d}" for number in range(count)]
    xml = (
        "<domain type='qemu'><name>{{ item }}</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>"
        "<os><type arch='x86_64' machine='q35'>hvm</type></os>"
        "<devices><disk type='file' device='disk'><driver name='qemu' type='qcow2'/>"
        "<source file='/var/lib/libvirt/images/{{ item }}.qcow2'/><target dev='vda' bus='virtio'/></disk></devices></domain>"
    )
    tasks = [
        {"community.libvirt.virt": {"command": "define", "name": "{{ item }}", "xml": xml}, "loop": names},
        {"community.libvirt.virt": {"name": "{{ item }}", "state": "running"}, "loop": names},
    ]
    return Play(f"peer loop {count}", tasks[1:] if states_only else tasks, hosts=HOST, lab=True, peer=True)


def server_create() -> Iterator[Figure]:
    """20 and 100 servers in one call, ports and overlays included."""
    image = _prepare()
    try:
        for count in (20, 100):
            ours, loop = _servers(count), _peer_loop(count)
            ours(changed=True)
            on_host(HOST, "record.py")

            def before(contender: str, count: int = count) -> None:
                _remove(count)()
                on_host(HOST, "remove_peers.py")
                if contender == "virt loop":
                    on_host(HOST, "overlays.py", image, str(count))

            times = take_turns(
                {
                    "ours": ours,
                    "fixed": pings(hosts=HOST, lab=True),
                    "limit": lambda: on_host(HOST, "create.py"),
                    "virt loop": loop,
                    "virt-install": lambda count=count: on_host(HOST, "virt_install.py", image, str(count)),  # type: ignore[misc]
                },
                before=before,
            )
            yield times.figure(
                f"server_create {count}", count, "<= 1.25x limit, >= 4x faster than the loop",
                lambda figure: figure.ratio_to_limit <= 1.25 and figure.ratio_to_peer >= 4, "virt loop",
            )  # fmt: skip
            yield times.figure(
                f"server_create {count}",
                count,
                ">= 2.3x faster than virt-install",
                lambda figure: figure.ratio_to_peer >= 2.3,
                "virt-install",
            )
    finally:
        _give_back()


def server_noop() -> Iterator[Figure]:
    """The second run on 20 and 200 servers, with nothing to change."""
    _prepare()
    try:
        for count in (20, 200):
            _servers(count)()
            ours, loop = _servers(count), _peer_loop(count, "bench.tiny-")
            times = take_turns(
                {
                    "ours": lambda ours=ours: ours(changed=False),  # type: ignore[misc]
                    "fixed": pings(hosts=HOST, lab=True),
                    "limit": lambda count=count: on_host(HOST, "read.py", str(count)),  # type: ignore[misc]
                    "virt loop": lambda loop=loop: loop(changed=False),  # type: ignore[misc]
                }
            )
            least = 60 if count == 200 else 1
            yield times.figure(
                f"server_noop {count}", count, f"<= 2x limit, >= {least}x faster than the loop",
                lambda figure, least=least: figure.ratio_to_limit <= 2 and figure.ratio_to_peer >= least, "virt loop",
            )  # fmt: skip
    finally:
        _give_back()


# --- the whole cloud -----------------------------------------------------------------------------------------------------------------

EXAMPLE = ROOT / "examples/two-tier"
CLOUD = {
    "ECS_PUBLIC_KEY": str(LAB / "ssh/id_ed25519.pub"),
    "ECS_IMAGE_DIR": os.environ.get("ECS_IMAGE_DIR", "/var/cache/altostratus-lab/images"),
}


def _play(name: str, *arguments: str) -> None:
    inventory, book = str(LAB / "inventory.yml"), f"altostratus.ecs.{name}"
    run(*IN_LAB, "ansible-playbook", "-i", inventory, book, "-e", f"@{EXAMPLE}/cloud.yml", *arguments, environment=CLOUD)


def _page() -> None:
    inventory = run(*IN_LAB, "ansible-inventory", "-i", LAB / "inventory.yml", "-i", LAB / "servers.ecs.yml", "--host", "web")
    address = json.loads(inventory)["ecs_eip"]
    fetch = f"ip netns exec ecs-internet curl --silent --fail --max-time 5 --output /dev/null http://{address}/".split()
    deadline = time.monotonic() + 120
    while subprocess.run(fetch, check=False).returncode:
        if time.monotonic() > deadline:
            raise RuntimeError(f"no page from {address}")
        time.sleep(0.5)


def _build() -> None:
    _play("cloud")
    _page()


def _first_boots() -> float:
    """The longer of the two guests' first boots, each alone."""
    seconds = []
    for host, domain in (("hv1", "shop.web"), ("hv2", "shop.db")):
        for other in ("hv1", "hv2"):
            on_host(other, "first_boot.py", "")
        seconds.append(on_host(host, "first_boot.py", domain))
    return max(seconds)


def cloud_build() -> Iterator[Figure]:
    """The demo's cloud, from prepared hosts to its page through the public IP."""
    prepared_lab()
    run("ansible-playbook", "playbooks/guest_images.yml", "-e", f"@{EXAMPLE}/guest_images.yml", environment=CLOUD)

    def before(contender: str) -> None:
        if contender == "ours":
            _play("destroy", "-e", "cloud_delete_data_disks=true")

    try:
        times = take_turns({"ours": _build, "limit": _first_boots}, before=before)
        note = "the limit is the first boot, to the end of cloud-init, of the slower of the two guests, alone on the machine"
        yield times.figure("cloud_build", 2, "<= 1.5x limit", lambda figure: figure.ratio_to_limit <= 1.5, note=note)
    finally:
        _play("destroy")
