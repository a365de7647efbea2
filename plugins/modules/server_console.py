#!/usr/bin/python
# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: server_console
short_description: Read a server's console, take its picture, open it for a while
description:
  - Returns the last lines of what a server has said on its serial console, which its host keeps from the first boot on until the server is
    removed. Colours and other control characters are left out.
  - Takes a picture of its screen.
  - Opens its screen by a password that is made for this one time. Nobody gets in by VNC otherwise.
  - Runs on the hypervisor that has the server.
author:
  - altostratus.ecs contributors (@altostratus)
extends_documentation_fragment:
  - altostratus.ecs.scope
  - altostratus.ecs.libvirt
  - altostratus.ecs.attributes
options:
  name:
    description: Name of the server.
    type: str
    required: true
  lines:
    description: So many lines of the log, the last ones; V(0) for none.
    type: int
    default: 100
  screenshot:
    description: File on the hypervisor that a picture of the screen is written to, readable by its owner alone.
    type: path
  vnc:
    description:
      - Make a password for the screen, and tell it together with the address that the hypervisor serves it on.
      - That address is the hypervisor's own, so go there through SSH, for example C(ssh -L 5900:127.0.0.1:5901 root@hv1).
      - The result shows the password. It is of no use after O(vnc_timeout); who is in then may stay.
    type: bool
    default: false
  vnc_timeout:
    description: Seconds that the password is valid, 10 to 3600.
    type: int
    default: 60
"""

EXAMPLES = r"""
- name: Why does it not come up?
  altostratus.ecs.server_console:
    project: shop
    name: web
    lines: 40
    screenshot: /root/web.png

- name: Let me in
  altostratus.ecs.server_console:
    project: shop
    name: web
    lines: 0
    vnc: true
  register: opened

- name: How
  ansible.builtin.debug:
    msg: "ssh -L 5900:127.0.0.1:{{ opened.console.vnc.port }} {{ inventory_hostname }}; vncviewer :0, {{ opened.console.vnc.password }}"
"""

RETURN = r"""
console:
  description: The console.
  returned: success
  type: dict
  contains:
    server:
      description: Name of the server.
      type: str
    hypervisor:
      description: The host that runs it.
      type: str
    status:
      description: Status of the server.
      type: str
    path:
      description: The file on the hypervisor that keeps the log; older parts end in C(.0), C(.1) and so on.
      type: str
    lines:
      description: The last lines of the log.
      type: list
      elements: str
    screenshot:
      description: The picture, with C(path), C(type) (C(image/png)) and C(size) in bytes; null without one.
      type: dict
    vnc:
      description: The way in, with C(address), C(port), C(password) and C(expires); null without one.
      type: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.altostratus.ecs.plugins.module_utils import _module
from ansible_collections.altostratus.ecs.plugins.module_utils._engines.host import read_host
from ansible_collections.altostratus.ecs.plugins.module_utils._model.console import check_asked
from ansible_collections.altostratus.ecs.plugins.module_utils._services import console


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "lines": {"type": "int", "default": 100},
            "screenshot": {"type": "path"},
            "vnc": {"type": "bool", "default": False},
            "vnc_timeout": {"type": "int", "default": 60},
            **_module.SCOPE_OPTIONS,
            **_module.LIBVIRT_OPTIONS,
        },
        supports_check_mode=True,
    )

    def service() -> _module.Result:
        host = read_host()
        seconds = module.params["vnc_timeout"] if module.params["vnc"] else None
        asked = check_asked(module.params["lines"], module.params["screenshot"], seconds)
        name, scope = module.params["name"], _module.scope_of(module, host)
        steps, told = console.use(module.params["libvirt_uri"], host, scope, name, asked, module.check_mode)
        return _module.Result(steps, {"console": told})

    _module.run(module, service)


if __name__ == "__main__":
    main()
