#!/usr/bin/python
# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: network_interface_info
short_description: Read network interfaces
description:
  - Returns the network interfaces of a project, those of its servers included.
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
  altostratus.ecs.network_interface_info:
    project: shop
  register: found

- name: One of them
  altostratus.ecs.network_interface_info:
    project: shop
    name: web-nic0
  register: found
"""

RETURN = r"""
network_interfaces:
  description: What was found, by name; see module M(altostratus.ecs.network_interface) for what is in each.
  returned: success
  type: list
  elements: dict
  sample:
    - name: web-nic0
      address: 10.20.1.10
      mac: fa:16:3e:5a:01:c7
      security_groups: [web]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.altostratus.ecs.plugins.module_utils import _module
from ansible_collections.altostratus.ecs.plugins.module_utils._engines.host import read_host
from ansible_collections.altostratus.ecs.plugins.module_utils._services.ports import read_ports


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
        scope, name = _module.scope_of(module, host), module.params["name"]
        with _module.northbound(module, host) as nb:
            found = read_ports(nb, scope, ids=None if name is None else [scope.id("port", name)])
        return _module.Result(values={"network_interfaces": [item.represent() for item in found]})

    _module.run(module, service)


if __name__ == "__main__":
    main()
