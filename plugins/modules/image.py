#!/usr/bin/python
# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: image
short_description: Import, describe and remove disk images
description:
  - Imports disk images into the library of the host that it runs on, converted to qcow2, one by its own options or many by O(images).
  - The format is found in the bytes of the source. An image that names other files (backing file, data file, extents, parent), one that is
    encrypted, truncated, or no disk image at all is refused before any tool opens it.
  - An image appears in the library when it is complete, and never changes. Its description may.
  - An image that is there already, with the same checksum, is not read again. Without a checksum, a file is recognised by size and time of
    its last change, and a URL by nothing but the name of the image.
author:
  - altostratus.ecs contributors (@altostratus)
extends_documentation_fragment:
  - altostratus.ecs.scope
  - altostratus.ecs.libvirt
  - altostratus.ecs.attributes
options:
  name: &name
    description: Name of the image, unique in the project; 1 to 64 letters, digits, V(_), V(.) or V(-).
    type: str
  state:
    description:
      - V(present) imports an image that is missing, and changes the description of one that is there.
      - V(absent) removes it; that is refused while volumes are made from it.
    type: str
    choices: [present, absent]
    default: present
  source: &source
    description:
      - Absolute path on the host, or http or https URL. Required for a new image.
      - Role P(altostratus.ecs.image_library#role) brings files of the controller to the host.
    type: str
  checksum: &checksum
    description: Checksum of the source, V(sha256:...) or V(sha512:...). With another the import fails and leaves nothing.
    type: str
  format: &format
    description:
      - What the source claims to be. An image of another format is refused.
      - A raw disk without partition table and filesystem can be told from other files by this claim only.
    type: str
    choices: [qcow2, raw, vmdk, vhd, vhdx, vdi]
  visibility: &visibility
    description: V(private) to the project, or V(public) to all projects. A new image is private.
    type: str
    choices: [private, public]
  min_disk: &min_disk
    description: GiB that a system disk must have at least; by default the image's own size.
    type: int
  min_memory: &min_memory
    description: MiB that a server must have at least.
    type: int
  os_type: &os_type
    description: Family of the operating system; V(linux) for a new image.
    type: str
    choices: [linux, windows, other]
  default_user: &default_user
    description: User that logs in with the server's key; empty where the image does not say.
    type: str
  architecture: &architecture
    description: Processor architecture, such as V(x86_64); a new image is taken to be for that of its host.
    type: str
  cloud_init: &cloud_init
    description: Whether cloud-init runs in a server made from it, so that there is something to wait for. A new image is taken to have it.
    type: bool
  properties: &properties
    description: Any further properties; they replace the ones that are there.
    type: dict
  images:
    description: Many images, in the words of the single form.
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
      source: *source
      checksum: *checksum
      format: *format
      visibility: *visibility
      min_disk: *min_disk
      min_memory: *min_memory
      os_type: *os_type
      default_user: *default_user
      architecture: *architecture
      cloud_init: *cloud_init
      properties: *properties
  library:
    description: Directory of the library; by default the one in the host's C(/etc/altostratus/host.json).
    type: path
notes:
  - While an import runs, C(<id>.progress) in the library tells how far it is.
  - Check mode inspects a file that is on the host, but does not compute its checksum; it fetches nothing.
  - Needs C(qemu-img) and C(prlimit) on the host; libvirt is asked only when an image is removed.
"""

EXAMPLES = r"""
- name: An image from a URL
  altostratus.ecs.image:
    project: shop
    name: debian-13
    source: https://cloud.debian.org/images/cloud/trixie/latest/debian-13-genericcloud-amd64.qcow2
    checksum: "sha512:{{ debian_checksum }}"
    default_user: debian

- name: Several for all projects
  altostratus.ecs.image:
    images:
      - {name: debian-13, source: /srv/images/debian-13.qcow2, visibility: public}
      - {name: appliance, source: /srv/images/appliance.vmdk, format: vmdk, visibility: public, min_memory: 2048}

- name: Remove one
  altostratus.ecs.image:
    project: shop
    name: debian-13
    state: absent
"""

RETURN = r"""
images:
  description: The images after the call; in check mode, as they would be. Absent ones are not in it.
  returned: success
  type: list
  elements: dict
  contains: &image
    id:
      description: The image's id.
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
    path:
      description: The qcow2 file in the library.
      type: str
    source:
      description: Path or URL that it was imported from.
      type: str
    source_format:
      description: Format of the source.
      type: str
    checksum:
      description: Checksum of the source.
      type: str
    virtual_size:
      description: Bytes of the disk inside.
      type: int
    size:
      description: Bytes that it takes in the library.
      type: int
    visibility:
      description: C(private) or C(public).
      type: str
    min_disk:
      description: GiB.
      type: int
    min_memory:
      description: MiB.
      type: int
    os_type:
      description: Family of the operating system.
      type: str
    default_user:
      description: User that logs in with the server's key.
      type: str
    architecture:
      description: Processor architecture.
      type: str
    cloud_init:
      description: Whether cloud-init runs in it.
      type: bool
    properties:
      description: Further properties.
      type: dict
    created:
      description: When it was imported, in UTC.
      type: str
image:
  description: The image, in the single form; null when it is absent.
  returned: success, in the single form
  type: dict
  contains: *image
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
from ansible_collections.altostratus.ecs.plugins.module_utils._services import images

IMAGE: dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "source": {"type": "str"},
    "checksum": {"type": "str"},
    "format": {"type": "str", "choices": ["qcow2", "raw", "vmdk", "vhd", "vhdx", "vdi"]},
    "visibility": {"type": "str", "choices": ["private", "public"]},
    "min_disk": {"type": "int"},
    "min_memory": {"type": "int"},
    "os_type": {"type": "str", "choices": ["linux", "windows", "other"]},
    "default_user": {"type": "str"},
    "architecture": {"type": "str"},
    "cloud_init": {"type": "bool"},
    "properties": {"type": "dict"},
}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **_module.list_form(IMAGE, "images"),
            "library": {"type": "path"},
            **_module.SCOPE_OPTIONS,
            **_module.LIBVIRT_OPTIONS,
        },
        mutually_exclusive=[("name", "images")],
        required_one_of=[("name", "images")],
        supports_check_mode=True,
    )

    def service() -> _module.Result:
        host = read_host()
        library, scope = module.params["library"] or host.image_library, _module.scope_of(module, host)
        items = _module.items(module, IMAGE, "images")
        requests = [images.request(item) for item in items if item["state"] == "present"]
        steps, made, warnings = images.ensure_present(library, scope, requests, module.check_mode)
        steps += images.ensure_absent(
            library,
            scope,
            [item["name"] for item in items if item["state"] == "absent"],
            lambda: connect(module.params["libvirt_uri"], readonly=True),
            module.check_mode,
        )
        values: dict[str, Any] = {"images": [image.represent() for image in made]}
        if module.params["images"] is None:
            values["image"] = next(iter(values["images"]), None)
        return _module.Result(steps, values, warnings)

    _module.run(module, service)


if __name__ == "__main__":
    main()
