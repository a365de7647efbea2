#!/usr/bin/python
# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: hypervisor
short_description: Put a hypervisor into maintenance, and take it out
description:
  - A hypervisor in maintenance gets no new servers. Those that it has stay, run, and can be started, stopped and changed.
  - It is remembered on the host itself, in C(/etc/altostratus/host.json). Role P(altostratus.ecs.hypervisor#role) leaves it so,
    unless its variable C(ecs_maintenance) is set.
author:
  - altostratus.ecs contributors (@altostratus)
extends_documentation_fragment:
  - altostratus.ecs.attributes
options:
  maintenance:
    description: Whether the host is in maintenance.
    type: bool
    required: true
"""

EXAMPLES = r"""
- name: No new servers on this host
  altostratus.ecs.hypervisor:
    maintenance: true

- name: Back in service
  altostratus.ecs.hypervisor:
    maintenance: false
"""

RETURN = r"""
hypervisor:
  description: What is settled about the host, after the call.
  returned: success
  type: dict
  contains:
    name:
      description: The host's name in the inventory that prepared it.
      type: str
      sample: hv1
    maintenance:
      description: Whether it takes no new servers.
      type: bool
      sample: true
steps:
  description: What was done, or would be in check mode.
  returned: changed
  type: list
  elements: str
  sample: [update hypervisor hv1]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.altostratus.ecs.plugins.module_utils import _module
from ansible_collections.altostratus.ecs.plugins.module_utils._engines.host import read_host, settle
from ansible_collections.altostratus.ecs.plugins.module_utils._model.plan import Step, changes


def main() -> None:
    module = AnsibleModule(argument_spec={"maintenance": {"type": "bool", "required": True}}, supports_check_mode=True)

    def service() -> _module.Result:
        host = read_host()
        before, after = changes({"maintenance": host.maintenance}, {"maintenance": module.params["maintenance"]})
        steps = [Step("update", "hypervisor", host.name, before, after)] if after else []
        if steps and not module.check_mode:
            settle(**after)
        return _module.Result(steps, {"hypervisor": {"name": host.name, "maintenance": module.params["maintenance"]}})

    _module.run(module, service)


if __name__ == "__main__":
    main()
