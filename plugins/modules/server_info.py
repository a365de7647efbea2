#!/usr/bin/python
# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: server_info
short_description: Read the servers of a hypervisor
description:
  - Returns the servers (ECS) of the hypervisor that it runs on, as module M(altostratus.ecs.server) and the inventory tell them.
  - Public addresses come from the Northbound; when it cannot be reached, they are left out with a warning.
author:
  - altostratus.ecs contributors (@altostratus)
extends_documentation_fragment:
  - altostratus.ecs.scope
  - altostratus.ecs.libvirt
  - altostratus.ecs.ovn
  - altostratus.ecs.attributes_info
options:
  name:
    description: Only the server of that name. None is not an error, the list is empty then.
    type: str
  filters:
    description:
      - Only servers that have all these values, by the keys of the result, such as V(status) or V(flavor); a list means any of its values.
      - V(tags) takes a dictionary, all of which must match; V(subnet), V(vpc) and V(security_group) match any interface.
    type: dict
"""

EXAMPLES = r"""
- name: All servers of a project on this host
  altostratus.ecs.server_info:
    project: shop
  register: shop

- name: Those that run, of one tier
  altostratus.ecs.server_info:
    project: shop
    filters: {status: running, tags: {tier: web}}
"""

RETURN = r"""
servers:
  description: The servers by name; see module M(altostratus.ecs.server) for what is in each.
  returned: success
  type: list
  elements: dict
  sample:
    - name: web
      project: shop
      status: running
      hypervisor: hv1
      address: 10.20.1.10
      eip: 203.0.113.100
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.altostratus.ecs.plugins.module_utils import _module
from ansible_collections.altostratus.ecs.plugins.module_utils._engines.host import read_host
from ansible_collections.altostratus.ecs.plugins.module_utils._model.servers import matches
from ansible_collections.altostratus.ecs.plugins.module_utils._services import servers


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str"},
            "filters": {"type": "dict"},
            **_module.SCOPE_OPTIONS,
            **_module.LIBVIRT_OPTIONS,
            **_module.OVN_OPTIONS,
        },
        supports_check_mode=True,
    )

    def service() -> _module.Result:
        host = read_host()
        outcome = servers.list_servers(
            uri=module.params["libvirt_uri"],
            northbound=lambda: _module.northbound(module, host),
            host=host,
            scope=_module.scope_of(module, host),
            name=module.params["name"],
        )
        wanted = module.params["filters"] or {}
        return _module.Result([], {"servers": [server for server in outcome.servers if matches(server, wanted)]}, outcome.warnings)

    _module.run(module, service)


if __name__ == "__main__":
    main()
