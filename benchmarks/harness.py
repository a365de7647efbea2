# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How every benchmark measures: ours, the limit and the peers in turn, in the same run, on the same work; medians and their ratios.

The *limit* is the least that the engines allow: a bare script that makes the same calls. A *peer* is another tool that does the same work.
*Fixed* is what Ansible costs before a module does anything: a play of as many pings. It is taken off ours before that is compared with the
limit, which does not start Ansible, and left in where ours is compared with a peer.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / ".build/bench"
LAB = Path("/var/lib/altostratus-lab")
IN_LAB = ("ip", "netns", "exec", "ecs-lab")
PEERS = ROOT / ".build/peers/bin"
"""Programs of the peers' own virtual environment."""

Work = Callable[[], object]
"""Does the work once; where it returns a float, that is the seconds it took, otherwise the caller's clock counts."""


@dataclass(frozen=True)
class Figure:
    """One line of the table; times in seconds, each the median of *repetitions*.

    :param n: how many things one repetition handles.
    :param goal: the aim in words; *met* tells whether it was reached.
    :param ours: with Ansible's fixed start.
    :param spread: largest deviation of ours from its median, as a part of it.
    """

    name: str
    n: int
    goal: str
    met: bool
    repetitions: int
    ours: float
    fixed: float = 0.0
    limit: float | None = None
    peer: float | None = None
    peer_name: str = ""
    spread: float = 0.0
    note: str = ""

    @property
    def ratio_to_limit(self) -> float | None:
        """Ours without Ansible's fixed start, in units of the limit."""
        return (self.ours - self.fixed) / self.limit if self.limit else None

    @property
    def ratio_to_peer(self) -> float | None:
        """How many times as long as ours the peer takes."""
        return self.peer / self.ours if self.peer else None

    def record(self) -> dict[str, Any]:
        """The figure as ``latest.json`` holds it."""
        return {**asdict(self), "ratio_to_limit": self.ratio_to_limit, "ratio_to_peer": self.ratio_to_peer}


@dataclass(frozen=True)
class Times:
    """Seconds of each turn, by contender."""

    turns: Mapping[str, Sequence[float]]

    def __getitem__(self, contender: str) -> float:
        return median(self.turns[contender])

    def figure(self, name: str, n: int, goal: str, met: Callable[[Figure], bool], peer: str = "", note: str = "") -> Figure:
        """The figure of these times against the limit, if there is one, and against *peer*, if one is named."""
        ours = self.turns["ours"]
        figure = Figure(
            name=name, n=n, goal=goal, met=True, repetitions=len(ours), ours=self["ours"],
            fixed=self["fixed"] if "fixed" in self.turns else 0.0,
            limit=self["limit"] if "limit" in self.turns else None,
            peer=self[peer] if peer else None, peer_name=peer,
            spread=max(abs(seconds - self["ours"]) for seconds in ours) / self["ours"], note=note,
        )  # fmt: skip
        return Figure(**{**asdict(figure), "met": met(figure)})


def take_turns(contenders: Mapping[str, Work], repetitions: int = 3, before: Callable[[str], None] = lambda contender: None) -> Times:
    """Run all contenders once, then all again, so that whatever else the machine does meets each of them alike.

    :param contenders: ``ours``, and ``fixed``, ``limit`` and peers by their names.
    :param before: puts the contender's world in order, not timed.
    """
    turns: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(repetitions):
        for name, work in contenders.items():
            before(name)
            started = time.perf_counter()
            told = work()
            elapsed = time.perf_counter() - started
            turns[name].append(told if isinstance(told, float) else elapsed)
            print(f"    {turn + 1}/{repetitions} {name:14} {turns[name][-1]:9.3f} s", flush=True)
    return Times(turns)


# --- programs ------------------------------------------------------------------------------------------------------------------------


def run(*command: str | Path, stdin: str | None = None, environment: Mapping[str, str] | None = None, patience: float | None = None) -> str:
    """Run a program that must succeed; returns what it prints.

    :param patience: seconds after which it is stopped, with :exc:`subprocess.TimeoutExpired`.
    """
    done = subprocess.run(
        [str(part) for part in command], input=stdin, stdin=None if stdin is not None else subprocess.DEVNULL, cwd=ROOT,
        env={**os.environ, **(environment or {})}, capture_output=True, text=True, check=False, timeout=patience,
    )  # fmt: skip
    if done.returncode != 0:
        raise RuntimeError(
            f"{' '.join(map(str, command))} failed with status {done.returncode}:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        )
    return done.stdout


@dataclass(frozen=True)
class Play:
    """A play of some tasks on some hosts, written once and run as often as wanted.

    :param hosts: a pattern; ``localhost`` without an inventory.
    :param peer: run it by the peers' Ansible.
    :param lab: run it in the lab's network, with the lab's inventory.
    :param settings: keywords of the play besides, such as ``module_defaults``.
    """

    name: str
    tasks: Sequence[Mapping[str, Any]]
    hosts: str = "localhost"
    peer: bool = False
    lab: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)

    def command(self) -> list[str]:
        """The command line, after the play was written."""
        path = BUILD / f"{self.name.replace(' ', '-')}.yml"
        path.parent.mkdir(parents=True, exist_ok=True)
        play = {"hosts": self.hosts, "gather_facts": False, **self.settings, "tasks": [dict(task) for task in self.tasks]}
        # json is yaml, and written ten times as fast
        path.write_text(json.dumps([play]), encoding="utf-8")
        inventory = (
            ["-i", str(LAB / "inventory.yml")]
            if self.lab
            else ["-i", "localhost,", "-c", "local", "-e", f"ansible_python_interpreter={sys.executable}"]
        )
        program = str(PEERS / "ansible-playbook") if self.peer else "ansible-playbook"
        return [*(IN_LAB if self.lab else ()), program, *inventory, str(path)]

    def __call__(self, changed: bool | None = None) -> None:
        """Run it.

        :param changed: whether it must change something; None if that does not matter.
        """
        told = run(*self.command(), environment=self.environment)
        if changed is not None and ("changed=0 " in told) is changed:
            raise RuntimeError(f"{self.name}: expected {'a change' if changed else 'no change'}:\n{told[-2000:]}")


def pings(count: int = 1, **where: Any) -> Play:
    """What Ansible costs before *count* modules do anything."""
    return Play("pings", [{"ansible.builtin.ping": {}}] * count, **where)


@cache
def prepared_lab() -> None:
    """Build the lab anew, once in a run, and make its hosts hypervisors; with the peers' programs on them."""
    print("    the lab is built", flush=True)
    defaults = yaml.safe_load((ROOT / "roles/lab/defaults/main.yml").read_text(encoding="utf-8"))
    packages = json.dumps({"lab_host_packages": [*defaults["lab_host_packages"], "virtinst"]})
    run("ansible-playbook", "playbooks/lab_destroy.yml")
    run("ansible-playbook", "playbooks/lab.yml", "-e", packages)
    # 200 tiny servers on the few cores of the machine
    run(*IN_LAB, "ansible-playbook", "-i", LAB / "inventory.yml", "playbooks/site.yml", "-e", "ecs_cpu_overcommit=200")
    copy = {"src": f"{ROOT}/benchmarks/bare/", "dest": f"{ON_HOST}/", "mode": "0755"}
    Play("bare scripts", [{"ansible.builtin.copy": copy}], hosts="hypervisors", lab=True)()


ON_HOST = Path("/var/tmp/altostratus-bench")
"""Where a host of the lab has the scripts of ``bare``."""


def on_host(host: str, script: str, *arguments: str) -> float:
    """Run a script of ``bare`` on a host of the lab; it prints, last, the seconds that its work took."""
    command = shlex.join(["python3", str(ON_HOST / script), *arguments])
    return float(run(LAB / "bin/ssh", host, command).splitlines()[-1])


# --- the table -----------------------------------------------------------------------------------------------------------------------


def _seconds(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{1000 * value:.3g} ms" if value < 0.1 else f"{value:.3g} s"


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}x" if value < 10 else f"{value:.0f}x"


def table(figures: Sequence[Figure]) -> Iterator[str]:
    """The lines of the table, as Markdown."""
    yield "| figure | N | ours | of it fixed | limit | peer | ours/limit | peer/ours | goal | met |"
    yield "|---|--:|--:|--:|--:|--:|--:|--:|---|---|"
    for figure in figures:
        peer = f"{_seconds(figure.peer)} ({figure.peer_name})" if figure.peer else "-"
        cells = (
            figure.name, str(figure.n), _seconds(figure.ours), _seconds(figure.fixed or None), _seconds(figure.limit), peer,
            _ratio(figure.ratio_to_limit), _ratio(figure.ratio_to_peer), figure.goal, "yes" if figure.met else "**no**",
        )  # fmt: skip
        yield f"| {' | '.join(cells)} |"
