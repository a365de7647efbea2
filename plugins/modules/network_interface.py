#!/usr/bin/python
# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: network_interface
short_description: Manage network interfaces
description:
  - A network interface (port) has a MAC and an IP address in a subnet, and security groups. It exists before a server uses it; module
    M(altostratus.ecs.server) makes its own.
  - The interface may send from its own MAC and address only, and is closed but for what its security groups allow, from the moment it
    exists.
  - All interfaces of a call are one transaction; two calls at the same time never get the same address.
  - Only what is set is compared. An interface cannot move to another subnet.
author:
  - altostratus.ecs contributors (@altostratus)
extends_documentation_fragment:
  - altostratus.ecs.scope
  - altostratus.ecs.ovn
  - altostratus.ecs.attributes
options:
  name: &name
    description: Name of the interface, unique in the project.
    type: str
  state: &state
    description:
      - Whether the interface shall exist. One that a server uses goes with the server only.
      - The EIP of one that is deleted is unbound and stays allocated.
    type: str
    choices: [present, absent]
    default: present
  subnet: &subnet
    description: Name of the subnet. Required unless O(state=absent).
    type: str
  vpc: &vpc
    description: Name of the VPC; only needed when several VPCs have a subnet of that name.
    type: str
  address: &address
    description: IPv4 address; by default the lowest free one, which it then keeps.
    type: str
  mac: &mac
    description: MAC address; by default one that derives from the interface's id.
    type: str
  security_groups: &security_groups
    description:
      - All security groups of the interface; they replace the ones it has.
      - A new interface gets the group V(default) if not set. With an empty list nothing passes.
    type: list
    elements: str
  port_security: &port_security
    description: Whether it may send from its own MAC and address only; on for a new interface. A router or firewall server needs it off.
    type: bool
  network_interfaces:
    description: Many interfaces in one transaction, in the words of the single form.
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
      subnet: *subnet
      vpc: *vpc
      address: *address
      mac: *mac
      security_groups: *security_groups
      port_security: *port_security
seealso:
  - module: altostratus.ecs.vpc
  - module: altostratus.ecs.security_group
"""

EXAMPLES = r"""
- name: An interface with a chosen address
  altostratus.ecs.network_interface:
    project: shop
    name: appliance
    subnet: front
    address: 10.20.1.20
    security_groups: [web]
"""

RETURN = r"""
network_interfaces:
  description: The interfaces that shall be present; in check mode, as they would be.
  returned: success
  type: list
  elements: dict
  contains: &network_interface
    id:
      description: The interface's id, which is the name of its logical switch port and the C(iface-id) in Open vSwitch.
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
    mac:
      description: MAC address.
      type: str
    address:
      description: IPv4 address; null in check mode when the subnet does not exist yet.
      type: str
    cidr:
      description: The subnet's CIDR.
      type: str
    gateway:
      description: The subnet's gateway.
      type: str
    dns:
      description: The subnet's name servers.
      type: list
      elements: str
    mtu:
      description: Largest packet in bytes.
      type: int
    subnet:
      description: Name of the subnet.
      type: str
    vpc:
      description: Name of the VPC.
      type: str
    security_groups:
      description: Names of the security groups.
      type: list
      elements: str
    port_security:
      description: Whether it may send from its own MAC and address only.
      type: bool
    server:
      description: Name of the server that uses it, or null.
      type: str
    eip:
      description: Public address bound to it, or null.
      type: str
network_interface:
  description: The interface, in the single form; null when it is absent.
  returned: success, in the single form
  type: dict
  contains: *network_interface
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
from ansible_collections.altostratus.ecs.plugins.module_utils._model.errors import InvalidInput
from ansible_collections.altostratus.ecs.plugins.module_utils._services import ports

INTERFACE: dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "subnet": {"type": "str"},
    "vpc": {"type": "str"},
    "address": {"type": "str"},
    "mac": {"type": "str"},
    "security_groups": {"type": "list", "elements": "str"},
    "port_security": {"type": "bool"},
}


def interface(item: dict[str, Any]) -> ports.InterfaceItem:
    present = item["state"] == "present"
    if present and not item["subnet"]:
        raise InvalidInput("subnet", item["subnet"], f"is needed for interface {item['name']}", "Name the subnet it belongs to")
    fields = {name: value for name, value in item.items() if name != "state"}
    return ports.InterfaceItem(ports.PortRequest(**{**fields, "subnet": item["subnet"] or ""}), present)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **_module.list_form(INTERFACE, "network_interfaces"),
            **_module.SCOPE_OPTIONS,
            **_module.OVN_OPTIONS,
        },
        mutually_exclusive=[("name", "network_interfaces")],
        required_one_of=[("name", "network_interfaces")],
        supports_check_mode=True,
    )

    def service() -> _module.Result:
        host = read_host()
        wanted = [interface(item) for item in _module.items(module, INTERFACE, "network_interfaces")]
        with _module.northbound(module, host) as nb:
            plan = ports.ensure(nb, _module.scope_of(module, host), wanted, module.check_mode)
        values = _module.returned(module, "network_interfaces", "network_interface", [port.represent() for port in plan.ports])
        return _module.Result(plan.steps, values, plan.warnings)

    _module.run(module, service)


if __name__ == "__main__":
    main()
