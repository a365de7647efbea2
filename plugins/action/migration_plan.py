# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Choose hosts for servers that leave theirs: pure, so it stays in the controller, which has the facts of all hypervisors."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase

from ansible_collections.altostratus.ecs.plugins.module_utils._model.errors import EcsError
from ansible_collections.altostratus.ecs.plugins.module_utils._model.relocation import Rules, Wish, find, leaving, relocate
from ansible_collections.altostratus.ecs.plugins.module_utils._module import SCOPE_OPTIONS

SERVER: dict[str, Any] = {"name": {"type": "str", "required": True}, "project": {"type": "str"}, "hypervisor": {"type": "str"}}


class ActionModule(ActionBase):
    """Action of module migration_plan, whose file holds the documentation."""

    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        _result, options = self.validate_argument_spec(
            argument_spec={
                "hypervisors": {"type": "list", "elements": "dict", "required": True},
                "drain": {"type": "str"},
                "servers": {"type": "list", "elements": "dict", "options": SERVER},
                "policy": {"type": "str", "choices": ["spread", "pack"], "default": "spread"},
                "allow_az_change": {"type": "bool", "default": False},
                "allow_stop": {"type": "bool", "default": False},
                "project": SCOPE_OPTIONS["project"],
            },
            mutually_exclusive=[("drain", "servers")],
            required_one_of=[("drain", "servers")],
        )
        hypervisors = options["hypervisors"]
        rules = Rules(options["policy"] == "spread", options["allow_az_change"], options["allow_stop"])
        try:
            if options["drain"]:
                wishes = leaving(hypervisors, options["drain"])
            else:
                wishes = [
                    Wish(*find(hypervisors, item["project"] or options["project"], item["name"]), item["hypervisor"])
                    for item in options["servers"]
                ]
            result = relocate(wishes, hypervisors, rules)
        except EcsError as error:
            return {"failed": True, "msg": str(error), "error_code": error.code}
        return {"changed": False, "moves": result.moves, "stays": result.stays}
