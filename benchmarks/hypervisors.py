# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hypervisors of a benchmark's own: private libvirt daemons with as many servers as wanted, far away over SSH if wanted.

Each is a tree of processes with mounts of its own, so that nothing of the machine's libvirt is seen or touched; the end of its first
process is the end of all of it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import libvirt
from harness import run

from ansible_collections.altostratus.ecs.plugins.module_utils._model import domain_xml
from ansible_collections.altostratus.ecs.plugins.module_utils._model.metadata import Disk, Nic, ServerMetadata, element
from ansible_collections.altostratus.ecs.plugins.module_utils._model.names import Scope, disk_serial, mac_address

_START = """
set -e
mount --make-rprivate /
for directory in /root /etc/libvirt /var/lib/libvirt /var/cache/libvirt /var/log/libvirt /run; do
    mkdir -p $directory; mount -t tmpfs tmpfs $directory
done
mkdir /run/etc /run/libvirt /run/sshd
cp /etc/passwd /etc/group /run/etc/
grep -q ^libvirt-qemu: /etc/passwd || echo libvirt-qemu:x:64055:64055::/:/bin/false >>/run/etc/passwd
grep -q ^libvirt-qemu: /etc/group || echo libvirt-qemu:x:64055: >>/run/etc/group
sed 's/^root:[^:]*/root:*/' /etc/shadow >/run/etc/shadow  # sshd lets no locked account in
for name in passwd group shadow; do mount --bind /run/etc/$name /etc/$name; done
mount --bind "$1" /run/libvirt
cat >/etc/libvirt/qemu.conf <<END
user = "root"
group = "root"
security_driver = "none"
namespaces = []
cgroup_controllers = []
stdio_handler = "file"
END
cat >/etc/libvirt/libvirtd.conf <<END
auth_unix_rw = "none"
log_outputs = "3:file:$1/log"
END
libvirtd --config /etc/libvirt/libvirtd.conf --pid-file "$1/libvirtd.pid" &
[ -z "$2" ] || /usr/sbin/sshd -D -E "$1/sshd.log" -f "$1/../sshd_config" -o "ListenAddress=$2" -o "PidFile=$1/sshd.pid" &
wait
"""
_SSHD = """
Port {port}
HostKey {directory}/host_key
AuthorizedKeysFile {directory}/user_key.pub
StrictModes no
UsePAM no
"""
SSH_PORT = "2222"
"""Of the daemons; relays are at 22."""
_SSH = """
IdentityFile {directory}/user_key
IdentitiesOnly yes
UserKnownHostsFile {directory}/known_hosts
"""
_NETWORK = "198.19.0"
_DEAD = "198.19.1.1"
"""Of the range for benchmarks (RFC 2544), in a namespace of their own. What goes to the second is lost."""

# A guest whose agent hangs: it opens the agent's channel, on a legacy virtio console, and does nothing more.
# .code16: cli; xor %ax,%ax; mov %ax,%ds; mov %ax,%ss; mov $0x7c00,%sp
# find the device by the PCI BIOS: mov $0xb102,%ax; mov $0x1003,%cx; mov $0x1af4,%dx; xor %si,%si; int $0x1a; jc halt
# its I/O ports to %bp: mov $0xb10a,%ax; mov $0x10,%di; int $0x1a; and $0xfffc,%cx; mov %cx,%bp
# let it read memory: mov $0xb10c,%ax; mov $4,%di; mov $7,%cx; int $0x1a
# acknowledged, driver: lea 18(%bp),%dx; mov $3,%al; out %al,%dx; multiport: lea 4(%bp),%dx; mov $2,%eax; out %eax,%dx
# control queue 3, its size to %bx: lea 14(%bp),%dx; mov $3,%ax; out %ax,%dx; lea 12(%bp),%dx; in %dx,%ax; mov %ax,%bx
# its ring at 0x10000, with one message: mov $0x1000,%ax; mov %ax,%es; xor %di,%di; mov $0x4000,%cx; xor %ax,%ax; rep stosw;
#   movl $message,%es:0; movl $8,%es:8; shl $4,%bx; movw $1,%es:2(%bx); lea 8(%bp),%dx; mov $0x10,%eax; out %eax,%dx
# ready: lea 18(%bp),%dx; mov $7,%al; out %al,%dx; read it: lea 16(%bp),%dx; mov $3,%ax; out %ax,%dx; halt: hlt; jmp halt
# message, port 1 is open: .long 1; .word 6; .word 1
_SILENT_GUEST = bytes.fromhex(
    "fa31c08ed88ed0bc007cb802b1b90310baf41a31f6cd1a7279b80ab1bf1000cd1a83e1fc89cdb80cb1bf0400b90700cd1a8d5612b003ee"
    "8d560466b80200000066ef8d560eb80300ef8d560ced89c3b800108ec031ffb9004031c0f3ab2666c7060000957c00002666c706080008"
    "000000c1e30426c7470201008d560866b81000000066ef8d5612b007ee8d5610b80300eff4ebfd0100000006000100"
)


@dataclass(frozen=True)
class Hypervisor:
    """A libvirt daemon.

    :param directory: with its sockets.
    :param address: of its sshd in the site's namespace, if it has one.
    """

    name: str
    directory: Path
    address: str

    @property
    def uri(self) -> str:
        """How this machine reaches it."""
        return f"qemu+unix:///system?socket={self.directory}/libvirt-sock"

    @property
    def far_uri(self) -> str:
        """How its namespace reaches it over SSH, through the relay."""
        return _ssh_uri(self.address, self.directory.parent)

    @property
    def near_uri(self) -> str:
        """The same without the relay."""
        return _ssh_uri(f"{self.address}:{SSH_PORT}", self.directory.parent)

    def define(self, count: int, first: int = 0) -> None:
        """Make servers that are off."""
        self._each(lambda connection, number: connection.defineXML(_server(self.name, number)), range(first, first + count))

    def start(self, count: int, agents: bool) -> None:
        """Start servers with next to nothing in them.

        :param agents: whether each has an agent that hangs, instead of none.
        """
        disk = self.directory / "disk.raw"
        disk.write_bytes((_SILENT_GUEST if agents else b"\xfa\xf4").ljust(510, b"\0") + b"\x55\xaa")
        self._each(lambda connection, number: connection.createXML(_tiny_server(number, disk)), range(count))
        state = "connected" if agents else "disconnected"
        with self.connection() as connection:
            running = connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE)
            _wait(lambda: all(f"state='{state}'" in domain.XMLDesc() for domain in running), "the guests' agents")

    def stop(self) -> None:
        """Stop and forget the servers that were started."""
        with self.connection() as connection:
            for domain in connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE):
                domain.destroy()

    @contextmanager
    def connection(self) -> Iterator[libvirt.virConnect]:
        """A connection for the length of a ``with`` block."""
        connection = libvirt.open(self.uri)
        try:
            yield connection
        finally:
            connection.close()

    def _each(self, work: Callable[[libvirt.virConnect, int], object], numbers: Iterable[int]) -> None:
        with self.connection() as connection:
            for number in numbers:
                work(connection, number)


def define(hosts: Sequence[Hypervisor], count: int, first: int = 0) -> None:
    """Make servers that are off on each host, on as many hosts at once as there are cores."""
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        list(threads.map(lambda host: host.define(count, first), hosts))


@dataclass(frozen=True)
class Site:
    """Hypervisors, and how to get to them over SSH.

    :param inside: begins a command that shall run in the namespace.
    """

    directory: Path
    hypervisors: Sequence[Hypervisor]
    inside: Sequence[str] = ()

    @property
    def dead_uri(self) -> str:
        """A hypervisor whose host is not there."""
        return _ssh_uri(_DEAD, self.directory)


def _ssh_uri(host: str, directory: Path) -> str:
    return f"qemu+ssh://root@{host}/system?command={directory}/ssh"


@contextmanager
def site(count: int, round_trips: Sequence[float] = ()) -> Iterator[Site]:
    """Hypervisors for the length of a ``with`` block.

    :param round_trips: seconds to each and back, when they shall be reached over SSH.
    """
    with ExitStack() as stack:
        # A socket's path has 107 characters at most.
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ecs-")))
        inside = stack.enter_context(_network(directory, round_trips)) if round_trips else ()
        made = []
        for number in range(count):
            host = Hypervisor(f"hv{number + 1}", directory / f"hv{number + 1}", f"{_NETWORK}.{number + 1}" if round_trips else "")
            host.directory.mkdir()
            own = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", _START]
            _background(stack, *inside, *own, "sh", str(host.directory), host.address, log=host.directory / "start.log")
            made.append(host)
        names = ["libvirt-sock", "sshd.pid"] if round_trips else ["libvirt-sock"]
        _wait(lambda: all((host.directory / name).exists() for host in made for name in names), f"the daemons in {directory}")
        yield Site(directory, made, inside)


def _background(stack: ExitStack, *command: str, log: Path) -> None:
    """Start a program that is killed when the stack unwinds."""
    with log.open("wb") as stream:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, start_new_session=True)
    stack.callback(process.wait)
    stack.callback(process.kill)


def _wait(done: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 120
    while not done():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what} did not come within 120 s")
        time.sleep(0.1)


@contextmanager
def _network(directory: Path, round_trips: Sequence[float]) -> Iterator[Sequence[str]]:
    """A network namespace with all addresses, relays in front of them, and what SSH needs; yields how to run a command in it."""
    namespace = f"bench-{os.getpid()}"
    inside = ("ip", "netns", "exec", namespace)
    addresses = [f"{_NETWORK}.{number + 1}" for number in range(len(round_trips))]
    for name, text in (("sshd_config", _SSHD), ("ssh_config", _SSH), ("ssh", '#!/bin/sh\nexec ssh -F {directory}/ssh_config "$@"\n')):
        (directory / name).write_text(text.format(directory=directory, port=SSH_PORT))
    (directory / "ssh").chmod(0o755)
    for name in ("host_key", "user_key"):
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", directory / name)
    (directory / "known_hosts").write_text(f"* {(directory / 'host_key.pub').read_text()}")
    with ExitStack() as stack:
        run("ip", "netns", "add", namespace)
        stack.callback(_remove_namespace, namespace)
        commands = ["link set lo up", *(f"addr add {address}/32 dev lo" for address in addresses)]
        # Nobody has the dead host's hardware address, so that its packets go out and no answer comes.
        commands += ["link add out type veth peer name void", "link set out up", "link set void up", f"addr add {_DEAD[:-1]}2/24 dev out"]
        commands += [f"neigh add {_DEAD} lladdr 02:00:00:00:00:01 dev out nud permanent"]
        run("ip", "-n", namespace, "-batch", "-", stdin="\n".join(commands))
        relay = [f"{address}={round_trip / 2}" for address, round_trip in zip(addresses, round_trips, strict=True)]
        log = directory / "relay.log"
        _background(stack, *inside, sys.executable, str(Path(__file__).with_name("delay.py")), *relay, log=log)
        _wait(lambda: "open" in log.read_text(), "the relays")
        yield inside


def _remove_namespace(namespace: str) -> None:
    for pid in run("ip", "netns", "pids", namespace).split():
        with suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    run("ip", "netns", "delete", namespace)


# --- servers -------------------------------------------------------------------------------------------------------------------------


def _metadata(host: str, number: int) -> ServerMetadata:
    """What is remembered of a server; its name has its hypervisor's in it."""
    scope = Scope("local", f"project{number % 10}")
    name = f"{host}-{number:04d}"
    port = scope.id("port", f"{name}-nic0")
    address = f"10.20.{number // 250}.{number % 250 + 4}"
    return ServerMetadata(
        region=scope.region, project=scope.project, name=name, az=f"az{number % 3 + 1}", flavor=("s7n.medium.2", "s7n.large.2")[number % 2],
        image="debian-13", image_id=scope.id("image", "debian-13"), key="ops", hostname=name, description="measured",
        created="2026-01-31T12:00:00Z", tags={"tier": ("web", "app", "db")[number % 3], "cost-centre": str(number % 20)},
        nics=(Nic(port, f"{name}-nic0", mac_address(port), address, "10.20.0.0/16", "front", "shop", ("web", "ops"), 1442),),
        disks=(
            Disk(scope.id("volume", f"{name}-system"), f"{name}-system", "system", 40, "standard"),
            Disk(scope.id("volume", f"{name}-data"), f"{name}-data", "data", 100, "fast", "/srv", "ext4"),
        ),
    )  # fmt: skip


def _identity(told: ServerMetadata) -> tuple[str, str]:
    scope = Scope(told.region, told.project)
    return scope.domain(told.name), scope.id("server", told.name)


def _server(host: str, number: int) -> str:
    """The domain of a server as module ``server`` makes it: system disk, data disk, config drive, interface."""
    told = _metadata(host, number)
    name, uuid = _identity(told)
    system, data = told.disks
    return domain_xml.build(
        domain_xml.DomainSpec(
            name=name, uuid=uuid, title=told.name, metadata=told, type="qemu", vcpus=1, memory=2048, console_log=f"/var/log/{name}.log",
            disks=[
                domain_xml.system_disk(f"/var/lib/libvirt/images/{system.name}.qcow2", "qcow2", system.id),
                domain_xml.DiskDevice(f"/var/lib/libvirt/images/{data.name}.qcow2", "qcow2", "vdb", disk_serial(data.id)),
                domain_xml.config_drive(f"/var/lib/libvirt/{name}.iso"),
            ],
            nics=[domain_xml.NicDevice(nic.id, nic.mac, nic.mtu) for nic in told.nics],
        )
    )  # fmt: skip


def _tiny_server(number: int, disk: Path) -> str:
    """The domain of a server of 8 MiB that boots from *disk*, which all of them share."""
    told = _metadata("tiny", number)
    name, uuid = _identity(told)
    return f"""
        <domain type="qemu">
          <name>{name}</name><uuid>{uuid}</uuid><metadata>{ElementTree.tostring(element(told), encoding="unicode")}</metadata>
          <memory unit="MiB">8</memory><vcpu>1</vcpu>
          <os><type arch="x86_64" machine="pc">hvm</type></os>
          <devices>
            <disk type="file" device="disk">
              <driver name="qemu" type="raw"/><source file="{disk}"/><target dev="hda" bus="ide"/><shareable/>
            </disk>
            <controller type="usb" model="none"/>
            <channel type="unix"><target type="virtio" name="{domain_xml.AGENT_CHANNEL}"/></channel>
            <memballoon model="none"/>
          </devices>
        </domain>"""
