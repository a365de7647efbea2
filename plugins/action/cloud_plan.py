# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check a whole cloud and place its servers: pure, so it stays in the controller, where the modules' options are at hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.plugins.action import ActionBase

from ansible_collections.altostratus.ecs.plugins.action.placement import QUOTAS, SERVER_GROUP, hidden
from ansible_collections.altostratus.ecs.plugins.module_utils._model.cloud import Cloud, check, decide
from ansible_collections.altostratus.ecs.plugins.module_utils._model.errors import EcsError
from ansible_collections.altostratus.ecs.plugins.module_utils._module import SCOPE_OPTIONS
from ansible_collections.altostratus.ecs.plugins.modules.eip import EIP
from ansible_collections.altostratus.ecs.plugins.modules.image import IMAGE
from ansible_collections.altostratus.ecs.plugins.modules.network_interface import INTERFACE
from ansible_collections.altostratus.ecs.plugins.modules.security_group import GROUP
from ansible_collections.altostratus.ecs.plugins.modules.server import SERVER
from ansible_collections.altostratus.ecs.plugins.modules.volume import VOLUME
from ansible_collections.altostratus.ecs.plugins.modules.vpc import VPC

# What role image_library and this plan take beside the modules' own options.
ITEMS: dict[str, dict[str, Any]] = {
    "images": {**IMAGE, "remote_src": {"type": "bool"}},
    "keypairs": {"name": {"type": "str", "required": True}, "public_key": {"type": "str", "required": True}},
    "security_groups": GROUP,
    "vpcs": VPC,
    "network_interfaces": INTERFACE,
    "servers": SERVER,
    "volumes": {**VOLUME, "hypervisor": {"type": "str"}},
    "eips": EIP,
    "server_groups": SERVER_GROUP,
}
EXISTING = ("images", "vpcs", "security_groups", "external_networks")
_LIST = {"type": "list", "elements": "dict", "default": []}


def typed(kind: str, items: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The items as their module would take them: what was written, and only that, in the right types.

    :raises EcsError: when an option is unknown, missing or of the wrong type.
    """
    validator = ArgumentSpecValidator(ITEMS[kind])
    checked = []
    for item in items:
        result = validator.validate(dict(item))
        if result.error_messages:
            raise EcsError(f"{kind}: {item.get('name', dict(item))}: {'; '.join(result.error_messages)}", "ECS_INVALID_INPUT")
        checked.append({name: result.validated_parameters[name] for name in item})
    return checked


class ActionModule(ActionBase):
    """Action of module cloud_plan, whose file holds the documentation."""

    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        _result, options = self.validate_argument_spec(
            argument_spec={
                **SCOPE_OPTIONS,
                **{name: dict(_LIST) for name in ITEMS},
                "policy": {"type": "str", "choices": ["spread", "pack"], "default": "spread"},
                "hypervisors": {"type": "dict", "default": {}},
                "quotas": QUOTAS,
                "existing": {"type": "dict", "default": {}, "options": {name: dict(_LIST) for name in EXISTING}},
            }
        )
        try:
            cloud = Cloud(**{kind: typed(kind, options[kind]) for kind in ITEMS})
            check(cloud, Cloud(**{name: options["existing"].get(name) or () for name in EXISTING}))
            spread = options["policy"] == "spread"
            decision = decide(cloud, options["hypervisors"], options["project"], spread, options["quotas"])
            return {"changed": False, **decision, **hidden(cloud.servers)}
        except EcsError as error:
            return {"failed": True, "msg": str(error), "error_code": error.code}
