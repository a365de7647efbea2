# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What has failed with servers (spec V1, V2)."""

from __future__ import annotations

from ansible_collections.altostratus.ecs.plugins.module_utils._model import failures
from ansible_collections.altostratus.ecs.plugins.module_utils._model.errors import EcsError, InvalidInput, NotFound
from ansible_collections.altostratus.ecs.plugins.module_utils._model.failures import Failure
from ansible_collections.altostratus.ecs.plugins.module_utils._model.names import Scope

SHOP = Scope("local", "shop")


def failure(time="2026-01-31T12:00:00Z", servers=("web",), project="shop"):
    return Failure(time, "local", project, failures.CREATION, servers, "present", "ECS_NO_SPACE", "pool full", "1 port")


def test_a_line_and_back():
    kept = [failure(), failure(servers=("a", "b"))]
    lines = [failures.dump(one) for one in kept]
    assert list(failures.load([*lines, '{"time": "2026', "", '{"other": 1}'])) == kept, "half a line is passed by"


def test_fields():
    """Spec V2: name and id, time, task, code."""
    assert failure().represent(SHOP) == {
        "time": "2026-01-31T12:00:00Z", "kind": "creation", "servers": [{"name": "web", "id": SHOP.id("server", "web")}], "task": "present",
        "code": "ECS_NO_SPACE", "message": "pool full", "undone": "1 port",
    }  # fmt: skip


def test_select():
    kept = [failure("2026-01-30T00:00:00Z"), failure("2026-01-31T00:00:00Z", ("db",)), failure(project="bank")]
    assert failures.select(kept, SHOP, None, None) == [kept[1], kept[0]]
    assert failures.select(kept, SHOP, "web", None) == [kept[0]]
    assert failures.select(kept, SHOP, None, "2026-01-31") == [kept[1]]


def test_a_wrong_word_is_no_failure():
    assert failures.matters(EcsError("full", "ECS_NO_SPACE"))
    assert not failures.matters(InvalidInput("flavor", "x", "is wrong"))
    assert not failures.matters(NotFound("image", "x"))
