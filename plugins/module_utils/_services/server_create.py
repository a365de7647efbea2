# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Creating servers: the definition comes first and is finished last, so that a run killed anywhere leaves a trace to go on from."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from .._engines import config_drive
from .._engines.libvirt_client import define, undefine
from .._engines.password_hash import sha512_crypt
from .._model import cloud_init, domain_xml, logins, metadata, names, times
from .._model.errors import EcsError, InvalidInput, NotFound
from .._model.flavors import Flavor
from .._model.passwords import check_password
from .._model.plan import Step
from .._model.preemption import check_priority
from .._model.server_groups import membership
from .._model.server_request import ServerRequest
from . import guest_data, metadata_service, server_platform
from .console import log_path, log_paths, new_password
from .hypervisors import check_admission
from .images import Image, find_image
from .ports import EipRequest, Port, PortRequest
from .rollback import Rollback
from .server_platform import Platform
from .site import Site, step
from .volumes import Volume, VolumeRequest, create_volume, delete_volume, plan_volume

_GIB = 1 << 30


@dataclass(frozen=True)
class Creation:
    """A server to be made.

    :param volumes: the system disk's first.
    :param leftover: what a run that was killed has left of this server.
    """

    id: str
    request: ServerRequest
    size: Flavor
    volumes: tuple[VolumeRequest, ...]
    told: metadata.ServerMetadata
    platform: Platform
    leftover: metadata.ServerMetadata | None = None


def nic_name(server: str, number: int) -> str:
    """The name of a server's *number*-th port."""
    return f"{server}-nic{number}"


def port_requests(scope: names.Scope, request: ServerRequest) -> list[PortRequest]:
    """The ports of a server's interfaces; a public address sits on the first."""
    eip = None
    if request.eip is not None:
        eip = EipRequest(name=request.name, network=request.eip.network, bandwidth=request.eip.bandwidth)
    return [
        PortRequest(
            name=nic_name(request.name, number),
            subnet=nic.subnet,
            vpc=nic.vpc,
            address=nic.address,
            security_groups=nic.security_groups,
            port_security=nic.port_security,
            server_id=scope.id("server", request.name),
            server=request.name,
            eip=eip if number == 0 else None,
        )
        for number, nic in enumerate(request.nics or ())
    ]


def check_image(request: ServerRequest, size: Flavor, image: Image) -> int:
    """See that image, flavor and disk fit; returns the system disk's size in GiB (spec P5)."""
    if image.min_memory and size.memory < image.min_memory:
        raise InvalidInput(
            "flavor", str(size), f"has {size.memory} MiB, image {image.name} needs {image.min_memory}", "Choose a larger one"
        )
    _check_guest(request, image)
    least = max(image.min_disk or 0, -(-image.virtual_size // _GIB))
    if request.root_disk is not None and request.root_disk < least:
        raise InvalidInput("root_disk", request.root_disk, f"is less than image {image.name} needs ({least} GiB)", f"Give at least {least}")
    return request.root_disk or least


def _check_guest(request: ServerRequest, image: Image) -> None:
    """See that what the guest will be told suits its operating system."""
    if image.os_type == "windows":
        names.check_windows_name("name", request.name)
        names.check_windows_name("hostname", request.hostname or "")
        if request.timezone is not None:
            raise InvalidInput("timezone", request.timezone, f"cannot be told to {image.name}, a Windows guest", "Set it in the guest")
    elif request.timezone is not None:
        _check_timezone(request.timezone)
    if request.password is not None:
        check_password("password", request.password, logins.user(image.default_user, image.os_type, request.login), image.os_type)
    if image.os_type == "windows" and request.drive == cloud_init.NO_CLOUD:
        raise InvalidInput("config_drive_format", request.drive, f"is not for {image.name}, a Windows guest", "Leave it out")
    if request.user_data is not None:
        cloud_init.check_user_data(request.user_data, image.os_type)


def _unheard(request: ServerRequest, image: Image) -> str:
    """What a user should know who tells something to a guest that may not listen (spec UD3)."""
    told = [option for option in ("user_data", "password", "key") if getattr(request, option)]
    if image.cloud_init or not told:
        return ""
    return f"server {request.name}: image {image.name} runs no cloud-init: {', '.join(told)} has an effect only if it reads its drive"


def _check_timezone(name: str) -> None:
    """See that there is such a time zone, as far as this host knows them."""
    if not os.path.isdir("/usr/share/zoneinfo"):
        return
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, OSError, ValueError):
        raise InvalidInput("timezone", name, "is not a time zone", "Write for example Europe/Berlin or UTC") from None


def _volumes(request: ServerRequest, root_disk: int) -> tuple[VolumeRequest, ...]:
    return (
        VolumeRequest(f"{request.name}-system", size=root_disk, type=request.disk_type, image=request.image, role="system"),
        *(VolumeRequest(f"{request.name}-{disk.name}", size=disk.size, type=disk.type) for disk in request.data_disks),
    )


def prepare(site: Site, request: ServerRequest, leftover: metadata.ServerMetadata | None, check: bool) -> tuple[Creation, str]:
    """Everything about a new server that can be known before anything is made.

    :param leftover: what a run that was killed has left of it.
    :param check: an image that is not there yet is a warning, as an earlier task would have made it.
    :returns: the creation and a warning, or an empty one.
    :raises EcsError: when the request is incomplete or does not fit this host or the image.
    """
    scope, host = site.scope, site.host
    if request.size is None or request.image is None:
        option = "image" if request.size else "flavor"
        raise InvalidInput(option, None, f"is missing for new server {request.name}", "Give flavor (or vcpus and memory) and image")
    if request.az is not None and request.az != host.az:
        raise InvalidInput("az", request.az, f"is not the zone of {host.name} ({host.az})", "Let module placement choose the hypervisor")
    if leftover is None:
        check_admission(host, scope.project, request.name, request.size, request.dedicated)
    if request.scheduled_deletion and request.scheduled_deletion.refused:
        raise request.scheduled_deletion.refused
    check_priority(request.name, bool(request.preemptible), request.priority)
    if request.key and not request.public_keys:
        raise InvalidInput("key", request.key, f"comes without public_keys for new server {request.name}", "Give the key pair's public key")
    image, warning = None, ""
    root_disk = request.root_disk or 0
    try:
        image = find_image(host.image_library, scope, request.image)
        root_disk = check_image(request, request.size, image)
        warning = _unheard(request, image)
    except NotFound as error:
        if not check:
            raise
        warning = str(error)
    server_id = scope.id("server", request.name)
    volumes = _volumes(request, root_disk)
    mounts = {f"{request.name}-{disk.name}": disk for disk in request.data_disks}
    group, policy = membership(request.server_group, request.server_group_policy)
    told = metadata.ServerMetadata(
        region=scope.region,
        project=scope.project,
        name=request.name,
        display_name="" if request.display_name == request.name else request.display_name or "",
        az=host.az,
        flavor=request.size.name,
        image=request.image,
        image_id="" if image is None else image.id,
        key=request.key or "",
        login=request.login,
        user="root" if image is None else logins.user(image.default_user, image.os_type, request.login),
        os_type="linux" if image is None else image.os_type,
        timezone=request.timezone or "",
        threads_per_core=request.cpu.threads_per_core or 0,
        hostname=request.hostname or names.hostname(request.name, server_id),
        description=request.description or "",
        server_group=group,
        server_group_policy=policy,
        user_data=request.user_data_hash,
        config_drive="" if request.drive == cloud_init.CONFIG_2 else request.drive or "",
        created=times.stamp(times.now()),
        cloud_init=image is None or image.cloud_init,
        creating=True,
        deletion_protection=request.deletion_protection or False,
        scheduled_deletion=request.scheduled_deletion.at if request.scheduled_deletion else "",
        preemptible=request.preemptible or False,
        priority=request.priority or 0,
        tags=request.tags or {},
        disks=tuple(
            metadata.Disk(
                id=scope.id("volume", volume.name),
                name=volume.name,
                role=volume.role,
                size=volume.size or 0,
                type=volume.type or host.default_pool,
                mount=(mounts[volume.name].mount or "") if volume.name in mounts else "",
                filesystem=(mounts[volume.name].filesystem or "") if volume.name in mounts else "",
            )
            for volume in volumes
        ),
    )
    machine = server_platform.choose(site, request, request.size, image)
    return Creation(server_id, request, request.size, volumes, told, machine, leftover), warning


def nic_metadata(port: Port) -> metadata.Nic:
    """What a domain remembers of a port."""
    return metadata.Nic(
        id=port.id,
        name=port.name,
        mac=port.mac,
        address=port.address or "",
        cidr=port.cidr or "",
        subnet=port.subnet,
        vpc=port.vpc or "",
        security_groups=tuple(port.security_groups),
        mtu=port.mtu or 0,
    )


def domain_spec(site: Site, creation: Creation, ports: Sequence[Port], volumes: Mapping[str, Volume]) -> domain_xml.DomainSpec:
    """The domain of a new server; in check mode, and before the volumes are there, its disks have no path yet."""
    request, told = creation.request, creation.told
    disks: list[domain_xml.DiskDevice] = []
    for disk in told.disks:
        made = volumes.get(disk.id)
        path, form = (made.path, made.format) if made else ("", "qcow2")
        if disk.role == "system":
            disks.append(domain_xml.system_disk(path, form, disk.id))
        else:
            target = domain_xml.next_target(device.target for device in disks)
            disks.append(domain_xml.DiskDevice(path, form, target, names.disk_serial(disk.id)))
    name = site.scope.domain(request.name)
    return domain_xml.DomainSpec(
        name=name,
        uuid=creation.id,
        title=told.display_name or told.name,
        metadata=replace(told, nics=tuple(map(nic_metadata, ports))),
        **vars(creation.platform),
        vcpus=creation.size.vcpus,
        memory=creation.size.memory,
        max_vcpus=request.max_vcpus or 0,
        max_memory=request.max_memory or 0,
        console_log=log_path(site.host, name),
        disks=disks,
        nics=[domain_xml.NicDevice(port.id, port.mac, port.mtu or site.host.guest_mtu) for port in ports],
        offloads=site.host.datapath != "netdev",
    )


def planned_steps(creation: Creation, volumes: Collection[str]) -> list[Step]:
    """The steps that make the server and its volumes; those of its ports are the ports' plan's.

    :param volumes: ids of the data volumes that are there already.
    """
    request = creation.request
    steps = [
        Step("create", "volume", disk.name, after={"size": disk.size, "type": disk.type})
        for disk in creation.told.disks
        if disk.role == "system" or disk.id not in volumes
    ]
    after = {
        "flavor": creation.size.name or None,
        "vcpus": creation.size.vcpus,
        "memory": creation.size.memory,
        "image": request.image,
        "key": request.key,
        "tags": dict(request.tags or {}),
        "server_group": creation.told.server_group,
        "server_group_policy": creation.told.server_group_policy,
        "scheduled_deletion": creation.told.scheduled_deletion,
        "preemptible": creation.told.preemptible,
        "priority": creation.told.priority,
        "status": "running",
    }
    return [*steps, Step("create", "server", request.name, after={key: value for key, value in after.items() if value})]


def check_volumes(site: Site, server: str, wanted: Sequence[VolumeRequest], live: Mapping[str, Volume]) -> None:
    """See that a server's new volumes can be made, and that those which are there can be its own.

    :param live: volumes by id.
    :raises EcsError: ECS_NO_SPACE, ECS_IN_USE, or what else stands in the way.
    """
    for volume in wanted:
        old = live.get(site.scope.id("volume", volume.name))
        with step(site, server, "volume", volume.name.removeprefix(f"{server}-")):
            if old is None or volume.role == "system":
                plan_volume(site.pools(), site.host, site.scope, volume)
            elif old.server not in ("", server):
                raise EcsError(
                    f"volume {old.name} is attached to server {old.server}", "ECS_IN_USE", "Detach it, or call the disk otherwise"
                )
            elif old.size != volume.size:
                raise EcsError(
                    f"volume {old.name} was kept with {old.size} GiB, {volume.size} GiB are asked for",
                    "ECS_IMMUTABLE",
                    "Ask for its size, or remove it with module volume first",
                )


def reserve(site: Site, creation: Creation, ports: Sequence[Port], rollback: Rollback) -> None:
    """Define the domain without devices: it holds the host's capacity, and tells the next run what was begun.

    One that a killed run left is not undone, as it tells of more than this run makes.

    :param ports: as they will be.
    """
    name = creation.request.name
    with step(site, name, "domain"):
        spec = domain_spec(site, creation, ports, {})
        domain = define(site.connection, domain_xml.build(replace(spec, disks=(), nics=())))
    if creation.leftover is None:
        rollback.add("server", name, partial(undefine, domain, nvram=creation.platform.firmware == "uefi"))


def make_volumes(site: Site, creation: Creation, live: Mapping[str, Volume], rollback: Rollback) -> dict[str, Volume]:
    """Make the server's volumes, by id.

    A data volume that is there is the server's own, kept when it was deleted (spec R12) or left by a run that was killed: it is used
    again. A system volume can only be left over: it is made anew.
    """
    made: dict[str, Volume] = {}
    for volume in creation.volumes:
        volume_id = site.scope.id("volume", volume.name)
        with step(site, creation.request.name, "volume", volume.name.removeprefix(f"{creation.request.name}-")):
            old = live.get(volume_id)
            if old is not None and volume.role == "data":
                made[volume_id] = old
                continue
            if old is not None:
                delete_volume(site.connection, old)
            new = create_volume(site.pools(), site.host, site.scope, volume)
            rollback.add("volume", volume.name, partial(delete_volume, site.connection, new))
            made[volume_id] = new
    return made


def secret(password: str | None, os_type: str) -> str:
    """The password as its guest takes it (spec M9)."""
    if not password or os_type == "windows":
        return password or ""
    return sha512_crypt(password)


def write_data(site: Site, server_id: str, told: metadata.ServerMetadata, ports: Sequence[Port], login: cloud_init.Login) -> str:
    """Write what a server's system is told, for the metadata service and on its config drive; returns the drive's path, if it has one."""
    content = guest_data.compose(site.host, server_id, told, ports, login)
    metadata_service.lay_out(site.host, server_id, told.generation, content, ports)
    return guest_data.write_drive(site.host, server_id, told, content)


def remove_data(site: Site, server_id: str) -> None:
    """Remove all that a server's systems were told."""
    config_drive.remove(site.host.config_drives, server_id)
    metadata_service.remove(site.host, [server_id])


def finish_definition(site: Site, creation: Creation, ports: Sequence[Port], volumes: Mapping[str, Volume], rollback: Rollback) -> Any:
    """Write the config drive and the complete definition; returns the domain, ready to start."""
    request, host = creation.request, site.host
    spec = domain_spec(site, creation, ports, volumes)
    with step(site, request.name, "config drive"):
        login = cloud_init.Login(request.public_keys, secret(request.password, spec.metadata.os_type), request.user_data)
        rollback.add("", request.name, partial(remove_data, site, creation.id))
        drive = write_data(site, creation.id, spec.metadata, ports, login)
        metadata_service.show(host, creation.id, spec.metadata.generation)
    with step(site, request.name, "domain"):
        os.makedirs(host.console_logs, mode=0o700, exist_ok=True)
        disks = [*spec.disks, domain_xml.config_drive(drive)] if drive else spec.disks
        complete = replace(spec, disks=disks, vnc_password=new_password())
        domain = define(site.connection, domain_xml.build(complete))
        domain.setAutostart(1)
    rollback.add("", request.name, partial(remove_console_log, site, spec.name))
    return domain


def remove_console_log(site: Site, domain: str) -> None:
    """Remove a domain's console log and what was rotated out of it."""
    for name in log_paths(site.host, domain):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
