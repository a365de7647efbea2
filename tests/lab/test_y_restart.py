# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A hypervisor that loses its power and comes back. Runs behind all that wants guests undisturbed, its name sees to that."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from .conftest import Cloud, Host, execute, run_module

INTERNET_SITE = "198.51.100.1"
OFF = {"project": "lab", "name": "off"}


@pytest.fixture
def host(cloud: Cloud) -> Iterator[Host]:
    """The hypervisor of server db, with a server on it that was stopped."""
    chosen = cloud.lab.host(cloud.server("db")["hypervisor"])
    run_module(cloud.lab, chosen, "server", **OFF, flavor="s7n.small.025", image="mini", nics=[])
    run_module(cloud.lab, chosen, "server", **OFF, state="stopped", stop_timeout=0, force=True)
    yield chosen
    run_module(cloud.lab, chosen, "server", **OFF, state="absent")


def test_servers_that_ran_come_back_with_their_networks(cloud: Cloud, host: Host) -> None:
    """Those that were stopped stay off."""
    lab = cloud.lab
    ran = set(host.run(["virsh", "list", "--name"]).stdout.split())
    assert "lab.db" in ran
    for action in ("stop", "start"):
        execute([lab.directory / "bin/host", action, host.name])

    deadline = time.monotonic() + 180
    while set(host.run(["virsh", "list", "--name"], check=False).stdout.split()) != ran:
        assert time.monotonic() < deadline
        time.sleep(1)
    assert set(host.run(["virsh", "list", "--all", "--name"]).stdout.split()) - ran == {"lab.off"}
    # Through the tunnel to the other hypervisor, which has the gateway, and out.
    while " 0% packet loss" not in cloud.guest("db").run(f"ping -c 2 -W 3 {INTERNET_SITE}", check=False):
        assert time.monotonic() < deadline
        time.sleep(1)
    assert host.run(["systemctl", "is-system-running", "--wait"], check=False).stdout.strip() == "running"
