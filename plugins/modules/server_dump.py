#!/usr/bin/python
# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: server_dump
short_description: Make a server dump its memory
description:
  - Sends a non-maskable interrupt (NMI) to a server that hangs or misbehaves. A guest that is prepared for it writes its memory to its own
    disk and restarts.
  - Every run of it is a change. In check mode it sees whether all gates are open, and sends nothing.
  - A Linux guest is prepared by C(kdump-tools) (Debian) or C(kexec-tools), C(crashkernel=256M) on the kernel's command line, and
    C(kernel.unknown_nmi_panic=1). The dump is found in C(/var/crash) then.
  - Runs on the hypervisor that has the server.
author:
  - altostratus.ecs contributors (@altostratus)
extends_documentation_fragment:
  - altostratus.ecs.scope
  - altostratus.ecs.libvirt
  - altostratus.ecs.attributes
options:
  name:
    description: Name of the server. It must run, on x86_64.
    type: str
    required: true
  confirm:
    description: Whether you accept that the server goes down and restarts. Without it nothing is done.
    type: bool
    default: false
  check_guest:
    description:
      - See by the guest agent that a Linux guest is prepared, and refuse to go on when it is not.
      - A guest whose agent does not answer, as one that hangs, is not asked; that is a warning.
    type: bool
    default: true
  dump_path:
    description: Where the guest keeps its dumps; as much as the server's memory must be free there.
    type: str
    default: /var/crash
  min_vcpus:
    description: Least number of vCPUs of a server that is dumped.
    type: int
    default: 4
  min_memory:
    description: Least memory of a server that is dumped, in MiB.
    type: int
    default: 8192
"""

EXAMPLES = r"""
- name: It hangs, find out why
  altostratus.ecs.server_dump:
    project: shop
    name: db
    confirm: true
"""

RETURN = r"""
dump:
  description: What was done, or would be in check mode.
  returned: success
  type: dict
  contains:
    server:
      description: Name of the server.
      type: str
    hypervisor:
      description: The host that runs it.
      type: str
    method:
      description: C(nmi).
      type: str
    guest_checked:
      description: Whether the guest was seen to be prepared.
      type: bool
steps:
  description: What was done, or would be in check mode.
  returned: success
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.altostratus.ecs.plugins.module_utils import _module
from ansible_collections.altostratus.ecs.plugins.module_utils._engines.host import read_host
from ansible_collections.altostratus.ecs.plugins.module_utils._services import os_dump


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "confirm": {"type": "bool", "default": False},
            "check_guest": {"type": "bool", "default": True},
            "dump_path": {"type": "str", "default": "/var/crash"},
            "min_vcpus": {"type": "int", "default": 4},
            "min_memory": {"type": "int", "default": 8192},
            **_module.SCOPE_OPTIONS,
            **_module.LIBVIRT_OPTIONS,
        },
        supports_check_mode=True,
    )

    def service() -> _module.Result:
        host, given = read_host(), module.params
        options = os_dump.Options(given["confirm"], given["check_guest"], given["dump_path"], given["min_vcpus"], given["min_memory"])
        scope = _module.scope_of(module, host)
        steps, told, warnings = os_dump.trigger(given["libvirt_uri"], host, scope, given["name"], options, module.check_mode)
        return _module.Result(steps, {"dump": told}, warnings)

    _module.run(module, service)


if __name__ == "__main__":
    main()
