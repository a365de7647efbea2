# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a call on servers acts: one host's libvirt and settings, one scope, and the Northbound once somebody needs it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from .._engines.host import Host
from .._engines.libvirt_client import connect
from .._engines.storage_pool import Pools
from .._model.errors import EcsError
from .._model.names import Scope
from .processors import Processors

_STEPS = {"ports": 4, "volume": 5, "config drive": 6, "domain": 6, "metadata": 6, "start": 6, "wait": 7}
"""The places of a server's way from YAML to running where a run can fail; 1 validate, 2 placement and 3 image come before any change."""


@dataclass(frozen=True)
class Site:
    """The place of a call.

    :param northbound: opens the Northbound at its first call and keeps it open to the end.
    :param pools: looks up the storage pools at its first call.
    :param processors: looks at the host's processors at its first call.
    """

    connection: Any
    host: Host
    scope: Scope
    northbound: Callable[[], Any]
    pools: Callable[[], Pools]
    processors: Callable[[], Processors]


@contextmanager
def open_site(uri: str, host: Host, scope: Scope, northbound: Callable[[], AbstractContextManager[Any]]) -> Iterator[Site]:
    """Connect to the host's libvirt; the Northbound follows when it is needed.

    :param northbound: makes a Northbound client.
    """
    with ExitStack() as stack, connect(uri, events=True) as connection:
        opened = functools.cache(lambda: stack.enter_context(northbound()))
        pools = functools.cache(lambda: Pools(connection))
        yield Site(connection, host, scope, opened, pools, functools.cache(lambda: Processors(connection, host)))


@contextmanager
def step(site: Site, name: str, what: str, detail: str = "") -> Iterator[None]:
    """Name server and step in the error of what fails inside."""
    import libvirt

    about = f"server {name} (project {site.scope.project}): step {_STEPS[what]} of 7, {what}{' ' + detail if detail else ''}"
    try:
        yield
    except libvirt.libvirtError as error:
        raise EcsError(f"{about}: {error}", "ECS_LIBVIRT", server=name) from error
    except OSError as error:
        raise EcsError(f"{about}: {error}", "ECS_FILE", "Look at that path on the host", server=name) from error
    except EcsError as error:
        error.message = f"{about}: {error.message}"
        error.server = name
        raise
