#!/usr/bin/python
# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: volume_info
short_description: Read the volumes of a project
description:
  - Returns the volumes of a project in the active storage pools of the hypervisor that it runs on, with the servers that have them.
author:
  - altostratus.ecs contributors (@altostratus)
extends_documentation_fragment:
  - altostratus.ecs.scope
  - altostratus.ecs.libvirt
  - altostratus.ecs.attributes_info
options:
  name:
    description: Only the volume of that name. None is not an error, the list is empty then.
    type: str
"""

EXAMPLES = r"""
- name: All volumes of a project on this host
  altostratus.ecs.volume_info:
    project: shop
  register: disks

- name: Those that no server has
  ansible.builtin.debug:
    msg: "{{ disks.volumes | rejectattr('server') | map(attribute='name') }}"
"""

RETURN = r"""
volumes:
  description: The volumes by name; see module M(altostratus.ecs.volume) for what is in each.
  returned: success
  type: list
  elements: dict
  sample:
    - name: db-data
      project: shop
      type: standard
      size: 20
      serial: 0b3040e213674abb841d
      server: db
      status: in_use
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.altostratus.ecs.plugins.module_utils import _module
from ansible_collections.altostratus.ecs.plugins.module_utils._engines.libvirt_client import connect
from ansible_collections.altostratus.ecs.plugins.module_utils._services.volumes import read_volumes


def main() -> None:
    module = AnsibleModule(
        argument_spec={"name": {"type": "str"}, **_module.SCOPE_OPTIONS, **_module.LIBVIRT_OPTIONS}, supports_check_mode=True
    )

    def service() -> _module.Result:
        with connect(module.params["libvirt_uri"], readonly=True) as connection:
            found = read_volumes(connection, _module.scope_of(module), name=module.params["name"])
        return _module.Result([], {"volumes": [volume.represent() for volume in found]})

    _module.run(module, service)


if __name__ == "__main__":
    main()
