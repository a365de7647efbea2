#!/usr/bin/python
# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: server_migration
short_description: Move servers to other hypervisors
description:
  - Moves servers (ECS) of the hypervisor that it runs on to others, those that run while they run, the others while they are off.
    Address, MAC, security groups, public IP and id stay; connections into a server that moves live survive.
  - Disks in pools that both hosts declare shared stay where they are. All others are copied, on top of the image that they are made from,
    which the new host must have. The console log begins anew.
  - Everything is checked before the first server moves. What fails is taken back on the new host, and the server goes on where it was.
    A run that was killed is finished, or taken back, by the next one.
  - The metadata service serves the server on its new host when the module has run there too, with the same options, as the playbooks
    C(migrate) and C(drain_host) do.
  - A server that is where it shall be is left alone. One between two hosts has the status C(migrating).
  - Hypervisors talk to each other as role P(altostratus.ecs.hypervisor#role) has set them up, over TLS with certificates on both sides.
author:
  - altostratus.ecs contributors (@altostratus)
extends_documentation_fragment:
  - altostratus.ecs.scope
  - altostratus.ecs.libvirt
  - altostratus.ecs.ovn
  - altostratus.ecs.attributes
options:
  name: &name
    description: Name of the server. It is on the hypervisor that the module runs on, or already on the other one.
    type: str
  hypervisor: &hypervisor
    description: Name of the hypervisor that the server shall be on, one of O(hypervisors).
    type: str
  servers:
    description: Many servers, in the words of the single form.
    type: list
    elements: dict
    suboptions:
      name:
        <<: *name
        required: true
      hypervisor:
        description: As O(hypervisor), which is the default.
        type: str
      project:
        description: As O(project), which is the default.
        type: str
  hypervisors:
    description:
      - Results of M(altostratus.ecs.hypervisor_info) of the hosts that servers shall go to, or of all, so that server groups can be kept.
      - A host in maintenance, or without room, takes no servers; see M(altostratus.ecs.migration_plan) for a choice.
    type: list
    elements: dict
    required: true
  method:
    description:
      - V(auto) moves servers live that run, and cold those that are stopped.
      - V(cold) stops those that run, with O(allow_stop), and starts them again on their new host.
    type: str
    choices: [auto, cold]
    default: auto
  allow_stop:
    description:
      - Whether a server that cannot move while it runs, or did not succeed in it, may be stopped, and started again on its new host.
      - Servers on, and to, hosts that are dedicated to projects, and those with processors of their own, move only while they are off.
    type: bool
    default: false
  allow_az_change:
    description: Whether a server may come to a host of another availability zone, which is the server's then.
    type: bool
    default: false
  bandwidth:
    description: Most MiB a second that a live migration takes; V(0) for no limit.
    type: int
    default: 0
  timeout:
    description: Seconds after which a live migration that has not come to its end is given up.
    type: int
    default: 1800
  stop_timeout:
    description: Seconds that the guest of a server which is stopped has for it. None is powered off.
    type: int
    default: 120
  wait_timeout:
    description: Seconds to wait for other runs that are at the same servers.
    type: int
    default: 600
seealso:
  - module: altostratus.ecs.migration_plan
  - module: altostratus.ecs.hypervisor
"""

EXAMPLES = r"""
- name: Move a server to hv2
  hosts: hypervisors
  gather_facts: false
  tasks:
    - name: Read all hypervisors
      altostratus.ecs.hypervisor_info:
      register: capacity

    - name: Move, on the host that has it
      altostratus.ecs.server_migration:
        project: shop
        name: web-0001
        hypervisor: hv2
        hypervisors: "{{ ansible_play_hosts | map('extract', hostvars, ['capacity', 'hypervisor']) }}"
      when: inventory_hostname == 'hv1'

    - name: A database off, with a pause for it
      altostratus.ecs.server_migration:
        project: shop
        method: cold
        allow_stop: true
        servers: [{name: db, hypervisor: hv3}]
        hypervisors: "{{ ansible_play_hosts | map('extract', hostvars, ['capacity', 'hypervisor']) }}"
      when: inventory_hostname == 'hv1'
"""

RETURN = r"""
migrations:
  description: What became of each server.
  returned: success
  type: list
  elements: dict
  contains: &migration
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
      description: Hypervisor that it was on.
      type: str
    destination:
      description: Hypervisor that it is on; the same where nothing was to do.
      type: str
    method:
      description: How it moved, C(live) or C(cold); null where it did not.
      type: str
    duration:
      description: Seconds that it took; null in check mode, and where nothing was to do.
      type: float
    downtime:
      description: Milliseconds for which it stood still, as far as that is known.
      type: int
migration:
  description: The same, in the single form.
  returned: success, in the single form
  type: dict
  contains: *migration
steps:
  description: What was done, or would be in check mode.
  returned: changed
  type: list
  elements: str
  sample: [migrate server web-0001]
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.altostratus.ecs.plugins.module_utils import _module
from ansible_collections.altostratus.ecs.plugins.module_utils._engines.host import read_host
from ansible_collections.altostratus.ecs.plugins.module_utils._model.errors import InvalidInput
from ansible_collections.altostratus.ecs.plugins.module_utils._services import server_migration

SERVER: dict[str, Any] = {"name": {"type": "str", "required": True}, "hypervisor": {"type": "str"}, "project": {"type": "str"}}
DEFAULTS = ("hypervisor", "project")


def migration_request(item: dict[str, Any]) -> server_migration.MigrationRequest:
    if not item["hypervisor"]:
        raise InvalidInput(
            "hypervisor", item["hypervisor"], f"is missing for server {item['name']}", "Name it, or ask module migration_plan"
        )
    return server_migration.MigrationRequest(item["project"], item["name"], item["hypervisor"])


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **_module.list_form(SERVER, "servers", DEFAULTS),
            "hypervisors": {"type": "list", "elements": "dict", "required": True},
            "method": {"type": "str", "choices": ["auto", "cold"], "default": "auto"},
            "allow_stop": {"type": "bool", "default": False},
            "allow_az_change": {"type": "bool", "default": False},
            "bandwidth": {"type": "int", "default": 0},
            "timeout": {"type": "int", "default": 1800},
            "stop_timeout": {"type": "int", "default": 120},
            "wait_timeout": {"type": "int", "default": 600},
            **_module.SCOPE_OPTIONS,
            **_module.LIBVIRT_OPTIONS,
            **_module.OVN_OPTIONS,
        },
        mutually_exclusive=[("name", "servers")],
        required_one_of=[("name", "servers")],
        supports_check_mode=True,
    )

    def service() -> _module.Result:
        host = read_host()
        options = ("allow_stop", "allow_az_change", "bandwidth", "timeout", "stop_timeout", "wait_timeout")
        outcome = server_migration.migrate(
            module.params["libvirt_uri"],
            lambda: _module.northbound(module, host),
            host,
            _module.scope_of(module, host).region,
            [migration_request(item) for item in _module.items(module, SERVER, "servers", DEFAULTS)],
            module.params["hypervisors"],
            server_migration.Options(cold=module.params["method"] == "cold", **{name: module.params[name] for name in options}),
            module.check_mode,
        )
        values = _module.returned(module, "servers", "migration", outcome.migrations)
        return _module.Result(outcome.steps, {"migrations": values.pop("servers"), **values}, outcome.warnings)

    _module.run(module, service)


if __name__ == "__main__":
    main()
