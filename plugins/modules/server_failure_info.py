#!/usr/bin/python
# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: server_failure_info
short_description: Read what has failed with servers
description:
  - Returns the failures of module M(altostratus.ecs.server) on the hypervisor that it runs on, which remembers the last 1000 of them.
  - A server whose creation failed is gone, as all that was made is given back; why, and with which code, is found here.
  - So are the notices that preemptible servers were given.
  - A request that is refused because it names something wrong, or that does not exist, is no failure.
author:
  - altostratus.ecs contributors (@altostratus)
extends_documentation_fragment:
  - altostratus.ecs.scope
  - altostratus.ecs.attributes_info
options:
  name:
    description: Only failures of the server of that name.
    type: str
  since:
    description: Only failures from then on, a time in UTC or its beginning, such as V(2026-01-31).
    type: str
"""

EXAMPLES = r"""
- name: What went wrong today?
  altostratus.ecs.server_failure_info:
    project: shop
    since: "{{ now(utc=true).strftime('%Y-%m-%d') }}"
  register: wrong
"""

RETURN = r"""
failures:
  description: The failures, the newest first.
  returned: success
  type: list
  elements: dict
  contains:
    time:
      description: When, in UTC.
      type: str
    kind:
      description: C(creation), which was undone, C(operation) on servers that exist, or C(interruption) of a preemptible server.
      type: str
    servers:
      description: The server that failed, or all servers of the call, each with C(name) and C(id).
      type: list
      elements: dict
    task:
      description: The state that was asked for; C(reclaim) for an interruption.
      type: str
    code:
      description: The error's code.
      type: str
      sample: ECS_NO_SPACE
    message:
      description: What happened.
      type: str
    undone:
      description: What was given back; null for nothing.
      type: str
      sample: 2 volumes, 1 port
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.altostratus.ecs.plugins.module_utils import _module
from ansible_collections.altostratus.ecs.plugins.module_utils._engines.host import read_host
from ansible_collections.altostratus.ecs.plugins.module_utils._model.failures import select
from ansible_collections.altostratus.ecs.plugins.module_utils._services import failures


def main() -> None:
    module = AnsibleModule(
        argument_spec={"name": {"type": "str"}, "since": {"type": "str"}, **_module.SCOPE_OPTIONS},
        supports_check_mode=True,
    )

    def service() -> _module.Result:
        host = read_host()
        scope = _module.scope_of(module, host)
        found = select(failures.read(host), scope, module.params["name"], module.params["since"])
        return _module.Result([], {"failures": [failure.represent(scope) for failure in found]})

    _module.run(module, service)


if __name__ == "__main__":
    main()
