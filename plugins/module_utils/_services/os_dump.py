# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Making a server dump its memory by an NMI (spec OD-1 to OD-7)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .._engines import guest_agent
from .._engines.host import Host
from .._engines.libvirt_client import connect, inject_nmi
from .._model import os_dump
from .._model.errors import EcsError
from .._model.names import Scope
from .._model.plan import Step
from .console import find

_PING = 3  # seconds: a guest that hangs is what dumps are for


@dataclass(frozen=True)
class Options:
    """The gates: see module server_dump."""

    confirm: bool = False
    check_guest: bool = True
    path: str = "/var/crash"
    min_vcpus: int = os_dump.VCPUS
    min_memory: int = os_dump.MEMORY


def _ask(domain: Any, path: str) -> os_dump.Guest:
    files = {}
    for name in (os_dump.COMMAND_LINE, *os_dump.PANICS):
        code, out, _err = guest_agent.run(domain, ["/bin/cat", name])
        if code == 0:
            files[name] = out.decode("utf-8", "replace")
    code, out, _err = guest_agent.run(domain, ["/bin/df", "-Pk", "--", path])
    words = out.decode("utf-8", "replace").strip().rpartition("\n")[2].split()
    free = int(words[3]) >> 10 if code == 0 and len(words) > 3 and words[3].isdecimal() else None
    return os_dump.Guest(files, free)


def trigger(uri: str, host: Host, scope: Scope, name: str, options: Options, check: bool) -> tuple[list[Step], dict[str, Any], list[str]]:
    """Send the NMI, unless something stands against it.

    :returns: the step, what modules return as ``dump``, and warnings.
    :raises EcsError: at the first gate that is closed; the server goes on as it is.
    """
    warnings = []
    with connect(uri) as connection:
        server, live = find(connection, host, scope, name)
        os_dump.check_server(server, options.confirm, options.min_vcpus, options.min_memory)
        asked = options.check_guest and server.metadata.os_type != "windows"
        if asked:
            try:
                guest_agent.ping(live.domain, timeout=_PING)
                guest = _ask(live.domain, options.path)
            except EcsError as error:
                asked = False
                warnings.append(f"whether the guest is prepared could not be seen: {error}")
            else:
                os_dump.check_guest(server, guest)
        if not check:
            inject_nmi(live.domain)
    told = {"server": name, "hypervisor": host.name, "method": "nmi", "guest_checked": asked}
    return [Step("dump", "server", name, after={"method": "nmi"})], told, warnings
