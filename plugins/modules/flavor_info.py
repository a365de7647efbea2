#!/usr/bin/python
# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: flavor_info
short_description: Tell which flavors are to be had where, and which are sold out
description:
  - Says of each flavor how many servers of it a project can still have in each zone, as M(altostratus.ecs.placement) would place them.
    A flavor that no host of a zone can hold is sold out there.
  - Hosts in maintenance, hosts that are dedicated to others, and hosts that do not offer the flavor do not count.
  - It touches nothing and runs on the controller.
author:
  - altostratus.ecs contributors (@altostratus)
extends_documentation_fragment:
  - altostratus.ecs.attributes_info
options:
  name:
    description: Tell of this flavor only.
    type: str
  flavors:
    description:
      - Names of the flavors to tell of. A flavor's name says what it is, so there is no list of all; by default those that users ask for
        most are told, of the families C(s7n) and C(c7n).
    type: list
    elements: str
  hypervisors:
    description: Results of M(altostratus.ecs.hypervisor_info), one a host.
    type: list
    elements: dict
    required: true
  az:
    description: Look at this availability zone only.
    type: str
  hide_sold_out:
    description: Leave out the flavors that no zone has.
    type: bool
    default: false
  latest_generation:
    description: Leave out the flavors of which there is a newer generation among O(flavors), such as C(s6) beside C(s7).
    type: bool
    default: false
  dedicated:
    description: As O(altostratus.ecs.server#module:dedicated); where the servers would go.
    type: bool
  project:
    description:
      - Project that would own the servers.
      - If not set, the environment variable E(ECS_PROJECT) is used.
    type: str
    default: default
"""

EXAMPLES = r"""
- name: Read all hypervisors
  altostratus.ecs.hypervisor_info:
  register: capacity

- name: What can be had in az1
  altostratus.ecs.flavor_info:
    project: shop
    flavors: [s7n.medium.2, s7n.medium.4, c7n.xlarge.2]
    hypervisors: "{{ ansible_play_hosts | map('extract', hostvars, ['capacity', 'hypervisor']) }}"
    az: az1
    hide_sold_out: true
  delegate_to: localhost
  run_once: true
  register: found
"""

RETURN = r"""
flavors:
  description: The flavors, in the order in which they were named.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name of the flavor.
      type: str
      sample: s7n.medium.2
    vcpus:
      description: Number of vCPUs.
      type: int
      sample: 1
    memory:
      description: MiB.
      type: int
      sample: 2048
    available:
      description: So many servers fit, if nothing else takes the room.
      type: int
      sample: 12
    sold_out:
      description: Whether no zone that was looked at has room for one.
      type: bool
      sample: false
    zones:
      description: The same of each zone, with C(az), C(available) and C(sold_out).
      type: list
      elements: dict
      sample: [{az: az1, available: 12, sold_out: false}, {az: az2, available: 0, sold_out: true}]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.altostratus.ecs.plugins.module_utils import _module
from ansible_collections.altostratus.ecs.plugins.module_utils._model import flavors
from ansible_collections.altostratus.ecs.plugins.module_utils._model.availability import availability


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str"},
            "flavors": {"type": "list", "elements": "str"},
            "hypervisors": {"type": "list", "elements": "dict", "required": True},
            "az": {"type": "str"},
            "hide_sold_out": {"type": "bool", "default": False},
            "latest_generation": {"type": "bool", "default": False},
            "dedicated": {"type": "bool"},
            "project": _module.SCOPE_OPTIONS["project"],
        },
        mutually_exclusive=[("name", "flavors")],
        supports_check_mode=True,
    )
    options = module.params

    def service() -> _module.Result:
        names = [options["name"]] if options["name"] else flavors.CATALOGUE if options["flavors"] is None else options["flavors"]
        wanted = [flavors.parse(name) for name in dict.fromkeys(names)]
        if options["latest_generation"]:
            wanted = flavors.latest(wanted)
        told = availability(wanted, options["hypervisors"], options["project"], options["az"], options["dedicated"])
        return _module.Result([], {"flavors": [flavor for flavor in told if not (options["hide_sold_out"] and flavor["sold_out"])]})

    _module.run(module, service)


if __name__ == "__main__":
    main()
