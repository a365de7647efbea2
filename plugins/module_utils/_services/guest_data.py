# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a server's system is told of itself: once composed, then on its config drive and in the metadata service alike."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Mapping, Sequence

from .._engines import config_drive
from .._engines.host import Host
from .._engines.metadata_tree import Tree
from .._model import cloud_init, metadata_service
from .._model.metadata import ServerMetadata
from .._model.servers import Server
from .ports import Port


def compose(host: Host, server_id: str, told: ServerMetadata, ports: Sequence[Port], login: cloud_init.Login) -> Mapping[str, bytes]:
    """The files, as OpenStack lays them out."""
    nics = [
        cloud_init.GuestNic(
            id=port.id,
            mac=port.mac,
            mtu=port.mtu or host.guest_mtu,
            network_id=port.subnet_id or "",
            vpc_id=port.vpc_id or "",
            address=port.address or "",
            public_address=port.eip,
            dns=port.dns,
        )
        for port in ports
    ]
    seed = base64.b64encode(secrets.token_bytes(384)).decode()
    return cloud_init.files(server_id, told, nics, login, seed, root_login=told.user == "root")


def write_drive(host: Host, server_id: str, told: ServerMetadata, content: Mapping[str, bytes]) -> str:
    """Write the config drive of a server's system in the format that it was made with; its path, or nothing where it has none."""
    if told.config_drive == cloud_init.NO_DRIVE:
        return ""
    if told.config_drive != cloud_init.NO_CLOUD:
        return config_drive.write(host.config_drives, server_id, content, told.generation)
    from .._model import no_cloud

    return config_drive.write(host.config_drives, server_id, no_cloud.files(content), told.generation, no_cloud.LABEL)


def read_login(host: Host, server: Server) -> cloud_init.Login:
    """Who logs in to a server's system, as it was told."""
    drive = next((disk.path for disk in server.domain.disks if disk.is_config_drive), "")
    if not drive:
        served = Tree(host.metadata).read(server.id) if host.metadata else {}
        return cloud_init.read_login(metadata_service.drive(served))
    content = config_drive.read(drive)
    if server.metadata.config_drive != cloud_init.NO_CLOUD:
        return cloud_init.read_login(content)
    from .._model import no_cloud

    return no_cloud.read_login(content)


def read(host: Host, server: Server, ports: Sequence[Port]) -> Mapping[str, bytes]:
    """What a server's config drive says, as OpenStack lays it out; nothing where it has none.

    :param ports: its ports.
    """
    drive = next((disk.path for disk in server.domain.disks if disk.is_config_drive), "")
    if not drive:
        return {}
    if server.metadata.config_drive != cloud_init.NO_CLOUD:
        return config_drive.read(drive)
    return compose(host, server.id, server.metadata, ports, read_login(host, server))
