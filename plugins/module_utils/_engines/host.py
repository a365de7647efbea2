# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What role hypervisor found out and settled about this host, read from /etc/altostratus/host.json."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from .._model.errors import EcsError
from . import files

HOST_FILE = "/etc/altostratus/host.json"


@dataclass(frozen=True)
class Host:
    """One hypervisor's settings; a host that was never prepared has the defaults.

    :param name: the host's name in the inventory that prepared it.
    :param guest_mtu: bytes a guest's interface may send, underlay MTU less the encapsulation (50 vxlan, 58 geneve).
    :param datapath: ``system`` where the kernel has openvswitch, ``netdev`` for the userspace datapath.
    :param kvm: whether a guest was seen to run under KVM.
    :param config_drives: directory of the servers' config drives.
    :param console_logs: directory of the servers' console logs.
    :param metadata: directory of what the metadata service serves; empty where there is none.
    :param locks: directory of lock files, which a reboot may empty.
    :param address: where other hypervisors reach its libvirt and QEMU; empty where role hypervisor has not been since they do.
    :param shared_pools: paths of the storage pools that are the same on every host which has them, by name.
    :param reserved_memory: MiB kept for the host itself.
    :param maintenance: whether it takes no new servers.
    :param dedicated_to: the only projects whose servers it takes; none for all.
    :param flavors: patterns of the only flavors that it takes; none for all.
    :param flavor_specs: what flavors ask beside vCPUs and memory, by pattern of their names.
    :param dedicated_cpus: processors kept for servers that have their own, such as ``2-7``.
    """

    name: str = field(default_factory=socket.gethostname)
    region: str = "local"
    az: str = "az1"
    ovn_nb: str = "unix:/run/ovn/ovnnb_db.sock"
    ovn_ca_cert: str = "/etc/altostratus/ovn/ca.pem"
    ovn_client_cert: str = "/etc/altostratus/ovn/cert.pem"
    ovn_client_key: str = "/etc/altostratus/ovn/key.pem"
    datapath: str = "system"
    kvm: bool = False
    guest_mtu: int = 1442
    image_library: str = "/var/lib/altostratus/images"
    config_drives: str = "/var/lib/altostratus/config-drives"
    console_logs: str = "/var/log/altostratus"
    metadata: str = ""
    locks: str = "/run/altostratus"
    default_pool: str = "standard"
    address: str = ""
    shared_pools: Mapping[str, str] = field(default_factory=dict)
    cpu_overcommit: float = 4.0
    memory_overcommit: float = 1.0
    reserved_memory: int = 512
    maintenance: bool = False
    dedicated_to: tuple[str, ...] = ()
    flavors: tuple[str, ...] = ()
    flavor_specs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    dedicated_cpus: str = ""


def _path() -> str:
    return os.environ.get("ECS_HOST_FILE", HOST_FILE)


def _read(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as stream:
            data: dict[str, Any] = json.load(stream)
            return data
    except ValueError as error:
        raise EcsError(f"{path} is not valid JSON ({error})", "ECS_HOST_FILE", "Run role hypervisor again") from error


def read_host(path: str | None = None) -> Host:
    """Read the host file; unknown keys are ignored so that older code reads newer files."""
    try:
        data = _read(path or _path())
    except FileNotFoundError:
        return Host()
    return from_settings(data)


def from_settings(data: Mapping[str, Any]) -> Host:
    """A host from its settings, in which more may stand."""
    known = {item.name for item in fields(Host)}
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in data.items() if key in known}
    return Host(**values)


def settle(**settings: Any) -> None:
    """Change settings in the host file, by rename; all else in it stays, keys that are unknown here included.

    :raises EcsError: ECS_HOST_FILE when the host was never prepared.
    """
    path = _path()
    try:
        data = _read(path)
    except FileNotFoundError as error:
        raise EcsError(f"{path} does not exist", "ECS_HOST_FILE", "Run role hypervisor first: it makes this host a hypervisor") from error
    files.write(path, json.dumps({**data, **settings}, indent=4, sort_keys=True) + "\n")
