# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The demo: a lab, a two-tier cloud from examples/two-tier on it, and its page, fetched from the lab's internet.

Runs the same commands that a user types, shows their output, and ends with what was built and how long each phase took.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LAB = Path(os.environ.get("ECS_LAB_DIR", "/var/lib/altostratus-lab"))
EXAMPLE = ROOT / "examples/two-tier"
IN_LAB = ("ip", "netns", "exec", "ecs-lab")
ON_INTERNET = ("ip", "netns", "exec", "ecs-internet")
PLAY = (*IN_LAB, "ansible-playbook", "-i", str(LAB / "inventory.yml"))
INVENTORY = (*IN_LAB, "ansible-inventory", "-i", str(LAB / "inventory.yml"), "-i", str(LAB / "servers.ecs.yml"))
PHASES = (
    ("Lab: two hypervisors, an internet", ("ansible-playbook", "altostratus.ecs.lab")),
    ("Guest images from Debian packages", ("ansible-playbook", "altostratus.ecs.guest_images", "-e", f"@{EXAMPLE}/guest_images.yml")),
    ("Hosts: libvirt, Open vSwitch, OVN", (*PLAY, "altostratus.ecs.site")),
    ("Cloud: networks, servers, disks", (*PLAY, "altostratus.ecs.cloud", "-e", f"@{EXAMPLE}/cloud.yml")),
    ("Cloud again: nothing to change", (*PLAY, "altostratus.ecs.cloud", "-e", f"@{EXAMPLE}/cloud.yml")),
)
PAGE_TIMEOUT = 120


def run(title: str, command: tuple[str, ...]) -> float:
    """Run one phase; its output is the user's. Returns its seconds, ends the demo when it fails."""
    print(f"\n\033[1m== {title}\033[0m\n$ {' '.join(command)}", flush=True)
    started = time.monotonic()
    if (status := subprocess.run(command, check=False).returncode) != 0:
        sys.exit(f"{title}: failed with status {status}")
    return time.monotonic() - started


def captured(*command: str) -> str:
    """The output of a command that must succeed."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def fetch(address: str) -> tuple[str, float]:
    """The page, as soon as the shop is open, and the seconds it took to open."""
    started = time.monotonic()
    while True:
        done = subprocess.run(
            (*ON_INTERNET, "curl", "--silent", "--show-error", "--fail", "--max-time", "10", f"http://{address}/"),
            check=False, capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode == 0:
            return done.stdout, time.monotonic() - started
        if time.monotonic() - started > PAGE_TIMEOUT:
            sys.exit(f"no page from http://{address}/ within {PAGE_TIMEOUT} s: {done.stderr.strip()}")
        time.sleep(1)


def table(hosts: dict[str, dict[str, object]]) -> str:
    """What was built where."""
    head = ("server", "status", "hypervisor", "az", "flavor", "address", "public IP", "data disk")
    rows = [head] + [
        (
            name,
            *(str(facts.get(f"ecs_{key}") or "-") for key in ("status", "hypervisor", "az", "flavor", "address", "eip")),
            ", ".join(f"{disk['mount']} ({disk['size']} GiB)" for disk in facts["ecs_disks"] if disk.get("mount")) or "-",  # type: ignore[attr-defined]
        )
        for name, facts in sorted(hosts.items())
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)


def main() -> None:
    """Run the phases in order, then tell."""
    os.environ.setdefault("ECS_PUBLIC_KEY", str(LAB / "ssh/id_ed25519.pub"))
    phases = list(PHASES)
    took = [(title, run(title, command)) for title, command in phases[:-1]]
    inventory = json.loads(captured(*INVENTORY, "--list"))
    hosts = {name: facts for name, facts in inventory["_meta"]["hostvars"].items() if "ecs_id" in facts}
    page, opened = fetch(str(hosts["web"]["ecs_eip"]))
    took.append(("Page: the shop opens", opened))
    title, command = phases[-1]
    took.append((title, run(title, command)))
    console = ("-m", "altostratus.ecs.server_console", "-a", "project=shop name=db lines=5")
    title, host = "Console: what db said last", str(hosts["db"]["ecs_hypervisor"])
    took.append((title, run(title, (*IN_LAB, "ansible", host, "-i", str(LAB / "inventory.yml"), *console))))

    print("\n\033[1m== What was built\033[0m\n" + table(hosts))
    print("\n\033[1m== The inventory\033[0m\n" + captured(*INVENTORY, "--graph", "project_shop"))
    print(f"\033[1m== The page, from the internet: http://{hosts['web']['ecs_eip']}/\033[0m\n{page}")
    print("\033[1m== How long it took\033[0m")
    for name, seconds in (*took, ("Altogether", sum(seconds for _name, seconds in took))):
        print(f"  {name.ljust(36)} {int(seconds) // 60:3d} min {int(seconds) % 60:2d} s")
    print("\nLook around: make shell.  Give it all back: make clean.")


if __name__ == "__main__":
    main()
