#!/usr/bin/python
# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: disk_init
short_description: Initialise and mount disks inside a server
description:
  - Runs in the server (the guest) as root. It partitions a blank disk, makes a filesystem, adds the line to C(/etc/fstab) by the
    filesystem's UUID, and mounts it. One disk by its own options, or many by O(disks).
  - A disk that already holds the filesystem is only mounted. A disk that holds anything else is refused, unless O(force) is set. A disk
    that is in use (mounted elsewhere, swap, LVM, RAID) is always refused.
  - A run that was killed is completed by the next one.
author:
  - altostratus.ecs contributors (@altostratus)
extends_documentation_fragment:
  - altostratus.ecs.attributes
options:
  device: &device
    description:
      - Path of the whole disk, such as V(/dev/vdb), a name that may change.
      - One of O(device), O(serial) and O(volume) is needed.
    type: path
  serial: &serial
    description: Serial of the disk, as M(altostratus.ecs.volume) and the inventory tell it.
    type: str
  volume: &volume
    description: Id of the volume, which the serial follows from.
    type: str
  state:
    description:
      - V(present) initialises what is blank, and mounts.
      - V(absent) unmounts the disk and removes its lines from fstab, so that it can be detached. What is on it stays.
    type: str
    choices: [present, absent]
    default: present
  partition_style: &partition_style
    description:
      - Partition table of a blank disk. V(auto) is GPT, and takes what is there on a disk that is not blank.
      - V(mbr) is for disks of at most 2 TiB. V(none) makes the filesystem on the whole disk.
    type: str
    choices: [auto, gpt, mbr, none]
    default: auto
  filesystem: &filesystem
    description: Filesystem; V(ext4) on a blank disk, and by default whatever there is on a disk that is not.
    type: str
    choices: [ext4, xfs, ext3, ext2, btrfs]
  label: &label
    description: Label, given when the filesystem is made.
    type: str
  mount: &mount
    description: Directory to mount it at, which is created if needed. By default the disk is neither mounted nor put into fstab.
    type: str
  mount_options: &mount_options
    description: Mount options; C(defaults) in a new line of fstab.
    type: str
  owner: &owner
    description: Owner of the mounted directory, by name or number.
    type: str
  group: &group
    description: Group of the mounted directory, by name or number.
    type: str
  mode: &mode
    description: Mode of the mounted directory, such as V('0750').
    type: str
  force: &force
    description: Erase what the disk holds if it is not what is asked for. All its data is lost.
    type: bool
    default: false
  disks:
    description: Many disks, in the words of the single form.
    type: list
    elements: dict
    suboptions:
      device: *device
      serial: *serial
      volume: *volume
      state:
        description: As O(state), which is the default.
        type: str
        choices: [present, absent]
      partition_style: *partition_style
      filesystem: *filesystem
      label: *label
      mount: *mount
      mount_options: *mount_options
      owner: *owner
      group: *group
      mode: *mode
      force: *force
  fstab:
    description: The file that mounts are written to.
    type: path
    default: /etc/fstab
notes:
  - Needs C(blkid), C(findfs), C(wipefs), C(mount), for partitions C(sfdisk), and the C(mkfs) of the filesystem in the guest; no Python
    library.
  - The filesystem of a disk with a serial has a UUID that follows from the serial; another disk gets a random one.
"""

EXAMPLES = r"""
- name: A data disk for the database
  altostratus.ecs.disk_init:
    volume: "{{ archive.volume.id }}"
    filesystem: xfs
    mount: /var/lib/mysql
    owner: mysql
    group: mysql
    mode: '0750'

- name: Two at once
  altostratus.ecs.disk_init:
    disks:
      - {serial: 0b3040e213674abb841d, mount: /srv/a}
      - {serial: 4c1d7a7f0f9352a0b1c2, mount: /srv/b, filesystem: btrfs}

- name: Give it up, before it is detached
  altostratus.ecs.disk_init:
    serial: 0b3040e213674abb841d
    state: absent
"""

RETURN = r"""
disks:
  description: The disks after the call; in check mode, as they would be. Absent ones are not in it.
  returned: success
  type: list
  elements: dict
  contains: &disk
    device:
      description: The disk.
      type: str
      sample: /dev/vdb
    serial:
      description: Its serial.
      type: str
    size:
      description: GiB.
      type: int
    partition_style:
      description: C(gpt), C(mbr) or C(none).
      type: str
    partition:
      description: What bears the filesystem, the first partition or the whole disk.
      type: str
      sample: /dev/vdb1
    filesystem:
      description: Filesystem.
      type: str
    uuid:
      description: UUID of the filesystem.
      type: str
    mount:
      description: Where it is mounted.
      type: str
disk:
  description: The disk, in the single form; null when it is absent.
  returned: success, in the single form
  type: dict
  contains: *disk
steps:
  description: What was done, or would be in check mode.
  returned: changed
  type: list
  elements: str
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.altostratus.ecs.plugins.module_utils import _module
from ansible_collections.altostratus.ecs.plugins.module_utils._services import disk_init

DISK: dict[str, Any] = {
    "device": {"type": "path"},
    "serial": {"type": "str"},
    "volume": {"type": "str"},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "partition_style": {"type": "str", "choices": ["auto", "gpt", "mbr", "none"], "default": "auto"},
    "filesystem": {"type": "str", "choices": ["ext4", "xfs", "ext3", "ext2", "btrfs"]},
    "label": {"type": "str"},
    "mount": {"type": "str"},
    "mount_options": {"type": "str"},
    "owner": {"type": "str"},
    "group": {"type": "str"},
    "mode": {"type": "str"},
    "force": {"type": "bool", "default": False},
}


def main() -> None:
    module = AnsibleModule(
        argument_spec={**_module.list_form(DISK, "disks"), "fstab": {"type": "path", "default": "/etc/fstab"}},
        mutually_exclusive=[("disks", "device"), ("disks", "serial"), ("disks", "volume")],
        required_one_of=[("device", "serial", "volume", "disks")],
        supports_check_mode=True,
    )

    def service() -> _module.Result:
        items = [disk_init.item(options) for options in _module.items(module, DISK, "disks")]
        steps, disks, warnings = disk_init.ensure(items, module.params["fstab"], module.check_mode)
        values: dict[str, Any] = {"disks": disks}
        if module.params["disks"] is None:
            values["disk"] = next(iter(disks), None)
        return _module.Result(steps, values, warnings)

    _module.run(module, service)


if __name__ == "__main__":
    main()
