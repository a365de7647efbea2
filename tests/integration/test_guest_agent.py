# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guest agent engine against a real qemu-ga, this machine being its guest; libvirt's part is a socket."""

from __future__ import annotations

import json
import os
import socket
import subprocess

import pytest

from ansible_collections.altostratus.ecs.plugins.module_utils._engines import guest_agent
from ansible_collections.altostratus.ecs.plugins.module_utils._model.errors import EcsError

from .conftest import connect_agent

LIBVIRT_LIMIT = 4 << 20
"""Bytes that libvirt carries in one answer."""
COMMAND_LIMIT = 208 << 10
"""Bytes that a command may have before it can stall on its way."""


class Domain:
    """A domain whose agent listens on a socket."""

    def __init__(self, path: str) -> None:
        self._stream = socket.socket(socket.AF_UNIX)
        self._stream.connect(path)
        self._file = self._stream.makefile("rb")

    def close(self) -> None:
        self._file.close()
        self._stream.close()

    def name(self) -> str:
        return "shop.db"

    def send(self, text: str) -> str:
        assert len(text) < COMMAND_LIMIT
        self._stream.sendall(text.encode() + b"\n")
        answer = self._file.readline()
        assert len(answer) < LIBVIRT_LIMIT
        return answer.decode()


@pytest.fixture(scope="module")
def agent(tmp_path_factory):
    directory = tmp_path_factory.mktemp("agent")
    path = directory / "socket"
    process = subprocess.Popen(["qemu-ga", "-m", "unix-listen", "-p", path, "-t", directory, "-f", directory / "pid"])
    connect_agent(process, path).close()
    yield path
    process.kill()  # its handler of SIGTERM can lock it up
    process.wait()


def send(domain, text, timeout, flags):
    """libvirt's part."""
    import libvirt

    answer = domain.send(text)
    if "error" in json.loads(answer):
        raise libvirt.libvirtError(json.loads(answer)["error"]["desc"])
    return answer


@pytest.fixture
def domain(agent, monkeypatch):
    import libvirt_qemu

    monkeypatch.setattr(libvirt_qemu, "qemuAgentCommand", send)
    found = Domain(str(agent))
    yield found
    found.close()  # the agent serves one at a time


def test_it_answers(domain):
    guest_agent.ping(domain)


@pytest.mark.parametrize("spool", [False, True])
@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("cat; echo err >&2; exit 3", (3, b"in\n", b"err\n")),
        ("exit 0", (0, b"", b"")),
        ("printf 'no end of line'", (0, b"no end of line", b"")),
        ("echo $0 $#", (0, b"sh 2\n", b"")),
    ],
)
def test_a_process_gives_its_code_and_both_outputs(domain, script, expected, spool):
    assert guest_agent.run(domain, ["/bin/sh", "-c", script, "sh", "a b", "$HOME"], b"in\n", spool=spool) == expected


@pytest.mark.parametrize("spool", [False, True])
def test_a_signal_is_told_as_a_shell_tells_it(domain, spool):
    assert guest_agent.run(domain, ["/bin/sh", "-c", "kill -9 $$"], spool=spool)[0] == 137


def test_input_and_outputs_of_any_size_pass_and_leave_nothing(domain):
    data = os.urandom(5 << 20)
    before = set(os.listdir("/tmp"))
    script = "tee /dev/stderr; exit 7"
    assert guest_agent.run(domain, ["/bin/sh", "-c", script], data, spool=True) == (7, data, data)
    assert not {name for name in set(os.listdir("/tmp")) - before if name.startswith("tmp.")}


def test_files_of_any_size(domain, tmp_path):
    data = os.urandom(3 << 20)
    guest_agent.write_file(domain, str(tmp_path / "file"), data)
    assert (tmp_path / "file").read_bytes() == data
    assert guest_agent.read_file(domain, str(tmp_path / "file")) == data
    guest_agent.write_file(domain, str(tmp_path / "file"), b"")
    assert guest_agent.read_file(domain, str(tmp_path / "file")) == b""


def test_interfaces_and_filesystems(domain):
    assert "lo" not in {interface.name for interface in guest_agent.interfaces(domain)}
    assert all("/" in address for interface in guest_agent.interfaces(domain) for address in interface.addresses)
    assert "/" in {filesystem.mountpoint for filesystem in guest_agent.filesystems(domain)}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda domain: guest_agent.run(domain, ["/bin/sleep", "2"], timeout=0.2), "still runs after 0.2 s"),
        (lambda domain: guest_agent.run(domain, ["/no/such/program"]), "/no/such/program"),
        (lambda domain: guest_agent.read_file(domain, "/no/such/file"), "/no/such/file"),
        (lambda domain: guest_agent.command(domain, "guest-nonsense"), "blocked RPCs"),
    ],
)
def test_failures_name_the_domain_and_the_way_out(domain, call, message):
    with pytest.raises(EcsError, match=message) as caught:
        call(domain)
    assert "shop.db" in str(caught.value)
    assert caught.value.code == "ECS_AGENT"


def test_who_is_not_asked_to_shut_down(monkeypatch, tmp_path):
    """An agent that refuses, and a domain without one, are left to ACPI (spec R10)."""
    import libvirt
    import libvirt_qemu

    path = tmp_path / "socket"
    command = ["qemu-ga", "-m", "unix-listen", "-p", path, "-t", tmp_path, "-f", tmp_path / "pid", "-b", "guest-shutdown"]
    process = subprocess.Popen(command)
    connect_agent(process, path).close()
    monkeypatch.setattr(libvirt_qemu, "qemuAgentCommand", send)
    found = Domain(str(path))
    try:
        guest_agent.ping(found)
        assert guest_agent.shut_down(found) is False
    finally:
        found.close()
        process.kill()
        process.wait()
    monkeypatch.undo()
    assert guest_agent.shut_down(libvirt.open("test:///default").lookupByName("test")) is False


def test_a_domain_without_an_agent_says_what_to_do():
    import libvirt

    connection = libvirt.open("test:///default")
    with pytest.raises(EcsError, match="guest agent of test"):
        guest_agent.ping(connection.lookupByName("test"))
    with pytest.raises(EcsError, match="refresh the inventory"):
        guest_agent.find_domain(connection, "shop.gone")
