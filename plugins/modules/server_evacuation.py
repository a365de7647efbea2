#!/usr/bin/python
# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: server_evacuation
short_description: Start the servers of a dead hypervisor on this one
description:
  - Starts servers (ECS) here whose hypervisor is dead, from their disks in a pool that both hosts share, and from what is recorded beside
    them. Address, MAC, security groups, public IP and id stay. Servers that were stopped stay stopped.
  - Two guests on one disk destroy it. So a person must have made sure that the host is off (O(confirmed)); and when it answers, or a disk
    is in use, nothing is touched.
  - When the host comes back it finds that these servers are no longer its own, starts none of them and forgets them.
  - A server with a disk that is not in such a pool must wait for its host.
author:
  - altostratus.ecs contributors (@altostratus)
extends_documentation_fragment:
  - altostratus.ecs.scope
  - altostratus.ecs.libvirt
  - altostratus.ecs.ovn
  - altostratus.ecs.attributes
options:
  lost:
    description: Name of the hypervisor that is dead.
    type: str
    required: true
  confirmed:
    description: The same name once more, by somebody who has made sure that it is off, by its power switch rather than by looking at it.
    type: str
    default: ""
  servers:
    description: Servers that shall start here.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the server.
        type: str
        required: true
      project:
        description: As O(project), which is the default.
        type: str
      hypervisor:
        description: This host, as M(altostratus.ecs.migration_plan) has chosen it; not looked at.
        type: str
  wait_timeout:
    description: Seconds to wait for other runs that are at the same servers.
    type: int
    default: 60
seealso:
  - module: altostratus.ecs.hypervisor_info
  - module: altostratus.ecs.migration_plan
"""

EXAMPLES = r"""
- name: Start a server of hv1, which is dead, on hv2
  hosts: hv2
  gather_facts: false
  tasks:
    - name: Start it
      altostratus.ecs.server_evacuation:
        project: shop
        lost: hv1
        confirmed: hv1
        servers: [{name: web-0001}]
"""

RETURN = r"""
servers:
  description: What became of each server.
  returned: success
  type: list
  elements: dict
  contains:
    id:
      description: The server's id.
      type: str
    name:
      description: Its name.
      type: str
    project:
      description: Its project.
      type: str
    source:
      description: Hypervisor that it was on; this one where it was here already.
      type: str
    destination:
      description: This hypervisor.
      type: str
    running:
      description: Whether it was started; null where it was here already.
      type: bool
steps:
  description: What was done, or would be in check mode.
  returned: changed
  type: list
  elements: str
  sample: [evacuate server web-0001]
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.altostratus.ecs.plugins.module_utils import _module
from ansible_collections.altostratus.ecs.plugins.module_utils._engines.host import read_host
from ansible_collections.altostratus.ecs.plugins.module_utils._services import evacuation

SERVER: dict[str, Any] = {"name": {"type": "str", "required": True}, "project": {"type": "str"}, "hypervisor": {"type": "str"}}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "lost": {"type": "str", "required": True},
            "confirmed": {"type": "str", "default": ""},
            "servers": {"type": "list", "elements": "dict", "options": SERVER, "required": True},
            "wait_timeout": {"type": "int", "default": 60},
            **_module.SCOPE_OPTIONS,
            **_module.LIBVIRT_OPTIONS,
            **_module.OVN_OPTIONS,
        },
        supports_check_mode=True,
    )

    def service() -> _module.Result:
        host = read_host()
        outcome = evacuation.evacuate(
            module.params["libvirt_uri"],
            lambda: _module.northbound(module, host),
            host,
            _module.scope_of(module, host).region,
            module.params["lost"],
            module.params["confirmed"],
            [(item["project"] or module.params["project"], item["name"]) for item in module.params["servers"]],
            module.params["wait_timeout"],
            module.check_mode,
        )
        return _module.Result(outcome.steps, {"servers": outcome.servers})

    _module.run(module, service)


if __name__ == "__main__":
    main()
