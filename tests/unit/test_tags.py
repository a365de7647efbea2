# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tags (spec M13, TG-1 to TG-3, appendix B)."""

from __future__ import annotations

import pytest

from ansible_collections.altostratus.ecs.plugins.module_utils._model.errors import InvalidInput
from ansible_collections.altostratus.ecs.plugins.module_utils._model.tags import check_tags


def test_accepted():
    assert check_tags("tags", {"tier": "web", "spot": "", "none": None, 1: 2}) == {"tier": "web", "spot": "", "none": "", "1": "2"}
    assert check_tags("tags", {"k" * 36: "v" * 43})
    assert len(check_tags("tags", {str(number): "" for number in range(10)})) == 10


@pytest.mark.parametrize(
    "tags", [{str(number): "" for number in range(11)}, {"": "x"}, {"  ": "x"}, {"k" * 37: ""}, {"k": "v" * 44}, {"k\n": ""}, {"k": "a\tb"}]
)
def test_refused(tags):
    with pytest.raises(InvalidInput, match=r"^tags"):
        check_tags("tags", tags)
