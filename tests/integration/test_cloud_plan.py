# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module cloud_plan, run by ansible-playbook."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import yaml

SERVER = {"name": "web", "flavor": "s7n.medium.2", "image": "debian-13", "password": "Cloud.1234!"}


def test_a_plan_with_a_password_is_shown_to_nobody(tmp_path: Path) -> None:
    """Those who use the plan get the password, the output of the play does not (spec M9)."""
    plan = {
        "servers": [SERVER],
        "hypervisors": {"hv1": {"cpus": 4, "memory": 8000, "az": "az1", "servers": []}},
        "existing": {"images": [{"name": "debian-13"}]},
    }
    tasks = [
        {"altostratus.ecs.cloud_plan": plan, "register": "decision"},
        {"ansible.builtin.debug": {"msg": "length {{ decision.placement.hv1[0].password | length }}"}},
    ]
    (tmp_path / "play.yml").write_text(yaml.safe_dump([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]))
    played = subprocess.run(
        [str(Path(sys.executable).with_name("ansible-playbook")), "play.yml", "-vvv"],
        cwd=tmp_path,
        env={**os.environ, "ANSIBLE_HOME": str(tmp_path / "home"), "ANSIBLE_NOCOLOR": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert played.returncode == 0, played.stdout
    assert "length 11" in played.stdout
    assert "Cloud.1234!" not in played.stdout + played.stderr
