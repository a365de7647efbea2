#!/usr/bin/python
# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: vpc
short_description: Manage VPCs and their subnets
description:
  - A VPC is a private network with subnets that reach each other through its router. It is isolated from every other VPC, even one with the
    same addresses.
  - All VPCs of a call are read at once, and changed in one transaction.
  - Only what is set is compared. The CIDR of a subnet cannot be changed, the one of a VPC can as long as the subnets fit.
  - The subnets' smallest size is /29. No interface gets the network's address, the gateway's and the broadcast address, nor from /28 up the
    two addresses before that.
author:
  - altostratus.ecs contributors (@altostratus)
extends_documentation_fragment:
  - altostratus.ecs.scope
  - altostratus.ecs.ovn
  - altostratus.ecs.attributes
options:
  name: &name
    description: Name of the VPC, unique in the project.
    type: str
  state: &state
    description: Whether the VPC shall exist. One with network interfaces in it cannot be deleted.
    type: str
    choices: [present, absent]
    default: present
  cidr: &cidr
    description: IPv4 CIDR that all subnets are parts of. Required for a new VPC.
    type: str
  snat: &snat
    description:
      - Name of the external network by which servers without an EIP reach the outside; an empty string stops that.
      - The VPC is attached to that network, so that its interfaces can have EIPs too.
    type: str
  external_network: &external_network
    description:
      - Name of the external network that the VPC is attached to for EIPs only; not needed with O(snat).
      - An empty string detaches the VPC, which is refused while EIPs are bound.
    type: str
  subnets: &subnets
    description: Subnets that shall exist.
    type: list
    elements: dict
    suboptions:
      name:
        description: Name of the subnet, unique in the VPC.
        type: str
        required: true
      cidr:
        description: IPv4 CIDR, at least /29 and a part of the VPC's. Required for a new subnet.
        type: str
      gateway:
        description: Address of the VPC's router in the subnet; by default the first one.
        type: str
      dns:
        description: Addresses of name servers that DHCP tells; by default none.
        type: list
        elements: str
      dhcp:
        description: Whether interfaces get their address by DHCP; on for a new subnet.
        type: bool
      mtu:
        description:
          - Largest packet in bytes, told by DHCP.
          - By default what the underlay leaves to guests, from C(guest_mtu) in the host's C(/etc/altostratus/host.json).
        type: int
  purge_subnets: &purge_subnets
    description: Delete subnets that O(subnets) does not list. One with network interfaces in it cannot be deleted.
    type: bool
    default: false
  vpcs:
    description: Many VPCs in one transaction, in the words of the single form.
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
      cidr: *cidr
      snat: *snat
      external_network: *external_network
      subnets: *subnets
      purge_subnets: *purge_subnets
seealso:
  - module: altostratus.ecs.external_network
  - module: altostratus.ecs.network_interface
"""

EXAMPLES = r"""
- name: A VPC with two subnets and a way to the Internet
  altostratus.ecs.vpc:
    project: shop
    name: shop
    cidr: 10.20.0.0/16
    snat: public
    subnets:
      - {name: front, cidr: 10.20.1.0/24}
      - {name: back, cidr: 10.20.2.0/24, dns: [10.20.2.53]}

- name: Many at once
  altostratus.ecs.vpc:
    project: shop
    vpcs: "{{ cloud_vpcs }}"
"""

RETURN = r"""
vpcs:
  description: The VPCs that shall be present; in check mode, as they would be.
  returned: success
  type: list
  elements: dict
  contains: &vpc
    id:
      description: The VPC's id, which is the uuid of its logical router.
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
    cidr:
      description: CIDR.
      type: str
    external_network:
      description: External network that it is attached to, or an empty string.
      type: str
    snat:
      description: External network by which servers without an EIP reach the outside, or an empty string.
      type: str
    external_address:
      description: Address of its gateway in the external network, or an empty string.
      type: str
    subnets:
      description: Subnets with C(id), C(name), C(cidr), C(gateway), C(dns), C(dhcp), C(mtu).
      type: list
      elements: dict
vpc:
  description: The VPC, in the single form; null when it is absent.
  returned: success, in the single form
  type: dict
  contains: *vpc
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
from ansible_collections.altostratus.ecs.plugins.module_utils._services import vpcs

VPC: dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "cidr": {"type": "str"},
    "snat": {"type": "str"},
    "external_network": {"type": "str"},
    "subnets": {
        "type": "list",
        "elements": "dict",
        "options": {
            "name": {"type": "str", "required": True},
            "cidr": {"type": "str"},
            "gateway": {"type": "str"},
            "dns": {"type": "list", "elements": "str"},
            "dhcp": {"type": "bool"},
            "mtu": {"type": "int"},
        },
    },
    "purge_subnets": {"type": "bool", "default": False},
}


def subnet(item: dict[str, Any]) -> vpcs.SubnetRequest:
    return vpcs.SubnetRequest(**{**item, "dns": None if item["dns"] is None else tuple(item["dns"])})


def request(item: dict[str, Any]) -> vpcs.VpcRequest:
    fields = {name: value for name, value in item.items() if name != "state"}
    subnets = None if item["subnets"] is None else tuple(map(subnet, item["subnets"]))
    return vpcs.VpcRequest(**{**fields, "present": item["state"] == "present", "subnets": subnets})


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **_module.list_form(VPC, "vpcs"),
            **_module.SCOPE_OPTIONS,
            **_module.OVN_OPTIONS,
        },
        mutually_exclusive=[("name", "vpcs")],
        required_one_of=[("name", "vpcs")],
        supports_check_mode=True,
    )

    def service() -> _module.Result:
        host = read_host()
        wanted = [request(item) for item in _module.items(module, VPC, "vpcs")]
        with _module.northbound(module, host) as nb:
            draft, found = vpcs.ensure(nb, _module.scope_of(module, host), wanted, host.guest_mtu, module.check_mode)
        return _module.Result(draft.steps, _module.returned(module, "vpcs", "vpc", [vpc.represent() for vpc in found]), draft.warnings)

    _module.run(module, service)


if __name__ == "__main__":
    main()
