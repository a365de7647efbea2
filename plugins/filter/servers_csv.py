# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.altostratus.ecs.plugins.module_utils._model.export import rows

DOCUMENTATION = r"""
name: servers_csv
short_description: Servers as a table in CSV
version_added: 0.2.0
author: altostratus.ecs contributors (@altostratus)
description:
  - A table of servers for spreadsheets, a row for each server, sorted by project and name, with the names of the columns first.
  - Quoted as RFC 4180 has it. A cell that a spreadsheet would take for a formula gets an apostrophe before it.
positional: _input
options:
  _input:
    description:
      - Servers as M(altostratus.ecs.server_info) returns them, or the variables of hosts of the inventory
        P(altostratus.ecs.servers#inventory); hosts that are no servers are left out.
    type: list
    elements: dict
    required: true
seealso:
  - module: altostratus.ecs.server_info
  - plugin: altostratus.ecs.servers
    plugin_type: inventory
"""

EXAMPLES = r"""
- name: Read the servers of a host
  altostratus.ecs.server_info:
  register: told

- name: Write them where a spreadsheet finds them
  ansible.builtin.copy:
    content: "{{ told.servers | altostratus.ecs.servers_csv }}"
    dest: servers.csv
    mode: "0644"
  delegate_to: localhost
"""

RETURN = r"""
_value:
  description: The table.
  type: str
"""

_PREFIX = "ecs_"
_KEYS = (
    "name", "id", "project", "region", "az", "hypervisor", "status", "flavor", "vcpus", "memory", "image", "created", "nics", "eip",
    "disks", "tags",
)  # fmt: skip


def servers_csv(servers: Iterable[Mapping[str, Any]]) -> str:
    """The servers as CSV."""
    if isinstance(servers, (str, Mapping)):
        raise AnsibleFilterError("servers_csv takes a list of servers, as server_info returns or hosts' variables hold them")
    found = []
    for number, server in enumerate(servers, 1):
        prefix = "" if "id" in server and "nics" in server else _PREFIX
        if f"{prefix}id" not in server and prefix:
            continue  # a host of another inventory
        if missing := [key for key in _KEYS if prefix + key not in server]:
            raise AnsibleFilterError(f"servers_csv: element {number} has no {missing[0]}, so it is no server as server_info returns it")
        found.append({key: server[prefix + key] for key in _KEYS})
    text = io.StringIO()
    csv.writer(text).writerows(rows(found))
    return text.getvalue()


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filters by name."""
        return {"servers_csv": servers_csv}
