# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module hypervisor_info on libvirt's test driver."""

from __future__ import annotations

from typing import Any

from ansible_collections.altostratus.ecs.plugins.modules import hypervisor_info, server


def test_capacity_and_servers(call: Any, hypervisor: Any) -> None:
    """What the host has, what is taken, stopped servers included, and by whom."""
    hypervisor.connection.defineXML(
        "<domain type='test'><name>other</name><memory unit='MiB'>64</memory><os><type>hvm</type></os></domain>"
    )
    call(server, name="web", flavor="s7n.large.025", image="mini")
    call(server, name="web", state="stopped")
    told = call(hypervisor_info, project=None)["hypervisor"]
    assert (told["name"], told["az"], told["cpus"], told["memory"], told["reserved_memory"]) == ("hv1", "az1", 16, 3072, 512)
    assert (told["vcpus_allocated"], told["memory_allocated"]) == (3, 576)
    assert [(one["name"], one["project"], one["vcpus"], one["memory"]) for one in told["servers"]] == [("web", "shop", 2, 512)]
    assert [(pool["name"], pool["type"], pool["capacity"]) for pool in told["pools"]] == [("default-pool", "dir", 100)]
