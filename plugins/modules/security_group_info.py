#!/usr/bin/python
# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: security_group_info
short_description: Read security groups
description:
  - Returns the security groups of a project with their rules.
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
  altostratus.ecs.security_group_info:
    project: shop
  register: found

- name: One of them
  altostratus.ecs.security_group_info:
    project: shop
    name: web
  register: found
"""

RETURN = r"""
security_groups:
  description: What was found, by name; see module M(altostratus.ecs.security_group) for what is in each.
  returned: success
  type: list
  elements: dict
  sample:
    - name: web
      description: The shop's front door
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.altostratus.ecs.plugins.module_utils import _module
from ansible_collections.altostratus.ecs.plugins.module_utils._engines.host import read_host
from ansible_collections.altostratus.ecs.plugins.module_utils._services import security_groups


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
            found = security_groups.read_all(nb, _module.scope_of(module, host), module.params["name"])
        return _module.Result(values={"security_groups": [item.represent() for item in found]})

    _module.run(module, service)


if __name__ == "__main__":
    main()
