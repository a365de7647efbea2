# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Locks of files between processes and threads."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ansible_collections.altostratus.ecs.plugins.module_utils._engines import files


def test_a_lock_is_shared_by_those_who_share_it_alone(tmp_path: Path) -> None:
    """Two share it at the same time; who wants it alone does not get it meanwhile, and the file goes with the last of them."""
    path = tmp_path / "a.lock"
    both = threading.Barrier(2, timeout=20)

    def use(_number: int) -> bool:
        with files.lock(str(path), shared=True):
            both.wait()
            with files.lock(str(path), wait=False) as alone:
                both.wait()
                return alone

    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(use, range(2))) == [False, False]
    assert not path.exists()


def test_who_shares_a_lock_waits_for_who_has_it_alone(tmp_path: Path) -> None:
    """And gets it afterwards; of many that come and go at once, no file remains."""
    path = tmp_path / "a.lock"
    order = []

    def use(number: int) -> None:
        with files.lock(str(path), shared=True):
            order.append(number)

    with ThreadPoolExecutor(8) as threads:
        with files.lock(str(path)):
            waiting = [threads.submit(use, number) for number in range(200)]
            order.append(-1)
        assert [one.result(timeout=20) for one in waiting] == [None] * 200
    assert order[0] == -1
    assert sorted(order) == list(range(-1, 200))
    assert not path.exists()
