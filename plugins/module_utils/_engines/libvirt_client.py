# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""libvirt: one connection a call, opened late, its errors turned into ours; bulk reads, and events instead of polling."""

from __future__ import annotations

import os
import threading
import time
import xml.etree.ElementTree as ET
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from queue import SimpleQueue
from types import TracebackType
from typing import Any, TypeVar, cast

from .._model.errors import EcsError

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def _bindings() -> Any:
    try:
        import libvirt
    except ImportError as error:
        raise EcsError(
            "the libvirt Python bindings are missing", "ECS_LIBVIRT", "Install python3-libvirt, or libvirt-python from PyPI"
        ) from error
    return libvirt


@contextmanager
def connect(uri: str, readonly: bool = False, events: bool = False) -> Iterator[Any]:
    """Open a libvirt connection for the length of a ``with`` block; the value is a ``libvirt.virConnect``.

    :param events: let :class:`Events` listen on it.
    :raises EcsError: ECS_LIBVIRT when the bindings are missing, the daemon cannot be reached, or a call fails.
    """
    libvirt = _bindings()
    # libvirt prints every error to stderr unless a handler takes it; a module's stderr is not the place.
    libvirt.registerErrorHandler(lambda context, error: None, None)
    if events:
        libvirt.virEventRegisterDefaultImpl()
    try:
        connection = libvirt.openReadOnly(uri) if readonly else libvirt.open(uri)
    except libvirt.libvirtError as error:
        raise EcsError(f"cannot connect to libvirt at {uri}: {error}", "ECS_LIBVIRT", "Check the URI and that libvirtd runs") from error
    try:
        yield connection
    except libvirt.libvirtError as error:
        raise EcsError(f"libvirt at {uri}: {error}", "ECS_LIBVIRT") from error
    finally:
        connection.close()


INCOMING = -1
"""The state of a domain that is on its way here from another host, which has it until it has come."""


@dataclass(frozen=True)
class Live:
    """A domain as it is: libvirt's handle, virDomainState or :data:`INCOMING`, persistent XML."""

    domain: Any
    state: int
    xml: str


@dataclass(frozen=True)
class Machine:
    """What a host has: CPUs, memory in MiB, and libvirt's name for the hypervisor (qemu, test)."""

    cpus: int
    memory: int
    driver: str


_CALLS_AT_ONCE = 16
"""Calls that wait on one connection at a time. libvirtd works at five of a client's calls; the others hide their way there and back."""


def stream_domains(connection: Any, ids: Collection[str] | None = None) -> Iterator[Live]:
    """Domains in any order, as they come: all states in one call, then one for the XML of each domain asked for, many at once.

    :param ids: UUIDs that matter; None for all. One that does not exist is left out.
    """
    libvirt = _bindings()

    def read(told: tuple[Any, Mapping[str, Any]]) -> Live | None:
        domain, stats = told
        try:
            return Live(domain, _state(domain, stats), domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                return None  # undefined since
            raise

    told = connection.getAllDomainStats(libvirt.VIR_DOMAIN_STATS_STATE)
    wanted = told if ids is None else [(domain, stats) for domain, stats in told if domain.UUIDString() in ids]
    return (live for live in _as_they_come(read, wanted) if live)


def _state(domain: Any, stats: Mapping[str, Any]) -> int:
    libvirt = _bindings()
    starting = (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_STARTING_UP)
    if (stats["state.state"], stats.get("state.reason")) == starting and not domain.isPersistent():
        return INCOMING
    return int(stats["state.state"])


def read_domains(connection: Any, ids: Collection[str] | None = None) -> dict[str, Live]:
    """The same by UUID."""
    return {live.domain.UUIDString(): live for live in stream_domains(connection, ids)}


def _as_they_come(call: Callable[[_Item], _Result], items: Iterable[_Item]) -> Iterator[_Result]:
    """The results of calls, each as soon as it is there; the first failure ends it.

    The threads are daemons: one that hangs in a dead connection must not keep the process from ending, as a pool's would.
    """
    todo = deque(items)
    count = len(todo)
    done: SimpleQueue[tuple[_Result | None, Exception | None]] = SimpleQueue()

    def work() -> None:
        with suppress(IndexError):
            while True:
                item = todo.popleft()
                try:
                    done.put((call(item), None))
                except Exception as error:
                    done.put((None, error))

    for _thread in range(min(_CALLS_AT_ONCE, count)):
        threading.Thread(target=work, daemon=True).start()
    try:
        for _result in range(count):
            result, error = done.get()
            if error:
                raise error
            yield cast(_Result, result)
    finally:
        todo.clear()


def read_machine(connection: Any) -> Machine:
    """The host's CPUs and memory."""
    info = connection.getInfo()
    return Machine(cpus=info[2], memory=info[1], driver=connection.getType().lower())


@dataclass(frozen=True)
class Abilities:
    """What a host can give to guests of one architecture.

    :param uefi: whether there is a firmware.
    :param cpu_models: names, and ways to have none such as ``host-passthrough``.
    """

    uefi: bool
    cpu_models: frozenset[str]


def read_abilities(connection: Any, arch: str, machine: str, kind: str) -> Abilities | None:
    """What the host can give to guests; None where it has no emulator of that architecture.

    :param kind: kvm or qemu.
    """
    libvirt = _bindings()
    try:
        text = connection.getDomainCapabilities(None, arch, machine, kind)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_INVALID_ARG:
            return None
        raise
    root = ET.fromstring(text)  # noqa: S314 - what libvirt wrote
    modes = [mode.get("name", "") for mode in root.iterfind("cpu/mode[@supported='yes']")]
    models = root.iterfind("cpu/mode[@name='custom']/model")
    # An emulator lacks something of most models, and its guests do without.
    named = [model.text or "" for model in models if kind != "kvm" or model.get("usable") != "no"]
    return Abilities(
        uefi="efi" in [value.text for value in root.iterfind("os/enum[@name='firmware']/value")],
        cpu_models=frozenset(named) | (frozenset(modes) - {"custom"}),
    )


def has_topoext(connection: Any) -> bool:
    """Whether the host's CPU has AMD's feature that tells guests of the threads of a core, which they are not given by themselves."""
    root = ET.fromstring(connection.getCapabilities())  # noqa: S314 - what libvirt wrote
    return root.find("host/cpu/feature[@name='topoext']") is not None


def free_pages(connection: Any, size: int, nodes: Sequence[int]) -> dict[int, int]:
    """Free pages of one size by NUMA node; empty where the driver does not tell.

    :param size: KiB.
    """
    libvirt = _bindings()
    try:
        return {node: connection.getFreePages([size], node, 1)[node][size] for node in nodes}
    except (libvirt.libvirtError, KeyError):
        return {}


def define(connection: Any, xml: str) -> Any:
    """Make or replace a domain's definition; libvirt checks it against its schema."""
    return connection.defineXML(xml)


def set_metadata(domain: Any, xml: str | None, prefix: str, namespace: str, active: bool) -> None:
    """Replace the domain's element of *namespace*, in its definition and in the running domain; None removes it."""
    libvirt = _bindings()
    flags = libvirt.VIR_DOMAIN_AFFECT_CONFIG | (libvirt.VIR_DOMAIN_AFFECT_LIVE if active else 0)
    domain.setMetadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, xml, prefix, namespace, flags)


def set_texts(domain: Any, title: str, description: str, active: bool) -> None:
    """Replace what the domain tells people of itself."""
    libvirt = _bindings()
    flags = libvirt.VIR_DOMAIN_AFFECT_CONFIG | (libvirt.VIR_DOMAIN_AFFECT_LIVE if active else 0)
    domain.setMetadata(libvirt.VIR_DOMAIN_METADATA_TITLE, title or None, None, None, flags)
    domain.setMetadata(libvirt.VIR_DOMAIN_METADATA_DESCRIPTION, description or None, None, None, flags)


def attach(domain: Any, xml: str, active: bool) -> None:
    """Add a device to the domain's definition, and to the running domain."""
    libvirt = _bindings()
    domain.attachDeviceFlags(xml, libvirt.VIR_DOMAIN_AFFECT_CONFIG | (libvirt.VIR_DOMAIN_AFFECT_LIVE if active else 0))


def set_vcpus(domain: Any, count: int) -> None:
    """Add vCPUs to a running domain and to its definition."""
    libvirt = _bindings()
    domain.setVcpusFlags(count, libvirt.VIR_DOMAIN_AFFECT_LIVE | libvirt.VIR_DOMAIN_AFFECT_CONFIG)


def detach(domain: Any, xml: str, active: bool) -> None:
    """Take a device out of the domain's definition, and out of the running domain."""
    libvirt = _bindings()
    domain.detachDeviceFlags(xml, libvirt.VIR_DOMAIN_AFFECT_CONFIG | (libvirt.VIR_DOMAIN_AFFECT_LIVE if active else 0))


def inject_nmi(domain: Any) -> None:
    """Send a non-maskable interrupt to the guest's processors."""
    domain.injectNMI(0)


def press_power_button(domain: Any) -> None:
    """Ask the guest to shut down by ACPI; fine when it is off."""
    libvirt = _bindings()
    try:
        if domain.connect().getType() == "QEMU":
            domain.shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN)
        else:
            domain.shutdown()  # other drivers have one way only
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_OPERATION_INVALID:
            raise


def power_off(domain: Any) -> None:
    """Pull the plug; fine when it is off."""
    libvirt = _bindings()
    try:
        domain.destroy()
    except libvirt.libvirtError as error:
        if error.get_error_code() not in (libvirt.VIR_ERR_OPERATION_INVALID, libvirt.VIR_ERR_NO_DOMAIN):
            raise


def undefine(domain: Any, nvram: bool) -> None:
    """Remove the definition with all that libvirt keeps beside it; fine when it is gone.

    :param nvram: whether it has UEFI variables.
    """
    libvirt = _bindings()
    nvram = nvram and domain.connect().getType() == "QEMU"  # other drivers do not know the flag
    flags = libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
    try:
        domain.undefineFlags(flags | (libvirt.VIR_DOMAIN_UNDEFINE_NVRAM if nvram else 0))
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
            raise


WAITING = 16
"""Calls at once of those that wait more than they work, fewer than the workers of a libvirtd."""


def each(action: Callable[[_Item], _Result], items: Sequence[_Item], at_once: int | None = None) -> list[_Result]:
    """Do *action* on all items, as many at once as there are cores; all are tried, then the first failure is raised.

    :param at_once: how many at once instead.
    :returns: the results in the order of the items.
    """
    if len(items) == 1:
        return [action(items[0])]
    with ThreadPoolExecutor(max_workers=at_once or os.cpu_count() or 1) as pool:
        futures = [pool.submit(action, item) for item in items]
    return [future.result() for future in futures]


_TICK = 0.25
"""Seconds between two looks at the clock while waiting for events."""


@contextmanager
def answering() -> Iterator[None]:
    """Answer the daemons' questions whether we live while one call takes long: they hang up on who is silent for half a minute.

    Only for connections opened with ``events=True``, and while nobody waits for :class:`Events`.
    """
    libvirt = _bindings()
    done = threading.Event()

    def run() -> None:
        timer = libvirt.virEventAddTimeout(int(1000 * _TICK), lambda timer, opaque: None, None)
        while not done.is_set():
            libvirt.virEventRunDefaultImpl()
        libvirt.virEventRemoveTimeout(timer)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


class Events:
    """Listens to domains from its ``with`` on: which stopped, and whose guest agent came.

    The connection must have been opened with ``events=True``; libvirt takes one listener on it at a time.
    """

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._callbacks: list[int] = []
        self._told = False
        self.stopped: set[str] = set()
        self.agents: set[str] = set()

    def __enter__(self) -> Events:
        libvirt = _bindings()

        def lifecycle(connection: Any, domain: Any, event: int, detail: int, opaque: object) -> None:
            uuid = domain.UUIDString()
            self._told = True
            if event in (libvirt.VIR_DOMAIN_EVENT_STOPPED, libvirt.VIR_DOMAIN_EVENT_UNDEFINED):
                self.stopped.add(uuid)
                self.agents.discard(uuid)
            elif event == libvirt.VIR_DOMAIN_EVENT_STARTED:
                self.stopped.discard(uuid)

        def agent(connection: Any, domain: Any, state: int, reason: int, opaque: object) -> None:
            change = self.agents.add if state == libvirt.VIR_CONNECT_DOMAIN_EVENT_AGENT_LIFECYCLE_STATE_CONNECTED else self.agents.discard
            change(domain.UUIDString())
            self._told = True

        for event, callback in (
            (libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, lifecycle),
            (libvirt.VIR_DOMAIN_EVENT_ID_AGENT_LIFECYCLE, agent),
        ):
            self._callbacks.append(self._connection.domainEventRegisterAny(None, event, callback, None))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for callback in self._callbacks:
            self._connection.domainEventDeregisterAny(callback)

    def wait(self, done: Callable[[], bool], deadline: float, poll: float | None = None) -> bool:
        """Handle events until *done*; False when the deadline comes first.

        :param deadline: in the time of ``time.monotonic()``.
        :param poll: seconds after which *done* is asked even without an event, for what sends none.
        """
        libvirt = _bindings()
        # One timer for the whole wait: each removal of a timer wakes the loop by itself, so that one a round would never let it rest.
        timer = libvirt.virEventAddTimeout(int(1000 * _TICK), lambda timer, opaque: None, None)
        try:
            while not done():
                until = min(deadline, time.monotonic() + poll) if poll else deadline
                self._told = False
                # A round ends with the timer, an event, or any answer on the connection: those to what *done* asked must not make it
                # ask again at once.
                while not self._told and time.monotonic() < until:
                    libvirt.virEventRunDefaultImpl()
                if time.monotonic() >= deadline:
                    return done()
            return True
        finally:
            libvirt.virEventRemoveTimeout(timer)
