# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Processors as a guest sees them: cores and threads (spec D6, HT1 to HT3), and which model."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .errors import InvalidInput

X86, ARM = "x86_64", "aarch64"
HOST_MODES = ("host-passthrough", "host-model", "maximum")
"""What libvirt calls a CPU that is not named."""
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
# What every guest runs on without a processor to pass through: old enough for a quick emulation, new enough for today's systems.
_EMULATED = {X86: "Nehalem", ARM: "cortex-a72"}


@dataclass(frozen=True)
class CpuOptions:
    """What a user asks of a server's processors; None leaves it to us.

    :param threads_per_core: 1 without hyper-threading, 2 with it.
    :param model: a name that libvirt knows, or one of :data:`HOST_MODES`.
    """

    threads_per_core: int | None = None
    model: str | None = None


@dataclass(frozen=True)
class Cores:
    """The processors of a guest, in one socket."""

    cores: int
    threads: int

    @property
    def vcpus(self) -> int:
        """The processors that the guest sees."""
        return self.cores * self.threads


def check_options(options: CpuOptions) -> None:
    """See that the options can be meant."""
    if options.model is not None and not _MODEL.fullmatch(options.model):
        hint = "virsh cpu-models x86_64 shows the names; host-passthrough is another"
        raise InvalidInput("cpu_options.model", options.model, "is no model of a CPU", hint)


def check_threads(threads_per_core: int | None, vcpus: int, arch: str) -> None:
    """See that a server of that size can have so many threads in a core (spec HT1, HT2).

    :param vcpus: the flavor's.
    """
    if threads_per_core is None:
        return
    if arch != X86:
        raise InvalidInput(
            "cpu_options.threads_per_core", threads_per_core, f"cannot be chosen for {arch}", "Hyper-threading is x86's; leave it out"
        )
    if vcpus % 2:
        raise InvalidInput(
            "cpu_options.threads_per_core",
            threads_per_core,
            f"does not go with {vcpus} vCPUs",
            "A core has two threads: choose a flavor with an even number of vCPUs, or leave it out",
        )


def layout(vcpus: int, threads_per_core: int | None, arch: str) -> Cores:
    """The processors of a guest.

    A flavor's vCPU is a thread. Where cores have two, which is so on x86 unless the number is odd, the guest sees all of them; with
    *threads_per_core* 1 it has a core to itself for every two of them, and sees half as many processors (spec HT2).

    :param vcpus: the flavor's.
    """
    if threads_per_core == 1:
        return Cores(vcpus // 2, 1)
    threads = 2 if arch == X86 and vcpus % 2 == 0 else 1
    return Cores(vcpus // threads, threads)


def model(asked: str | None, kind: str, arch: str) -> str:
    """The CPU model of a guest: what was asked for, the host's own under KVM, a common one without.

    :param kind: kvm, or whatever emulates.
    """
    return asked or ("host-passthrough" if kind == "kvm" else _EMULATED.get(arch, "maximum"))
