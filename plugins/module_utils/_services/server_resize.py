# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Another size for a server: an edit of its definition while it is off, more vCPUs and memory while it runs."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from .._engines import guest_agent, libvirt_client
from .._engines.storage_pool import definition
from .._model import cpu, domain_size, domain_xml, pinning
from .._model.errors import EcsError, InvalidInput, NotFound
from .._model.flavors import Flavor
from .._model.resize import Resize
from .._model.servers import Server
from .hypervisors import check_admission
from .images import find_image
from .rollback import Rollback
from .site import Site


def bind(site: Site, server: Server, resize: Resize) -> Resize:
    """The same with what the server is bound to, which only one that is off can exchange.

    :raises EcsError: ECS_NO_CAPACITY when its new flavor asks for more than is free.
    """
    size, arch, name = resize.size, server.domain.arch, server.metadata.name
    cores = cpu.layout(size.max_vcpus, size.threads or None, arch)
    tuning = site.processors().claim(server.id, name, resize.flavor, cores, size.share > 1, size.memory)
    if not server.domain.bound and not tuning.exclusive:
        return resize
    pinning.check_room(tuning, (size.vcpus, size.max_vcpus), (size.memory, size.max_memory))
    return replace(resize, tuning=tuning, off=resize.off or next(iter(resize.after)))


def check(site: Site, server: Server, xml: str, resize: Resize) -> None:
    """See that the host takes a server of the new size (spec Z3), that its image is content with it, one that is gone has no say, and that
    its definition takes it.

    :param xml: the definition.
    :raises EcsError: when it is not for this host, too small, or somebody has laid out the server by hand.
    """
    if not {"flavor", "vcpus", "memory"}.isdisjoint(resize.after):
        size = Flavor(resize.flavor, resize.size.vcpus, resize.size.memory)
        check_admission(site.host, server.metadata.project, server.metadata.name, size, dedicated=None)
    _edit(xml, resize)
    with suppress(NotFound):
        image = find_image(site.host.image_library, site.scope, server.metadata.image)
        if image.min_memory and resize.size.memory < image.min_memory:
            raise InvalidInput(
                "memory", resize.size.memory, f"is less than image {image.name} needs ({image.min_memory} MiB)", "Choose a larger size"
            )


def foresee(xml: str, resize: Resize) -> domain_xml.DomainFacts:
    """The domain as it will be."""
    return domain_xml.parse(_edit(xml, resize))


def _edit(xml: str, resize: Resize) -> str:
    def change(root: ET.Element) -> None:
        if resize.tuning is not None:
            pinning.release(root)
        domain_size.write(root, resize.size)
        if resize.tuning is not None:
            pinning.write(root, resize.tuning)

    return domain_xml.edit(xml, change)


def apply(site: Site, name: str, domain: Any, resize: Resize, rollback: Rollback) -> list[str]:
    """Give a server its new size; nothing else of its definition changes.

    :returns: warnings.
    """
    now = domain_xml.parse(definition(domain)).size
    if not domain.isActive():
        old = definition(domain)
        libvirt_client.define(site.connection, _edit(old, resize))
        rollback.add("resize", name, partial(libvirt_client.define, site.connection, old))
        return []
    if resize.size.vcpus > now.vcpus:
        libvirt_client.set_vcpus(domain, resize.size.vcpus // now.share)
    if resize.size.memory > now.memory:
        libvirt_client.attach(domain, domain_size.dimm(resize.size.memory - now.memory), active=True)
    if (resize.size.vcpus, resize.size.memory) == (now.vcpus, now.memory):
        return []
    try:
        guest_agent.use_all(domain, resize.size.vcpus // now.share, resize.size.memory)
    except EcsError as error:
        return [f"server {name} has its new size, but the guest may have to be told (set its new CPUs and memory online): {error}"]
    return []
