# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server's console: what it said, what is on its screen, and a way in for a while (spec W5, X3)."""

from __future__ import annotations

import os
import secrets
import string
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from .._engines import console as engine
from .._engines import files
from .._engines.host import Host
from .._engines.libvirt_client import Live, connect, read_domains
from .._model import times
from .._model.console import Asked, last_lines
from .._model.errors import EcsError, NotFound
from .._model.names import Scope
from .._model.plan import Step
from .._model.servers import Server, from_domain

_ROTATED = 3
"""Older parts of a console log that libvirt keeps."""
_ALPHABET = string.ascii_letters + string.digits
_LENGTH = 8  # VNC knows no longer password


def log_path(host: Host, domain: str) -> str:
    """The file that keeps a domain's serial console."""
    return os.path.join(host.console_logs, f"{domain}.log")


def log_paths(host: Host, domain: str) -> list[str]:
    """The same with what was rotated out of it, the newest first."""
    path = log_path(host, domain)
    return [path, *(f"{path}.{number}" for number in range(_ROTATED))]


def new_password() -> str:
    """A password for one time, and for a screen that shall let nobody in."""
    return "".join(secrets.choice(_ALPHABET) for _place in range(_LENGTH))


def _parts(host: Host, domain: str) -> Iterator[bytes]:
    for path in log_paths(host, domain):
        try:
            with open(path, "rb") as stream:
                yield stream.read()
        except FileNotFoundError:
            return


def find(connection: Any, host: Host, scope: Scope, name: str) -> tuple[Server, Live]:
    """A server of this host.

    :raises NotFound: when there is none.
    """
    server_id = scope.id("server", name)
    live = read_domains(connection, {server_id}).get(server_id)
    server = from_domain(live.xml, live.state, host.name) if live else None
    if live is None or server is None:
        raise NotFound("server", name, f"project {scope.project} on {host.name}", "Run the module on the hypervisor that has it")
    return server, live


def _screen(server: Server, live: Live) -> engine.Screen:
    """The screen of a server that runs.

    :raises EcsError: ECS_STOPPED, ECS_CONSOLE.
    """
    name = server.metadata.name
    if not server.active:
        raise EcsError(f"server {name} is {server.status}: there is nothing on its screen", "ECS_STOPPED", "Start it first")
    screen = engine.find_screen(live.domain)
    if screen is None:
        raise EcsError(f"server {name} has no screen", "ECS_CONSOLE", "Its serial console is all there is")
    return screen


def _open(server: Server, live: Live, screen: engine.Screen, seconds: int) -> dict[str, Any]:
    if not screen.guarded:
        engine.set_password(live.domain, new_password(), 0, live=False)
        raise EcsError(
            f"server {server.metadata.name} was started with a screen that knows no passwords",
            "ECS_CONSOLE",
            "It does from its next start on: restart it (state restarted)",
        )
    password, until = new_password(), times.now() + timedelta(seconds=seconds)
    engine.set_password(live.domain, password, until.timestamp(), live=True)
    return {"address": screen.address, "port": screen.port, "password": password, "expires": times.stamp(until)}


def use(uri: str, host: Host, scope: Scope, name: str, asked: Asked, check: bool) -> tuple[list[Step], dict[str, Any]]:
    """Do with a server's console what is asked.

    :returns: the steps, and what modules return as ``console``.
    :raises EcsError: when there is no such server, or it is off and its screen is asked for.
    """
    with connect(uri) as connection:
        server, live = find(connection, host, scope, name)
        domain = server.domain.name
        told: dict[str, Any] = {
            "server": name,
            "hypervisor": host.name,
            "status": server.status,
            "path": log_path(host, domain),
            "lines": last_lines(_parts(host, domain), asked.lines) if asked.lines else [],
            "screenshot": None,
            "vnc": None,
        }
        steps = []
        if asked.screenshot is not None:
            _screen(server, live)
            steps.append(Step("take", "screenshot", asked.screenshot, after={"server": name}))
            if not check:
                kind, picture = engine.screenshot(connection, live.domain)
                files.write(asked.screenshot, picture, 0o600)
                told["screenshot"] = {"path": asked.screenshot, "type": kind, "size": len(picture)}
        if asked.vnc is not None:
            screen = _screen(server, live)
            steps.append(Step("open", "console", name, after={"seconds": asked.vnc}))
            if not check:
                told["vnc"] = _open(server, live, screen, asked.vnc)
        return steps, told
