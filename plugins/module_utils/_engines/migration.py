# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""libvirt between two hypervisors: a running domain moves, a file is sent; all of it over TLS with certificates on both sides."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from .._model.errors import EcsError
from .libvirt_client import answering

CERTIFICATES = "/etc/altostratus/libvirt"
_GONE = 30.0
"""Seconds that libvirt has to take a migration back that was given up."""


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def uri(address: str, name: str) -> str:
    """Where the libvirt of another hypervisor is reached.

    :param name: the host's, which its certificate is made out to.
    """
    return f"qemu+tls://{_bracketed(address)}/system?pkipath={CERTIFICATES}&tls_hostname={name}"


def migrate(domain: Any, address: str, name: str, disks: Sequence[str], bandwidth: int, timeout: float) -> None:
    """Move a running domain to another hypervisor, where it is defined from then on, and no longer here.

    :param address: of the other hypervisor.
    :param name: its name.
    :param disks: targets of the disks that are copied, each onto what is there below it; the others are the same there.
    :param bandwidth: MiB a second; 0 for no limit.
    :param timeout: seconds after which it is given up, and the domain goes on here.
    :raises EcsError: ECS_MIGRATION; the domain goes on here.
    """
    import libvirt

    flags = (
        libvirt.VIR_MIGRATE_LIVE
        | libvirt.VIR_MIGRATE_PEER2PEER
        | libvirt.VIR_MIGRATE_TLS
        | libvirt.VIR_MIGRATE_PERSIST_DEST
        | libvirt.VIR_MIGRATE_UNDEFINE_SOURCE
        | libvirt.VIR_MIGRATE_AUTO_CONVERGE
    )
    options: dict[str, Any] = {
        libvirt.VIR_MIGRATE_PARAM_URI: f"tcp://{_bracketed(address)}",
        libvirt.VIR_MIGRATE_PARAM_LISTEN_ADDRESS: address,
        libvirt.VIR_MIGRATE_PARAM_TLS_DESTINATION: name,
    }
    if disks:
        flags |= libvirt.VIR_MIGRATE_NON_SHARED_INC
        options[libvirt.VIR_MIGRATE_PARAM_MIGRATE_DISKS] = list(disks)
    if bandwidth:
        options[libvirt.VIR_MIGRATE_PARAM_BANDWIDTH] = bandwidth
    late = threading.Event()

    def give_up() -> None:
        late.set()
        with suppress(libvirt.libvirtError):
            domain.abortJob()

    clock = threading.Timer(timeout, give_up)
    clock.start()
    try:
        with answering():
            domain.migrateToURI3(uri(address, name), options, flags)
    except libvirt.libvirtError as error:
        if late.is_set():
            hint = "It writes faster than the hosts can copy: raise timeout, try when it is idle, or set allow_stop and method cold"
            raise EcsError(f"the migration to {name} did not come to its end within {timeout:g} s", "ECS_MIGRATION", hint) from error
        hint = "It runs where it was; mend that, or choose another host"
        raise EcsError(f"libvirt could not bring it to {name}: {error}", "ECS_MIGRATION", hint) from error
    finally:
        clock.cancel()


def downtime(domain: Any) -> int | None:
    """Milliseconds that a domain stood still when it came here; None where that is not known."""
    import libvirt

    with suppress(libvirt.libvirtError):
        told = domain.jobStats(libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED)
        return int(told["downtime"])
    return None


def give_up(domain: Any) -> None:
    """Take back a migration that goes on without the run that began it.

    :raises EcsError: ECS_BUSY when libvirt does not.
    """
    import libvirt

    deadline = time.monotonic() + _GONE
    while domain.isActive() and domain.jobInfo()[0] != libvirt.VIR_DOMAIN_JOB_NONE:
        with suppress(libvirt.libvirtError):
            domain.abortJob()
        if time.monotonic() > deadline:
            hint = "virsh domjobinfo tells what it is doing; wait for its end"
            raise EcsError(f"{domain.name()} is still at what an earlier run began", "ECS_BUSY", hint)
        time.sleep(0.2)


def _hole(descriptor: int) -> tuple[bool, int]:
    """Whether there is data where a file is being read, and for how many bytes there is or is not."""
    here, end = os.lseek(descriptor, 0, os.SEEK_CUR), os.fstat(descriptor).st_size
    try:
        data = os.lseek(descriptor, here, os.SEEK_DATA)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        return False, max(0, end - here)
    until = os.lseek(descriptor, here, os.SEEK_HOLE) if data == here else data
    os.lseek(descriptor, here, os.SEEK_SET)
    return data == here, until - here


def send(connection: Any, volume: Any, path: str) -> None:
    """Send a file of this host into a volume of another; what is empty in it stays empty."""
    import libvirt

    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    stream = connection.newStream()
    try:
        volume.upload(stream, 0, os.fstat(descriptor).st_size, libvirt.VIR_STORAGE_VOL_UPLOAD_SPARSE_STREAM)
        with answering():
            stream.sparseSendAll(
                lambda stream, length, opaque: os.read(descriptor, length),
                lambda stream, opaque: list(_hole(descriptor)),
                lambda stream, length, opaque: os.lseek(descriptor, length, os.SEEK_CUR),
                None,
            )
        stream.finish()
    except BaseException:
        with suppress(libvirt.libvirtError):
            stream.abort()
        raise
    finally:
        os.close(descriptor)
