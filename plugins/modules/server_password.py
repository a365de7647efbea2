#!/usr/bin/python
# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: server_password
short_description: Reset passwords inside servers
description:
  - Gives users of servers (ECS) other passwords, through the guest's agent; no network leads to the server, and nobody has to log in.
  - The servers must run, and their guests have qemu-guest-agent. All of them are asked before the first password is set.
  - The password counts at once; a restart is not needed.
  - What a password was cannot be known, so every run sets it, and reports a change.
  - Whether one may log in with a password is the guest's own affair. Most let C(root) in by key only, unless the server was created with a
    password; the console takes it anyway.
author:
  - altostratus.ecs contributors (@altostratus)
extends_documentation_fragment:
  - altostratus.ecs.scope
  - altostratus.ecs.libvirt
  - altostratus.ecs.attributes
options:
  name: &name
    description: Name of the server, on the hypervisor that the module runs on.
    type: str
  user: &user
    description: Whose password; by default of the user that logs in to the server, C(root) for most images.
    type: str
  password: &password
    description:
      - 8 to 26 characters of at least three kinds (capital and small letters, digits, special characters), without the user's name, also
        backwards.
      - The host and the guest see its hash only; a Windows guest, which takes none, the password.
      - Required, here or in each item of O(servers).
    type: str
  servers:
    description: Many servers, in the words of the single form. O(user) and O(password) may stand once for all of them.
    type: list
    elements: dict
    suboptions:
      name:
        <<: *name
        required: true
      user: *user
      password: *password
  wait_timeout:
    description: Seconds to wait for other runs that are at the same servers.
    type: int
    default: 60
seealso:
  - module: altostratus.ecs.server_key
"""

EXAMPLES = r"""
- name: A new password for root
  altostratus.ecs.server_password:
    project: shop
    name: db
    password: "{{ vault_db_root }}"

- name: One for a user of several servers
  altostratus.ecs.server_password:
    project: shop
    user: operator
    password: "{{ vault_operator }}"
    servers: [{name: web-0001}, {name: web-0002}]
"""

RETURN = r"""
servers:
  description: Whose passwords were set.
  returned: success
  type: list
  elements: dict
  contains: &server
    id:
      description: The server's id.
      type: str
    name:
      description: Its name.
      type: str
    user:
      description: The user.
      type: str
server:
  description: The same, in the single form.
  returned: success, in the single form
  type: dict
  contains: *server
steps:
  description: What was done, or would be in check mode.
  returned: changed
  type: list
  elements: str
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.altostratus.ecs.plugins.module_utils import _login_module
from ansible_collections.altostratus.ecs.plugins.module_utils._model.errors import InvalidInput
from ansible_collections.altostratus.ecs.plugins.module_utils._services import server_login

SERVER: dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "user": {"type": "str"},
    "password": {"type": "str", "no_log": True},
}


def password_request(item: dict[str, Any]) -> server_login.PasswordRequest:
    if item["password"] is None:
        raise InvalidInput("password", None, f"is missing for server {item['name']}", "Give it, once for all servers or for each")
    return server_login.PasswordRequest(**item)


def main() -> None:
    _login_module.run(AnsibleModule(**_login_module.arguments(SERVER)), SERVER, password_request, server_login.reset_passwords)


if __name__ == "__main__":
    main()
