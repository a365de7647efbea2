#!/usr/bin/python
# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: external_network
short_description: Manage external networks, where public addresses come from
description:
  - An external network is a network outside the cloud that the gateways of VPCs are connected to, such as the Internet or a data centre's
    network. EIPs and the gateways' own addresses come from its allocation range.
  - It belongs to a region and is shared by all its projects; O(project) is accepted, so that it can be set for all modules at once, but has
    no influence.
  - When O(gateway) or O(gateway_chassis) change, the gateways of the VPCs follow.
  - Only what is set is compared. Of an existing network O(cidr) cannot be changed.
author:
  - altostratus.ecs contributors (@altostratus)
extends_documentation_fragment:
  - altostratus.ecs.scope
  - altostratus.ecs.ovn
  - altostratus.ecs.attributes
options:
  name: &name
    description: Name of the external network, unique in the region.
    type: str
  state: &state
    description: Whether the network shall exist. One that VPCs or EIPs use cannot be deleted.
    type: str
    choices: [present, absent]
    default: present
  physical_network: &physical_network
    description:
      - Name that the gateway hosts map to a bridge (C(ovn-bridge-mappings)).
      - Required for a new network.
    type: str
  cidr: &cidr
    description: The network's IPv4 CIDR. Required for a new network.
    type: str
  gateway: &gateway
    description: Address of the router in that network that leads further. Required for a new network.
    type: str
  allocation: &allocation
    description:
      - First and last address for EIPs and the gateways of VPCs, such as V(203.0.113.100-203.0.113.199).
      - Required for a new network.
    type: str
  vlan: &vlan
    description: VLAN tag on the physical network, 1 to 4094; V(0) removes it.
    type: int
  gateway_chassis: &gateway_chassis
    description:
      - Names of the hosts (OVN chassis) that map the physical network and may carry the gateways of VPCs.
      - With several hosts each VPC has its own order of them, so that gateways spread; when a host fails the next one takes over.
      - Required for a new network.
    type: list
    elements: str
  external_networks:
    description: Many external networks in one transaction, in the words of the single form.
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
      physical_network: *physical_network
      cidr: *cidr
      gateway: *gateway
      allocation: *allocation
      vlan: *vlan
      gateway_chassis: *gateway_chassis
seealso:
  - module: altostratus.ecs.vpc
  - module: altostratus.ecs.eip
"""

EXAMPLES = r"""
- name: The Internet
  altostratus.ecs.external_network:
    name: public
    physical_network: physnet1
    cidr: 203.0.113.0/24
    gateway: 203.0.113.1
    allocation: 203.0.113.100-203.0.113.199
    gateway_chassis: [hv1, hv2]
"""

RETURN = r"""
external_networks:
  description: The networks that shall be present; in check mode, as they would be.
  returned: success
  type: list
  elements: dict
  contains: &external_network
    id:
      description: The network's id, which is the uuid of its logical switch.
      type: str
    name:
      description: Name.
      type: str
    region:
      description: Region.
      type: str
    physical_network:
      description: Name of the physical network.
      type: str
    cidr:
      description: CIDR.
      type: str
    gateway:
      description: Address of the router that leads further.
      type: str
    allocation:
      description: First and last address that may be allocated.
      type: str
    vlan:
      description: VLAN tag, or null.
      type: int
    gateway_chassis:
      description: Hosts that may carry gateways.
      type: list
      elements: str
external_network:
  description: The network, in the single form; null when it is absent.
  returned: success, in the single form
  type: dict
  contains: *external_network
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
from ansible_collections.altostratus.ecs.plugins.module_utils._services import external_networks

NETWORK: dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "physical_network": {"type": "str"},
    "cidr": {"type": "str"},
    "gateway": {"type": "str"},
    "allocation": {"type": "str"},
    "vlan": {"type": "int"},
    "gateway_chassis": {"type": "list", "elements": "str"},
}


def request(item: dict[str, Any]) -> external_networks.ExternalNetworkRequest:
    chassis = None if item["gateway_chassis"] is None else tuple(item["gateway_chassis"])
    fields = {name: value for name, value in item.items() if name != "state"}
    return external_networks.ExternalNetworkRequest(**{**fields, "present": item["state"] == "present", "gateway_chassis": chassis})


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **_module.list_form(NETWORK, "external_networks"),
            **_module.SCOPE_OPTIONS,
            **_module.OVN_OPTIONS,
        },
        mutually_exclusive=[("name", "external_networks")],
        required_one_of=[("name", "external_networks")],
        supports_check_mode=True,
    )

    def service() -> _module.Result:
        host = read_host()
        wanted = [request(item) for item in _module.items(module, NETWORK, "external_networks")]
        with _module.northbound(module, host) as nb:
            draft, found = external_networks.ensure(nb, _module.scope_of(module, host).region, wanted, module.check_mode)
        values = _module.returned(module, "external_networks", "external_network", [network.represent() for network in found])
        return _module.Result(draft.steps, values, draft.warnings)

    _module.run(module, service)


if __name__ == "__main__":
    main()
