# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The OVN Northbound database over RFC 7047 JSON-RPC: select, transact, and the encoding of rows.

No replica is kept: a call reads the rows it needs, by ``_uuid`` where it can (the server finds those without a scan),
and writes in one transaction.
"""

from __future__ import annotations

import errno
import json
import os
import select
import time
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from types import TracebackType
from typing import Any

from .._model.errors import EcsError, InvalidInput

DATABASE = "OVN_Northbound"
TIMEOUT = 30.0
IDLE_LIMIT = 1.0
"""Seconds after which a connection is made anew: the server probes an idle one and drops it when nobody answers, as nobody
does between two calls, e.g. while a guest boots."""
_CHUNK = 1 << 20

Operation = dict[str, Any]
Condition = tuple[str, str, Any]


class Kind(Enum):
    """What a column holds, where it is not a plain atom."""

    MAP = "map"
    SET = "set"
    OPTIONAL = "optional"
    REFERENCES = "references"
    REFERENCE = "optional reference"


_COMMON = {"_uuid": Kind.REFERENCE, "external_ids": Kind.MAP}
_COLUMNS: dict[str, dict[str, Kind]] = {
    "NB_Global": {"options": Kind.MAP},
    "Logical_Switch": {"ports": Kind.REFERENCES, "qos_rules": Kind.REFERENCES, "other_config": Kind.MAP},
    "Logical_Switch_Port": {
        "addresses": Kind.SET,
        "port_security": Kind.SET,
        "options": Kind.MAP,
        "tag": Kind.OPTIONAL,
        "enabled": Kind.OPTIONAL,
        "up": Kind.OPTIONAL,
        "dhcpv4_options": Kind.REFERENCE,
    },
    "Logical_Router": {
        "ports": Kind.REFERENCES,
        "nat": Kind.REFERENCES,
        "static_routes": Kind.REFERENCES,
        "options": Kind.MAP,
    },
    "Logical_Router_Port": {"networks": Kind.SET, "gateway_chassis": Kind.REFERENCES, "options": Kind.MAP},
    "Port_Group": {"ports": Kind.REFERENCES, "acls": Kind.REFERENCES},
    "DHCP_Options": {"options": Kind.MAP},
    "QoS": {"bandwidth": Kind.MAP},
}

_KINDS = {table: {**_COMMON, **kinds} for table, kinds in _COLUMNS.items()}


def _kinds(table: str) -> Mapping[str, Kind]:
    return _KINDS.get(table, _COMMON)


def encode(table: str, column: str, value: Any) -> Any:
    """A Python value as the column's RFC 7047 JSON; None is an empty optional."""
    return _encode(_kinds(table).get(column), value)


def _encode(kind: Kind | None, value: Any) -> Any:
    if kind is None:
        return value
    if kind is Kind.MAP:
        return ["map", [[key, item] for key, item in value.items()]]
    if kind is Kind.SET:
        return ["set", sorted(value)]
    if kind is Kind.REFERENCES:
        return ["set", [["uuid", item] for item in sorted(value)]]
    if value is None:
        return ["set", []]
    return ["uuid", value] if kind is Kind.REFERENCE else value


def decode(table: str, column: str, value: Any) -> Any:
    """RFC 7047 JSON as Python: maps are dicts, sets frozensets, an empty optional None, a reference its uuid."""
    return _decode(_kinds(table).get(column), value)


def _decode(kind: Kind | None, value: Any) -> Any:
    if kind is Kind.MAP:
        return dict(value[1])
    if kind is Kind.SET:
        return frozenset(value[1]) if isinstance(value, list) else frozenset({value})
    if kind is Kind.REFERENCES:
        return frozenset(item[1] for item in value[1]) if value[0] == "set" else frozenset({value[1]})
    if isinstance(value, list):
        return value[1] if value[0] == "uuid" else None
    return value


def _row(table: str, columns: Mapping[str, Any]) -> dict[str, Any]:
    kinds = _kinds(table)
    return {column: _encode(kinds.get(column), value) for column, value in columns.items()}


def _values(table: str, row: Mapping[str, Any]) -> dict[str, Any]:
    kinds = _kinds(table)
    return {column: _decode(kinds.get(column), value) for column, value in row.items()}


def _where(table: str, conditions: Iterable[Condition]) -> list[Any]:
    return [[column, function, encode(table, column, value)] for column, function, value in conditions]


def _is(uuid: str) -> list[Any]:
    """The condition that finds one row; the server needs no scan for it."""
    return [["_uuid", "==", ["uuid", uuid]]]


def insert(table: str, uuid: str, columns: Mapping[str, Any]) -> Operation:
    """Insert a row under a uuid of our choice; a uuid that exists is a lost race."""
    return {"op": "insert", "table": table, "uuid": uuid, "row": _row(table, columns)}


def update(table: str, where: Iterable[Condition], columns: Mapping[str, Any]) -> Operation:
    """Set columns of the rows that meet all conditions."""
    return {"op": "update", "table": table, "where": _where(table, where), "row": _row(table, columns)}


def delete(table: str, uuid: str) -> Operation:
    """Delete one row."""
    return {"op": "delete", "table": table, "where": _is(uuid)}


def mutate(table: str, uuid: str, column: str, mutator: str, members: Iterable[str]) -> Operation:
    """Insert members into a set column of one row, or delete them from it; what is there already, or not there, is fine."""
    mutation = [column, mutator, encode(table, column, members)]
    return {"op": "mutate", "table": table, "where": _is(uuid), "mutations": [mutation]}


def expect(table: str, uuid: str, columns: Mapping[str, Any] | None = None) -> Operation:
    """Commit only if the row still exists, with these values; otherwise the transaction is a lost race."""
    columns = columns or {"_uuid": uuid}
    return {
        "op": "wait",
        "table": table,
        "where": _is(uuid),
        "columns": list(columns),
        "until": "==",
        "rows": [_row(table, columns)],
        "timeout": 0,
    }


class LostRace(EcsError):
    """Another writer was faster: nothing was written; read again and plan again."""

    def __init__(self, detail: str) -> None:
        super().__init__(
            f"the Northbound database changed during the call ({detail})", "ECS_OVN_BUSY", "Run it again; others write the same resources"
        )


class _Channel:
    """One JSON-RPC connection to one server."""

    def __init__(self, remote: str) -> None:
        from ovs.stream import Stream

        self.remote = remote
        error, stream = Stream.open_block(Stream.open(remote), int(TIMEOUT * 1000))
        if error:
            raise OSError(error, os.strerror(error))
        self._stream = stream
        self._input = b""
        self._serial = 0

    def close(self) -> None:
        self._stream.close()

    def call(self, method: str, params: Sequence[Any]) -> Any:
        """Send a request and return its result; probes of the server that arrive meanwhile are answered."""
        self._serial += 1
        deadline = time.monotonic() + TIMEOUT
        self._send({"method": method, "params": params, "id": self._serial}, deadline)
        while True:
            message = self._receive(deadline)
            if message.get("method") == "echo":
                self._send({"result": message["params"], "error": None, "id": message["id"]}, deadline)
            elif message.get("id") == self._serial:
                if message.get("error") is not None:
                    raise EcsError(f"OVN database at {self.remote}: {message['error']}", "ECS_OVN")
                return message["result"]

    def _send(self, message: Mapping[str, Any], deadline: float) -> None:
        data = json.dumps(message, separators=(",", ":")).encode()
        while data:
            sent = self._stream.send(data)
            if sent >= 0:
                data = data[sent:]
            elif sent == -errno.EAGAIN:
                self._wait(deadline, writing=True)
            else:
                raise OSError(-sent, os.strerror(-sent))

    def _receive(self, deadline: float) -> dict[str, Any]:
        # Messages follow each other without a delimiter; one can only be complete when a brace ends what has arrived,
        # and cutting at the first complete one leaves the rest for the next call.
        while True:
            if self._input.endswith(b"}"):
                try:
                    text = self._input.decode()
                    message, end = json.JSONDecoder().raw_decode(text)
                except ValueError:
                    pass
                else:
                    self._input = text[end:].encode()
                    return message
            error, data = self._stream.recv(_CHUNK)
            if error == errno.EAGAIN:
                self._wait(deadline, writing=False)
            elif error:
                raise OSError(error, os.strerror(error))
            elif not data:
                raise OSError(errno.ECONNRESET, "the server closed the connection")
            else:
                self._input += data

    def _wait(self, deadline: float, writing: bool) -> None:
        sockets = [self._stream.socket]
        left = deadline - time.monotonic()
        if left <= 0 or select.select([] if writing else sockets, sockets if writing else [], [], left) == ([], [], []):
            raise OSError(errno.ETIMEDOUT, f"no answer within {TIMEOUT:.0f} s")


class Northbound:
    """The Northbound database; connects at the first call.

    :param remote: ``unix:PATH``, ``tcp:IP:PORT`` or ``ssl:IP:PORT``; of a comma separated list the cluster's leader is found.
    :param ca_cert: with client_cert and client_key the PEM files for ``ssl:`` remotes.
    """

    def __init__(self, remote: str, ca_cert: str = "", client_cert: str = "", client_key: str = "") -> None:
        self.remote = remote
        self._files = {"ovn_ca_cert": ca_cert, "ovn_client_cert": client_cert, "ovn_client_key": client_key}
        self._channel: _Channel | None = None
        self._used = 0.0

    def __enter__(self) -> Northbound:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._close()

    def _close(self) -> None:
        if self._channel:
            self._channel.close()
            self._channel = None

    def select(self, table: str, where: Iterable[Condition] = (), columns: Sequence[str] = ()) -> list[dict[str, Any]]:
        """The rows that meet all conditions; a condition other than on ``_uuid`` scans the table on the server.

        Rows that are equal in all *columns* come once.
        """
        return self.select_all([(table, where, columns)])[0]

    def select_all(self, queries: Iterable[tuple[str, Iterable[Condition], Sequence[str]]]) -> list[list[dict[str, Any]]]:
        """Several selects in one round trip, one list of rows for each."""
        queries = list(queries)
        if not queries:
            return []
        operations = [
            {"op": "select", "table": table, "where": _where(table, where), "columns": list(columns)} for table, where, columns in queries
        ]
        return [
            [_values(table, row) for row in result["rows"]]
            for (table, where, columns), result in zip(queries, self._execute(operations), strict=True)
        ]

    def find(self, table: str, uuids: Iterable[str], columns: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Rows by uuid, in one round trip; a uuid that does not exist is not in the result."""
        found = self.find_all((table, uuid, columns) for uuid in uuids)
        return {uuid: row for (table, uuid), row in found.items()}

    def find_all(self, wanted: Iterable[tuple[str, str, Sequence[str]]]) -> dict[tuple[str, str], dict[str, Any]]:
        """Rows of several tables by table and uuid, each with the columns that are wanted of it, in one round trip."""
        keys = {(table, uuid): list(columns) for table, uuid, columns in wanted}
        if not keys:
            return {}
        operations = [{"op": "select", "table": table, "where": _is(uuid), "columns": columns} for (table, uuid), columns in keys.items()]
        results = zip(keys, self._execute(operations), strict=True)
        return {key: _values(key[0], row) for key, result in results for row in result["rows"]}

    def count(self, *queries: tuple[str, Iterable[Condition]]) -> list[int]:
        """How many rows of each table meet all conditions, in one round trip.

        The server counts, no row travels: an update of no column changes nothing and tells how many rows it met.
        """
        return [result["count"] for result in self._execute([update(table, where, {}) for table, where in queries])]

    def transact(self, operations: Sequence[Operation]) -> list[dict[str, Any]]:
        """Write: all operations, or none of them.

        :raises LostRace: an :func:`expect` did not hold, or a row to insert exists by now.
        :raises EcsError: ECS_OVN with the server's own words.
        """
        return self._execute(operations)

    def _execute(self, operations: Sequence[Operation]) -> list[dict[str, Any]]:
        results = self._call("transact", [DATABASE, *operations])
        for result in results:
            problem = result and result.get("error")
            if problem:
                detail = f"{problem}: {result.get('details', '')}"
                # A row that vanished between reading and writing shows as a dangling reference.
                if problem in ("timed out", "duplicate uuid", "referential integrity violation"):
                    raise LostRace(detail)
                raise EcsError(f"OVN database at {self.remote}: {detail}", "ECS_OVN")
        return results

    def _call(self, method: str, params: Sequence[Any]) -> Any:
        if time.monotonic() - self._used > IDLE_LIMIT:
            self._close()
        try:
            self._channel = self._channel or self._connect()
            result = self._channel.call(method, params)
            self._used = time.monotonic()
            return result
        except OSError as error:
            raise EcsError(f"OVN database at {self.remote}: {error.strerror or error}", "ECS_OVN") from error

    def _connect(self) -> _Channel:
        remotes = [remote.strip() for remote in self.remote.split(",") if remote.strip()]
        self._prepare(remotes)
        deadline = time.monotonic() + TIMEOUT
        while True:
            failures = []
            for remote in remotes:
                try:
                    channel = _Channel(remote)
                except OSError as error:
                    failures.append(f"{remote}: {error.strerror or error}")
                    continue
                if len(remotes) == 1 or _leads(channel):
                    return channel
                channel.close()
            if len(failures) == len(remotes):
                hint = "Check option ovn_nb and that ovsdb-server runs; over ssl also that the certificates belong to the same CA"
                raise EcsError(f"cannot connect to the OVN database ({'; '.join(failures)})", "ECS_OVN", hint)
            if time.monotonic() > deadline:
                raise EcsError(f"no leader among the OVN databases {self.remote}", "ECS_OVN", "Check the cluster's health")
            time.sleep(0.2)

    def _prepare(self, remotes: Sequence[str]) -> None:
        try:
            from ovs.stream import Stream
        except ImportError as error:
            hint = "Install python3-openvswitch, or ovs from PyPI"
            raise EcsError("the Python library ovs is missing", "ECS_OVN", hint) from error
        for remote in remotes:
            if remote.split(":", 1)[0] not in ("unix", "tcp", "ssl"):
                raise InvalidInput("ovn_nb", remote, "is not an OVSDB remote", "Write unix:PATH, tcp:IP:PORT or ssl:IP:PORT")
        if any(remote.startswith("ssl:") for remote in remotes):
            for option, path in self._files.items():
                if not os.access(path, os.R_OK):
                    raise EcsError(f"{option}: {path!r} cannot be read", "ECS_OVN", f"ssl: remotes need the TLS files; set {option}")
            Stream.ssl_set_ca_cert_file(self._files["ovn_ca_cert"])
            Stream.ssl_set_certificate_file(self._files["ovn_client_cert"])
            Stream.ssl_set_private_key_file(self._files["ovn_client_key"])


def _leads(channel: _Channel) -> bool:
    """Whether the server answers for the cluster now; a standalone server does."""
    query = {"op": "select", "table": "Database", "where": [["name", "==", DATABASE]], "columns": ["model", "connected", "leader"]}
    (result,) = channel.call("transact", ["_Server", query])
    return any(row["model"] == "standalone" or (row["leader"] and row["connected"]) for row in result["rows"])
