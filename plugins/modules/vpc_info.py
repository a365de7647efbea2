#!/usr/bin/python
# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: vpc_info
short_description: Read VPCs
description:
  - Returns the VPCs of a project with their subnets.
author:
  - altostratus.ecs contributors (@altostratus)
extends_documentation_fragment:
  - altostratus.ecs.scope
  - altostratus.ecs.ovn
  - altostratus.ecs.attributes_info
options:
  name:
    description: Only the one of that name. None is not an error, the list is empty then.
    type: str
"""

EXAMPLES = r"""
- name: All of a project
  altostratus.ecs.vpc_info:
    project: shop
  register: found

- name: One of them
  altostratus.ecs.vpc_info:
    project: shop
    name: shop
  register: found
"""

RETURN = r"""
vpcs:
  description: What was found, by name; see module M(altostratus.ecs.vpc) for what is in each.
  returned: success
  type: list
  elements: dict
  sample:
    - name: shop
      cidr: 10.20.0.0/16
      snat: public
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.altostratus.ecs.plugins.module_utils import _module
from ansible_collections.altostratus.ecs.plugins.module_utils._engines.host import read_host
from ansible_collections.altostratus.ecs.plugins.module_utils._services import vpcs


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str"},
            **_module.SCOPE_OPTIONS,
            **_module.OVN_OPTIONS,
        },
        supports_check_mode=True,
    )

    def service() -> _module.Result:
        host = read_host()
        with _module.northbound(module, host) as nb:
            found = vpcs.read_all(nb, _module.scope_of(module, host), module.params["name"])
        return _module.Result(values={"vpcs": [item.represent() for item in found]})

    _module.run(module, service)


if __name__ == "__main__":
    main()
