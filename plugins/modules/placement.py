#!/usr/bin/python
# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: placement
short_description: Choose the hypervisors of servers
description:
  - Says which hypervisor runs which server, by zone, capacity with overcommit, and policy. It touches nothing and runs on the controller.
  - A server that exists stays where it is. The same input gives the same result.
author:
  - altostratus.ecs contributors (@altostratus)
extends_documentation_fragment:
  - altostratus.ecs.attributes_info
options:
  servers:
    description:
      - Servers in the words of M(altostratus.ecs.server). C(name), C(count), C(flavor) or C(vcpus) and C(memory), C(az), C(state) and
        addresses in C(nics) are looked at; everything else passes through.
      - C(az) V(random) draws a zone from a hash over project and flavor.
    type: list
    elements: dict
    required: true
  hypervisors:
    description: Results of M(altostratus.ecs.hypervisor_info), one a host.
    type: list
    elements: dict
    required: true
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
  delegate_to: localhost
  run_once: true
  register: placed

- name: Create
  altostratus.ecs.server:
    project: shop
    servers: "{{ placed.placement[inventory_hostname] }}"
"""

RETURN = r"""
servers:
  description: Every single server with its C(hypervisor), which is null for one that is to be absent and is.
  returned: success
  type: list
  elements: dict
placement:
  description: By hypervisor, its servers in the words of M(altostratus.ecs.server); hypervisors without servers have an empty list.
  returned: success
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.altostratus.ecs.plugins.module_utils import _module
from ansible_collections.altostratus.ecs.plugins.module_utils._model.placement import by_hypervisor, place


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "servers": {"type": "list", "elements": "dict", "required": True},
            "hypervisors": {"type": "list", "elements": "dict", "required": True},
            "policy": {"type": "str", "choices": ["spread", "pack"], "default": "spread"},
            "project": _module.SCOPE_OPTIONS["project"],
        },
        supports_check_mode=True,
    )

    def service() -> _module.Result:
        hypervisors = module.params["hypervisors"]
        placed = place(module.params["servers"], hypervisors, module.params["project"], module.params["policy"] == "spread")
        return _module.Result([], {"servers": placed, "placement": by_hypervisor(placed, hypervisors)})

    _module.run(module, service)


if __name__ == "__main__":
    main()
