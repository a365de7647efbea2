# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a server may be made to dump its memory by an NMI (spec OD-3 to OD-7, OD-11)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .cpu import X86
from .errors import EcsError, InvalidInput
from .servers import Server

VCPUS, MEMORY = 4, 8192
"""The least that a server must have (spec OD-6); MiB."""
PANICS = ("/proc/sys/kernel/unknown_nmi_panic", "/proc/sys/kernel/panic_on_unrecovered_nmi")
"""Settings of Linux, one of which makes it panic at an NMI (spec OD-11)."""
COMMAND_LINE = "/proc/cmdline"
_CODE = "ECS_OS_DUMP"


@dataclass(frozen=True)
class Guest:
    """What the guest says of itself.

    :param files: content of some of :data:`PANICS` and :data:`COMMAND_LINE`; what is not there is left out.
    :param free: MiB free where it keeps its dumps; None where nobody knows.
    """

    files: Mapping[str, str]
    free: int | None


def check_server(server: Server, confirm: bool, least_vcpus: int, least_memory: int) -> None:
    """See that the server is one that dumps.

    :raises EcsError: ECS_OS_DUMP, ECS_STOPPED.
    :raises InvalidInput: when nobody has confirmed that it may go down.
    """
    name, size = server.metadata.name, server.domain.size
    if not confirm:
        hint = "Set confirm once what runs there may go down, and is backed up"
        raise InvalidInput("confirm", confirm, f"keeps server {name} from a dump, which restarts it", hint)
    if server.domain.arch not in ("", X86):
        raise EcsError(f"server {name} is {server.domain.arch}, which takes no NMI", _CODE, f"Only {X86} servers can be dumped so")
    if size.vcpus < least_vcpus or size.memory < least_memory:
        raise EcsError(
            f"server {name} has {size.vcpus} vCPUs and {size.memory} MiB, a dump wants {least_vcpus} and {least_memory}",
            _CODE,
            "Give it a larger flavor, or lower min_vcpus and min_memory if you know that it can",
        )
    if not server.active or server.paused:
        raise EcsError(f"server {name} is {server.status}: nothing runs there that an NMI could reach", "ECS_STOPPED", "Start it first")


def check_guest(server: Server, guest: Guest) -> None:
    """See that a Linux guest is prepared, so that the NMI leaves a dump and not only a server that went down.

    :raises EcsError: ECS_OS_DUMP names everything that is missing.
    """
    missing = []
    if "crashkernel=" not in guest.files.get(COMMAND_LINE, ""):
        missing.append("its kernel reserves no memory for the dump (crashkernel=256M on its command line)")
    if not any(guest.files.get(path, "").strip() == "1" for path in PANICS):
        missing.append("an NMI does not make it panic (sysctl kernel.unknown_nmi_panic=1)")
    if guest.free is not None and guest.free < server.domain.memory:
        missing.append(f"{guest.free} MiB are free for a dump of {server.domain.memory} MiB")
    if missing:
        raise EcsError(
            f"the guest of server {server.metadata.name} is not prepared: {'; '.join(missing)}",
            _CODE,
            "Set up kdump in the guest (packages kdump-tools or kexec-tools), or set check_guest to false",
        )
