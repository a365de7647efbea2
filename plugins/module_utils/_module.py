# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The thin AnsibleModule side: shared options, single and list form, errors into fail_json, one result shape.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible.module_utils.basic import AnsibleModule, env_fallback

from ._engines.host import Host, read_host
from ._engines.ovsdb import Northbound
from ._model.errors import EcsError
from ._model.names import Scope
from ._model.plan import Step, diff

SCOPE_OPTIONS: dict[str, Any] = {
    "project": {"type": "str", "default": "default", "fallback": (env_fallback, ["ECS_PROJECT"])},
    "region": {"type": "str", "fallback": (env_fallback, ["ECS_REGION"])},
}
LIBVIRT_OPTIONS: dict[str, Any] = {
    "libvirt_uri": {"type": "str", "default": "qemu:///system", "fallback": (env_fallback, ["ECS_LIBVIRT_URI"])},
}
OVN_OPTIONS: dict[str, Any] = {
    "ovn_nb": {"type": "str", "fallback": (env_fallback, ["ECS_OVN_NB"])},
    "ovn_ca_cert": {"type": "path", "fallback": (env_fallback, ["ECS_OVN_CA_CERT"])},
    "ovn_client_cert": {"type": "path", "fallback": (env_fallback, ["ECS_OVN_CLIENT_CERT"])},
    "ovn_client_key": {"type": "path", "fallback": (env_fallback, ["ECS_OVN_CLIENT_KEY"])},
}


@dataclass
class Result:
    """What a service returns to a module.

    :param steps: what was done, or would be in check mode; no steps means unchanged.
    :param values: return values, e.g. ``{"vpcs": [...]}``.
    :param warnings: shown by Ansible.
    """

    steps: list[Step] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def list_form(item: Mapping[str, Any], plural: str, defaults: Iterable[str] = ("state",)) -> dict[str, Any]:
    """Options of a module that takes one resource by its own options, or many under *plural* in the same words.

    In the list form an option named in *defaults* may also stand once at the top for all items that do not set it.
    """
    listed = {
        name: {key: value for key, value in spec.items() if not (name in defaults and key == "default")}
        for name, spec in item.items()
    }
    return {
        **{name: {key: value for key, value in spec.items() if key != "required"} for name, spec in item.items()},
        plural: {"type": "list", "elements": "dict", "options": listed},
    }


def items(module: AnsibleModule, item: Mapping[str, Any], plural: str, defaults: Iterable[str] = ("state",)) -> list[dict[str, Any]]:
    """The resources that the user listed, from either form."""
    if module.params[plural] is None:
        return [{name: module.params[name] for name in item}]
    inherited = {name: module.params[name] for name in defaults if name in item}
    return [
        {**entry, **{name: value for name, value in inherited.items() if entry.get(name) is None}} for entry in module.params[plural]
    ]


def scope_of(module: AnsibleModule, host: Host | None = None) -> Scope:
    """Region and project of this call; the region falls back to the host's."""
    return Scope(region=module.params.get("region") or (host or read_host()).region, project=module.params["project"])


def northbound(module: AnsibleModule, host: Host | None = None) -> Northbound:
    """The Northbound database of this call: options first, then the host's settings. It connects when it is first used."""
    host = host or read_host()
    remote, *files = (module.params[name] or getattr(host, name) for name in OVN_OPTIONS)
    return Northbound(remote, *files)


def returned(module: AnsibleModule, plural: str, singular: str, resources: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return values of a state module: the list always, in the single form the one resource as well, None when it is absent."""
    values: dict[str, Any] = {plural: list(resources)}
    if module.params[plural] is None:
        values[singular] = next(iter(resources), None)
    return values


def run(module: AnsibleModule, service: Callable[[], Result]) -> None:
    """Call the service and end the module with its result, or with the error a user can act on."""
    try:
        result = service()
    except EcsError as error:
        module.fail_json(msg=str(error), error_code=error.code)
    for warning in result.warnings:
        module.warn(warning)
    ending: dict[str, Any] = {"changed": bool(result.steps), **result.values}
    if result.steps:
        ending["steps"] = [str(step) for step in result.steps]
        if module._diff:
            ending["diff"] = diff(result.steps)
    module.exit_json(**ending)
