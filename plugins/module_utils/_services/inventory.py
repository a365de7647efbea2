# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads the servers of many hypervisors at once, each with one connection, and all public addresses with one."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from .._engines.libvirt_client import connect, stream_domains
from .._model import servers
from .._model.errors import EcsError

if TYPE_CHECKING:
    from .._engines.ovsdb import Northbound
    from .._model.northbound import Port


@dataclass(frozen=True)
class Hypervisor:
    """A hypervisor to read.

    :param name: as the inventory shows it; None for the name that libvirt tells.
    :param uri: libvirt URI, shown to users and used by the guest agent connection.
    :param through: the URI to connect with, where it differs.
    """

    uri: str
    name: str | None = None
    through: str | None = None


@dataclass(frozen=True)
class Found:
    """What was read.

    :param servers: server dictionaries with ``domain`` and ``libvirt_uri`` besides.
    :param failures: what could not be read, by hypervisor (name or URI) or ``ovn_nb``.
    """

    servers: list[dict[str, Any]]
    failures: dict[str, str]


def read_servers(
    hypervisors: Sequence[Hypervisor], northbound: Callable[[], AbstractContextManager[Northbound]] | None, timeout: float
) -> Found:
    """Read everything at once; what is dead costs its timeout once, and the others not at all.

    :param northbound: makes a client of the Northbound; None when there is none to ask, then no EIP is known.
    :param timeout: seconds for each.
    """
    jobs: dict[str, Callable[[], Any]] = {hypervisor.name or hypervisor.uri: partial(_read, hypervisor) for hypervisor in hypervisors}
    if northbound:
        jobs["ovn_nb"] = partial(_read_ports, northbound)
    answers, failures = _at_once(jobs, timeout)
    ports = answers.pop("ovn_nb", [])
    return Found(with_ports([server for answer in answers.values() for server in answer], ports), failures)


def _read(hypervisor: Hypervisor) -> list[dict[str, Any]]:
    with connect(hypervisor.through or hypervisor.uri, readonly=True) as connection:
        name = hypervisor.name or connection.getHostname()
        found = (servers.from_domain(live.xml, live.state, name) for live in stream_domains(connection))
        return [{**servers.represent(server), "domain": server.domain.name, "libvirt_uri": hypervisor.uri} for server in found if server]


def _read_ports(northbound: Callable[[], AbstractContextManager[Northbound]]) -> list[Port]:
    from .ports import read_ports  # late, as Ansible compiles what it imports each time

    with northbound() as nb:
        return read_ports(nb)


def with_ports(found: Iterable[dict[str, Any]], ports: Iterable[Port]) -> list[dict[str, Any]]:
    """The servers with their ports' live addresses and security groups, and the EIP of the first port that has one."""
    by_id = {port.id: port for port in ports}
    return [_with_ports(server, by_id) for server in found]


def _with_ports(server: dict[str, Any], ports: Mapping[str, Port]) -> dict[str, Any]:
    nics = []
    for nic in server["nics"]:
        port = ports.get(nic["id"])
        nics.append({**nic, "address": port.address, "security_groups": list(port.security_groups)} if port else nic)
    eips = [port.eip for nic in nics if (port := ports.get(nic["id"])) and port.eip]
    return {**server, "nics": nics, "address": nics[0]["address"] if nics else server["address"], "eip": eips[0] if eips else None}


def _at_once(jobs: Mapping[str, Callable[[], Any]], timeout: float) -> tuple[dict[str, Any], dict[str, str]]:
    """Results and errors by name, results in the jobs' order.

    The threads are daemons: one that hangs in a dead connection must not keep the process from ending, as a pool's would.
    """
    done: queue.SimpleQueue[tuple[str, Any, str]] = queue.SimpleQueue()

    def work(name: str, job: Callable[[], Any]) -> None:
        try:
            done.put((name, job(), ""))
        except EcsError as error:
            done.put((name, None, str(error)))
        except Exception as error:  # a thread's traceback would be lost
            done.put((name, None, f"{type(error).__name__}: {error}"))

    for name, job in jobs.items():
        threading.Thread(target=work, args=(name, job), daemon=True).start()
    results: dict[str, Any] = {}
    failures: dict[str, str] = {}
    deadline = time.monotonic() + timeout
    try:
        while len(results) + len(failures) < len(jobs):
            name, result, problem = done.get(timeout=max(0.0, deadline - time.monotonic()))
            if problem:
                failures[name] = problem
            else:
                results[name] = result
    except queue.Empty:
        failures |= {name: f"no answer within {timeout:g} s" for name in jobs if name not in results and name not in failures}
    return {name: results[name] for name in jobs if name in results}, failures
