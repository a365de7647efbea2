#!/usr/bin/python
# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: image_info
short_description: Read the images that a project may use
description:
  - Returns the images in the library of the host that it runs on, those of the project and the public ones of all projects.
author:
  - altostratus.ecs contributors (@altostratus)
extends_documentation_fragment:
  - altostratus.ecs.scope
  - altostratus.ecs.attributes_info
options:
  name:
    description: Only the images of that name. None is not an error, the list is empty then.
    type: str
  public:
    description: Whether the public images of other projects are told as well.
    type: bool
    default: true
  library:
    description: Directory of the library; by default the one in the host's C(/etc/altostratus/host.json).
    type: path
"""

EXAMPLES = r"""
- name: What can a server be made from
  altostratus.ecs.image_info:
    project: shop
  register: library
"""

RETURN = r"""
images:
  description: The images by name; see module M(altostratus.ecs.image) for what is in each.
  returned: success
  type: list
  elements: dict
  sample:
    - name: debian-13
      project: shop
      visibility: private
      source_format: qcow2
      virtual_size: 3221225472
      min_disk: 3
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.altostratus.ecs.plugins.module_utils import _module
from ansible_collections.altostratus.ecs.plugins.module_utils._engines.host import read_host
from ansible_collections.altostratus.ecs.plugins.module_utils._services.images import read_images


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str"},
            "public": {"type": "bool", "default": True},
            "library": {"type": "path"},
            **_module.SCOPE_OPTIONS,
        },
        supports_check_mode=True,
    )

    def service() -> _module.Result:
        host, name = read_host(), module.params["name"]
        found = read_images(module.params["library"] or host.image_library, _module.scope_of(module, host), module.params["public"])
        return _module.Result([], {"images": [image.represent() for image in found if name in (None, image.name)]})

    _module.run(module, service)


if __name__ == "__main__":
    main()
