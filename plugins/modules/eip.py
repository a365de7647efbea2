#!/usr/bin/python
# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: eip
short_description: Manage public addresses (EIPs)
description:
  - An EIP is an address of an external network that is allocated to a project, and can be bound to a network interface in a VPC that is
    attached to that network. From the outside the EIP reaches the interface, as far as its security groups allow; what the interface sends
    to the outside comes from the EIP.
  - An interface has at most one EIP. An EIP that is bound must be unbound before it can be bound elsewhere.
  - All EIPs of a call are one transaction, in which unbinding comes first.
  - Only what is set is compared. The address and network of an EIP cannot be changed.
author:
  - altostratus.ecs contributors (@altostratus)
extends_documentation_fragment:
  - altostratus.ecs.scope
  - altostratus.ecs.ovn
  - altostratus.ecs.attributes
options:
  name: &name
    description: Name of the EIP, unique in the project.
    type: str
  state: &state
    description: V(present) allocates the EIP, V(absent) unbinds and releases it.
    type: str
    choices: [present, absent]
    default: present
  network: &network
    description:
      - External network to take the address from.
      - By default the one that the interface's VPC is attached to, or the only one there is.
    type: str
  address: &address
    description: A certain address of the network's allocation range; by default the lowest free one.
    type: str
  bandwidth: &bandwidth
    description: Limit in Mbit/s for each direction, 1 to 300. By default there is none.
    type: int
  interface: &interface
    description:
      - Name of the network interface to bind to; an empty string unbinds.
      - If not set, the binding stays as it is.
    type: str
  server: &server
    description: Bind to the first interface of this server instead; an empty string unbinds.
    type: str
  eips:
    description: Many EIPs in one transaction, in the words of the single form.
    type: list
    elements: dict
    suboptions:
      name:
        <<: *name
        required: true
      state:
        description: As O(state), which is the default.
        type: str
        choices: [present, absent]
      network: *network
      address: *address
      bandwidth: *bandwidth
      interface: *interface
      server: *server
seealso:
  - module: altostratus.ecs.external_network
  - module: altostratus.ecs.vpc
"""

EXAMPLES = r"""
- name: A public address of 20 Mbit/s for a server
  altostratus.ecs.eip:
    project: shop
    name: shop-front
    network: public
    bandwidth: 20
    server: web

- name: Take it off, but keep it
  altostratus.ecs.eip:
    project: shop
    name: shop-front
    interface: ""

- name: Give it back
  altostratus.ecs.eip:
    project: shop
    name: shop-front
    state: absent
"""

RETURN = r"""
eips:
  description: The EIPs that shall be present; in check mode, as they would be.
  returned: success
  type: list
  elements: dict
  contains: &eip
    id:
      description: The EIP's id.
      type: str
    name:
      description: Name.
      type: str
    region:
      description: Region.
      type: str
    project:
      description: Project.
      type: str
    network:
      description: Name of the external network.
      type: str
    address:
      description: The public address; null in check mode when the network does not exist yet.
      type: str
    bandwidth:
      description: Mbit/s, or null without a limit.
      type: int
    interface:
      description: Name of the interface that it is bound to, or an empty string.
      type: str
    private_address:
      description: That interface's own address, or null.
      type: str
    server:
      description: Name of the server that uses the interface, or null.
      type: str
    status:
      description: C(bound) or C(unbound).
      type: str
eip:
  description: The EIP, in the single form; null when it is absent.
  returned: success, in the single form
  type: dict
  contains: *eip
steps:
  description: What was done, or would be in check mode.
  returned: changed
  type: list
  elements: str
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.altostratus.ecs.plugins.module_utils import _module
from ansible_collections.altostratus.ecs.plugins.module_utils._engines.host import read_host
from ansible_collections.altostratus.ecs.plugins.module_utils._services import eips

EIP: dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "network": {"type": "str"},
    "address": {"type": "str"},
    "bandwidth": {"type": "int"},
    "interface": {"type": "str"},
    "server": {"type": "str"},
}


def eip(item: dict[str, Any]) -> eips.EipItem:
    request = eips.EipRequest(item["name"], item["network"], item["address"], item["bandwidth"])
    return eips.EipItem(request, item["state"] == "present", item["interface"], item["server"])


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **_module.list_form(EIP, "eips"),
            **_module.SCOPE_OPTIONS,
            **_module.OVN_OPTIONS,
        },
        mutually_exclusive=[("name", "eips"), ("interface", "server")],
        required_one_of=[("name", "eips")],
        supports_check_mode=True,
    )

    def service() -> _module.Result:
        host = read_host()
        wanted = [eip(item) for item in _module.items(module, EIP, "eips")]
        with _module.northbound(module, host) as nb:
            draft, found = eips.ensure(nb, _module.scope_of(module, host), wanted, module.check_mode)
        return _module.Result(draft.steps, _module.returned(module, "eips", "eip", [eip.represent() for eip in found]), draft.warnings)

    _module.run(module, service)


if __name__ == "__main__":
    main()
