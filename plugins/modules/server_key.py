#!/usr/bin/python
# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: server_key
short_description: Say whose keys log in to servers
description:
  - Adds public keys to servers (ECS), replaces those that are there, or removes them, through the guest's agent; no network leads to the
    server, so that one whose key was lost can be reached again.
  - The servers must run, and their guests have qemu-guest-agent. All of them are asked before the first is changed.
  - Keys are compared by themselves, without options and comment.
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
  state: &state
    description: V(present) lets the keys log in, V(absent) removes them.
    type: str
    choices: [present, absent]
    default: present
  public_keys: &public_keys
    description: Public keys, lines as in C(authorized_keys).
    type: list
    elements: str
  exclusive: &exclusive
    description: Remove all other keys of the user. With an empty list of O(public_keys) none remains.
    type: bool
    default: false
  key: &key
    description:
      - Name of the key pair that O(public_keys) begins with; the server shows it from then on.
      - With O(state=absent) the server shows it no longer.
    type: str
  user: &user
    description: Who logs in; by default the user that logs in to the server, C(root) for most images.
    type: str
  servers:
    description: Many servers, in the words of the single form. Each option may stand once for all of them.
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
      public_keys: *public_keys
      exclusive:
        description: As O(exclusive), which is the default.
        type: bool
      key: *key
      user: *user
  wait_timeout:
    description: Seconds to wait for other runs that are at the same servers.
    type: int
    default: 60
seealso:
  - module: altostratus.ecs.server_password
"""

EXAMPLES = r"""
- name: Another key instead of the one that leaked
  altostratus.ecs.server_key:
    project: shop
    name: db
    key: ops-2
    public_keys: ["{{ lookup('ansible.builtin.file', '~/.ssh/ops-2.pub') }}"]
    exclusive: true

- name: One key more, on several servers
  altostratus.ecs.server_key:
    project: shop
    public_keys: ["{{ lookup('ansible.builtin.file', 'colleague.pub') }}"]
    servers: [{name: web-0001}, {name: web-0002}]
"""

RETURN = r"""
servers:
  description: The servers after the call; in check mode, as they would be.
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
    key:
      description: Name of the key pair that the server shows.
      type: str
    public_keys:
      description: The keys that log in as that user.
      type: list
      elements: str
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
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "public_keys": {"type": "list", "elements": "str", "no_log": False},
    "exclusive": {"type": "bool", "default": False},
    "key": {"type": "str", "no_log": False},
    "user": {"type": "str"},
}


def key_request(item: dict[str, Any]) -> server_login.KeyRequest:
    if item["public_keys"] is None:
        raise InvalidInput("public_keys", None, f"is missing for server {item['name']}", "Give them, once for all servers or for each")
    return server_login.KeyRequest(
        name=item["name"],
        public_keys=tuple(line.strip() for line in item["public_keys"]),
        user=item["user"],
        key=item["key"],
        present=item["state"] == "present",
        exclusive=item["exclusive"],
    )


def main() -> None:
    _login_module.run(AnsibleModule(**_login_module.arguments(SERVER)), SERVER, key_request, server_login.set_keys)


if __name__ == "__main__":
    main()
