# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Place servers: pure, so it stays in the controller, which has the facts of all hypervisors and wants the answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.plugins.action import ActionBase

from ansible_collections.altostratus.ecs.plugins.module_utils._model.errors import EcsError
from ansible_collections.altostratus.ecs.plugins.module_utils._model.placement import by_hypervisor, place
from ansible_collections.altostratus.ecs.plugins.module_utils._model.server_groups import DEFAULT_POLICY, POLICIES
from ansible_collections.altostratus.ecs.plugins.module_utils._module import SCOPE_OPTIONS

SERVER_GROUP: dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "policy": {"type": "str", "choices": list(POLICIES), "default": DEFAULT_POLICY},
}
QUOTAS: dict[str, Any] = {"type": "dict", "options": {"server_groups": {"type": "int"}, "server_group_members": {"type": "int"}}}

LISTS = ("servers", "hypervisors")
OPTIONS: dict[str, Any] = {
    "server_groups": {"type": "list", "elements": "dict", "default": [], "options": SERVER_GROUP},
    "quotas": QUOTAS,
    "policy": {"type": "str", "choices": ["spread", "pack"], "default": "spread"},
    "project": SCOPE_OPTIONS["project"],
}


def _listed(option: str, value: Any) -> list[Mapping[str, Any]]:
    """A list of dictionaries, and no copy of it, which Ansible's validation would make: these lists are as long as the cloud is large."""
    if not isinstance(value, list) or not all(isinstance(item, Mapping) for item in value):
        raise EcsError(f"{option}: must be a list of dictionaries", "ECS_INVALID_INPUT", f"Give {option} as the documentation shows it")
    return value


def _validated(options: Mapping[str, Any]) -> dict[str, Any]:
    result = ArgumentSpecValidator(OPTIONS).validate(dict(options))
    if result.error_messages:
        raise EcsError("; ".join(result.error_messages), "ECS_INVALID_INPUT")
    return result.validated_parameters


def hidden(servers: Iterable[Mapping[str, Any]]) -> dict[str, bool]:
    """What to add to a result that holds what servers shall be told: with a password in it, those who use it get it, nobody is shown it."""
    return {"_ansible_no_log": True} if any(server.get("password") for server in servers) else {}


class ActionModule(ActionBase):
    """Action of module placement, whose file holds the documentation."""

    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        try:
            servers, hypervisors = (_listed(name, self._task.args.get(name)) for name in LISTS)
            options = _validated({name: value for name, value in self._task.args.items() if name not in LISTS})
            spread = options["policy"] == "spread"
            placed = place(servers, hypervisors, options["project"], spread, options["server_groups"], options["quotas"])
        except EcsError as error:
            return {"failed": True, "msg": str(error), "error_code": error.code}
        told = {
            "servers": placed.servers,
            "placement": by_hypervisor(placed.servers, hypervisors),
            "reclaims": placed.reclaims,
            "warnings": placed.warnings,
        }
        return {"changed": False, **told, **hidden(servers)}
