#!/usr/bin/python
# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: placement
short_description: Choose the hypervisors of servers
description:
  - Says which hypervisor runs which server, by zone, capacity with overcommit, and policy. It touches nothing.
  - A server that exists stays where it is. The same input gives the same result.
  - Hypervisors in maintenance and those that are dedicated to other projects get no servers; see M(altostratus.ecs.hypervisor) and
    role P(altostratus.ecs.hypervisor#role).
  - Runs within the controller and connects to nothing. When a server has a password, the result is shown to nobody.
author:
  - altostratus.ecs contributors (@altostratus)
extends_documentation_fragment:
  - altostratus.ecs.attributes_info
options:
  servers:
    description:
      - Servers in the words of M(altostratus.ecs.server). C(name), C(count), C(flavor) or C(vcpus) and C(memory), C(az), C(dedicated),
        C(server_group), C(server_group_policy), C(preemptible), C(state) and addresses in C(nics) are looked at; everything else passes
        through.
      - A server that finds no room goes where the fewest preemptible ones of the lowest priority have to give way; RV(reclaims) tells
        which. A preemptible server that finds none is left out, with a warning.
      - C(az) V(random) draws a zone from a hash over project and flavor. Where the flavor is sold out there, the next zone has it.
    type: list
    elements: dict
    required: true
  hypervisors:
    description: Results of M(altostratus.ecs.hypervisor_info), one a host.
    type: list
    elements: dict
    required: true
  server_groups:
    description:
      - Server groups that servers name as their C(server_group). A group needs no making; it is where its members are.
      - A group that only servers which exist are in need not be listed.
    type: list
    elements: dict
    suboptions:
      name:
        description: Name of the group, unique in the project.
        type: str
        required: true
      policy:
        description:
          - V(anti-affinity) keeps the members on different hypervisors, V(affinity) on the same one.
          - V(soft-anti-affinity) and V(soft-affinity) do so as long as there is room, and otherwise as nearly as they can.
        type: str
        choices: [anti-affinity, affinity, soft-anti-affinity, soft-affinity]
        default: anti-affinity
  quotas:
    description: How much a project may have. What exists already is left alone, whatever the quota.
    type: dict
    suboptions:
      server_groups:
        description: Server groups of the project.
        type: int
      server_group_members:
        description: Servers in one group.
        type: int
  policy:
    description: V(spread) prefers the host with the most free memory, V(pack) fills one host before the next.
    type: str
    choices: [spread, pack]
    default: spread
  project:
    description:
      - Project that owns the servers.
      - If not set, the environment variable E(ECS_PROJECT) is used.
    type: str
    default: default
"""

EXAMPLES = r"""
- name: Read all hypervisors
  altostratus.ecs.hypervisor_info:
  register: capacity

- name: Choose
  altostratus.ecs.placement:
    project: shop
    servers: "{{ cloud_servers }}"
    hypervisors: "{{ ansible_play_hosts | map('extract', hostvars, ['capacity', 'hypervisor']) }}"
  run_once: true
  register: placed

- name: Three database servers on three hosts, web servers on as many as there are
  altostratus.ecs.placement:
    project: shop
    server_groups:
      - {name: db, policy: anti-affinity}
      - {name: web, policy: soft-anti-affinity}
    servers:
      - {name: db, count: 3, flavor: s7n.medium.4, image: debian-13, server_group: db}
      - {name: web, count: 8, flavor: s7n.medium.2, image: debian-13, server_group: web}
    hypervisors: "{{ ansible_play_hosts | map('extract', hostvars, ['capacity', 'hypervisor']) }}"
  run_once: true
  register: placed

- name: Create
  altostratus.ecs.server:
    project: shop
    servers: "{{ placed.placement[inventory_hostname] }}"
"""

RETURN = r"""
servers:
  description:
    - Every single server with its C(hypervisor), which is null for one that is to be absent and is, and for a preemptible one without room;
      one in a group with its C(server_group_policy).
  returned: success
  type: list
  elements: dict
placement:
  description: By hypervisor, its servers in the words of M(altostratus.ecs.server); hypervisors without servers have an empty list.
  returned: success
  type: dict
reclaims:
  description:
    - Preemptible servers that must go for servers which find no room, each with C(id), C(name), C(project), C(hypervisor), and when it goes
      (C(reclaim_at)) where it was told already.
    - M(altostratus.ecs.server) gives them notice when it makes the others.
  returned: success
  type: list
  elements: dict
"""
