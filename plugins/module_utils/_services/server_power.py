# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Power: start, stop and wait for many servers at once, by events."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from .._engines import guest_agent
from .._engines.libvirt_client import WAITING, Events, each, power_off, press_power_button
from .._model.errors import EcsError

_RESULT = "/run/cloud-init/result.json"
# How often a guest is asked for what sends no event: the end of cloud-init, or an agent that was there before we listened.
_POLL = 1.0


def start(domains: Sequence[Any]) -> None:
    """Let domains run and come back after the host's next start, as many at once as it has cores: starting QEMU takes 0.3 s of CPU.

    One that runs is left alone, one that is paused goes on.
    """
    each(_start, domains)


def _start(domain: Any) -> None:
    import libvirt

    if not domain.isActive():
        domain.create()
    elif domain.state()[0] == libvirt.VIR_DOMAIN_PAUSED:
        domain.resume()
    domain.setAutostart(1)


def stop(events: Events, domains: Sequence[Any], timeout: int, force: bool) -> None:
    """Ask guests to shut down and wait until they did (spec R9, R10).

    Their agents are asked first, by ACPI those without one, and by ACPI again those that still run at half the time: an agent can hang,
    and a guest that has just started misses the button.

    :param events: listening.
    :param timeout: seconds for all of them together.
    :param force: power off those that did not stop in time; unsaved data is lost.
    :raises EcsError: ECS_TIMEOUT when some did not stop and *force* is not set.
    """
    if not domains:
        return
    ids = {domain.UUIDString() for domain in domains}
    events.stopped -= ids
    start = time.monotonic()
    if timeout > 0:
        each(_ask, domains, WAITING)
        if not events.wait(lambda: ids <= events.stopped, start + timeout / 2):
            each(press_power_button, _running(events, domains))
    if events.wait(lambda: ids <= events.stopped, start + timeout):
        return
    left = _running(events, domains)
    if left and not force:
        raise EcsError(
            f"{', '.join(domain.name() for domain in left)} did not stop within {timeout} s",
            "ECS_TIMEOUT",
            "Raise stop_timeout, or set force to power off what does not stop; unsaved data is lost then",
        )
    each(power_off, left, WAITING)


def _ask(domain: Any) -> None:
    if not guest_agent.shut_down(domain):
        press_power_button(domain)


def _running(events: Events, domains: Sequence[Any]) -> list[Any]:
    return [domain for domain in domains if domain.UUIDString() not in events.stopped and domain.isActive()]


def _agent_answers(domain: Any) -> bool:
    try:
        guest_agent.ping(domain, timeout=1)
    except EcsError:
        return False
    return True


def _cloud_init_errors(domain: Any) -> list[str] | None:
    """What went wrong in cloud-init's run; None while it runs."""
    try:
        result = json.loads(guest_agent.read_file(domain, _RESULT))
    except (EcsError, ValueError):
        return None
    return [str(error) for error in result["v1"].get("errors", ())]


def _until(events: Events, domains: Mapping[str, Any], ready: Callable[[str, Any], bool], deadline: float) -> list[str]:
    """Wait for all domains; returns the names of those that were not ready in time."""
    left = dict(domains)

    def all_ready() -> bool:
        for name, domain in list(left.items()):
            # The stop before a restart may be told late.
            if domain.UUIDString() in events.stopped and not domain.isActive():
                raise EcsError(f"server {name} stopped while it was waited for", "ECS_STOPPED", "Its console log tells why")
            if ready(name, domain):
                del left[name]
        return not left

    events.wait(all_ready, deadline, _POLL)
    return list(left)


def wait(events: Events, domains: Mapping[str, Any], wait_for: str, cloud_init: Collection[str], timeout: int) -> None:
    """Wait until started guests are as far as *wait_for* says.

    :param events: listening since before the start.
    :param domains: name to domain.
    :param wait_for: none, running, agent, cloud_init; a started domain is running.
    :param cloud_init: names of those whose image runs cloud-init; the others are waited for as with agent.
    :param timeout: seconds for all of them together.
    :raises EcsError: ECS_TIMEOUT names who did not come, ECS_CLOUD_INIT whose first boot failed.
    """
    if wait_for in ("none", "running"):
        return
    deadline = time.monotonic() + timeout
    if late := _until(events, domains, lambda name, domain: _agent_answers(domain), deadline):
        raise EcsError(
            f"the guest agent of {', '.join(late)} did not answer within {timeout} s",
            "ECS_TIMEOUT",
            "Is qemu-guest-agent in the image? The servers keep running; raise wait_timeout and run again, or look at the console log",
        )
    if wait_for != "cloud_init":
        return
    failed: dict[str, list[str]] = {}

    def initialised(name: str, domain: Any) -> bool:
        errors = _cloud_init_errors(domain)
        if errors:
            failed[name] = errors
        return errors is not None

    if late := _until(events, {name: domain for name, domain in domains.items() if name in cloud_init}, initialised, deadline):
        raise EcsError(
            f"cloud-init of {', '.join(late)} did not finish within {timeout} s",
            "ECS_TIMEOUT",
            "The servers keep running; raise wait_timeout and run again, or look at /var/log/cloud-init-output.log in the guest",
        )
    if failed:
        raise EcsError(
            "cloud-init failed in " + "; ".join(f"{name}: {', '.join(errors)}" for name, errors in failed.items()),
            "ECS_CLOUD_INIT",
            "The servers keep running; /var/log/cloud-init-output.log in the guest tells more",
        )
