# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One run at a time on a server (spec Z2), and what it does there shown as the server's status (spec appendix A)."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from .._engines import files
from .._engines.libvirt_client import Live, set_metadata
from .._model import metadata
from .._model.errors import EcsError

BUSY = "ECS_BUSY"
"""The code of the error that another run is at a server."""
_POLL = 0.1


@contextmanager
def exclusive(directory: str, servers: Mapping[str, str], timeout: float) -> Iterator[None]:
    """Keep other runs away from servers for the length of a ``with`` block; a run that dies lets go of them.

    :param directory: for the lock files, on the servers' host.
    :param servers: name by id.
    :param timeout: seconds to wait for other runs, all together.
    :raises EcsError: ECS_BUSY when one is still at a server then.
    """
    os.makedirs(directory, mode=0o700, exist_ok=True)
    deadline = time.monotonic() + timeout
    with ExitStack() as stack:
        # In one order everywhere, so that no two runs wait for each other.
        for server_id in sorted(servers):
            path = os.path.join(directory, f"{server_id}.lock")
            while not stack.enter_context(files.lock(path, wait=False)):
                if time.monotonic() >= deadline:
                    raise EcsError(
                        f"server {servers[server_id]} is in the hands of another run, for {timeout:g} s at least",
                        BUSY,
                        "Module server_info tells its status; run this again when the other run is done",
                    )
                time.sleep(_POLL)
        yield


@contextmanager
def at_work(live: Mapping[str, Live], tasks: Mapping[str, metadata.Task]) -> Iterator[None]:
    """Show what is being done to servers as their status until the block ends, however it does.

    :param live: domains by id.
    :param tasks: by id.
    """
    import libvirt

    for server_id, task in tasks.items():
        _set(live[server_id].domain, metadata.build_task(task))
    try:
        yield
    finally:
        for server_id in tasks:
            # It is gone, or else the next run finds the task and takes it from there.
            with suppress(libvirt.libvirtError):
                forget_task(live[server_id].domain)


def forget_task(domain: Any) -> None:
    """Show a server's own status again."""
    _set(domain, None)


def _set(domain: Any, xml: str | None) -> None:
    set_metadata(domain, xml, metadata.TASK_PREFIX, metadata.TASK_NAMESPACE, active=False)
