# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The domains of servers, as libvirt's real QEMU driver takes them and QEMU starts them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import libvirt
import pytest

from ansible_collections.altostratus.ecs.plugins.module_utils._model import domain_xml, metadata
from ansible_collections.altostratus.ecs.plugins.module_utils._model.names import Scope
from ansible_collections.altostratus.ecs.plugins.module_utils._model.pinning import Tuning

SHOP = Scope("local", "shop")


def spec(qemu: Any, **changes: Any) -> domain_xml.DomainSpec:
    told = {name: changes.pop(name) for name in ("threads_per_core", "os_type") if name in changes}
    return replace(
        domain_xml.DomainSpec(
            name="shop.web",
            uuid=SHOP.id("server", "web"),
            title="web",
            metadata=metadata.ServerMetadata("local", "shop", "web", **told),
            type="qemu",
            vcpus=4,
            memory=256,
            console_log=str(qemu.directory / "console.log"),
        ),
        **changes,
    )


MACHINES = [
    {},
    {"firmware": "uefi"},
    {"cpu_model": "host-model"},
    {"cpu_model": "Skylake-Server"},
    {"cpu_model": "maximum"},
    {"threads_per_core": 1},
    {"threads_per_core": 2},
    {"vcpus": 3},
    {"vcpus": 1, "max_vcpus": 4, "max_memory": 1024},
    {"vcpus": 2, "max_vcpus": 8, "max_memory": 1024, "threads_per_core": 1},
    {"os_type": "windows"},
    {"vcpus": 1, "tuning": Tuning((1,), "0", (0,))},
    {"vcpus": 2, "tuning": Tuning(shared="0")},
    {"arch": "aarch64", "firmware": "uefi"},
    {"arch": "aarch64", "firmware": "uefi", "vcpus": 12, "cpu_model": "neoverse-n1"},
]


@pytest.mark.parametrize("machine", MACHINES, ids=repr)
def test_every_machine_starts(qemu: Any, machine: dict[str, Any]) -> None:
    """libvirt's parser and schema take the definition, give back what was written, and QEMU starts it (spec F1, HT2)."""
    wanted = spec(qemu, **machine)
    domain = qemu.connection.defineXMLFlags(domain_xml.build(wanted), libvirt.VIR_DOMAIN_DEFINE_VALIDATE)
    domain.create()
    assert domain.isActive()
    facts = domain_xml.parse(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))
    assert (facts.vcpus, facts.arch, facts.firmware, facts.nvram) == (
        wanted.vcpus, wanted.arch, wanted.firmware, wanted.firmware == "uefi",
    )  # fmt: skip
    assert facts.size.max_vcpus == max(wanted.vcpus, wanted.max_vcpus)
    assert domain.maxVcpus() == facts.size.max_vcpus // (2 if machine.get("threads_per_core") == 1 else 1)
    if "cpu_model" in machine:
        assert facts.cpu_model == machine["cpu_model"]
    assert (facts.pins, facts.bound) == (wanted.tuning.pins, wanted.tuning.exclusive)
    if wanted.tuning.pins:
        assert domain.vcpus()[1][0] == (False, True)


def test_nodes_and_pages_follow_libvirts_schema(qemu: Any) -> None:
    """This machine has neither; what libvirt takes and gives back is what was written."""
    wanted = spec(qemu, tuning=Tuning((4, 5, 6, 7), "0,1", (0, 1), 2048))
    domain = qemu.connection.defineXMLFlags(domain_xml.build(wanted), libvirt.VIR_DOMAIN_DEFINE_VALIDATE)
    text = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
    assert domain_xml.parse(text).pins == (4, 5, 6, 7)
    assert "<memnode cellid='1' mode='strict' nodeset='1'/>" in text
    assert "<page size='2048' unit='KiB'/>" in text
