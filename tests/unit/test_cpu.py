# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Processors as guests see them (spec D6, F1, HT1 to HT3)."""

from __future__ import annotations

import pytest

from ansible_collections.altostratus.ecs.plugins.module_utils._model import cpu, flavors
from ansible_collections.altostratus.ecs.plugins.module_utils._model.errors import InvalidInput


@pytest.mark.parametrize(
    ("flavor", "threads_per_core", "arch", "seen"),
    [
        ("c7.xlarge.2", None, cpu.X86, (4, 2, 2)),
        ("c7.xlarge.2", 2, cpu.X86, (4, 2, 2)),
        ("c7.xlarge.2", 1, cpu.X86, (2, 2, 1)),
        ("s7n.large.2", 1, cpu.X86, (1, 1, 1)),
        ("s7n.medium.2", None, cpu.X86, (1, 1, 1)),
        ("kc1.xlarge.2", None, cpu.ARM, (4, 4, 1)),
    ],
)
def test_layout(flavor, threads_per_core, arch, seen):
    """Spec HT2, with the guide's c7.xlarge.2."""
    cores = cpu.layout(flavors.parse(flavor).vcpus, threads_per_core, arch)
    assert (cores.vcpus, cores.cores, cores.threads) == seen


@pytest.mark.parametrize(("threads_per_core", "vcpus", "arch"), [(2, 4, cpu.ARM), (1, 4, cpu.ARM), (1, 1, cpu.X86), (2, 3, cpu.X86)])
def test_threads_refused(threads_per_core, vcpus, arch):
    """Spec HT1: x86 only, and a core has two threads."""
    with pytest.raises(InvalidInput, match="threads_per_core"):
        cpu.check_threads(threads_per_core, vcpus, arch)


def test_threads_accepted():
    cpu.check_threads(None, 1, cpu.ARM)
    cpu.check_threads(1, 2, cpu.X86)


@pytest.mark.parametrize(
    ("asked", "kind", "arch", "model"),
    [
        (None, "kvm", cpu.X86, "host-passthrough"),
        (None, "kvm", cpu.ARM, "host-passthrough"),
        (None, "qemu", cpu.X86, "Nehalem"),
        (None, "qemu", cpu.ARM, "cortex-a72"),
        ("EPYC-Rome", "kvm", cpu.X86, "EPYC-Rome"),
    ],
)
def test_model(asked, kind, arch, model):
    assert cpu.model(asked, kind, arch) == model


@pytest.mark.parametrize("model", ["", "a b", "-x", "<cpu/>"])
def test_model_refused(model):
    with pytest.raises(InvalidInput, match=r"cpu_options\.model"):
        cpu.check_options(cpu.CpuOptions(model=model))


@pytest.mark.parametrize(
    ("flavor", "arch"), [("kc1.large.2", cpu.ARM), ("kC2.large.2", cpu.ARM), ("km1.large.8", cpu.ARM), ("c7.large.2", None)]
)
def test_flavor_of_an_architecture(flavor, arch):
    """Spec F1: Kunpeng's flavors."""
    assert flavors.parse(flavor).arch == arch
