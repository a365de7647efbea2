# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Exactly so many servers with the same tags: which of them are missing, and which are too many."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import count
from typing import Any

from .errors import InvalidInput
from .names import numbered_name
from .tags import check_tags

Make = Callable[[str, int], dict[str, Any]]
"""Makes a server of a name and its number in the batch."""


def _counted(item: Mapping[str, Any]) -> dict[str, str]:
    """The tags that a server is counted by."""
    number, tags = int(item["exact_count"]), check_tags("tags", item.get("tags") or {})
    wanted = check_tags("count_tags", item.get("count_tags") or tags)
    if number < 0:
        raise InvalidInput("exact_count", number, "is too small", "Give 0 or more")
    if item.get("count") is not None:
        raise InvalidInput("exact_count", number, "stands beside count", "Give one of them")
    if item.get("state") not in (None, "present", "absent"):
        raise InvalidInput("state", item["state"], "does not go with exact_count", "Servers are made and removed by it: leave state out")
    if not wanted:
        raise InvalidInput("exact_count", number, "does not know what to count", "Give tags, or count_tags")
    if not wanted.items() <= tags.items() and number:
        hint = "Add them to tags: otherwise every run would make more"
        raise InvalidInput("count_tags", wanted, "are not all among the tags of the servers that it makes", hint)
    return wanted


def settle(item: Mapping[str, Any], existing: Iterable[Mapping[str, Any]], make: Make) -> Iterator[dict[str, Any]]:
    """The servers that an item with ``exact_count`` stands for: those to be removed, those that stay as they are, those to be made.

    Of too many the oldest go. New ones take the first names of the batch that nobody has; one whose creation was not finished is made.

    :param existing: the project's servers with name, tags, created and status.
    :raises InvalidInput: when it cannot be told what is counted.
    """
    wanted = _counted(item)
    number = 0 if item.get("state") == "absent" else int(item["exact_count"])
    servers = sorted(existing, key=lambda server: (server.get("created", ""), server["name"]))
    counted = [server for server in servers if wanted.items() <= server.get("tags", {}).items()]
    surplus = max(0, len(counted) - number)
    for server in counted[:surplus]:
        yield {"name": server["name"], "state": "absent"}
    kept = [server["name"] for server in counted[surplus:]]
    unfinished = {server["name"] for server in counted[surplus:] if server.get("status") == "creating"}
    taken = {server["name"] for server in servers} - unfinished
    for name in kept:
        if name not in unfinished:
            yield {"name": name, "state": "present"}
    missing = number - len(kept) + len(unfinished)
    for place in count():
        if not missing:
            return
        name = numbered_name("name", str(item["name"]), place)
        if name not in taken:
            missing -= 1
            yield make(name, place)
