# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What all network services share: one draft of a call's changes, one transaction, a new plan when another writer was faster."""

from __future__ import annotations

import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from .._engines import ovsdb
from .._engines.ovsdb import Northbound, Operation
from .._model import addresses
from .._model import northbound as model
from .._model.errors import EcsError
from .._model.names import Scope
from .._model.northbound import ExternalNetwork, Key, Row
from .._model.plan import Step

_ATTEMPTS = 30
_ROOTS = frozenset({model.SWITCH, model.ROUTER, model.GROUP, model.DHCP})


class Resource(Protocol):
    """Whatever a user sees as one thing."""

    def represent(self) -> dict[str, Any]: ...


@dataclass
class Draft:
    """The rows that a call wants and those it gives up, as a whole; :meth:`finish` turns them into one transaction.

    Rows of several resources meet here, so a helper row that passes from one to another is updated rather than deleted
    and inserted, which OVSDB refuses for one uuid.
    """

    steps: list[Step] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    operations: list[Operation] = field(default_factory=list)
    _known: dict[Key, Mapping[str, Any] | None] = field(default_factory=dict)
    _wanted: dict[Key, tuple[Row, str, str]] = field(default_factory=dict)
    _dropped: dict[Key, Row] = field(default_factory=dict)
    _links: dict[tuple[str, str, str], set[str]] = field(default_factory=lambda: defaultdict(set))
    _unlinks: dict[tuple[str, str, str], set[str]] = field(default_factory=lambda: defaultdict(set))
    _guards: dict[Key, dict[str, Any]] = field(default_factory=dict)
    _extra: list[Operation] = field(default_factory=list)

    def know(self, table: str, uuids: Iterable[str], rows: Mapping[str, Mapping[str, Any]]) -> None:
        """Have read these rows, with all columns that a resource answers for; a uuid that is not among them does not exist.

        What is known is not read again when the wanted rows are compared.
        """
        self._known.update(((table, uuid), rows.get(uuid)) for uuid in uuids)

    def put(self, kind: str, name: str, rows: Iterable[Row]) -> None:
        """Want these rows of resource *name*."""
        self._wanted.update((row.key, (row, kind, name)) for row in rows)

    def drop(self, rows: Iterable[Row]) -> None:
        """Give these rows up, unless something else of this call wants them."""
        self._dropped.update((row.key, row) for row in rows)

    def link(self, table: str, uuid: str, column: str, members: Iterable[str]) -> None:
        """Want *members* in a set that others share."""
        self._links[table, uuid, column].update(members)

    def unlink(self, table: str, uuid: str, column: str, members: Iterable[str]) -> None:
        """Want *members* out of a set that others share."""
        self._unlinks[table, uuid, column].update(members)

    def guard(self, table: str, uuid: str, columns: Mapping[str, Any]) -> None:
        """Commit only while the row has these values, e.g. the set of ports that an address was chosen by."""
        self._guards.setdefault((table, uuid), {}).update(columns)

    def also(self, operation: Operation) -> None:
        """Add an operation that no row stands for."""
        self._extra.append(operation)

    def change(self, kind: str, name: str, before: Resource | None, after: Resource | None) -> None:
        """Record what a user will read of one resource as it is and as it will be; equal ones are no step."""
        if before == after:
            return
        if before is None and after is not None:
            self.steps.append(Step("create", kind, name, after=after.represent()))
        elif before is not None and after is None:
            self.steps.append(Step("delete", kind, name, before=before.represent()))
        elif before is not None and after is not None:
            old, new = before.represent(), after.represent()
            keys = [key for key in new if old[key] != new[key]]
            if keys:
                self.steps.append(Step("update", kind, name, {key: old[key] for key in keys}, {key: new[key] for key in keys}))

    def finish(self, nb: Northbound) -> Draft:
        """Compare with the live rows and write down the operations."""
        live = self._read(nb)
        inserted = [row for key, (row, kind, name) in self._wanted.items() if key not in live]
        updates = [entry for entry in map(self._update_of(live), self._wanted.values()) if entry]
        gone = [row for key, row in self._dropped.items() if key not in self._wanted]
        moved = [row for key, (row, kind, name) in self._wanted.items() if key in self._dropped and self._dropped[key].parent != row.parent]
        for row in [*inserted, *moved]:
            if row.parent:
                self.link(*row.parent, [row.uuid])
        for row in [*gone, *(self._dropped[row.key] for row in moved)]:
            if row.parent:
                self.unlink(*row.parent, [row.uuid])
        roots = [row for row in gone if row.table in _ROOTS]
        self._repairs(inserted, updates)
        # A mutation or an update of a row that vanished meanwhile would silently do nothing.
        new = {row.key for row in inserted}
        touched = {(table, uuid) for table, uuid, column in self._links} | {(table, uuid) for table, uuid, columns in updates}
        for key in sorted(touched - new - self._guards.keys()):
            self._guards[key] = {}
        deleted = {row.key for row in roots}
        self.operations = [
            *(ovsdb.expect(table, uuid, columns) for (table, uuid), columns in self._guards.items()),
            *(ovsdb.insert(row.table, row.uuid, row.columns) for row in inserted),
            *(ovsdb.update(table, [("_uuid", "==", uuid)], columns) for table, uuid, columns in updates),
            *(ovsdb.mutate(*where, "insert", members) for where, members in self._links.items() if members),
            *(ovsdb.mutate(*where, "delete", members) for where, members in self._unlinks.items() if members and where[:2] not in deleted),
            *(ovsdb.delete(row.table, row.uuid) for row in roots),
            *self._extra,
        ]
        if not self.steps:
            self.operations = []
        else:
            self._check_room(nb, inserted)
        return self

    def _read(self, nb: Northbound) -> dict[Key, Mapping[str, Any]]:
        unknown = nb.find_all((*key, list(row.columns)) for key, (row, kind, name) in self._wanted.items() if key not in self._known)
        return {**{key: row for key, row in self._known.items() if row is not None}, **unknown}

    @staticmethod
    def _update_of(live: Mapping[Key, Mapping[str, Any]]) -> Callable[[tuple[Row, str, str]], tuple[str, str, dict[str, Any]] | None]:
        def update(entry: tuple[Row, str, str]) -> tuple[str, str, dict[str, Any]] | None:
            row = entry[0]
            if row.key not in live:
                return None
            columns = {}
            for column, wanted in row.columns.items():
                current = live[row.key][column]
                if column == "external_ids":
                    wanted = {**{key: value for key, value in current.items() if not key.startswith("ecs:")}, **wanted}
                if current != wanted:
                    columns[column] = wanted
            return (row.table, row.uuid, columns) if columns else None

        return update

    def _repairs(self, inserted: Iterable[Row], updates: Iterable[tuple[str, str, dict[str, Any]]]) -> None:
        """A row that differs though its resource reads the same was changed by another hand: that is a change, too."""
        known = {(step.kind, step.name) for step in self.steps}
        for key in [*(row.key for row in inserted), *((table, uuid) for table, uuid, columns in updates)]:
            _row, kind, name = self._wanted[key]
            if (kind, name) not in known:
                known.add((kind, name))
                self.steps.append(Step("repair", kind, name, {"intact": False}, {"intact": True}))

    def _check_room(self, nb: Northbound, inserted: Iterable[Row]) -> None:
        """Refuse what OVN cannot number over VXLAN."""
        networks = sum(row.table in (model.SWITCH, model.ROUTER) for row in inserted)
        switches = {row.parent[1] for row in inserted if row.table == model.PORT and row.parent}
        if not networks and not switches:
            return
        (settings,) = nb.select("NB_Global", columns=["external_ids"]) or [{"external_ids": {}}]
        if settings["external_ids"].get("ecs:encap", "vxlan") != "vxlan":
            return
        hint = "Use encapsulation geneve (ecs_encap: geneve), which has room for 16 million networks of 32767 ports"
        if networks:
            networks += sum(nb.count((model.SWITCH, ()), (model.ROUTER, ())))
            if networks > model.VXLAN_NETWORKS:
                message = f"{networks} subnets, VPCs and external networks are more than the {model.VXLAN_NETWORKS} of OVN over VXLAN"
                raise EcsError(message, "ECS_VXLAN_LIMIT", hint)
        for uuid, row in nb.find(model.SWITCH, switches, ["name", "ports"]).items():
            where = (model.SWITCH, uuid, "ports")
            ports = len((row["ports"] - self._unlinks[where]) | self._links[where])
            if ports > model.VXLAN_PORTS:
                message = f"network {row['name']} would have {ports} ports, more than the {model.VXLAN_PORTS} of OVN over VXLAN"
                raise EcsError(message, "ECS_VXLAN_LIMIT", hint)


Planned = TypeVar("Planned")


def apply(
    nb: Northbound, plan: Callable[[], Planned], draft_of: Callable[[Planned], Draft], check: bool = False, first: Planned | None = None
) -> Planned:
    """Plan and commit; when another writer was faster, read and plan again, a bounded number of times.

    :param check: only plan.
    :param first: a plan made before, tried first.
    """
    for attempt in range(_ATTEMPTS):
        planned = plan() if first is None or attempt else first
        operations = draft_of(planned).operations
        if check or not operations:
            return planned
        try:
            nb.transact(operations)
            return planned
        except ovsdb.LostRace:
            if attempt == _ATTEMPTS - 1:
                raise
            time.sleep(random.uniform(0, 0.02 * (attempt + 1)))  # noqa: S311
    raise AssertionError("unreachable")


def shorten(names: Iterable[str], most: int = 5) -> str:
    """Names for a message, sorted, the first few of many."""
    listed = sorted(names)
    return ", ".join(listed[:most]) + (" ..." if len(listed) > most else "")


def owned(scope: Scope, kind: str, name: str | None = None) -> list[ovsdb.Condition]:
    """The condition for all rows of a kind in a project, or those of one name."""
    ids = {"ecs:kind": kind, "ecs:region": scope.region, "ecs:project": scope.project}
    return [("external_ids", "includes", ids if name is None else {**ids, "ecs:name": name})]


def network_id(region: str, name: str) -> str:
    """The id of an external network; it belongs to no project."""
    return Scope(region).id("external_network", name)


def read_networks(nb: Northbound, uuids: Iterable[str]) -> dict[str, ExternalNetwork]:
    """External networks by id."""
    found = nb.find(model.SWITCH, uuids, ["external_ids"])
    return {uuid: ExternalNetwork.read(row) for uuid, row in found.items()}


def list_networks(nb: Northbound, region: str) -> list[ExternalNetwork]:
    """All external networks of a region, by name."""
    where = [("external_ids", "includes", {"ecs:kind": "external_network", "ecs:region": region})]
    found = [ExternalNetwork.read(row) for row in nb.select(model.SWITCH, where, ["external_ids"])]
    return sorted(found, key=lambda network: network.name)


def external_pool(nb: Northbound, draft: Draft, network: ExternalNetwork) -> addresses.Pool:
    """The free addresses of an external network; the draft commits only while its ports stay as they are."""
    found = nb.find(model.SWITCH, [network.id], ["ports"])
    ports = found[network.id]["ports"] if found else frozenset()
    draft.guard(model.SWITCH, network.id, {"ports": ports})
    used = [item for row in nb.find(model.PORT, ports, ["addresses", "external_ids"]).values() for item in model.addresses_of(row)]
    within = addresses.network("cidr", network.cidr)
    first, last = addresses.address_range("allocation", network.allocation, within)
    return addresses.Pool(f"external network {network.name}", first, last, used)
