# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation fragment: the connection to libvirt."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  libvirt_uri:
    description:
      - Connection URI of the hypervisor's libvirt daemon.
      - If not set, the environment variable E(ECS_LIBVIRT_URI) is used.
    type: str
    default: qemu:///system
requirements:
  - python >= 3.11
  - libvirt-python
"""
