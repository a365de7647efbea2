# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The metadata service of this host (spec MD1): what servers read at 169.254.169.254, and the networks that they ask from.

The work is nginx's, one in a network namespace for each subnet that has servers here; we write its files. A host that was not prepared for
it has no directory for them, and everything here does nothing.

A server that moves to another host takes its data with it as one file beside its config drive: :func:`pack` writes it, and when it has come
to the same place on the other host, :func:`refresh` there serves it from then on, and :func:`refresh` here takes away what is left.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from .._engines import files, metadata_tree
from .._engines.host import Host
from .._engines.libvirt_client import Live, read_domains
from .._engines.metadata_tree import Tree
from .._engines.systemd import systemctl
from .._model import metadata_service as model
from .._model import northbound
from .._model.errors import EcsError, InvalidInput
from .._model.metadata_service import Nic
from .._model.names import mac_address
from .._model.plan import Step
from .._model.servers import Server, from_domain
from . import guest_data
from .exclusive import BUSY, exclusive
from .ports import Port, read_ports
from .site import Site


def announce(host: Host, server_id: str, when: datetime) -> bool:
    """Tell a server that it is about to be taken away (spec MD18); False when it has no data on this host."""
    return bool(host.metadata) and Tree(host.metadata).announce(server_id, model.instance_action(when))


def withdraw(host: Host, server_id: str) -> None:
    """Take that back; nothing was announced then (404)."""
    if host.metadata:
        Tree(host.metadata).announce(server_id, None)


def pack(host: Host, server_id: str) -> str:
    """Write all that the service keeps of a server into one file, for root alone, and return its path; empty where there is nothing.

    It goes to the other host under the same name, and from here with :func:`remove`.
    """
    content = Tree(host.metadata).copy_out(server_id) if host.metadata else {}
    if not content:
        return ""
    path = _packed(host, server_id)
    os.makedirs(host.config_drives, mode=0o711, exist_ok=True)
    files.write(path, metadata_tree.pack(content), 0o600)
    return path


def _packed(host: Host, server_id: str) -> str:
    return os.path.join(host.config_drives, f"{server_id}.metadata")


def _moved(host: Host, server_id: str) -> dict[str, bytes]:
    """What came with a server from another host."""
    try:
        with open(_packed(host, server_id), "rb") as stream:
            return metadata_tree.unpack(stream.read())
    except FileNotFoundError:
        return {}


def nics_of(host: Host, ports: Iterable[Port]) -> list[Nic]:
    """What the service has to know of a server's ports."""
    return [
        Nic(
            id=port.id,
            subnet_id=port.subnet_id or "",
            mac=port.mac,
            cidr=port.cidr or "",
            mtu=port.mtu or host.guest_mtu,
            address=port.address or "",
            public_address=port.eip,
            security_groups=port.security_groups,
        )
        for port in ports
    ]


def check(host: Host, server: str, ports: Sequence[Port]) -> None:
    """See that a server without a config drive can reach the service (spec UD4).

    :param ports: as they will be.
    """
    if not host.metadata:
        raise EcsError(
            f"server {server}: config_drive is false, and {host.name} has no metadata service",
            "ECS_NO_METADATA",
            "Run role hypervisor on it",
        )
    if not ports or not ports[0].dhcp:
        problem = "has no interface" if not ports else f"has its first interface in subnet {ports[0].subnet}, which has no DHCP"
        hint = "The metadata service is reached by DHCP: give nics in a subnet with dhcp, or leave the config drive"
        raise InvalidInput("config_drive", False, f"leaves server {server} without its data, as it {problem}", hint)


def lay_out(host: Host, server_id: str, generation: int, content: Mapping[str, bytes], ports: Iterable[Port]) -> None:
    """Write the data of a server's system; it is read after :func:`show`.

    :param content: what its config drive says.
    """
    if host.metadata:
        Tree(host.metadata).write(server_id, generation, model.tree(content, nics_of(host, ports)))


def show(host: Host, server_id: str, generation: int) -> None:
    """Let a server read the data of that system."""
    if host.metadata:
        Tree(host.metadata).switch(server_id, generation)


def keep(host: Host, server_id: str, generation: int) -> None:
    """Let a server read the data of that system, and remove those of its others."""
    if host.metadata:
        Tree(host.metadata).keep(server_id, generation)


def connect(host: Host, servers: Mapping[str, Sequence[Nic]]) -> None:
    """Let servers read their data from the addresses of their interfaces, and from no others; none at all disconnects.

    :raises EcsError: ECS_SYSTEMD when the service of a subnet does not start.
    """
    if not host.metadata or not servers:
        return
    tree = Tree(host.metadata)
    with _alone(host):
        live = tree.links()
        wanted = {(nic.subnet_id, nic.address): (server_id, nic) for server_id, nics in servers.items() for nic in nics if nic.address}
        gone = [place for place, server_id in live.items() if server_id in servers and place not in wanted]
        for place, (server_id, _nic) in wanted.items():
            if live.get(place) != server_id:
                tree.link(*place, server_id)
        tree.unlink(gone)
        left = {place[0] for place in {*live, *wanted} - set(gone)}
        _settle(tree, left, [nic for _server, nic in wanted.values()], {subnet_id for subnet_id, _address in gone})


def _settle(tree: Tree, left: set[str], nics: Sequence[Nic], touched: set[str]) -> None:
    """Start, tell or stop the services of subnets after addresses have come and gone.

    :param left: subnets that still have servers here.
    :param touched: subnets that addresses are gone from.
    """
    restart, reload, start = [], [], []
    coming = model.by_subnet(nics)
    for subnet_id in sorted((touched | coming.keys()) & left):
        there = {address for place, address in tree.links() if place == subnet_id}
        macs = {**model.read_neighbours(tree.noted(subnet_id, "neighbours")), **{nic.address: nic.mac for nic in coming.get(subnet_id, ())}}
        known = tree.note(subnet_id, "neighbours", model.neighbours({key: mac for key, mac in macs.items() if key in there}))
        reload += [_network(subnet_id)] if known else []
        first = next(iter(coming.get(subnet_id, ())), None)
        if first and tree.note(subnet_id, "network", _facts(first)):
            restart += [_network(subnet_id), _service(subnet_id)]
        else:
            start.append(_service(subnet_id))
    stop = sorted((touched | set(tree.subnets())) - left)
    for action, units in (("restart", restart), ("start", start), ("try-reload-or-restart", [one for one in reload if one not in restart])):
        if units:
            systemctl(action, *units)
    if stop:
        systemctl("stop", *map(_service, stop), *map(_network, stop))
        tree.drop_subnets(stop)


def _network(subnet_id: str) -> str:
    return f"altostratus-metadata-network@{subnet_id}.service"


def _service(subnet_id: str) -> str:
    return f"altostratus-metadata@{subnet_id}.service"


def _facts(nic: Nic) -> str:
    """What the unit of a subnet's namespace has to know."""
    port = northbound.metadata_port_id(nic.subnet_id)
    facts = {"PORT": northbound.metadata_port_name(nic.subnet_id), "INTERFACE": f"md{port[:11]}", "MAC": mac_address(port)}
    return model.environment({**facts, "CIDR": nic.cidr, "MTU": nic.mtu})


@contextmanager
def _alone(host: Host) -> Iterator[None]:
    os.makedirs(host.locks, mode=0o700, exist_ok=True)
    with files.lock(os.path.join(host.locks, "metadata.lock")):
        yield


def remove(host: Host, server_ids: Iterable[str]) -> None:
    """Take away all that the service has of servers; the services of subnets that none is left in end."""
    if host.metadata:
        ids = list(server_ids)
        connect(host, dict.fromkeys(ids, ()))
        for server_id in ids:
            Tree(host.metadata).remove(server_id)
            files.remove(_packed(host, server_id))


@dataclass(frozen=True)
class Refresh:
    """What has to change in a server's data.

    :param files: those that differ; all of them where there are none yet.
    """

    server: Server
    step: Step
    files: Mapping[str, bytes]
    nics: Sequence[Nic]
    new: bool


def outdated(host: Host, servers: Iterable[Server], ports: Iterable[Port]) -> list[Refresh]:
    """Compare what servers read with the addresses and groups that their ports have; what another run is at is left to it.

    A server that was made before its host had the service gets its data from its config drive.
    """
    if not host.metadata:
        return []
    tree, known = Tree(host.metadata), {port.id: port for port in ports}
    links = tree.links()
    found = []
    for server in servers:
        told = server.metadata
        if told.creating or server.rebuilding or not told.nics or any(nic.id not in known for nic in told.nics):
            continue
        mine = [known[nic.id] for nic in told.nics]
        nics = nics_of(host, mine)
        live = tree.read(server.id)
        content = model.drive(live) or _arrived(host, server, mine)
        if not content:
            continue
        wanted = model.tree(content, nics)
        differing = {path: text for path, text in wanted.items() if live.get(path) != text}
        places = {place for place, server_id in links.items() if server_id == server.id}
        networks = [(nic.subnet_id, nic.address) for nic in nics if nic.address and tree.noted(nic.subnet_id, "network") == _facts(nic)]
        if differing or places != set(networks):
            step = Step("update" if live else "create", "metadata", told.name, *model.changes(live, wanted))
            found.append(Refresh(server, step, differing, nics, not live))
    return found


def _arrived(host: Host, server: Server, ports: Sequence[Port]) -> Mapping[str, bytes]:
    """What a server was told that has no data here yet: from the host that it came from, or else from its config drive."""
    moved = _moved(host, server.id)
    return model.drive(metadata_tree.data_of(moved)) if moved else guest_data.read(host, server, ports)


def update(host: Host, work: Sequence[Refresh]) -> None:
    """Bring servers' data up to date."""
    tree = Tree(host.metadata)
    for item in work:
        server_id, generation = item.server.id, item.server.metadata.generation
        if item.new and (moved := _moved(host, server_id)):
            tree.copy_in(server_id, moved)
            files.remove(_packed(host, server_id))
        elif item.new:
            tree.write(server_id, generation, {})
            tree.switch(server_id, generation)
        tree.update(server_id, item.files)
    connect(host, {item.server.id: item.nics for item in work})


def refresh(site: Site) -> list[Step]:
    """Bring the data of all servers of this host up to date, of whatever project, e.g. after public addresses were bound; what was done.

    Data of servers that are here no more go.
    """
    if not site.host.metadata:
        return []
    served = set(Tree(site.host.metadata).servers())  # before the domains: one that another run makes meanwhile is not strange
    live = read_domains(site.connection)
    done = []
    for item in _outdated(site, live):
        try:
            with exclusive(site.host.locks, {item.server.id: item.server.metadata.name}, timeout=0):
                work = _outdated(site, read_domains(site.connection, {item.server.id}))
                update(site.host, work)
                done += [one.step for one in work]
        except EcsError as error:
            if error.code != BUSY:  # who is at the server brings its data up to date as well
                raise
    strange = sorted(served - live.keys())
    remove(site.host, strange)
    return [*done, *(Step("delete", "metadata", server_id) for server_id in strange)]


def _outdated(site: Site, live: Mapping[str, Live]) -> list[Refresh]:
    found = [from_domain(domain.xml, domain.state, site.host.name) for domain in live.values()]
    servers = [server for server in found if server and server.domain.task is None and server.metadata.nics]
    ports = read_ports(site.northbound(), server_ids={server.id for server in servers}) if servers else []
    return outdated(site.host, servers, ports)
