# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible in a server through its hypervisor: modules, files of any size, guests without Python, and what the agent tells."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ansible_collections.altostratus.ecs.plugins.module_utils._engines import guest_agent
from ansible_collections.altostratus.ecs.plugins.module_utils._engines.libvirt_client import connect

from .conftest import Cloud


@pytest.mark.parametrize("name", ["db", "twin"])
def test_a_guest_without_python_runs_raw_commands_as_root(cloud: Cloud, name: str) -> None:
    """These servers have no EIP, and nothing may reach their ports from outside."""
    shown = cloud.ansible(name, "-m", "ansible.builtin.raw", "-a", "hostname; id -un; echo ~")
    assert [line for line in shown.splitlines() if line][1:] == [f"{cloud.server(name)['hostname']}", "root", "/root"]


def test_files_of_many_messages_go_into_a_server_and_come_back(cloud: Cloud, tmp_path: Path) -> None:
    sent, received = tmp_path / "sent", tmp_path / "received"
    sent.write_bytes(os.urandom(1200 << 10))
    cloud.ansible("app", "-m", "ansible.builtin.copy", "-a", f"src={sent} dest=/var/tmp/sent mode=0600")
    cloud.ansible("app", "-m", "ansible.builtin.fetch", "-a", f"src=/var/tmp/sent dest={received} flat=true")
    assert received.read_bytes() == sent.read_bytes()


def test_input_and_output_beyond_what_one_message_carries(cloud: Cloud) -> None:
    server = cloud.server("app")
    data = os.urandom(300 << 10)
    script = "cat; head -c 2200000 /dev/zero; echo end >&2; exit 3"
    with connect(server["libvirt_uri"]) as connection:
        domain = guest_agent.find_domain(connection, server["domain"])
        assert guest_agent.run(domain, ["/bin/sh", "-c", script], data, timeout=120, spool=True) == (3, data + bytes(2200000), b"end\n")
        # The agent is as well as before: a message that is too long would have cut it off.
        guest_agent.ping(domain)


def test_the_agent_sees_the_addresses_and_disks_that_the_inventory_shows(cloud: Cloud) -> None:
    server = cloud.server("app")
    with connect(server["libvirt_uri"]) as connection:
        domain = guest_agent.find_domain(connection, server["domain"])
        interfaces = {interface.mac: interface.addresses for interface in guest_agent.interfaces(domain)}
        filesystems = {filesystem.mountpoint: filesystem for filesystem in guest_agent.filesystems(domain)}
    (nic,) = server["nics"]
    assert f"{nic['address']}/24" in interfaces[nic["mac"]]
    system = next(disk for disk in server["disks"] if disk["role"] == "system")
    assert filesystems["/"].serials == (system["serial"],)
