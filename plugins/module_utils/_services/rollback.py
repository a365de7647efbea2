# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All or nothing: what a failed run did is undone in reverse, and the error says so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from types import TracebackType

from .._model.errors import EcsError


class Rollback:
    """Collects the undo of each step; leaving the ``with`` block by an exception runs them in reverse.

    An :class:`EcsError` that passes through gains the list of what was undone. An undo that fails itself does not stop
    the others; it is named in the error's hint.
    """

    def __init__(self) -> None:
        self._undos: list[tuple[str, str, Callable[[], object], int]] = []

    def add(self, kind: str, name: str, undo: Callable[[], object], count: int = 1) -> None:
        """Remember how to take back one finished step on resource *name* of *kind*; an empty kind is not worth telling.

        :param count: how many resources the step made.
        """
        self._undos.append((kind, name, undo, count))

    def __enter__(self) -> Rollback:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None:
            return
        undone: Counter[str] = Counter()
        left: list[str] = []
        for what, name, undo, count in reversed(self._undos):
            try:
                undo()
                undone[what] += count
            except Exception as failure:
                left.append(f"{what or 'part of'} {name} ({failure})")
        if isinstance(error, EcsError):
            told = [f"{count} {what}{'s' if count > 1 else ''}" for what, count in undone.items() if what and count]
            error.undone = ", ".join(filter(None, [error.undone, *told]))
            if left:
                error.hint = f"{error.hint} Could not undo: {'; '.join(left)}; the next run completes or removes it".strip()
