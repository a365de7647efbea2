# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Passwords and keys of servers that run, set through the guest's agent (spec P-01 to P-04, P-20, X6)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

from .._engines import guest_agent
from .._engines.host import Host
from .._engines.libvirt_client import connect, each, read_domains
from .._engines.password_hash import sha512_crypt
from .._model.errors import EcsError, InvalidInput, NotFound
from .._model.names import Scope, check_unique
from .._model.passwords import check_password
from .._model.plan import Step
from .._model.public_keys import check_public_key, found, missing
from .._model.servers import Server, from_domain
from .exclusive import exclusive
from .server_update import remember


@dataclass(frozen=True)
class PasswordRequest:
    """Another password for a user of a server; None is the one that logs in there."""

    name: str
    password: str = field(repr=False)
    user: str | None = None


@dataclass(frozen=True)
class KeyRequest:
    """Who may log in to a server by key.

    :param user: None is the one that logs in there.
    :param key: name of the key pair that *public_keys* begins with.
    :param present: or else absent.
    :param exclusive: no other keys.
    """

    name: str
    public_keys: tuple[str, ...]
    user: str | None = None
    key: str | None = None
    present: bool = True
    exclusive: bool = False


@dataclass(frozen=True)
class _Guest:
    server: Server
    domain: Any

    def user(self, asked: str | None) -> str:
        """The user that is meant (spec M8)."""
        return asked or self.server.metadata.user or ("Administrator" if self.windows else "root")

    @property
    def windows(self) -> bool:
        return self.server.metadata.os_type == "windows"


@contextmanager
def _guests(uri: str, host: Host, scope: Scope, names: Sequence[str], timeout: float, check: bool) -> Iterator[dict[str, _Guest]]:
    """The servers by name, each running, its agent there, and no other run at it.

    :raises EcsError: names the first that is not.
    """
    check_unique("name", names, "stands there twice")
    ids = {scope.id("server", name): name for name in names}
    with nullcontext() if check else exclusive(host.locks, ids, timeout), connect(uri) as connection:
        live = read_domains(connection, ids.keys())
        guests = {}
        for server_id, name in ids.items():
            domain = live.get(server_id)
            server = from_domain(domain.xml, domain.state, host.name) if domain else None
            if server is None or domain is None:
                raise NotFound("server", name, f"project {scope.project} on {host.name}", "It may be on another host: see the inventory")
            if not server.active or server.paused:
                raise EcsError(f"server {name} (project {scope.project}) is {server.status}", "ECS_STOPPED", "Its guest must run: start it")
            guests[name] = _Guest(server, domain.domain)
        each(lambda guest: guest_agent.ping(guest.domain), list(guests.values()))
        yield guests


def _represent(guest: _Guest, user: str) -> dict[str, Any]:
    return {"id": guest.server.id, "name": guest.server.metadata.name, "user": user}


def reset_passwords(
    uri: str, host: Host, scope: Scope, requests: Sequence[PasswordRequest], timeout: float, check: bool
) -> tuple[list[Step], list[dict[str, Any]]]:
    """Set passwords, all of which are checked before the first.

    What a password was cannot be known, so each is set anew. A Linux guest gets its hash.
    """
    with _guests(uri, host, scope, [request.name for request in requests], timeout, check) as guests:
        for request in requests:
            guest = guests[request.name]
            check_password("password", request.password, guest.user(request.user), guest.server.metadata.os_type or "linux")
        if not check:
            for request in requests:
                guest = guests[request.name]
                secret = request.password if guest.windows else sha512_crypt(request.password)
                guest_agent.set_password(guest.domain, guest.user(request.user), secret, hashed=not guest.windows)
        users = {request.name: guests[request.name].user(request.user) for request in requests}
        steps = [Step("reset", "password", f"{user}@{name}") for name, user in users.items()]
        return steps, [_represent(guests[name], user) for name, user in users.items()]


@dataclass(frozen=True)
class _KeyChange:
    """What becomes of one server's keys."""

    request: KeyRequest
    guest: _Guest
    user: str
    before: tuple[str, ...]
    after: tuple[str, ...]

    @property
    def key(self) -> str:
        """The key pair's name that the server shows afterwards."""
        shown, asked = self.guest.server.metadata.key, self.request.key
        if self.request.present:
            return shown if asked is None else asked
        return "" if asked == shown else shown

    @property
    def steps(self) -> list[Step]:
        name, shown = self.request.name, self.guest.server.metadata.key
        steps = []
        if self.before != self.after:
            fields = {"public_keys": list(self.before)}, {"public_keys": list(self.after)}
            steps.append(Step("update", "keys", f"{self.user}@{name}", *fields))
        if self.key != shown:
            steps.append(Step("update", "server", name, {"key": shown}, {"key": self.key}))
        return steps

    def apply(self) -> None:
        domain = self.guest.domain
        if self.request.exclusive and self.before != self.after:
            guest_agent.add_authorized_keys(domain, self.user, self.after, instead=True)
        elif gone := [line for line in self.before if line not in self.after]:
            guest_agent.remove_authorized_keys(domain, self.user, gone)
        elif new := [line for line in self.after if line not in self.before]:
            guest_agent.add_authorized_keys(domain, self.user, new, instead=False)
        if self.key != self.guest.server.metadata.key:
            remember(domain, replace(self.guest.server.metadata, key=self.key))


def _plan_keys(request: KeyRequest, guest: _Guest) -> _KeyChange:
    user = guest.user(request.user)
    there = guest_agent.authorized_keys(guest.domain, user)
    new = missing(request.public_keys, there)
    same = found(there, request.public_keys)
    after = [*(same if request.exclusive else there), *new] if request.present else [line for line in there if line not in same]
    return _KeyChange(request, guest, user, tuple(there), tuple(after))


def set_keys(
    uri: str, host: Host, scope: Scope, requests: Sequence[KeyRequest], timeout: float, check: bool
) -> tuple[list[Step], list[dict[str, Any]]]:
    """Add, replace and remove keys; all servers are asked before the first is changed."""
    for request in requests:
        for line in request.public_keys:
            check_public_key("public_keys", line)
        if request.exclusive and not request.present:
            raise InvalidInput("exclusive", True, "does not go with state absent", "State present with no public_keys removes all")
    with _guests(uri, host, scope, [request.name for request in requests], timeout, check) as guests:
        changes = [_plan_keys(request, guests[request.name]) for request in requests]
        if not check:
            for change in changes:
                change.apply()
        told = [
            {**_represent(change.guest, change.user), "key": change.key or None, "public_keys": list(change.after)} for change in changes
        ]
        return [step for change in changes for step in change.steps], told
