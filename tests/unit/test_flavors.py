# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Flavors (spec F2, B15, appendix B)."""

from __future__ import annotations

import pytest

from ansible_collections.altostratus.ecs.plugins.module_utils._model.errors import InvalidInput
from ansible_collections.altostratus.ecs.plugins.module_utils._model.flavors import Flavor, parse, resolve


@pytest.mark.parametrize(
    ("name", "vcpus", "gib"),
    [
        ("c7n.3xlarge.2", 12, 24),
        ("s7n.small.05", 1, 0.5),
        ("s7n.large.025", 2, 0.5),
        ("s3.2xlarge.4", 8, 32),
        ("s6.medium.2", 1, 2),
        ("G5.xlarge.4", 4, 16),
        ("c7.xlarge.2", 4, 8),
        ("m3.52xlarge.8", 208, 1664),
    ],
)
def test_names_of_the_guide(name, vcpus, gib):
    flavor = parse(name)
    assert (flavor.vcpus, flavor.memory) == (vcpus, gib * 1024)


@pytest.mark.parametrize(
    "name", ["tiny", "s7n.medium", "s7n.huge.2", "7s.medium.2", "s7n.medium.", "s7n.medium.2.linux", "s7n.0xlarge.2", "s7n.small.0", ""]
)
def test_other_names_are_refused_with_the_grammar(name):
    with pytest.raises(InvalidInput, match=r"s7n\.medium\.2"):
        parse(name)


def test_size_by_numbers():
    assert resolve(None, None, None) is None
    assert resolve(None, 3, 1000) == Flavor("", 3, 1000)
    assert resolve("S7n.Medium.2", 1, 2048) == Flavor("s7n.medium.2", 1, 2048), "what a module returned can be given back"


@pytest.mark.parametrize(
    ("flavor", "vcpus", "memory", "option"),
    [
        ("s7n.medium.2", 2, None, "vcpus"),
        ("s7n.medium.2", None, 1024, "memory"),
        (None, 2, None, "vcpus"),
        (None, None, 1024, "memory"),
        (None, 0, 1024, "vcpus"),
        (None, 1, 8, "memory"),
    ],
)
def test_contradictions(flavor, vcpus, memory, option):
    with pytest.raises(InvalidInput, match=f"^{option}: "):
        resolve(flavor, vcpus, memory)
