# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plans, errors, rollback, and what is asked of servers."""

from __future__ import annotations

import pytest

from ansible_collections.altostratus.ecs.plugins.module_utils._model.errors import EcsError, InvalidInput
from ansible_collections.altostratus.ecs.plugins.module_utils._model.plan import Step, changes, diff
from ansible_collections.altostratus.ecs.plugins.module_utils._model.server_request import Eip, Nic, requests
from ansible_collections.altostratus.ecs.plugins.module_utils._services.rollback import Rollback


def test_changes_compares_only_what_was_set():
    assert changes({"a": 1, "b": 2}, {"a": 1, "b": 3, "c": None, "d": 4}) == ({"b": 2, "d": None}, {"b": 3, "d": 4})


def test_diff_merges_the_steps_of_a_resource():
    steps = [
        Step("create", "port", "p", after={"a": 1}),
        Step("update", "server", "s", {"x": 1}, {"x": 2}),
        Step("stop", "server", "s", {"y": 1}, {"y": 2}),
    ]
    assert diff(steps) == {"before": {"server s": {"x": 1, "y": 1}}, "after": {"port p": {"a": 1}, "server s": {"x": 2, "y": 2}}}


def test_error_reads_as_one_sentence_after_another():
    error = EcsError("pool fast has 12 GiB free, 20 GiB needed", "ECS_NO_SPACE", "Free space", "2 volumes, 1 port")
    assert str(error) == "pool fast has 12 GiB free, 20 GiB needed. Undone: 2 volumes, 1 port. Free space.  [ECS_NO_SPACE]"


def fail_after_three_steps(done):
    def fails():
        raise OSError("busy")

    with Rollback() as rollback:
        rollback.add("port", "p", lambda: done.append("ports"), 2)
        rollback.add("volume", "v", fails)
        rollback.add("", "drive", lambda: done.append("drive"))
        raise EcsError("no", "ECS_X", "Try.")


def test_rollback_undoes_in_reverse_and_tells():
    done = []
    with pytest.raises(EcsError) as failure:
        fail_after_three_steps(done)
    assert done == ["drive", "ports"]
    assert failure.value.undone == "2 ports"
    assert "Could not undo: volume v (busy)" in failure.value.hint


def test_rollback_keeps_what_succeeded():
    done = []
    with Rollback() as rollback:
        rollback.add("port", "p", lambda: done.append("undone"))
    assert done == []


def test_requests_of_a_batch():
    item = {
        "name": "web",
        "count": 2,
        "flavor": "s7n.medium.2",
        "nics": [{"subnet": "a", "address": "10.0.0.9", "security_groups": ["x"]}],
        "eip": {"bandwidth": 5},
    }
    first, second = requests([item])
    assert (first.name, second.name) == ("web-0001", "web-0002")
    assert second.nics == (Nic("a", address="10.0.0.10", security_groups=("x",)),)
    assert second.eip == Eip(5)
    assert (first.state, first.tags, first.image) == ("present", None, None)


@pytest.mark.parametrize(
    "item",
    [
        {"count": 0},
        {"nics": [{"subnet": "a", "address": "x"}]},
        {"nics": [], "eip": {}},
        {"description": "<b>"},
        {"description": "x" * 256},
        {"root_disk": 0},
        {"data_disks": [{"name": "system", "size": 1}]},
        {"data_disks": [{"name": "a", "size": 0}]},
        {"data_disks": [{"name": "a/b", "size": 1}]},
        {"public_keys": ["ssh-rsa AAAA\nssh-rsa BBBB"]},
    ],
)
def test_requests_refused(item):
    with pytest.raises(InvalidInput):
        requests([{"name": "web", **item}])
