# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The running lab for tests: commands on its hypervisors, in its networks, and playbooks against it."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

# Whoever runs the tests, molecule for one, may have set Ansible up for a person at a terminal: the commands here are read by tests.
os.environ.update(ANSIBLE_FORCE_COLOR="0", ANSIBLE_NOCOLOR="1")
os.environ.pop("ANSIBLE_CONFIG", None)

REPOSITORY = Path(__file__).resolve().parents[2]
COMMAND_TIMEOUT = 120  # seconds


def execute(
    argv: Sequence[str | Path], check: bool = True, timeout: float = COMMAND_TIMEOUT, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run a command and capture what it prints; with *check* a failure fails the test, and shows that."""
    result = subprocess.run([str(word) for word in argv], capture_output=True, text=True, timeout=timeout, check=False, **options)
    if check and result.returncode:
        pytest.fail(f"{shlex.join(map(str, argv))} ended with {result.returncode}\n{result.stdout}\n{result.stderr}")
    return result


def ansible(program: str) -> str:
    """A program of the Ansible that the tests run with, such as ``ansible-playbook``."""
    return str(Path(sys.executable).with_name(program))


def playbook(name: str, *arguments: str | Path, check: bool = True, timeout: float = 1800) -> subprocess.CompletedProcess[str]:
    """Run a playbook of the collection as a user does, ``playbook("lab.yml", "-e", "...")``."""
    return execute([ansible("ansible-playbook"), REPOSITORY / "playbooks" / name, *arguments], check, timeout, cwd=REPOSITORY)


@dataclass(frozen=True)
class Host:
    """A hypervisor of the lab.

    :param variables: what the inventory says of it, groups included.
    """

    name: str
    variables: Mapping[str, Any]
    directory: Path

    @property
    def address(self) -> str:
        """Address on the management network."""
        return str(self.variables["ansible_host"])

    def run(
        self, command: Sequence[str], check: bool = True, timeout: float = COMMAND_TIMEOUT, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on the host over SSH, as root."""
        return execute([self.directory / "bin/ssh", self.name, shlex.join(command)], check, timeout, **options)


@dataclass(frozen=True)
class Lab:
    """The lab in a directory."""

    name: str
    directory: Path
    hosts: tuple[Host, ...]

    @classmethod
    def read(cls, directory: Path) -> Lab:
        """Read the inventory that role lab wrote."""
        groups = yaml.safe_load((directory / "inventory.yml").read_text())["all"]
        hosts = groups["children"]["hypervisors"]["hosts"]
        return cls(
            name=groups["vars"]["lab_name"],
            directory=directory,
            hosts=tuple(Host(name, {**groups["vars"], **variables}, directory) for name, variables in hosts.items()),
        )

    @property
    def inventory(self) -> Path:
        return self.directory / "inventory.yml"

    def host(self, name: str) -> Host:
        return next(host for host in self.hosts if host.name == name)

    def internet(
        self, command: Sequence[str], check: bool = True, timeout: float = COMMAND_TIMEOUT, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run a command outside the cloud, where its public addresses are reached."""
        return execute(["ip", "netns", "exec", f"{self.name}-internet", *command], check, timeout, **options)

    def controller(
        self, command: Sequence[str], check: bool = True, timeout: float = COMMAND_TIMEOUT, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run a command where Ansible runs, on the management network."""
        return execute(["ip", "netns", "exec", f"{self.name}-lab", *command], check, timeout, **options)


@pytest.fixture(scope="session")
def lab() -> Lab:
    return Lab.read(Path(os.environ.get("ECS_LAB_DIR", "/var/lib/altostratus-lab")))


def command(lab: Lab, host: Host, module: str, options: Mapping[str, Any]) -> list[str]:
    """The command that runs one module of the collection on a host, for :meth:`Lab.controller`."""
    return [
        "env",
        "ANSIBLE_CALLBACK_RESULT_FORMAT=json",
        "ANSIBLE_PIPELINING=false",  # the module's process has a name then
        ansible("ansible"),
        host.name,
        "-i",
        str(lab.inventory),
        "-m",
        f"altostratus.ecs.{module}",
        "-a",
        json.dumps(options),
    ]


def run_module(lab: Lab, host: Host, module: str, fails: bool = False, **options: Any) -> dict[str, Any]:
    """Run one module and return its result; one that fails unexpectedly, or does not, fails the test."""
    done = lab.controller(command(lab, host, module, options), check=False, timeout=1500)
    assert (done.returncode != 0) is fails, done.stdout + done.stderr
    return told(done.stdout)


def told(output: str) -> dict[str, Any]:
    """The result of a module in what ``ansible`` printed of it, and before it of an error."""
    result: dict[str, Any] = json.loads(output[output.index("=> {") + 3 :])
    return result


GUEST_RUN = """
import base64, json, sys, time, libvirt, libvirt_qemu
domain = libvirt.open("qemu:///system").lookupByName(sys.argv[1])
def agent(name, **arguments):
    return json.loads(libvirt_qemu.qemuAgentCommand(domain, json.dumps({"execute": name, "arguments": arguments}), 20, 0))["return"]
pid = agent("guest-exec", **{"path": "/bin/sh", "arg": ["-c", sys.argv[2]], "capture-output": True})["pid"]
while not (status := agent("guest-exec-status", pid=pid))["exited"]:
    time.sleep(0.1)
sys.stdout.write(base64.b64decode(status.get("out-data", "")).decode("utf-8", "replace"))
sys.stderr.write(base64.b64decode(status.get("err-data", "")).decode("utf-8", "replace"))
sys.exit(status.get("exitcode", 255))
"""


@dataclass(frozen=True)
class Guest:
    """The inside of a server, through the guest agent."""

    host: Host
    domain: str

    def run(self, script: str, check: bool = True) -> str:
        """What a shell script prints in the guest."""
        return self.host.run(["python3", "-c", GUEST_RUN, self.domain, script], check).stdout


@dataclass(frozen=True)
class Cloud:
    """The cloud of cloud.yml in the lab.

    :param inventory: what ``ansible-inventory --list`` shows.
    """

    lab: Lab
    inventory: Mapping[str, Any]
    images: Path
    arguments: tuple[str, ...]

    def server(self, name: str) -> dict[str, Any]:
        """Its host variables, those of the collection without their prefix."""
        return {key.removeprefix("ecs_"): value for key, value in self.inventory["_meta"]["hostvars"][name].items()}

    def guest(self, name: str) -> Guest:
        server = self.server(name)
        return Guest(self.lab.host(server["hypervisor"]), server["domain"])

    def ansible(self, *arguments: str) -> str:
        """Run ``ansible`` against the servers' inventory."""
        return self.lab.controller(["ansible", *self.arguments, *arguments]).stdout

    def play(self, name: str, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run one of the collection's playbooks with cloud.yml."""
        command = ["ansible-playbook", "-i", str(self.lab.inventory), f"altostratus.ecs.{name}"]
        return self.lab.controller([*command, "-e", f"@{CLOUD}", *arguments], check, timeout=900)


CLOUD = Path(__file__).with_name("cloud.yml")


@pytest.fixture(scope="session")
def cloud(lab: Lab) -> Cloud:
    """The cloud, which the scenario has built."""
    arguments = ("-i", str(lab.inventory), "-i", str(lab.directory / "servers.ecs.yml"))
    images = Path(os.environ.setdefault("ECS_IMAGE_DIR", "/var/cache/altostratus-lab/images"))
    os.environ.setdefault("ECS_PUBLIC_KEY", str(lab.directory / "ssh/id_ed25519.pub"))
    listed = lab.controller(["ansible-inventory", *arguments, "--list"]).stdout
    return Cloud(lab, json.loads(listed), images, arguments)
