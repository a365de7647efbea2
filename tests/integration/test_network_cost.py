# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a call of a network module costs, counted on the wire: one connection, no program started, nothing read that the call does not
need, nothing written that does not differ."""

from __future__ import annotations

import json
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ansible_collections.altostratus.ecs.plugins.modules import (
    eip,
    eip_info,
    external_network,
    network_interface,
    network_interface_info,
    security_group,
    security_group_info,
    vpc,
    vpc_info,
)

from .conftest import PUBLIC, VPC, Call, Ovn


class Wire:
    """Stands between a module and the Northbound and notes down what passes."""

    def __init__(self, path: Path, server: Path) -> None:
        self.remote = f"unix:{path}"
        self.connections: list[bytearray] = []
        self.received = 0
        self._server = str(server)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _address = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._server)
            sent = bytearray()
            self.connections.append(sent)
            threading.Thread(target=self._requests, args=(client, server, sent), daemon=True).start()
            threading.Thread(target=self._answers, args=(server, client), daemon=True).start()

    def _requests(self, client: socket.socket, server: socket.socket, sent: bytearray) -> None:
        while data := client.recv(1 << 16):
            sent += data
            server.sendall(data)
        server.shutdown(socket.SHUT_RDWR)

    def _answers(self, server: socket.socket, client: socket.socket) -> None:
        while data := server.recv(1 << 16):
            self.received += len(data)
            client.sendall(data)

    def close(self) -> None:
        self._listener.close()

    def clear(self) -> None:
        self.connections.clear()
        self.received = 0

    @property
    def transactions(self) -> list[list[dict[str, Any]]]:
        """The operations of each transaction, in order."""
        found = []
        for sent in self.connections:
            text = sent.decode()
            while text:
                message, end = json.JSONDecoder().raw_decode(text)
                text = text[end:]
                if message["method"] == "transact":
                    found.append(message["params"][1:])
        return found

    @property
    def written(self) -> list[list[tuple[str, str]]]:
        """What each transaction that writes does, as (operation, table)."""
        writes = [
            [(item["op"], item["table"]) for item in operations if item["op"] not in ("select", "wait") and item.get("row") != {}]
            for operations in self.transactions
        ]
        return [operations for operations in writes if operations]


@pytest.fixture
def wire(ovn: Ovn) -> Iterator[Wire]:
    found = Wire(ovn.directory / "wire.sock", ovn.directory / "nb.sock")
    yield found
    found.close()


started: list[str] = []
"""Programs that this process started."""
PROGRAMS = ("subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.system")
sys.addaudithook(lambda event, _arguments: started.append(event) if event in PROGRAMS else None)

GROUPS = [{"name": f"g{number}", "rules": [{"ports": port, "source": f"10.{number}.0.0/16"} for port in (80, 443)]} for number in range(20)]
PORTS = [{"name": f"p{number}", "subnet": "back", "security_groups": [f"g{number}"]} for number in range(20)]
EIPS = [{"name": f"e{number}", "network": "public"} for number in range(3)]
LISTS: list[tuple[ModuleType, dict[str, Any]]] = [
    (vpc, {"vpcs": [VPC, {"name": "second", "cidr": "10.30.0.0/16", "subnets": [{"name": "only", "cidr": "10.30.0.0/24"}]}]}),
    (security_group, {"security_groups": GROUPS}),
    (network_interface, {"network_interfaces": PORTS}),
    (eip, {"eips": EIPS}),
]
INFOS = (vpc_info, security_group_info, network_interface_info, eip_info)


def test_a_list_takes_one_connection_and_one_transaction_and_starts_no_program(cloud: Call, wire: Wire) -> None:
    for changed in (True, False):
        for module, options in LISTS:
            wire.clear()
            started.clear()
            assert cloud(module, ovn_nb=wire.remote, **options)["changed"] is changed
            assert (len(wire.connections), started) == (1, []), module.__name__
            assert len(wire.written) == changed, module.__name__
    for module in INFOS:
        wire.clear()
        cloud(module, ovn_nb=wire.remote)
        assert (len(wire.connections), wire.written, started) == (1, [], []), module.__name__


def test_one_changed_rule_writes_what_differs_only(cloud: Call, wire: Wire) -> None:
    for module, options in LISTS:
        cloud(module, **options)
    changed = [*GROUPS[:-1], {"name": "g19", "rules": [GROUPS[-1]["rules"][0], {"ports": 8443, "source": "10.19.0.0/16"}]}]
    assert cloud(security_group, ovn_nb=wire.remote, security_groups=changed)["steps"] == ["update security_group g19"]
    assert wire.written == [[("insert", "ACL"), ("update", "Port_Group")]]


ONE: list[tuple[ModuleType, dict[str, Any]]] = [
    (vpc_info, {"name": "shop"}),
    (security_group_info, {"name": "web"}),
    (network_interface_info, {"name": "one"}),
    (eip_info, {"name": "one"}),
    (vpc, VPC),
    (security_group, {"name": "web"}),
    (network_interface, {"name": "one", "subnet": "front", "vpc": "shop"}),
    (eip, {"name": "one"}),
    (network_interface, {"name": "one", "subnet": "front", "port_security": False}),
    (security_group, {"name": "web", "rules": [{"ports": 8080}]}),
    (eip, {"name": "one", "bandwidth": 7}),
    (vpc, {"name": "shop", "subnets": [{"name": "front", "dns": ["10.20.1.53"]}]}),
    (eip, {"name": "one", "interface": ""}),
    (network_interface, {"name": "one", "state": "absent"}),
    (network_interface, {"name": "another", "subnet": "front", "security_groups": ["web"]}),
    (vpc, {"name": "another", "cidr": "10.30.0.0/16", "subnets": [{"name": "only", "cidr": "10.30.0.0/24"}]}),
    (vpc, {"name": "another", "state": "absent"}),
]
"""Calls for one resource, made one after another."""


def read_by_each(call: Call, wire: Wire, project: str) -> list[int]:
    """How many bytes each call of ONE gets to read."""
    call(vpc, project=project, **VPC)
    call(security_group, project=project, name="web", rules=[{"ports": 80}])
    call(network_interface, project=project, name="one", subnet="front", security_groups=["web"])
    call(eip, project=project, name="one", interface="one")
    sizes = []
    for module, options in ONE:
        wire.clear()
        call(module, project=project, ovn_nb=wire.remote, **options)
        sizes.append(wire.received)
    return sizes


def test_one_resource_is_read_without_the_rest_of_the_cloud(call: Call, wire: Wire) -> None:
    """A hundred ports, groups and VPCs of the same project make no call read more, but for a few digits."""
    call(external_network, **PUBLIC)
    alone = read_by_each(call, wire, "alone")
    subnets = [{"name": "wide", "cidr": "10.40.0.0/24"}]
    rules = [{"ports": 80, "source": "10.40.0.0/24"}]
    many = range(100)
    call(vpc, project="crowd", vpcs=[{"name": f"v{number}", "cidr": "10.40.0.0/16", "subnets": subnets} for number in many])
    call(security_group, project="crowd", security_groups=[{"name": f"g{number}", "rules": rules} for number in many])
    ports = [{"name": f"p{number}", "subnet": "wide", "vpc": "v0", "security_groups": [f"g{number}"]} for number in many]
    call(network_interface, project="crowd", network_interfaces=ports)
    grown = [after - before for before, after in zip(alone, read_by_each(call, wire, "crowd"), strict=True)]
    assert max(grown) < 100, list(zip(ONE, grown, strict=True))
