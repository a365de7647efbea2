# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules have in common that say who logs in to servers: one server by its own options, or many under ``servers``.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from ansible.module_utils.basic import AnsibleModule

from . import _module
from ._engines.host import read_host
from ._model.plan import Step

Request = TypeVar("Request")


def arguments(server: Mapping[str, Any]) -> dict[str, Any]:
    """What the AnsibleModule is made with.

    :param server: the options of one server; in the list form each may stand once for all of them.
    """
    return {
        "argument_spec": {
            **_module.list_form(server, "servers", server),
            "wait_timeout": {"type": "int", "default": 60},
            **_module.SCOPE_OPTIONS,
            **_module.LIBVIRT_OPTIONS,
        },
        "mutually_exclusive": [("name", "servers")],
        "required_one_of": [("name", "servers")],
        "supports_check_mode": True,
    }


def run(
    module: AnsibleModule,
    server: Mapping[str, Any],
    request: Callable[[dict[str, Any]], Request],
    service: Callable[..., tuple[list[Step], list[dict[str, Any]]]],
) -> None:
    """Ask a service of :mod:`_services.server_login` and end the module.

    :param server: as for :func:`arguments`.
    :param request: what the options of one server ask for.
    """

    def ask() -> _module.Result:
        host = read_host()
        steps, told = service(
            module.params["libvirt_uri"],
            host,
            _module.scope_of(module, host),
            [request(item) for item in _module.items(module, server, "servers", server)],
            module.params["wait_timeout"],
            module.check_mode,
        )
        return _module.Result(steps, _module.returned(module, "servers", "server", told))

    _module.run(module, ask)
