# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""libvirt's storage pools, and disks of running domains."""

from __future__ import annotations

import time
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

from .._model.errors import EcsError, NotFound
from .._model.volumes import find_disk
from .libvirt_client import Events

_GIB = 1 << 30
DRIVES = "ecs-drives"
"""The pool in which config drives come from other hosts; those whose names begin so are no disk types."""
# How often the loop, which asks again after its own events only, looks whether one of ours came.
_POLL = 0.1


def pools(connection: Any) -> dict[str, Any]:
    """The active pools by name."""
    return {pool.name(): pool for pool in connection.listAllStoragePools() if pool.isActive() and not pool.name().startswith(DRIVES)}


class Pools:
    """The active pools of a host, looked up once in a call; each is asked once for its room."""

    def __init__(self, connection: Any) -> None:
        self._known = pools(connection)
        self._free: dict[str, int] = {}

    def find(self, name: str) -> Any:
        """An active pool.

        :raises NotFound: with the names of those there are.
        """
        if name not in self._known:
            raise NotFound("pool", name, "", f"Active pools: {', '.join(sorted(self._known)) or 'none'}")
        return self._known[name]

    def free(self, name: str) -> int:
        """Bytes that were free in a pool when this was first asked: to count, libvirt looks at every volume."""
        if name not in self._free:
            self._free[name] = _available(self.find(name))
        return self._free[name]


def volumes(connection: Any, name: str | None = None) -> Iterator[tuple[str, Any]]:
    """Name of the pool and volume, for all volumes, or for those of one name."""
    import libvirt

    for pool_name, pool in sorted(pools(connection).items()):
        if name is None:
            yield from ((pool_name, volume) for volume in pool.listAllVolumes())
            continue
        with suppress(libvirt.libvirtError):
            yield pool_name, pool.storageVolLookupByName(name)


def find_volume(connection: Any, pool: str, name: str) -> Any:
    """A volume of a pool; None where there is none."""
    return next((volume for where, volume in volumes(connection, name) if where == pool), None)


def refresh(connection: Any, names: Iterable[str]) -> None:
    """Let libvirt find the volumes that other hosts have made in pools which it shares with them."""
    known = pools(connection)
    for name in names:
        if name in known:
            known[name].refresh(0)


def find_by_path(connection: Any, path: str) -> tuple[str, Any] | None:
    """Name of the pool and volume; None for a path in no pool."""
    import libvirt

    try:
        volume = connection.storageVolLookupByPath(path)
        return volume.storagePoolLookupByVolume().name(), volume
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_STORAGE_VOL:
            raise
        return None


def _available(pool: Any) -> int:
    import libvirt

    # libvirt counts at a refresh only, and refuses one while a volume is being made: then the last count must do.
    with suppress(libvirt.libvirtError):
        pool.refresh(0)
    return int(pool.info()[3])


def describe(volume: Any) -> str | None:
    """A volume's XML; None where it went away meanwhile."""
    import libvirt

    try:
        return str(volume.XMLDesc())
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_STORAGE_VOL:
            return None
        raise


def create(pool: Any, name: str, xml: str) -> Any:
    """Make a volume, or find the one that a parallel run made."""
    import libvirt

    try:
        return pool.createXML(xml, 0)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_STORAGE_VOL_EXIST:
            raise
        return pool.storageVolLookupByName(name)


def grow(volume: Any, gib: int) -> None:
    """Grow a volume that no running domain has to *gib* GiB."""
    volume.resize(gib * _GIB, 0)


def grow_live(domain: Any, target: str, gib: int) -> None:
    """Grow a disk of a running domain to *gib* GiB; the guest sees it at once."""
    import libvirt

    domain.blockResize(target, gib * _GIB, libvirt.VIR_DOMAIN_BLOCK_RESIZE_BYTES)


def definition(domain: Any) -> str:
    """The domain's XML as it will start next time, its secrets included: whoever defines it anew must not lose the screen's password."""
    import libvirt

    return str(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE))


def unplug(connection: Any, domain: Any, serial: str, timeout: float) -> None:
    """Take a disk out of a running domain, and wait until the guest has let it go (spec D-31).

    libvirt's call returns after some seconds whether the disk is gone or not, so only the DEVICE_REMOVED event counts.

    :param connection: opened with events.
    :param timeout: seconds.
    :raises EcsError: ECS_TIMEOUT when the guest keeps the disk, which may still go later.
    """
    import libvirt

    disk = find_disk(domain.XMLDesc(0), serial)
    if disk is None:
        return
    alias_node = disk.find("alias")
    alias = "" if alias_node is None else alias_node.get("name", "")
    outcome: list[str] = []

    def told(verdict: str) -> Any:
        return lambda connection, domain, device, opaque: outcome.append(verdict) if device == alias else None

    callbacks = [
        connection.domainEventRegisterAny(domain, event, told(verdict), None)
        for event, verdict in (
            (libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED, "removed"),
            (libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_REMOVAL_FAILED, "refused"),
        )
    ]
    try:
        with Events(connection) as events:
            deadline = time.monotonic() + timeout
            _request_unplug(domain, disk)
            events.wait(lambda: bool(outcome), deadline, poll=_POLL)
    finally:
        for callback in callbacks:
            connection.domainEventDeregisterAny(callback)
    if outcome[:1] != ["removed"] and find_disk(domain.XMLDesc(0), serial) is not None:
        how = "refused to let the disk go" if outcome else f"did not let the disk go within {timeout:g} s"
        raise EcsError(
            f"the guest of {domain.name()} {how}", "ECS_TIMEOUT", "Unmount it in the guest, or stop the server, then run this again"
        )


def _request_unplug(domain: Any, disk: ET.Element) -> None:
    import libvirt

    try:
        domain.detachDeviceFlags(ET.tostring(disk, encoding="unicode"), libvirt.VIR_DOMAIN_AFFECT_LIVE)
    except libvirt.libvirtError as error:
        # An earlier request still waits for the guest, and so may we.
        if "in the process of unplug" not in str(error):
            raise
