# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Another system for servers (spec Q1 to Q11): a new system disk and config drive beside the old ones, exchanged by one definition.

The old disk goes when the new system was seen to work; until then a failure gives it back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from .._engines import config_drive, libvirt_client
from .._engines.libvirt_client import Live, power_off
from .._engines.storage_pool import definition
from .._model import cloud_init, domain_xml, logins, metadata, rebuild
from .._model.errors import InvalidInput, NotFound
from .._model.flavors import Flavor
from .._model.plan import Step
from .._model.server_request import ServerRequest
from .._model.servers import Server
from . import guest_data, metadata_service
from .images import find_image
from .ports import Port, read_ports
from .rollback import Rollback
from .server_create import check_image, secret, write_data
from .server_platform import FIRMWARE_PROPERTY
from .server_update import remember
from .site import Site, step
from .volumes import Volume, VolumeRequest, create_volume, delete_volume, read_volumes

TASKS = ("reinstalling", "changing_os")


@dataclass(frozen=True)
class Rebuild:
    """Another system for one server.

    :param warning: an image that is not there yet in check mode; otherwise empty.
    """

    server: Server
    system: rebuild.System
    login: cloud_init.Login
    volume: VolumeRequest
    warning: str

    @property
    def name(self) -> str:
        return self.server.metadata.name

    @property
    def status(self) -> str:
        """What the server's status is meanwhile (spec Q4, Q9)."""
        return TASKS[self.system.image != self.server.metadata.image]

    def steps(self) -> list[Step]:
        """What is done between stop and start."""
        told, system = self.server.metadata, self.system
        before = {"image": told.image, "generation": told.generation}
        after = {"image": system.image, "generation": told.generation + 1}
        return [
            Step("create", "volume", self.volume.name, after={"size": self.volume.size, "type": self.volume.type}),
            Step("rebuild", "server", told.name, before, after),
        ]

    def last_steps(self) -> list[Step]:
        """What is done when the new system was seen to work."""
        old = [disk for disk in self.server.metadata.disks if disk.role in ("system", "replaced")]
        return [Step("delete", "volume", disk.name, before={"size": disk.size}) for disk in old]


def plan(site: Site, server: Server, request: ServerRequest, check: bool) -> Rebuild:
    """Everything about the new system that can be known before anything is made.

    What the request does not speak of is as it was: image, keys or password, host name, time zone, user data.

    :param check: an image that is not there yet is a warning.
    :raises EcsError: when image and server do not go together.
    """
    told, image, warning = server.metadata, None, ""
    name = request.image or told.image
    try:
        image = find_image(site.host.image_library, site.scope, name)
    except NotFound as error:
        if not check:
            raise
        warning = str(error)
    old = rebuild.system_disk(server)
    firmware = image.properties.get(FIRMWARE_PROPERTY, "") if image else ""
    rebuild.check_kept(server, request, image.architecture or "" if image else "", firmware)
    given = request.password is not None or bool(request.public_keys)
    login = request.login if given else told.login
    os_type = image.os_type if image else told.os_type or "linux"
    size = request.root_disk or old.size
    if image is not None:
        least = check_image(replace(request, name=told.name), Flavor(told.flavor, server.domain.vcpus, server.domain.memory), image)
        size = max(size, least)
    system = rebuild.System(
        image=name,
        image_id=image.id if image else "",
        cloud_init=image is None or image.cloud_init,
        os_type=os_type,
        login=login,
        user=logins.user(image.default_user, os_type, login) if image else told.user,
        hostname=request.hostname or told.hostname,
        timezone="" if os_type == "windows" else request.timezone or told.timezone,
        user_data=told.user_data if request.user_data is None else request.user_data_hash,
        size=size,
    )
    volume = VolumeRequest(rebuild.volume_name(told.name, told.generation + 1), size=size, type=old.type, image=name, role="system")
    return Rebuild(server, system, _login(site, server, request, os_type, given), volume, warning)


def _login(site: Site, server: Server, request: ServerRequest, os_type: str, given: bool) -> cloud_init.Login:
    """Who logs in to the new system: whom the request names, or else whom the old one was told of (spec Q3, Q11)."""
    if given and request.user_data is not None:
        return cloud_init.Login(request.public_keys, secret(request.password, os_type), request.user_data)
    old = guest_data.read_login(site.host, server)
    user_data = old.user_data if request.user_data is None else request.user_data
    if user_data is not None:
        cloud_init.check_user_data(user_data, os_type)
    if given:
        return cloud_init.Login(request.public_keys, secret(request.password, os_type), user_data)
    windows = server.metadata.os_type == "windows"
    if old.secret and os_type == "windows" and not windows:
        raise InvalidInput("password", None, f"is missing: {request.name} had a Linux guest, whose hash Windows does not take", "Give it")
    return replace(old, secret=secret(old.secret, os_type) if windows else old.secret, user_data=user_data)


def _ports(site: Site, server: Server, known: Sequence[Port]) -> list[Port]:
    """The server's ports in the order of its interfaces."""
    wanted = [nic.id for nic in server.metadata.nics]
    found = {port.id: port for port in known}
    if not set(wanted) <= set(found):
        found |= {port.id: port for port in read_ports(site.northbound(), server_ids={server.id})}
    return [found[port_id] for port_id in wanted if port_id in found]


def exchange(site: Site, work: Rebuild, live: Live, volumes: Mapping[str, Volume], ports: Sequence[Port], rollback: Rollback) -> None:
    """Give a server that is off its new system.

    :param volumes: by id; one of the new disk's name is what a killed run left.
    """
    domain, server, name = live.domain, work.server, work.name
    old = definition(domain)
    told = rebuild.renewed(metadata.parse(old) or server.metadata, site.scope, work.system)
    with step(site, name, "volume", work.volume.name.removeprefix(f"{name}-")):
        if leftover := volumes.get(told.disks[0].id):
            delete_volume(site.connection, leftover)
        volume = create_volume(site.pools(), site.host, site.scope, work.volume)
        rollback.add("volume", work.volume.name, partial(delete_volume, site.connection, volume))
    with step(site, name, "config drive"):
        rollback.add("", name, partial(_keep_data, site, server.id, old))
        mine = _ports(site, server, ports)
        drive = write_data(site, server.id, told, mine, work.login)
        metadata_service.show(site.host, server.id, told.generation)
        metadata_service.connect(site.host, {server.id: metadata_service.nics_of(site.host, mine)})
    with step(site, name, "domain"):
        libvirt_client.define(site.connection, _exchanged(old, told, volume.path, volume.format, drive))
    rollback.add("rebuild", name, partial(_give_back, site, domain, old))


def _exchanged(xml: str, told: metadata.ServerMetadata, path: str, form: str, drive: str) -> str:
    def change(root: Any) -> None:
        domain_xml.exchange_system(root, domain_xml.system_disk(path, form, told.disks[0].id), drive)
        metadata.put(root, told)

    return domain_xml.edit(xml, change)


def _give_back(site: Site, domain: Any, xml: str) -> None:
    power_off(domain)
    libvirt_client.define(site.connection, xml)


def _keep_data(site: Site, server_id: str, xml: str) -> None:
    """Remove what a server's systems were told, but for the one of its definition."""
    facts = domain_xml.parse(xml)
    drive = next((disk.path for disk in facts.disks if disk.is_config_drive), "")
    config_drive.remove(site.host.config_drives, server_id, keep=drive)
    if facts.metadata:
        metadata_service.keep(site.host, server_id, facts.metadata.generation)


def foresee(site: Site, work: Rebuild, told: metadata.ServerMetadata, xml: str) -> Server:
    """The server as it will be."""
    told = rebuild.renewed(told, site.scope, work.system)
    facts = domain_xml.parse(_exchanged(xml, told, "", "qcow2", ""))
    return replace(work.server, domain=replace(facts, task=None), metadata=rebuild.finished(told), state=1)


def finish(site: Site, domain: Any) -> None:
    """Take away what was kept until a server was seen to work, and forget that it was not yet."""
    xml = definition(domain)
    told = metadata.parse(xml)
    if told is None:
        return
    done = rebuild.finished(told)
    if done == told:
        return
    if gone := {disk.id for disk in told.disks} - {disk.id for disk in done.disks}:
        for volume in read_volumes(site.connection, site.scope):
            if volume.id in gone:
                delete_volume(site.connection, volume)
        _keep_data(site, domain.UUIDString(), xml)
    remember(domain, done)


def clean(site: Site, server: Server) -> None:
    """Take away what a run left that was killed before the server had its new system."""
    xml = definition(site.connection.lookupByUUIDString(server.id))
    name = rebuild.volume_name(server.metadata.name, server.metadata.generation + 1)
    for volume in read_volumes(site.connection, site.scope, name=name):
        if not volume.server:
            delete_volume(site.connection, volume)
    _keep_data(site, server.id, xml)
