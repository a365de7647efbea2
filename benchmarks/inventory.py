# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory of many servers: of one hypervisor, of twenty, over SSH, with a dead one among them, from the cache.

The limit is a static inventory of the same hosts, with all variables and groups, and the time that a bare read of the same domains takes.
The static inventory is a program that prints what ansible-inventory printed: of all static forms the one that Ansible reads fastest, 1.7
times as fast as JSON, 10 times as fast as YAML.
"""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness import PEERS, ROOT, Figure, run, take_turns
from hypervisors import SSH_PORT, Hypervisor, Site, define, site

_CONNECT_TIMEOUT = 5
"""Seconds, the plugin's default for SSH."""
_PATIENCE = 30
"""Seconds after which a peer is stopped."""
_HOSTS = 20
_ROUND_TRIPS = [0.02 + 0.06 * number / (_HOSTS - 1) for number in range(_HOSTS)]
"""Seconds, as between sites of one country and between continents."""
_PEER = "community.libvirt.libvirt"


@dataclass(frozen=True)
class _Source:
    """An inventory source in a directory of its own, where Ansible keeps what it keeps.

    :param hosts: how many hosts it has.
    :param inside: where to run, see :class:`hypervisors.Site`.
    """

    path: Path
    hosts: int
    inside: Sequence[str] = ()

    def listing(self, program: str | Path = "ansible-inventory", patience: float | None = None) -> str:
        """What ansible-inventory prints."""
        command = (*self.inside, program, "-i", self.path, "--list")
        return run(*command, environment={"ANSIBLE_HOME": str(self.path.parent)}, patience=patience)

    def seconds(self, program: str | Path = "ansible-inventory", patience: float | None = None) -> float:
        """What that takes; all hosts have to be there.

        :raises subprocess.TimeoutExpired: after *patience* seconds.
        """
        started = time.perf_counter()
        told = self.listing(program, patience)
        seconds = time.perf_counter() - started
        if len(json.loads(told)["_meta"]["hostvars"]) != self.hosts:
            raise RuntimeError(f"{self.path.name}: expected {self.hosts} hosts:\n{told[-2000:]}")
        return seconds


class _Workshop:
    """Makes inventory sources; its path is short, as those of the sockets that SSH is shared by are in a user's home."""

    def __init__(self, directory: str) -> None:
        self.directory = Path(directory)

    def write(self, name: str, text: str, hosts: int, inside: Sequence[str] = ()) -> _Source:
        path = self.directory / name
        path.write_text(text)
        return _Source(path, hosts, inside)

    def ours(self, uris: Mapping[str, str], hosts: int, inside: Sequence[str] = (), name: str = "servers", **options: object) -> _Source:
        """All servers of some hypervisors, in all groups."""
        text = json.dumps({"plugin": "altostratus.ecs.servers", "hypervisors": uris, **options})
        return self.write(f"{name}.ecs.yml", text, hosts, inside)

    def peer(self, host: Hypervisor, hosts: int) -> _Source:
        """All domains of a hypervisor."""
        return self.write("peer.libvirt.yml", json.dumps({"plugin": _PEER, "uri": host.uri}), hosts)

    def static(self, source: _Source) -> _Source:
        """The same hosts, variables and groups as of *source*."""
        told = self.directory / "static.json"
        told.write_text(source.listing())
        made = self.write("static", f"#!/bin/sh\nexec cat {told}\n", source.hosts)
        made.path.chmod(0o755)
        if json.loads(made.listing()) != json.loads(told.read_text()):
            raise RuntimeError("the static inventory is not that of the plugin")
        return made

    def forget_connections(self) -> None:
        """End the SSH connections that a run has left for the next."""
        for socket in (self.directory / "cp").glob("*"):
            if socket.is_socket():
                subprocess.run(["ssh", "-o", f"ControlPath={socket}", "-O", "exit", "host"], capture_output=True, check=False)


@contextmanager
def _workshop() -> Iterator[_Workshop]:
    with tempfile.TemporaryDirectory(prefix="b") as directory:
        yield _Workshop(directory)


def _bulk_read(uris: Sequence[str], count: int) -> float:
    return float(run(sys.executable, ROOT / "benchmarks/bare/domains.py", count, *uris))


def _within_limit(figure: Figure) -> bool:
    return figure.ratio_to_limit is not None and figure.ratio_to_limit <= 1.2


def _limit(static: _Source, hosts: Sequence[Hypervisor]) -> Callable[[], float]:
    return lambda: static.seconds() + _bulk_read([host.uri for host in hosts], static.hosts)


def inventory() -> Iterator[Figure]:
    """All figures of the inventory."""
    with _workshop() as workshop:
        yield from _one(workshop)
        yield from _running(workshop)
        yield from _twenty(workshop)


def _one(workshop: _Workshop) -> Iterator[Figure]:
    """1,000 servers of one hypervisor, which is gone when the cache is asked."""
    with site(1) as there:
        (host,) = there.hypervisors
        host.define(1000)
        uris = {host.name: host.uri}
        ours = workshop.ours(uris, 1000)
        static = workshop.static(ours)
        peer = workshop.peer(host, 1000)
        turns = {"ours": ours.seconds, "limit": _limit(static, [host]), _PEER: lambda: peer.seconds(PEERS / "ansible-inventory")}
        times = take_turns(turns, repetitions=5)
        yield times.figure("inventory", 1000, "<= 1.2x limit", _within_limit)
        yield times.figure(
            "inventory, all servers off", 1000, "faster than the peer", lambda figure: figure.ratio_to_peer > 1, _PEER,
            note="the peer's own best case: one hypervisor, no agent to ask, no groups but one for each server",
        )  # fmt: skip
        cache = {"cache": True, "cache_plugin": "ansible.builtin.jsonfile", "cache_connection": str(workshop.directory / "cache")}
        cached = workshop.ours(uris, 1000, name="cached", unreachable="fail", **cache)
        first = cached.listing()
    same = cached.listing() == first
    times = take_turns({"ours": cached.seconds, "limit": static.seconds}, repetitions=5)
    yield times.figure(
        "inventory cached", 1000, "no remote call", lambda figure: same,
        note="the hypervisor is gone, and unreachable: fail would tell; the limit is the static inventory alone",
    )  # fmt: skip


def _running(workshop: _Workshop) -> Iterator[Figure]:
    """50 servers that run, without agents and with agents that hang."""

    def five_times(figure: Figure) -> bool:
        return figure.ratio_to_peer is not None and figure.ratio_to_peer >= 5

    with site(1) as there:
        (host,) = there.hypervisors
        ours, peer = workshop.ours({host.name: host.uri}, 50), workshop.peer(host, 50)
        host.start(50, agents=False)
        times = take_turns({"ours": ours.seconds, _PEER: lambda: peer.seconds(PEERS / "ansible-inventory")}, repetitions=5)
        yield times.figure(
            "inventory, running, no agent", 50, ">= 5x faster than the peer", five_times, _PEER,
            note="libvirt knows that no agent is there and refuses the peer's questions at once: what is left of both is Ansible's start",
        )  # fmt: skip
        host.stop()
        host.start(50, agents=True)
        times = take_turns({"ours": ours.seconds, _PEER: lambda: _until_stopped(peer)})
        yield times.figure(
            "inventory, running, agents hang", 50, ">= 5x faster than the peer", five_times, _PEER,
            note=f"the peer was stopped after {_PATIENCE} s; it waits 5 s for each of two answers of each server",
        )  # fmt: skip


def _until_stopped(peer: _Source) -> float:
    try:
        return peer.seconds(PEERS / "ansible-inventory", _PATIENCE)
    except subprocess.TimeoutExpired:
        return float(_PATIENCE)


def _close_to_slowest(figure: Figure) -> bool:
    return figure.ratio_to_limit is not None and figure.ratio_to_limit <= 1.5


def _connection_cost(host: Hypervisor, there: Site) -> str:
    """What the SSH connections cost this machine's processor, and by which key exchange."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run(*there.inside, there.directory / "ssh", "-v", "-E", there.directory / "told", "-p", SSH_PORT, f"root@{host.address}", "true")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    (algorithm,) = re.findall(r"kex: algorithm: (\S+)", (there.directory / "told").read_text())
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    cores = os.cpu_count() or 1
    return f"ssh alone ({algorithm}) works {1000 * seconds:.0f} ms on each, {_HOSTS * seconds / cores:.2f} s for all on {cores} cores"


def _twenty(workshop: _Workshop) -> Iterator[Figure]:
    """20 hypervisors, far away with 10 servers each, then near with 250 each."""
    with site(_HOSTS, _ROUND_TRIPS) as there:
        hosts = there.hypervisors
        define(hosts, 10)
        farthest = hosts[-1].name

        def over_ssh(uris: Mapping[str, str], name: str) -> _Source:
            alive = len(uris) - (there.dead_uri in uris.values())
            return workshop.ours(uris, 10 * alive, there.inside, name, connect_timeout=_CONNECT_TIMEOUT)

        def before(contender: str) -> None:
            workshop.forget_connections()

        far, near = {host.name: host.far_uri for host in hosts}, {host.name: host.near_uri for host in hosts}
        distance = f"10 servers on each host; round trips of {1000 * _ROUND_TRIPS[0]:.0f} to {1000 * _ROUND_TRIPS[-1]:.0f} ms, by a relay"
        ours, slowest = over_ssh(far, "far"), over_ssh({farthest: far[farthest]}, "farthest")
        near_all, near_one = over_ssh(near, "near"), over_ssh({farthest: near[farthest]}, "nearest")
        turns = {"ours": ours.seconds, "limit": slowest.seconds}
        times = take_turns({**turns, "near": near_all.seconds, "nearest": near_one.seconds}, 5, before)
        yield times.figure(
            "inventory over SSH", _HOSTS, "<= 1.5x the slowest host", _close_to_slowest,
            note=f"{distance}; the limit is the farthest host alone. No connection is left from before: "
            f"{_connection_cost(hosts[0], there)}, and the SSH servers and libvirt daemons share them. "
            f"Without any distance it is {times['near']:.2f} s for all and {times['nearest']:.2f} s for one",
        )  # fmt: skip
        ours.seconds()
        yield take_turns(turns, 5).figure(
            "inventory over SSH, again", _HOSTS, "<= 1.5x the slowest host", _close_to_slowest,
            note=f"{distance}; both find the SSH connections that a run less than a minute ago has left",
        )  # fmt: skip
        living = {name: uri for name, uri in far.items() if name != farthest}
        ours, others = over_ssh({**living, farthest: there.dead_uri}, "dead"), over_ssh(living, "living")
        times = take_turns({"ours": ours.seconds, "limit": lambda: others.seconds() + _CONNECT_TIMEOUT}, 5, before)
        yield times.figure(
            "inventory over SSH, one dead", _HOSTS, "<= the others + its timeout", lambda figure: figure.ratio_to_limit <= 1,
            note=f"packets to the dead host are lost; the limit is the inventory of the other 19 and connect_timeout, {_CONNECT_TIMEOUT} s",
        )  # fmt: skip
        define(hosts, 240, first=10)
        ours = workshop.ours({host.name: host.uri for host in hosts}, 5000)
        static = workshop.static(ours)
        times = take_turns({"ours": ours.seconds, "limit": _limit(static, hosts)})
        yield times.figure("inventory over 20 hosts", 5000, "<= 1.2x limit", _within_limit)
