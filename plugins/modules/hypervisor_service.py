#!/usr/bin/python
# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: hypervisor_service
short_description: Install what a hypervisor does by itself
description:
  - Installs the collection's own code on the hypervisor that it runs on, for the timers that role P(altostratus.ecs.hypervisor#role) sets
    up. They delete servers whose scheduled deletion is due, and reclaim preemptible ones that were given notice.
  - The code replaces that of another version of the collection at once and as a whole.
author:
  - altostratus.ecs contributors (@altostratus)
extends_documentation_fragment:
  - altostratus.ecs.attributes
options:
  path:
    description: Directory of the code; C(current) in it leads to the version that is used.
    type: path
    default: /usr/lib/altostratus
"""

EXAMPLES = r"""
- name: The code that this host's timers start
  altostratus.ecs.hypervisor_service:
"""

RETURN = r"""
path:
  description: Directory from which C(python3 -m altostratus_ecs._host) does what is due.
  returned: success
  type: str
  sample: /usr/lib/altostratus/current
steps:
  description: What was done, or would be in check mode.
  returned: changed
  type: list
  elements: str
  sample: [install service altostratus_ecs]
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.altostratus.ecs.plugins.module_utils import _host, _module
from ansible_collections.altostratus.ecs.plugins.module_utils._services import host_code

COMMAND = _host.main
"""What it installs: Ansible sends along all that is imported here."""


def main() -> None:
    module = AnsibleModule(argument_spec={"path": {"type": "path", "default": "/usr/lib/altostratus"}}, supports_check_mode=True)

    def service() -> _module.Result:
        path = module.params["path"]
        return _module.Result(
            host_code.install(path, host_code.sources(), module.check_mode), {"path": os.path.join(path, host_code.CURRENT)}
        )

    _module.run(module, service)


if __name__ == "__main__":
    main()
