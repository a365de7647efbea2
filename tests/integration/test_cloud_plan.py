# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Ansible itself makes of a description: cloud_plan in the controller, and the settings that role hypervisor writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from .conftest import Play

ROOT = Path(__file__).resolve().parent.parent.parent
ROLE = ROOT / "roles/hypervisor"
HOST = {"name": "x", "az": "az1", "cpus": 4, "memory": 4096, "servers": []}
MEMBER = {"project": "shop", "vcpus": 1, "memory": 1024, "server_group": "db", "server_group_policy": "anti-affinity"}


def plan(**options: Any) -> list[dict[str, Any]]:
    """Decide, and write the decision to a file."""
    task = {"altostratus.ecs.cloud_plan": {"project": "shop", "hypervisors": {"hv1": HOST, "hv2": HOST}, **options}, "register": "told"}
    return [task, {"ansible.builtin.copy": {"content": "{{ told | to_json }}", "dest": "{{ playbook_dir }}/told.json"}}]


def test_server_groups_in_a_cloud(play: Play, tmp_path: Path) -> None:
    """D2: written once at the group, told to each member's server; a group that is broken already is shown as a warning."""
    servers = [{"name": "web", "count": 2, "flavor": "s7n.small.1", "server_group": "web", "dedicated": "no"}]
    hosts = {"hv1": {**HOST, "servers": [{**MEMBER, "name": "a"}, {**MEMBER, "name": "b"}]}, "hv2": HOST}
    done = play(plan(servers=servers, server_groups=[{"name": "web", "policy": "anti-affinity"}], hypervisors=hosts, policy="pack"))
    assert done.returncode == 0, done.stdout + done.stderr
    placement = json.loads((tmp_path / "told.json").read_text())["placement"]
    assert placement == {
        host: [{"name": name, "flavor": "s7n.small.1", "server_group": "web", "server_group_policy": "anti-affinity", "dedicated": False}]
        for host, name in (("hv1", "web-0001"), ("hv2", "web-0002"))
    }
    assert "server group db (anti-affinity): a, b are on hv1; nothing is moved" in " ".join((done.stdout + done.stderr).split())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"server_groups": [{"name": "web", "policy": "apart"}]}, "value of policy must be one of: anti-affinity, affinity, soft-"),
        ({"server_groups": [{"name": "web"}, {"name": "web"}]}, "server_groups.name: 'web' stands there twice"),
        ({"servers": [{"name": "a", "flavor": "s7n.small.1", "server_group": "wbe"}]}, "server group wbe does not exist"),
        (
            {"servers": [{"name": "a", "count": 2, "flavor": "s7n.small.1", "server_group": "db"}], "server_groups": [{"name": "db"}],
             "quotas": {"server_group_members": 1}},
            "server group db: it would have 2 members, the quota is 1",
        ),
        ({"quotas": {"servers": 1}}, "Unsupported parameters"),
    ],
)  # fmt: skip
def test_faults_are_found_before_anything_is_touched(play: Play, options: dict[str, Any], words: str) -> None:
    done = play(plan(**options))
    assert done.returncode == 2
    assert words in " ".join((done.stdout + done.stderr).split()).replace("\\'", "'")


@pytest.mark.parametrize(
    ("module", "options"),
    [
        ("cloud_plan", {"hypervisors": {"hv1": HOST}, "existing": {"images": [{"name": "debian-13"}]}}),
        ("placement", {"hypervisors": [{**HOST, "name": "hv1"}]}),
    ],
)
def test_a_plan_with_a_password_is_shown_to_nobody(play: Play, module: str, options: dict[str, Any]) -> None:
    """Those who use the plan get the password, the output of the play does not (spec M9)."""
    servers = [{"name": "web", "flavor": "s7n.medium.2", "image": "debian-13", "password": "Cloud.1234!"}]
    task = {f"altostratus.ecs.{module}": {"servers": servers, **options}, "register": "told"}
    show = {"ansible.builtin.debug": {"msg": "length {{ told.placement.hv1[0].password | length }}"}}
    played = play([task, show], "-vvv")
    assert played.returncode == 0, played.stdout
    assert "length 11" in played.stdout
    assert "Cloud.1234!" not in played.stdout + played.stderr


SURVEY = {
    "interfaces": {"eth0": {"mac": "", "mtu": 1500, "addresses": ["192.0.2.11/24"]}}, "default_interface": "eth0", "kvm_device": False,
    "switch": {"kernel_datapath": True}, "pools": {}, "container": False,
}  # fmt: skip


@pytest.mark.parametrize(
    ("before", "variables", "expected"),
    [
        ({}, {}, {"maintenance": False, "dedicated_to": [], "flavors": [], "cpu_overcommit": 4.0, "reserved_memory": 512}),
        ({"maintenance": True}, {}, {"maintenance": True}),
        ({"maintenance": True}, {"ecs_maintenance": False}, {"maintenance": False}),
        ({"maintenance": True}, {"ecs_maintenance": "false"}, {"maintenance": False}),
        ({}, {"ecs_maintenance": True}, {"maintenance": True}),
        (
            {"dedicated_to": ["bank"]}, {"ecs_dedicated_to": ["shop"], "ecs_flavors": ["c7*.*"], "ecs_memory_overcommit": 1.5},
            {"dedicated_to": ["shop"], "flavors": ["c7*.*"], "memory_overcommit": 1.5},
        ),
        ({"dedicated_to": ["bank"]}, {}, {"dedicated_to": []}),
    ],
)  # fmt: skip
def test_what_role_hypervisor_settles(
    play: Play, tmp_path: Path, before: dict[str, Any], variables: dict[str, Any], expected: dict[str, Any]
) -> None:
    """The inventory decides; maintenance that it does not mention stays as module hypervisor left it."""
    done = play(
        [{"ansible.builtin.copy": {"content": "{{ hypervisor_host | to_json }}", "dest": f"{tmp_path}/settled.json"}}],
        vars_files=[str(ROLE / "defaults/main.yml"), str(ROLE / "vars/main.yml")],
        vars={"hypervisor_survey": {"stdout": json.dumps({**SURVEY, "settled": before})}, **variables},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    settled = json.loads((tmp_path / "settled.json").read_text())
    assert {name: settled[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("role", "variables", "fault"),
    [
        ("hypervisor", {"hypervisor_maintenance": True, "hypervisor_dedicated_to": ["shop"], "hypervisor_flavors": ["c7*.*"]}, None),
        ("hypervisor", {"hypervisor_maintenance": "keep"}, None),
        ("hypervisor", {"hypervisor_maintenance": "perhaps"}, "value of hypervisor_maintenance must be one of: keep, true, false"),
        ("cloud", {"cloud_server_groups": [{"name": "web"}, {"name": "db", "policy": "soft-affinity"}], "cloud_quotas": {}}, None),
        ("cloud", {"cloud_quotas": {"server_groups": 10, "server_group_members": "10"}}, None),
        ("cloud", {"cloud_quotas": {"servers": 10}}, "cloud_quotas.servers"),
        ("cloud", {"cloud_server_groups": [{"name": "web", "policy": "apart"}]}, "value of policy must be one of: anti-affinity"),
    ],
)
def test_variables_of_the_roles(play: Play, role: str, variables: dict[str, Any], fault: str | None) -> None:
    """What a role refuses before its first task."""
    path = ROOT / f"roles/{role}/meta/argument_specs.yml"
    spec = f"{{{{ (lookup('ansible.builtin.file', '{path}') | from_yaml).argument_specs.main.options }}}}"
    task = {"ansible.builtin.validate_argument_spec": {"argument_spec": spec, "provided_arguments": variables}}
    done = play([task], vars_files=[f"{ROOT}/roles/{role}/defaults/main.yml"])
    assert done.returncode == (2 if fault else 0), done.stdout + done.stderr
    assert (fault or "") in done.stdout + done.stderr
