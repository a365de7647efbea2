# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Roles and playbooks for what stands in the inventory of servers."""

from __future__ import annotations

import csv
from pathlib import Path

from .conftest import Cloud

MAPPING = """
- hosts: app
  gather_facts: false
  roles:
    - role: altostratus.ecs.hosts_mapping
"""


def test_servers_know_their_neighbours_by_name(cloud: Cloud, tmp_path: Path) -> None:
    """A name is the way to a page of the same VPC, and no way to another VPC with the same addresses; again changes nothing (spec R7)."""
    app, play = cloud.guest("app"), tmp_path / "mapping.yml"
    play.write_text(MAPPING)
    for changed in (1, 0):
        told = cloud.lab.controller(["ansible-playbook", *cloud.arguments, str(play)]).stdout
        assert f"changed={changed} " in told
    fetch = "import urllib.request; print(urllib.request.urlopen('http://web/', timeout=10).read().decode())"
    assert app.run(f'python3 -c "{fetch}"').strip() == "hello from web"
    assert app.run("getent hosts db").split() == ["10.20.2.10", "db"]
    assert app.run("getent hosts twin || echo unknown").strip() == "unknown"


def test_export(cloud: Cloud, tmp_path: Path) -> None:
    """The inventory as a table for spreadsheets, all of it or what the limit leaves (spec V4)."""
    table = tmp_path / "servers.csv"
    export = ["ansible-playbook", *cloud.arguments, "altostratus.ecs.export_servers", "-e", f"export_servers_file={table}"]
    cloud.lab.controller(export)
    rows = {row["Name"]: row for row in csv.DictReader(table.open())}
    assert {"web", "db", "twin", "app"} <= rows.keys()
    web = cloud.server("web")
    assert (rows["web"]["EIP"], rows["web"]["Private IP"], rows["web"]["AZ"]) == (web["eip"], web["address"], "az1")
    assert (rows["app"]["Disks"], rows["app"]["Disk properties"]) == ("2", "system standard; data standard")
    cloud.lab.controller([*export, "--limit", "tag_tier_db"])
    assert [row["Name"] for row in csv.DictReader(table.open())] == ["db"]
