# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The machine that a new server gets on this host: accelerator, architecture, firmware, CPU model."""

from __future__ import annotations

import platform
from dataclasses import dataclass

from .._engines.libvirt_client import Abilities, has_topoext, read_abilities, read_machine
from .._model import cpu, domain_xml
from .._model.errors import EcsError, InvalidInput
from .._model.flavors import Flavor
from .._model.images import Image
from .._model.pinning import Tuning, check_room
from .._model.server_request import ServerRequest
from .site import Site

_FIRMWARE_PACKAGES = {cpu.X86: "ovmf", cpu.ARM: "qemu-efi-aarch64"}
_EMULATORS = {cpu.X86: "qemu-system-x86", cpu.ARM: "qemu-system-arm"}
FIRMWARE_PROPERTY = "hw_firmware_type"
"""Property of an image that starts with the other firmware than its architecture's servers do by themselves: bios or uefi."""


@dataclass(frozen=True)
class Platform:
    """See :class:`domain_xml.DomainSpec`."""

    type: str
    arch: str
    firmware: str
    cpu_model: str | None
    topoext: bool
    tuning: Tuning


def choose(site: Site, request: ServerRequest, size: Flavor, image: Image | None) -> Platform:
    """Decide, and see that the host can run it.

    :param image: None in check mode, when it is not there yet.
    :raises EcsError: when flavor, image, options and host do not go together.
    """
    native = platform.machine()
    arch = native if image is None else image.architecture or native
    firmware = _firmware(request, image, arch)
    _check_arch(site, size, image, arch, native)
    for vcpus in (size.vcpus, request.max_vcpus or size.vcpus):
        cpu.check_threads(request.cpu.threads_per_core, vcpus, arch)
    tuning = _bind(site, request, size, arch)
    driver = read_machine(site.connection).driver
    if driver != "qemu":
        return Platform(driver, arch, firmware, request.cpu.model, False, tuning)
    kind = "kvm" if site.host.kvm and arch == native else "qemu"
    if arch != native or firmware == "uefi" or request.cpu.model is not None:
        abilities = read_abilities(site.connection, arch, domain_xml.machine(arch), kind)
        _check_abilities(site, request, image, arch, firmware, kind, abilities)
    passed_through = cpu.model(request.cpu.model, kind, arch) == "host-passthrough"
    threads = cpu.layout(max(size.vcpus, request.max_vcpus or 0), request.cpu.threads_per_core, arch).threads
    topoext = passed_through and threads > 1 and has_topoext(site.connection)
    return Platform(kind, arch, firmware, request.cpu.model, topoext, tuning)


def _bind(site: Site, request: ServerRequest, size: Flavor, arch: str) -> Tuning:
    """The processors and pages of the host that the flavor asks for."""
    most_vcpus, most_memory = max(size.vcpus, request.max_vcpus or 0), max(size.memory, request.max_memory or 0)
    threads, server_id = request.cpu.threads_per_core, site.scope.id("server", request.name)
    cores = cpu.layout(most_vcpus, threads, arch)
    tuning = site.processors().claim(server_id, request.name, size.name, cores, threads == 1, size.memory)
    check_room(tuning, (size.vcpus, most_vcpus), (size.memory, most_memory))
    return tuning


def _firmware(request: ServerRequest, image: Image | None, arch: str) -> str:
    told = "" if image is None else image.properties.get(FIRMWARE_PROPERTY, "")
    firmware = request.firmware or told or ("uefi" if arch == cpu.ARM else "bios")
    if firmware not in ("bios", "uefi"):
        name = image.name if image else ""
        raise InvalidInput(f"image {name}: properties.{FIRMWARE_PROPERTY}", firmware, "is no firmware", "Use bios or uefi")
    if firmware == "bios" and arch == cpu.ARM:
        raise InvalidInput("firmware", firmware, f"cannot start {arch}", "Leave it out: that architecture has UEFI only")
    return firmware


def _check_arch(site: Site, size: Flavor, image: Image | None, arch: str, native: str) -> None:
    """See that flavor and image are of one architecture (spec F1), which is one of ours."""
    if image is None:
        return
    if size.arch and size.arch != arch:
        hint = "Choose flavor and image of one architecture"
        raise InvalidInput("flavor", size.name, f"is of {size.arch}, image {image.name} is for {arch}", hint)
    if arch not in (cpu.X86, cpu.ARM):
        raise InvalidInput("image", image.name, f"is for {arch}", f"Servers are {cpu.X86} or {cpu.ARM}")
    if arch != native and read_machine(site.connection).driver != "qemu":
        raise InvalidInput("image", image.name, f"is for {arch}, host {site.host.name} is {native}", "Choose another image")


def _check_abilities(
    site: Site, request: ServerRequest, image: Image | None, arch: str, firmware: str, kind: str, abilities: Abilities | None
) -> None:
    if abilities is None:
        name = image.name if image else ""
        hint = f"Choose another image or host, or install {_EMULATORS[arch]} there, which emulates it"
        raise InvalidInput("image", name, f"is for {arch}, which host {site.host.name} does not run", hint)
    if firmware == "uefi" and not abilities.uefi:
        raise EcsError(
            f"server {request.name}: host {site.host.name} has no UEFI firmware for {arch}",
            "ECS_FIRMWARE",
            f"Install {_FIRMWARE_PACKAGES[arch]}, or run role hypervisor",
        )
    model = request.cpu.model
    if model is not None and model not in abilities.cpu_models:
        told = ", ".join(sorted(abilities.cpu_models))
        raise InvalidInput("cpu_options.model", model, f"is not what host {site.host.name} can give under {kind}", f"It has {told}")
