#!/usr/bin/python
# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: cloud_plan
short_description: Check the description of a whole cloud and choose a hypervisor for each server
description:
  - Checks everything that a description of a cloud says, its references included, before anything is touched.
  - Chooses a hypervisor for every server, as M(altostratus.ecs.placement) does.
  - Runs within the controller and connects to nothing. Role P(altostratus.ecs.cloud#role) calls it first.
author:
  - altostratus.ecs contributors (@altostratus)
extends_documentation_fragment:
  - altostratus.ecs.scope
  - altostratus.ecs.attributes_info
options:
  images:
    description: Images, each in the options of M(altostratus.ecs.image).
    type: list
    elements: dict
    default: []
  keypairs:
    description: Key pairs that servers name as their C(key).
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the key pair.
        type: str
        required: true
      public_key:
        description: The public key in OpenSSH's format.
        type: str
        required: true
  security_groups:
    description: Security groups, each in the options of M(altostratus.ecs.security_group).
    type: list
    elements: dict
    default: []
  vpcs:
    description: VPCs, each in the options of M(altostratus.ecs.vpc).
    type: list
    elements: dict
    default: []
  network_interfaces:
    description: Network interfaces of their own, each in the options of M(altostratus.ecs.network_interface).
    type: list
    elements: dict
    default: []
  servers:
    description: Servers, each in the options of M(altostratus.ecs.server).
    type: list
    elements: dict
    default: []
  volumes:
    description:
      - Volumes of their own, each in the options of M(altostratus.ecs.volume), and C(hypervisor) for one that no server names.
    type: list
    elements: dict
    default: []
  eips:
    description: Public IPs of their own, each in the options of M(altostratus.ecs.eip).
    type: list
    elements: dict
    default: []
  server_groups:
    description:
      - Server groups that servers name as their C(server_group). A group needs no making; it is where its members are.
      - A group that only servers which exist are in need not be listed.
    type: list
    elements: dict
    default: []
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
    description: Prefer the hypervisor with the most free memory, or fill one after the other.
    type: str
    choices: [spread, pack]
    default: spread
  hypervisors:
    description: Results of M(altostratus.ecs.hypervisor_info) by the hypervisors' names in the inventory.
    type: dict
    default: {}
  existing:
    description: What exists already, so that the description may refer to it.
    type: dict
    default: {}
    suboptions:
      images:
        description: Result of M(altostratus.ecs.image_info).
        type: list
        elements: dict
        default: []
      vpcs:
        description: Result of M(altostratus.ecs.vpc_info).
        type: list
        elements: dict
        default: []
      security_groups:
        description: Result of M(altostratus.ecs.security_group_info).
        type: list
        elements: dict
        default: []
      external_networks:
        description: Result of M(altostratus.ecs.external_network_info).
        type: list
        elements: dict
        default: []
"""

EXAMPLES = r"""
- name: Check the cloud and see what would go where
  altostratus.ecs.cloud_plan:
    servers:
      - {name: web, count: 2, flavor: s7n.medium.2, image: debian-13, nics: [{subnet: front}]}
    vpcs:
      - {name: shop, cidr: 10.20.0.0/16, subnets: [{name: front, cidr: 10.20.1.0/24}]}
    existing:
      images: "{{ images_result.images }}"
    hypervisors:
      hv1: "{{ hostvars.hv1.hypervisor_result.hypervisor }}"
"""

RETURN = r"""
servers:
  description: Every single server, counts expanded, with its hypervisor.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name of the server.
      type: str
      sample: web-0001
    hypervisor:
      description: Where it is, or goes.
      type: str
      sample: hv1
placement:
  description: By hypervisor, its servers in the options of M(altostratus.ecs.server), with the public keys of their key pairs.
  returned: success
  type: dict
  sample: {hv1: [{name: web-0001, flavor: s7n.medium.2}]}
volumes:
  description: By hypervisor, its volumes in the options of M(altostratus.ecs.volume).
  returned: success
  type: dict
  sample: {hv1: [{name: shared, size: 20}]}
reclaims:
  description:
    - Preemptible servers that must go for servers which find no room, each with C(id), C(name), C(project), C(hypervisor), and when it goes
      (C(reclaim_at)) where it was told already.
    - M(altostratus.ecs.server) gives them notice when it makes the others.
  returned: success
  type: list
  elements: dict
"""
