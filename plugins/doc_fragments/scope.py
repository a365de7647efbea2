# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation fragment: the project and region that a resource belongs to."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  project:
    description:
      - Project that owns the resources; names are unique within it. A project name holds no dot.
      - If not set, the environment variable E(ECS_PROJECT) is used.
    type: str
    default: default
  region:
    description:
      - Region of the resources.
      - If not set, the environment variable E(ECS_REGION) is used, then the region in the host's C(/etc/altostratus/host.json).
    type: str
"""
