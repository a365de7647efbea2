#!/usr/bin/python
# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: migration_plan
short_description: Choose new hypervisors for servers that leave theirs
description:
  - Says which hypervisor takes which server, all servers of one that is to be emptied, or some. It touches nothing.
  - Rules are those of M(altostratus.ecs.placement), for room, zones, server groups, dedicated hosts, maintenance and flavors; besides, the
    new host must be like the old one, and have the server's image and disk types.
  - The largest server chooses first. One that nobody can take stays, and is told with the reason.
  - Runs within the controller and connects to nothing.
author:
  - altostratus.ecs contributors (@altostratus)
extends_documentation_fragment:
  - altostratus.ecs.attributes_info
options:
  hypervisors:
    description: Results of M(altostratus.ecs.hypervisor_info), one a host.
    type: list
    elements: dict
    required: true
  drain:
    description: Name of the hypervisor that all servers shall leave.
    type: str
  servers:
    description: Servers that shall move.
    type: list
    elements: dict
    suboptions:
      name:
        description: Name of the server.
        type: str
        required: true
      project:
        description: As O(project), which is the default.
        type: str
      hypervisor:
        description: Hypervisor that it shall be on; chosen where it is not given.
        type: str
  policy:
    description: V(spread) prefers the host with the most free memory, V(pack) fills one host before the next.
    type: str
    choices: [spread, pack]
    default: spread
  allow_az_change:
    description: Whether servers may come to other availability zones.
    type: bool
    default: false
  allow_stop:
    description:
      - Whether servers that cannot move while they run may be stopped for it; see O(altostratus.ecs.server_migration#module:allow_stop).
    type: bool
    default: false
  project:
    description:
      - Project that owns the servers of O(servers).
      - If not set, the environment variable E(ECS_PROJECT) is used.
    type: str
    default: default
seealso:
  - module: altostratus.ecs.server_migration
"""

EXAMPLES = r"""
- name: Read all hypervisors
  altostratus.ecs.hypervisor_info:
  register: capacity

- name: Who takes the servers of hv1
  altostratus.ecs.migration_plan:
    drain: hv1
    hypervisors: "{{ ansible_play_hosts | map('extract', hostvars, ['capacity', 'hypervisor']) }}"
  run_once: true
  register: plan

- name: Move them
  altostratus.ecs.server_migration:
    servers: "{{ plan.moves[inventory_hostname] }}"
    hypervisors: "{{ ansible_play_hosts | map('extract', hostvars, ['capacity', 'hypervisor']) }}"
  when: plan.moves[inventory_hostname] | length > 0
"""

RETURN = r"""
moves:
  description: By the hypervisor that they leave, the servers in the words of M(altostratus.ecs.server_migration).
  returned: success
  type: dict
  sample: {hv1: [{project: shop, name: web-0001, hypervisor: hv2}], hv2: []}
stays:
  description: Servers that nobody can take, with C(project), C(name), C(hypervisor) and C(reason).
  returned: success
  type: list
  elements: dict
"""
