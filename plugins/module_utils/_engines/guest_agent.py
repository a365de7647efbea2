# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The QEMU guest agent of a domain: commands, processes and files inside the guest, with no network to it.

Every function takes a ``libvirt.virDomain``. A message has its limits: libvirt carries an answer of at most 4 MiB, loses a longer one,
and cuts the agent off beyond 10 MiB; a command that does not fit into the socket buffer between libvirt and QEMU (208 KiB) can
stall half-way until the agent is given up. So whatever can be large goes in chunks.
"""

from __future__ import annotations

import base64
import io
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from .._model.errors import EcsError, NotFound

_WRITE = 96 << 10
"""Bytes in one command, 128 KiB as base64; seen to stall from about 256 KiB on."""
_READ = 1 << 20
"""Bytes in one answer of a file."""
_OUTPUT = 2 << 20
"""Bytes that both outputs of a process together may have in one answer."""
_FIRST_POLL, _LAST_POLL = 0.005, 0.25
_INSTALL = "Is qemu-guest-agent installed in the guest and running? A guest that boots answers some seconds after its start"
_BLOCKED = "The guest's agent blocks it: remove it from the blocked RPCs (--block-rpcs, or /etc/sysconfig/qemu-ga) and restart the agent"

# $1 is a directory with the input, or empty to pass the input through; the rest is the command. The first line of the output tells the
# exit code and, when the outputs are too large for one answer, the directory that keeps them.
_SPOOL = f"""
if [ -n "$1" ]; then d=$1; shift; "$@" <"$d/0" >"$d/1" 2>"$d/2"; rc=$?
else shift; d=$(mktemp -d) || exit 125; "$@" >"$d/1" 2>"$d/2"; rc=$?; fi
if [ $(($(wc -c <"$d/1") + $(wc -c <"$d/2"))) -gt {_OUTPUT} ]; then echo "$rc $d"; exit 0; fi
echo "$rc"; cat "$d/1"; cat "$d/2" >&2; rm -rf "$d"
"""


@dataclass(frozen=True)
class Interface:
    """A network interface as the guest sees it; *addresses* are in CIDR form, IPv4 and IPv6."""

    name: str
    mac: str
    addresses: tuple[str, ...]


@dataclass(frozen=True)
class Filesystem:
    """A mounted filesystem as the guest sees it.

    :param size: bytes; None where the agent does not tell.
    :param serials: serials of the disks below it, to be matched with ``disk_serial`` of a volume.
    """

    mountpoint: str
    device: str
    type: str
    size: int | None
    used: int | None
    serials: tuple[str, ...]


def find_domain(connection: Any, name: str) -> Any:
    """The domain of that name.

    :raises EcsError: ECS_NOT_FOUND when the hypervisor has none.
    """
    import libvirt

    try:
        return connection.lookupByName(name)
    except libvirt.libvirtError as error:
        raise NotFound("domain", name, connection.getHostname(), "It may have moved: refresh the inventory") from error


def command(domain: Any, name: str, arguments: Mapping[str, Any] | None = None, timeout: int = 10) -> Any:
    """Send one agent command and give back its answer.

    :param timeout: seconds to wait for the answer, not for what the command sets off.
    :raises EcsError: ECS_AGENT when there is no answer, or the agent refuses.
    """
    import libvirt
    import libvirt_qemu

    # libvirt prints every error to stderr unless a handler takes it.
    libvirt.registerErrorHandler(lambda context, error: None, None)
    request: dict[str, Any] = {"execute": name}
    if arguments:
        request["arguments"] = dict(arguments)
    try:
        answer = libvirt_qemu.qemuAgentCommand(domain, json.dumps(request), timeout, 0)
    except libvirt.libvirtError as error:
        raise _failure(domain, name, error) from error
    return json.loads(answer)["return"]


def _silent(error: Any) -> bool:
    import libvirt

    codes = (libvirt.VIR_ERR_AGENT_UNRESPONSIVE, libvirt.VIR_ERR_AGENT_UNSYNCED, libvirt.VIR_ERR_OPERATION_TIMEOUT)
    return bool(error.get_error_code() in codes)


def _failure(domain: Any, name: str, error: Any) -> EcsError:
    import libvirt

    about = f"guest agent of {domain.name()}: {name}"
    if _silent(error):
        return EcsError(f"{about} got no answer ({error})", "ECS_AGENT", _INSTALL)
    if error.get_error_code() == libvirt.VIR_ERR_OPERATION_INVALID:
        return EcsError(f"{about} is impossible ({error})", "ECS_AGENT", "Start the server first")
    if "disabled" in str(error) or "has not been found" in str(error):
        return EcsError(f"{about} is refused ({error})", "ECS_AGENT", _BLOCKED)
    return EcsError(f"{about} failed ({error})", "ECS_AGENT")


def ping(domain: Any, timeout: int = 5) -> None:
    """Return when the agent answers.

    :param timeout: seconds.
    :raises EcsError: ECS_AGENT when it does not.
    """
    command(domain, "guest-ping", timeout=timeout)


def shut_down(domain: Any) -> bool:
    """Ask the guest to shut down; False when its agent is not there or refuses.

    libvirt's own call waits up to a minute for the guest's end, and the daemon serves a client only a few calls at once.
    """
    try:
        ping(domain, timeout=1)
    except EcsError:
        return False
    try:
        command(domain, "guest-shutdown", {"mode": "powerdown"}, timeout=1)
    except EcsError as error:
        # The agent sends no answer to what it carries out: silence is a yes.
        return _silent(error.__cause__)
    return True


def run(domain: Any, argv: Sequence[str], stdin: bytes = b"", timeout: float | None = 60, spool: bool = False) -> tuple[int, bytes, bytes]:
    """Run a process in the guest, as the agent's user (root), and wait for its end.

    :param argv: program and arguments; no shell looks at them.
    :param timeout: seconds until the process must have ended; None waits for ever.
    :param spool: take input and outputs of any size, through files in the guest (needs a POSIX shell there). Without it the
        input must stay below 96 KiB and the outputs together below 2 MiB.
    :returns: exit code (128 + signal where one ended it), stdout, stderr.
    :raises EcsError: ECS_AGENT when the agent does not answer, the program cannot be started, or the time is over; the process goes
        on in the guest in that case.
    """
    if not spool:
        return _execute(domain, argv, stdin, timeout)
    directory = ""
    if len(stdin) > _WRITE:
        directory = _execute(domain, ["mktemp", "-d"], b"", timeout)[1].decode().strip()
        write_file(domain, f"{directory}/0", stdin)
        stdin = b""
    code, out, err = _execute(domain, ["/bin/sh", "-c", _SPOOL, "sh", directory, *argv], stdin, timeout)
    head, newline, rest = out.partition(b"\n")
    if code or not newline:
        reason = err.decode(errors="replace").strip()
        raise EcsError(f"guest agent of {domain.name()}: cannot keep the output of {argv[0]} ({reason})", "ECS_AGENT", "Is /tmp full?")
    status, kept = f"{head.decode()} ".split(" ")[:2]
    if not kept:
        return int(status), rest, err
    try:
        return int(status), read_file(domain, f"{kept}/1"), read_file(domain, f"{kept}/2")
    finally:
        _execute(domain, ["rm", "-rf", kept], b"", timeout)


def _execute(domain: Any, argv: Sequence[str], stdin: bytes, timeout: float | None) -> tuple[int, bytes, bytes]:
    request: dict[str, Any] = {"path": argv[0], "arg": list(argv[1:]), "capture-output": True}
    if stdin:
        request["input-data"] = base64.b64encode(stdin).decode()
    pid = command(domain, "guest-exec", request, timeout=60)["pid"]
    end = None if timeout is None else time.monotonic() + timeout
    pause = _FIRST_POLL
    while not (status := command(domain, "guest-exec-status", {"pid": pid}, timeout=60))["exited"]:
        if end is not None and time.monotonic() >= end:
            raise EcsError(
                f"guest agent of {domain.name()}: {argv[0]} (pid {pid}) still runs after {timeout:g} s", "ECS_AGENT", "Raise the timeout"
            )
        time.sleep(pause)
        pause = min(pause * 1.5, _LAST_POLL)
    code = status["exitcode"] if "exitcode" in status else 128 + status["signal"]
    return code, base64.b64decode(status.get("out-data", "")), base64.b64decode(status.get("err-data", ""))


def write_file(domain: Any, path: str, data: bytes | BinaryIO) -> None:
    """Write a file in the guest, in place of what it held; a new file has the mode that the agent's umask leaves.

    :param data: the content, or a stream to take it from.
    :raises EcsError: ECS_AGENT.
    """
    stream = io.BytesIO(data) if isinstance(data, bytes) else data
    handle = command(domain, "guest-file-open", {"path": path, "mode": "w"})
    try:
        while chunk := stream.read(_WRITE):
            while chunk:
                request = {"handle": handle, "buf-b64": base64.b64encode(chunk).decode()}
                chunk = chunk[command(domain, "guest-file-write", request, timeout=60)["count"] :]
    finally:
        command(domain, "guest-file-close", {"handle": handle})


def read_chunks(domain: Any, path: str) -> Iterator[bytes]:
    """The content of a file in the guest, piece by piece.

    :raises EcsError: ECS_AGENT, also when there is no such file.
    """
    handle = command(domain, "guest-file-open", {"path": path, "mode": "r"})
    try:
        while (answer := command(domain, "guest-file-read", {"handle": handle, "count": _READ}, timeout=60))["count"]:
            yield base64.b64decode(answer["buf-b64"])
    finally:
        command(domain, "guest-file-close", {"handle": handle})


def read_file(domain: Any, path: str) -> bytes:
    """The content of a file in the guest.

    :raises EcsError: ECS_AGENT, also when there is no such file.
    """
    return b"".join(read_chunks(domain, path))


def interfaces(domain: Any) -> list[Interface]:
    """The guest's network interfaces with the addresses they really have, loopback left out.

    :raises EcsError: ECS_AGENT.
    """
    return [
        Interface(
            name=item["name"],
            mac=item.get("hardware-address", ""),
            addresses=tuple(f"{address['ip-address']}/{address['prefix']}" for address in item.get("ip-addresses", ())),
        )
        for item in command(domain, "guest-network-get-interfaces")
        if item.get("hardware-address", "00:00:00:00:00:00") != "00:00:00:00:00:00"
    ]


def filesystems(domain: Any) -> list[Filesystem]:
    """The guest's mounted filesystems that stand on disks.

    :raises EcsError: ECS_AGENT.
    """
    return [
        Filesystem(
            mountpoint=item["mountpoint"],
            device=item["name"],
            type=item["type"],
            size=item.get("total-bytes"),
            used=item.get("used-bytes"),
            serials=tuple(disk["serial"] for disk in item.get("disk", ()) if disk.get("serial")),
        )
        for item in command(domain, "guest-get-fsinfo")
    ]


def set_password(domain: Any, user: str, password: str, hashed: bool) -> None:
    """Give a user of the guest another password.

    :param hashed: whether it is a hash as /etc/shadow holds them.
    :raises EcsError: ECS_AGENT, also when there is no such user.
    """
    encoded = base64.b64encode(password.encode()).decode()
    command(domain, "guest-set-user-password", {"username": user, "password": encoded, "crypted": hashed}, timeout=60)


def authorized_keys(domain: Any, user: str) -> list[str]:
    """The lines of a user's authorized_keys, none where there is no such file.

    :raises EcsError: ECS_AGENT, also when there is no such user.
    """
    try:
        return list(command(domain, "guest-ssh-get-authorized-keys", {"username": user})["keys"])
    except EcsError as error:
        if "No such file" in error.message:
            return []
        raise


def add_authorized_keys(domain: Any, user: str, keys: Sequence[str], instead: bool) -> None:
    """Let these keys log in as a user of the guest.

    :param instead: and no others.
    :raises EcsError: ECS_AGENT.
    """
    command(domain, "guest-ssh-add-authorized-keys", {"username": user, "keys": list(keys), "reset": instead}, timeout=60)


def remove_authorized_keys(domain: Any, user: str, keys: Sequence[str]) -> None:
    """Take these lines out of a user's authorized_keys.

    :raises EcsError: ECS_AGENT.
    """
    command(domain, "guest-ssh-remove-authorized-keys", {"username": user, "keys": list(keys)}, timeout=60)


def use_all(domain: Any, vcpus: int, memory: int, timeout: float = 10) -> None:
    """Put CPUs and memory online that were added while the guest runs; many kernels leave that to somebody.

    :param memory: MiB.
    :param timeout: seconds that the guest has to find them.
    :raises EcsError: ECS_AGENT.
    """
    deadline = time.monotonic() + timeout
    block = int(command(domain, "guest-get-memory-block-info")["size"])
    pause = _FIRST_POLL
    while True:
        cpus = command(domain, "guest-get-vcpus")
        if late := [{"logical-id": cpu["logical-id"], "online": True} for cpu in cpus if not cpu["online"]]:
            command(domain, "guest-set-vcpus", {"vcpus": late})
        blocks = command(domain, "guest-get-memory-blocks")
        if dark := [{"phys-index": one["phys-index"], "online": True} for one in blocks if not one["online"]]:
            command(domain, "guest-set-memory-blocks", {"mem-blks": dark})
        if len(cpus) >= vcpus and len(blocks) >= (memory << 20) // block:
            return
        if time.monotonic() >= deadline:
            found = f"{len(cpus)} CPUs and {len(blocks) * block >> 20} MiB"
            raise EcsError(f"guest agent of {domain.name()}: the guest found {found} within {timeout:g} s", "ECS_AGENT")
        time.sleep(pause)
        pause = min(pause * 1.5, _LAST_POLL)
