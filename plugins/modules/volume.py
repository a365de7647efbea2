#!/usr/bin/python
# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: volume
short_description: Create, grow, attach, detach and delete volumes
description:
  - Manages the volumes (disks) of the hypervisor that it runs on, one by its own options or many by O(volumes).
  - A volume is a qcow2 file in a libvirt storage pool, blank or a copy-on-write overlay of an image, which takes no time to make.
  - Volumes are thin, they take room as they are written. A new one must nevertheless fit in what its pool has free.
  - A disk of a running server is plugged in and out live. The device name in the guest cannot be chosen; the guest finds the disk as
    C(/dev/disk/by-id/virtio-<serial>).
author:
  - altostratus.ecs contributors (@altostratus)
extends_documentation_fragment:
  - altostratus.ecs.scope
  - altostratus.ecs.libvirt
  - altostratus.ecs.attributes
options:
  name: &name
    description:
      - Name of the volume, unique in the project; 1 to 64 letters, digits, V(_), V(.) or V(-).
      - The volumes of a server are called C(<server>-system) and C(<server>-<disk>).
    type: str
  state:
    description:
      - V(present) makes the volume if it is missing, and grows, attaches or detaches it as the other options say.
      - V(absent) deletes it with its data; that is refused while a server has it.
    type: str
    choices: [present, absent]
    default: present
  size: &size
    description:
      - Size in GiB, 1 to 32768. Required for a new blank volume; one made from an image has the image's size by default.
      - A volume can grow, also while it is in use. The guest's partition and filesystem do not grow with it.
    type: int
  type: &type
    description: Storage pool; by default the host's default pool. It cannot be changed.
    type: str
  image: &image
    description: Name of the image that the volume begins as, of the own project or public; by default it is blank. It cannot be changed.
    type: str
  server: &server
    description:
      - Name of the server of this host that shall have the volume. The empty string detaches it. By default it stays where it is.
      - The system disk of a running server, and a disk that the guest has mounted (as far as its agent tells), are not detached.
    type: str
  volumes:
    description: Many volumes, in the words of the single form.
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
      size: *size
      type: *type
      image: *image
      server: *server
  force:
    description: Detach a disk although the guest has it mounted; what it has not written yet is lost.
    type: bool
    default: false
  detach_timeout:
    description: Seconds that a guest has to let a disk go; and before that, other runs to be done with the server.
    type: int
    default: 30
"""

EXAMPLES = r"""
- name: A disk for a server
  altostratus.ecs.volume:
    project: shop
    name: archive
    size: 100
    type: slow
    server: db

- name: Grow it
  altostratus.ecs.volume: {project: shop, name: archive, size: 200}

- name: Take it away from its server, then delete it
  altostratus.ecs.volume: {project: shop, name: archive, server: ''}

- name: Delete it
  altostratus.ecs.volume: {project: shop, name: archive, state: absent}
"""

RETURN = r"""
volumes:
  description: The volumes after the call; in check mode, as they would be. Absent ones are not in it.
  returned: success
  type: list
  elements: dict
  contains: &volume
    id:
      description: The volume's id.
      type: str
    name:
      description: Name.
      type: str
    project:
      description: Project.
      type: str
    region:
      description: Region.
      type: str
    type:
      description: Storage pool.
      type: str
    size:
      description: GiB.
      type: int
    path:
      description: File on the host.
      type: str
    format:
      description: C(qcow2) or C(raw).
      type: str
    role:
      description: C(system) for the disk that its server boots from, else C(data).
      type: str
    serial:
      description: In the guest the disk is C(/dev/disk/by-id/virtio-<serial>).
      type: str
    image_id:
      description: Id of the image that it was made from; null for a blank one.
      type: str
    server:
      description: Name of the server that has it; null when it is free.
      type: str
    status:
      description: C(in_use) or C(available).
      type: str
volume:
  description: The volume, in the single form; null when it is absent.
  returned: success, in the single form
  type: dict
  contains: *volume
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
from ansible_collections.altostratus.ecs.plugins.module_utils._engines.libvirt_client import connect
from ansible_collections.altostratus.ecs.plugins.module_utils._services import volumes

VOLUME: dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "size": {"type": "int"},
    "type": {"type": "str"},
    "image": {"type": "str"},
    "server": {"type": "str"},
}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **_module.list_form(VOLUME, "volumes"),
            "force": {"type": "bool", "default": False},
            "detach_timeout": {"type": "int", "default": 30},
            **_module.SCOPE_OPTIONS,
            **_module.LIBVIRT_OPTIONS,
        },
        mutually_exclusive=[("name", "volumes")],
        required_one_of=[("name", "volumes")],
        supports_check_mode=True,
    )

    def service() -> _module.Result:
        host = read_host()
        scope, items = _module.scope_of(module, host), _module.items(module, VOLUME, "volumes")
        wanted = [{key: value for key, value in item.items() if key != "state"} for item in items if item["state"] == "present"]
        with connect(module.params["libvirt_uri"], events=True) as connection:
            steps, made = volumes.ensure_present(
                connection,
                host,
                scope,
                [volumes.VolumeRequest(**item) for item in wanted],
                force=module.params["force"],
                timeout=module.params["detach_timeout"],
                check=module.check_mode,
            )
            names = [item["name"] for item in items if item["state"] == "absent"]
            steps += volumes.ensure_absent(connection, scope, names, check=module.check_mode)
        values: dict[str, Any] = {"volumes": [volume.represent() for volume in made]}
        if module.params["volumes"] is None:
            values["volume"] = next(iter(values["volumes"]), None)
        return _module.Result(steps, values)

    _module.run(module, service)


if __name__ == "__main__":
    main()
