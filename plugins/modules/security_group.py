#!/usr/bin/python
# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: security_group
short_description: Manage security groups and their rules
description:
  - A security group is a set of rules that holds for every network interface in the group. An interface with several groups has the rules
    of all of them.
  - What no rule allows is dropped, in both directions. Answers to what was allowed pass by themselves. DHCP, ARP and IPv6 neighbour
    discovery always work.
  - O(rules) is the whole set; against the live rules only those that come and go are written. All groups of a call are one transaction.
  - The group V(default) is made when an interface names no group. It allows everything between its members and all egress. Its rules can be
    changed; it cannot be deleted while the project has a VPC.
  - A rule with O(rules[].source_group) knows the group's members by their addresses and is meant for groups within one VPC; with several
    VPCs that use the same addresses, make a group for each.
author:
  - altostratus.ecs contributors (@altostratus)
extends_documentation_fragment:
  - altostratus.ecs.scope
  - altostratus.ecs.ovn
  - altostratus.ecs.attributes
options:
  name: &name
    description: Name of the security group, unique in the project.
    type: str
  state: &state
    description: Whether the group shall exist. One that has members, or is named by a rule of another group, cannot be deleted.
    type: str
    choices: [present, absent]
    default: present
  description: &description
    description: At most 255 characters without C(<) and C(>).
    type: str
  rules: &rules
    description:
      - All rules of the group. Those that it has and that are not listed are deleted.
      - An address list or a rule for both IP versions is shown as several rules, one for each address and version.
    type: list
    elements: dict
    suboptions:
      direction:
        description: Whether it is about packets to the group's members or from them.
        type: str
        choices: [ingress, egress]
        default: ingress
      action:
        description: What to do with them. With the same priority V(deny) wins.
        type: str
        choices: [allow, deny]
        default: allow
      priority:
        description: From 1, which wins, to 100.
        type: int
        default: 1
      protocol:
        description:
          - One of V(all), V(tcp), V(udp), V(icmp), V(icmpv6), V(gre) or a protocol number.
          - By default V(tcp) where O(rules[].ports) are given, else V(all).
        type: str
      ports:
        description: Destination ports for tcp and udp, such as V(22) or V(80,443,8000-8080); at most 20 items. By default all.
        type: list
        elements: str
      source:
        description: Of ingress, the addresses or CIDRs that packets come from, IPv4 or IPv6. By default anywhere.
        type: list
        elements: str
      source_group:
        description: Of ingress, the security group whose members packets come from.
        type: str
      destination:
        description: Of egress, the addresses or CIDRs that packets go to, IPv4 or IPv6. By default anywhere.
        type: list
        elements: str
      destination_group:
        description: Of egress, the security group whose members packets go to.
        type: str
      description:
        description: At most 255 characters without C(<) and C(>).
        type: str
  default_egress: &default_egress
    description: Allow all egress when O(rules) has no rule for egress.
    type: bool
    default: true
  security_groups:
    description: Many security groups in one transaction, in the words of the single form.
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
      description: *description
      rules: *rules
      default_egress: *default_egress
seealso:
  - module: altostratus.ecs.network_interface
"""

EXAMPLES = r"""
- name: Web servers for everyone, their database for them alone
  altostratus.ecs.security_group:
    project: shop
    security_groups:
      - name: web
        rules:
          - {ports: "80,443"}
          - {ports: 22, source: [192.0.2.0/24, 198.51.100.7]}
      - name: db
        rules:
          - {ports: 3306, source_group: web}

- name: Nothing out but to the package mirror
  altostratus.ecs.security_group:
    project: shop
    name: quiet
    rules:
      - {direction: egress, ports: 443, destination: 203.0.113.80}
"""

RETURN = r"""
security_groups:
  description: The groups that shall be present; in check mode, as they would be.
  returned: success
  type: list
  elements: dict
  contains: &security_group
    id:
      description: The group's id, which is the uuid of its port group.
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
    description:
      description: Description.
      type: str
    rules:
      description:
        - The rules with C(direction), C(action), C(priority), C(ethertype) (C(ipv4) or C(ipv6)), C(protocol), C(ports), C(description), and
          one of C(source), C(source_group), C(destination), C(destination_group).
      type: list
      elements: dict
security_group:
  description: The group, in the single form; null when it is absent.
  returned: success, in the single form
  type: dict
  contains: *security_group
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
from ansible_collections.altostratus.ecs.plugins.module_utils._services import security_groups

RULE: dict[str, Any] = {
    "direction": {"type": "str", "choices": ["ingress", "egress"], "default": "ingress"},
    "action": {"type": "str", "choices": ["allow", "deny"], "default": "allow"},
    "priority": {"type": "int", "default": 1},
    "protocol": {"type": "str"},
    "ports": {"type": "list", "elements": "str"},
    "source": {"type": "list", "elements": "str"},
    "source_group": {"type": "str"},
    "destination": {"type": "list", "elements": "str"},
    "destination_group": {"type": "str"},
    "description": {"type": "str"},
}
GROUP: dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "description": {"type": "str"},
    "rules": {"type": "list", "elements": "dict", "options": RULE},
    "default_egress": {"type": "bool", "default": True},
}


def request(item: dict[str, Any]) -> security_groups.SecurityGroupRequest:
    fields = {name: value for name, value in item.items() if name != "state"}
    rules = None if item["rules"] is None else tuple(item["rules"])
    return security_groups.SecurityGroupRequest(**{**fields, "present": item["state"] == "present", "rules": rules})


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **_module.list_form(GROUP, "security_groups"),
            **_module.SCOPE_OPTIONS,
            **_module.OVN_OPTIONS,
        },
        mutually_exclusive=[("name", "security_groups")],
        required_one_of=[("name", "security_groups")],
        supports_check_mode=True,
    )

    def service() -> _module.Result:
        host = read_host()
        wanted = [request(item) for item in _module.items(module, GROUP, "security_groups")]
        with _module.northbound(module, host) as nb:
            draft, found = security_groups.ensure(nb, _module.scope_of(module, host), wanted, module.check_mode)
        values = _module.returned(module, "security_groups", "security_group", [group.represent() for group in found])
        return _module.Result(draft.steps, values, draft.warnings)

    _module.run(module, service)


if __name__ == "__main__":
    main()
