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
  - O(filters) looks for values by property, O(search) for values of whatever property, O(query) asks any question.
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
      - Only servers that have all these values, by the keys of the result, such as V(status), V(az) or V(image_id); a list, or a text with
        commas, means any of its values. V(status) takes V(|) between values as well. An empty value means that a server has none.
      - V(subnet), V(vpc), V(vpc_id) and V(security_group) match any interface.
      - A part of the value is enough for V(name), V(flavor) and V(address), such as V(s7n) or V(192.168.0); every other value must be
        complete, V(address) too as soon as it has several values or stands beside other filters.
      - V(address) must be private and cannot stand beside V(eip).
      - V(created) takes a time in UTC or its beginning, such as V(2026-01), or a range V(from/to), either of which may be left out.
      - V(tags) takes a dictionary, or a list of C(key) and C(key=value); all of them must match. A key whose value is null means any value.
    type: dict
  search:
    description:
      - Only servers whose id, flavor, EIP or private address is this. Commas part several values, any of which will do; of values parted by
        spaces only the last counts.
    type: str
  query:
    description:
      - A JMESPath expression over the list of servers that O(filters) and O(search) have left; RV(result) is what it yields.
      - Needs the Python library C(jmespath) on the hypervisor.
    type: str
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

- name: Whose address is this?
  altostratus.ecs.server_info:
    project: shop
    search: 203.0.113.100

- name: Names of those with more than 4 GiB of memory
  altostratus.ecs.server_info:
    project: shop
    query: "[?memory > `4096`].name"
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
result:
  description: What O(query) yields.
  returned: when O(query) is set
  type: raw
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.altostratus.ecs.plugins.module_utils import _module
from ansible_collections.altostratus.ecs.plugins.module_utils._engines.host import read_host
from ansible_collections.altostratus.ecs.plugins.module_utils._engines.query import query
from ansible_collections.altostratus.ecs.plugins.module_utils._model.search import parse, select
from ansible_collections.altostratus.ecs.plugins.module_utils._services import servers


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str"},
            "filters": {"type": "dict"},
            "search": {"type": "str"},
            "query": {"type": "str"},
            **_module.SCOPE_OPTIONS,
            **_module.LIBVIRT_OPTIONS,
            **_module.OVN_OPTIONS,
        },
        supports_check_mode=True,
    )

    def service() -> _module.Result:
        wanted = parse(module.params["filters"], module.params["search"])
        host = read_host()
        outcome = servers.list_servers(
            uri=module.params["libvirt_uri"],
            northbound=lambda: _module.northbound(module, host),
            host=host,
            scope=_module.scope_of(module, host),
            name=module.params["name"],
        )
        found: dict[str, Any] = {"servers": select(outcome.servers, wanted)}
        if module.params["query"] is not None:
            found["result"] = query("query", module.params["query"], found["servers"])
        return _module.Result([], found, outcome.warnings)

    _module.run(module, service)


if __name__ == "__main__":
    main()
