# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a server may be made to dump its memory (spec OD-3 to OD-7, OD-11)."""

from __future__ import annotations

import pytest

from ansible_collections.altostratus.ecs.plugins.module_utils._model import domain_xml, metadata, os_dump
from ansible_collections.altostratus.ecs.plugins.module_utils._model.errors import EcsError
from ansible_collections.altostratus.ecs.plugins.module_utils._model.servers import Server, from_domain


def server(vcpus: int = 4, gib: int = 8, arch: str = "x86_64", state: int = 1) -> Server:
    told = metadata.ServerMetadata("local", "shop", "db")
    firmware = "bios" if arch == "x86_64" else "uefi"
    spec = domain_xml.DomainSpec(
        "shop.db", "4a5b6c7d-1111-5222-8333-444455556666", "db", told, "kvm", vcpus, gib << 10, "/log", arch, firmware
    )
    found = from_domain(domain_xml.build(spec), state, "hv1")
    assert found is not None
    return found


def check(found: Server, confirm: bool = True) -> None:
    os_dump.check_server(found, confirm, os_dump.VCPUS, os_dump.MEMORY)


def test_open() -> None:
    """Spec OD-6: 4 vCPUs and 8 GiB are enough."""
    check(server())


@pytest.mark.parametrize(
    ("found", "code", "message"),
    [
        (server(arch="aarch64"), "ECS_OS_DUMP", "db is aarch64, which takes no NMI"),
        (server(vcpus=2), "ECS_OS_DUMP", "2 vCPUs and 8192 MiB, a dump wants 4 and 8192"),
        (server(gib=7), "ECS_OS_DUMP", "4 vCPUs and 7168 MiB"),
        (server(state=5), "ECS_STOPPED", "db is stopped: nothing runs there"),
        (server(state=3), "ECS_STOPPED", "db is paused"),
    ],
)
def test_gates(found: Server, code: str, message: str) -> None:
    """Spec OD-4, OD-5, OD-6."""
    with pytest.raises(EcsError, match=message) as failed:
        check(found)
    assert failed.value.code == code


def test_somebody_has_to_confirm() -> None:
    """Spec OD-3: the server restarts."""
    with pytest.raises(EcsError, match="which restarts it"):
        check(server(), confirm=False)


READY = {os_dump.COMMAND_LINE: "root=/dev/vda1 crashkernel=256M", os_dump.PANICS[0]: "1\n"}


@pytest.mark.parametrize(
    ("files", "free", "missing"),
    [
        (READY, 9000, ""),
        (READY, None, ""),
        ({**READY, os_dump.PANICS[0]: "0\n", os_dump.PANICS[1]: "1\n"}, 9000, ""),
        ({**READY, os_dump.COMMAND_LINE: "root=/dev/vda1"}, 9000, "reserves no memory"),
        ({**READY, os_dump.PANICS[0]: "0\n"}, 9000, "does not make it panic"),
        (READY, 100, "100 MiB are free for a dump of 8192 MiB"),
        ({}, 0, "reserves no memory.*does not make it panic.*0 MiB are free"),
    ],
)
def test_guest_that_is_prepared(files: dict[str, str], free: int | None, missing: str) -> None:
    """Spec OD-7, OD-10, OD-11: all that is missing is told at once."""
    guest = os_dump.Guest(files, free)
    if not missing:
        os_dump.check_guest(server(), guest)
        return
    with pytest.raises(EcsError, match=missing) as failed:
        os_dump.check_guest(server(), guest)
    assert failed.value.code == "ECS_OS_DUMP"
