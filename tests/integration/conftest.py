# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A private OVN control plane for each test that asks for it: ovsdb-server with the OVN schemas, ovn-northd, ovn-trace; and
a hypervisor on libvirt's test driver."""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from ansible.module_utils.common import warnings
from ansible.module_utils.testing import patch_module_args

from ansible_collections.altostratus.ecs.plugins.module_utils._engines import files
from ansible_collections.altostratus.ecs.plugins.module_utils._engines.ovsdb import Northbound
from ansible_collections.altostratus.ecs.plugins.module_utils._model.images import Image, Source, dump
from ansible_collections.altostratus.ecs.plugins.module_utils._model.names import Scope
from ansible_collections.altostratus.ecs.plugins.modules import external_network, vpc

SCHEMAS = Path(os.environ.get("OVN_SCHEMAS", "/usr/share/ovn"))
SHOP = Scope("local", "shop")


def run(*command: str) -> str:
    """Run a program and return what it prints."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout + "".join(line for line in done.stderr.splitlines(True) if "|WARN|" in line)


@dataclass
class Ovn:
    """A running OVN control plane in a directory of its own."""

    directory: Path

    @property
    def remote(self) -> str:
        return f"unix:{self.directory}/nb.sock"

    def nbctl(self, *arguments: str) -> str:
        return run("ovn-nbctl", f"--db={self.remote}", *arguments)

    def sbctl(self, *arguments: str) -> str:
        return run("ovn-sbctl", f"--db=unix:{self.directory}/sb.sock", *arguments)

    def connect(self) -> Northbound:
        return Northbound(self.remote)

    def count(self, *tables: str) -> dict[str, int]:
        """How many rows each table has."""
        with self.connect() as nb:
            return {table: len(nb.select(table, columns=["_uuid"])) for table in tables}

    def logged(self, pattern: str) -> re.Match[str]:
        """What the Northbound's server logged; it writes its log a little late."""
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            found = re.search(pattern, (self.directory / "nb.log").read_text())
            if found:
                return found
            time.sleep(0.05)
        raise AssertionError(f"{pattern} does not occur in {(self.directory / 'nb.log').read_text()}")

    def settle(self) -> str:
        """Wait until ovn-northd has compiled everything; return what it had to complain about."""
        self.nbctl("--wait=sb", "--timeout=20", "sync")
        lines = (self.directory / "northd.log").read_text().splitlines()
        return "\n".join(line for line in lines if "|WARN|" in line or "|ERR|" in line)

    def trace(self, switch: str, flow: str) -> str:
        """What becomes of a packet: the output of ovn-trace, where every conntrack lookup finds a new connection.

        A match that OVN cannot parse fails the test: ovn-northd passes it on, and only its readers find out.
        """
        new = ["--ct=new"] * 4
        told = run("ovn-trace", "--no-friendly-names", f"--db=unix:{self.directory}/sb.sock", *new, switch, flow)
        assert "|WARN|" not in told
        return told

    def reaches(self, sender: Mapping[str, Any], to: str, packet: str, **changed: str) -> bool:
        """Whether a packet of interface *sender* leaves OVN at port *to*; *changed* fields override the sender's own."""
        switch = f"shop.{sender['vpc']}.{sender['subnet']}"
        gateway = self.nbctl("get", "Logical_Router_Port", f"lrp-{self.id('Logical_Switch', switch)}", "mac").strip().strip('"')
        fields = {"eth.src": sender["mac"], "eth.dst": gateway, "ip4.src": sender["address"], "ip.ttl": "64", **changed}
        flow = " && ".join([f'inport == "{sender["id"]}"', *(f"{field} == {value}" for field, value in fields.items()), packet])
        return f'output to "{to}"' in self.trace(switch, flow)

    def id(self, table: str, name: str) -> str:
        return self.nbctl("get", table, name, "_uuid").strip()

    def bind(self, *ports: str) -> None:
        """Let a hypervisor hv1 hold these ports, as its ovn-controller would."""
        self.settle()
        self.sbctl("--may-exist", "chassis-add", "hv1", "vxlan", "127.0.0.1")
        for port in ports:
            self.sbctl("lsp-bind", port, "hv1")
        self.settle()


@pytest.fixture
def ovn(monkeypatch: pytest.MonkeyPatch) -> Iterator[Ovn]:
    """An empty Northbound database, to which the modules' options lead by the environment."""
    directory = Path(tempfile.mkdtemp(prefix="ovn-"))  # a socket's path has at most 107 characters
    for name in ("nb", "sb"):
        database = directory / f"{name}.db"
        run("ovsdb-tool", "create", str(database), str(SCHEMAS / f"ovn-{name}.ovsschema"))
        tls = [f"--{option}=db:OVN_Northbound,SSL,{option.replace('-', '_')}" for option in ("private-key", "certificate", "ca-cert")]
        run(
            "ovsdb-server", *(tls if name == "nb" else []),
            "--detach", "--no-chdir", f"--pidfile={directory}/{name}.pid", f"--log-file={directory}/{name}.log",
            f"--unixctl={directory}/{name}.ctl", f"--remote=punix:{directory}/{name}.sock", str(database),
        )  # fmt: skip
    monkeypatch.setenv("ECS_OVN_NB", f"unix:{directory}/nb.sock")
    monkeypatch.setenv("ECS_HOST_FILE", str(directory / "host.json"))
    yield Ovn(directory)
    stop(*directory.glob("*.pid"))
    shutil.rmtree(directory, ignore_errors=True)  # a server that ends may still be removing its socket


@pytest.fixture
def northd(ovn: Ovn) -> Ovn:
    """The same with ovn-northd, which compiles the Northbound into logical flows."""
    directory = ovn.directory
    run(
        "ovn-northd", "--detach", "--no-chdir", f"--pidfile={directory}/northd.pid", f"--log-file={directory}/northd.log",
        f"--unixctl={directory}/northd.ctl", f"--ovnnb-db={ovn.remote}", f"--ovnsb-db=unix:{directory}/sb.sock",
    )  # fmt: skip
    return ovn


def stop(*pid_files: Path) -> None:
    """End daemons by their pid files, and wait until they are gone."""
    for path in pid_files:
        pid = int(path.read_text())
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + 10
        while path.exists() and time.monotonic() < deadline:
            time.sleep(0.01)


Call = Callable[..., dict[str, Any]]
PUBLIC = {
    "name": "public",
    "physical_network": "physnet1",
    "cidr": "203.0.113.0/24",
    "gateway": "203.0.113.1",
    "allocation": "203.0.113.100-203.0.113.109",
    "gateway_chassis": ["hv1", "hv2"],
}
VPC = {
    "name": "shop",
    "cidr": "10.20.0.0/16",
    "snat": "public",
    "subnets": [{"name": "front", "cidr": "10.20.1.0/24"}, {"name": "back", "cidr": "10.20.2.0/24"}],
}


Play = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def play(tmp_path: Path) -> Play:
    """Runs tasks on this machine by ansible-playbook."""

    def execute(tasks: list[dict[str, Any]], *arguments: str, **keywords: Any) -> subprocess.CompletedProcess[str]:
        path = tmp_path / "play.yml"
        path.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, **keywords, "tasks": tasks}]))
        return subprocess.run(
            [str(Path(sys.executable).with_name("ansible-playbook")), "-i", "localhost,", "-c", "local",
             "-e", f"ansible_python_interpreter={sys.executable}", str(path), *arguments],
            env={
                **os.environ, "ANSIBLE_HOME": str(tmp_path / "ansible"), "ANSIBLE_NOCOLOR": "1", "COLUMNS": "2000",
                "ANSIBLE_COLLECTIONS_PATH": os.environ.get("ANSIBLE_COLLECTIONS_PATH") or os.environ["PYTHONPATH"],
            },
            cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    return execute


@pytest.fixture
def call(ovn: Ovn, capsys: pytest.CaptureFixture[str], play: Play, tmp_path: Path) -> Call:
    """Runs a real module in this process, in project ``shop``, and returns what Ansible would get.

    One that runs within the controller, and is no more than documentation here, is run by Ansible.
    A failure that the test does not expect (``fails=True``) fails the test. An option that is None is not given at all.
    """

    def execute(module: ModuleType, check: bool = False, fails: bool = False, **options: Any) -> dict[str, Any]:
        # A module is a process of its own: it tells no warnings of an earlier one.
        warnings._global_warnings.clear()
        warnings._global_deprecations.clear()
        given = {name: value for name, value in {"project": "shop", **options}.items() if value is not None}
        result: dict[str, Any]
        if hasattr(module, "main"):
            with patch_module_args({**given, "_ansible_check_mode": check, "_ansible_diff": True}), pytest.raises(SystemExit):
                module.main()
            result = json.loads(capsys.readouterr().out.splitlines()[-1])
        else:
            name = module.__name__.rpartition(".")[2]
            told = tmp_path / "told.json"
            task = {f"altostratus.ecs.{name}": given, "register": "told", "ignore_errors": True, "check_mode": check}
            done = play([task, {"ansible.builtin.copy": {"content": "{{ told | to_json }}", "dest": str(told)}}])
            assert done.returncode == 0, done.stdout + done.stderr
            result = json.loads(told.read_text())
        assert bool(result.get("failed")) is fails, result.get("msg")
        return result

    return execute


LIBVIRT_URI = "test:///default"


@dataclass(frozen=True)
class Hypervisor:
    """A prepared hypervisor on libvirt's test driver: real pools, metadata, states and events, but no guests."""

    directory: Path
    connection: Any

    @property
    def domains(self) -> list[str]:
        return sorted(domain.name() for domain in self.connection.listAllDomains())

    @property
    def volumes(self) -> list[str]:
        return sorted(self.connection.storagePoolLookupByName("default-pool").listVolumes())


@pytest.fixture
def hypervisor(ovn: Ovn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hypervisor]:
    """A host of 16 CPUs and 3 GiB with an image ``mini`` of project shop; the Northbound is ``ovn``'s."""
    import libvirt

    library = tmp_path / "images"
    library.mkdir()
    image = Image(
        id=SHOP.id("image", "mini"), name="mini", project="shop", region="local", source=Source("/mini.qcow2", ""), source_format="qcow2",
        virtual_size=1 << 30, size=1 << 20, created="2026-01-01T00:00:00Z", library=str(library), min_memory=256,
    )  # fmt: skip
    (library / f"{image.id}.json").write_text(dump(image))
    (library / f"{image.id}.qcow2").touch()
    settings = {
        "name": "hv1",
        "image_library": str(library),
        "config_drives": str(tmp_path / "config-drives"),
        "console_logs": str(tmp_path / "consoles"),
        "locks": str(tmp_path / "locks"),
        "default_pool": "default-pool",
    }
    (tmp_path / "host.json").write_text(json.dumps(settings))
    monkeypatch.setenv("ECS_HOST_FILE", str(tmp_path / "host.json"))
    monkeypatch.setenv("ECS_LIBVIRT_URI", LIBVIRT_URI)
    libvirt.virEventRegisterDefaultImpl()
    # The driver's one host lives as long as somebody is connected; it comes with a domain larger than its memory.
    connection = libvirt.open(LIBVIRT_URI)
    _clear(connection)
    yield Hypervisor(tmp_path, connection)
    _clear(connection)
    connection.close()


def _clear(connection: Any) -> None:
    for domain in connection.listAllDomains():
        if domain.isActive():
            domain.destroy()
        domain.undefine()
    for volume in connection.storagePoolLookupByName("default-pool").listAllVolumes():
        volume.delete()


@dataclass(frozen=True)
class Guest:
    """The inside of a server: a real agent, with /etc and /root of its own, and otherwise this machine for its guest."""

    directory: Path

    def read(self, path: str) -> str:
        """A file below /etc or /root."""
        return (self.directory / path.removeprefix("/")).read_text()


def connect_agent(process: subprocess.Popen[bytes], path: Path) -> socket.socket:
    """Connect to an agent that was just started."""
    while True:
        assert process.poll() is None
        stream = socket.socket(socket.AF_UNIX)
        with suppress(FileNotFoundError, ConnectionRefusedError):
            stream.connect(str(path))
            return stream
        stream.close()
        time.sleep(0.01)


class AgentSocket:
    """libvirt's end of an agent's channel."""

    def __init__(self, stream: socket.socket) -> None:
        self._stream = stream
        self._file = stream.makefile("rb")

    def ask(self, text: str) -> str:
        """Send one command; the answer, or libvirt's error of it."""
        import libvirt

        self._stream.sendall(text.encode() + b"\n")
        answer = self._file.readline()
        if "error" in json.loads(answer):
            raise libvirt.libvirtError(json.loads(answer)["error"]["desc"])
        return answer.decode()

    def close(self) -> None:
        self._file.close()
        self._stream.close()


@pytest.fixture
def guest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Guest]:
    """The inside of server web of project shop; libvirt's part of the channel is a socket, as the test driver has none."""
    import libvirt_qemu

    directory, path = tmp_path / "guest", tmp_path / "agent"
    for name in ("root", "etc"):
        (directory / name).mkdir(parents=True)
    for name in ("passwd", "shadow", "group", "gshadow", "login.defs", "nsswitch.conf", "ld.so.cache"):
        shutil.copy(f"/etc/{name}", directory / "etc")
    for name in ("pam.d", "security"):
        shutil.copytree(f"/etc/{name}", directory / "etc" / name)
    inside = "mount --bind $0/etc /etc && mount --bind $0/root /root && exec qemu-ga -m unix-listen -p $1 -t $0 -f $0/pid"
    process = subprocess.Popen(["unshare", "--mount", "sh", "-c", inside, str(directory), str(path)])
    channel, other = AgentSocket(connect_agent(process, path)), libvirt_qemu.qemuAgentCommand
    monkeypatch.setattr(
        libvirt_qemu,
        "qemuAgentCommand",
        lambda domain, text, timeout, flags: channel.ask(text) if domain.name() == "shop.web" else other(domain, text, timeout, flags),
    )
    yield Guest(directory)
    channel.close()
    process.kill()  # its handler of SIGTERM can lock it up
    process.wait()


@pytest.fixture
def cloud(call: Call) -> Call:
    """The same, with an external network and a VPC of two subnets in place."""
    call(external_network, **PUBLIC)
    call(vpc, **VPC)
    return call


@dataclass(frozen=True)
class Qemu:
    """A private libvirtd with its QEMU driver, which emulates; its guests and their files are user nobody's."""

    directory: Path
    uri: str
    connection: Any


@pytest.fixture(scope="session")
def screens() -> Iterator[tuple[int, int]]:
    """First and last of the ports on which guests show their screens; no other run of these tests has them at the same time.

    libvirt gives a guest a port that it saw free, and QEMU takes it a while later: two daemons can choose the same.
    """
    with ExitStack() as stack:
        for first in range(20000, 30000, 50):
            if stack.enter_context(files.lock(f"{tempfile.gettempdir()}/altostratus-ports-{first}.lock", wait=False)):
                break
        yield first, first + 49


@pytest.fixture(scope="session")
def private_libvirtd(screens: tuple[int, int]) -> Iterator[Qemu]:
    """The daemon runs as nobody, in directories of its own: it meets no other, and sees no /dev/kvm."""
    import libvirt

    directory = Path(tempfile.mkdtemp(prefix="libvirt-"))
    nobody = pwd.getpwnam("nobody")
    config = directory / "config/libvirt"
    config.mkdir(parents=True)
    (config / "qemu.conf").write_text(
        'security_driver = "none"\nremember_owner = 0\nstdio_handler = "file"\nnamespaces = []\n'
        f"remote_display_port_min = {screens[0]}\nremote_display_port_max = {screens[1]}\n"
    )
    # No keepalive: a test that has no use for the daemon does not answer it either.
    settings = {
        "unix_sock_dir": f'"{directory}/run/libvirt"',
        "auth_unix_rw": '"none"',
        "auth_unix_ro": '"none"',
        "keepalive_interval": "-1",
    }
    (config / "libvirtd.conf").write_text("".join(f"{name} = {value}\n" for name, value in settings.items()))
    run("chown", "-R", f"{nobody.pw_uid}:{nobody.pw_gid}", str(directory))
    home = {"HOME": directory, **{f"XDG_{name.upper()}": directory / path for name, path in PRIVATE.items()}}
    daemon = subprocess.Popen(
        ["libvirtd", "--config", config / "libvirtd.conf", "--pid-file", directory / "pid"],
        env={"PATH": os.environ["PATH"], **{name: str(path) for name, path in home.items()}},
        user=nobody.pw_uid, group=nobody.pw_gid, extra_groups=[], stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    socket = directory / "run/libvirt/libvirt-sock"
    uri = f"qemu+unix:///session?socket={socket}"
    deadline = time.monotonic() + 30
    while not socket.exists():
        assert daemon.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    libvirt.virEventRegisterDefaultImpl()
    connection = libvirt.open(uri)
    pool = f"<pool type='dir'><name>default-pool</name><target><path>{directory}/pool</path></target></pool>"
    connection.storagePoolCreateXML(pool, libvirt.VIR_STORAGE_POOL_CREATE_WITH_BUILD)
    yield Qemu(directory, uri, connection)
    connection.close()
    daemon.terminate()
    daemon.wait()
    shutil.rmtree(directory)


PRIVATE = {"runtime_dir": "run", "cache_home": "cache", "config_home": "config"}


@pytest.fixture
def qemu(private_libvirtd: Qemu) -> Iterator[Qemu]:
    """The real QEMU driver without any guest, before and after."""
    yield private_libvirtd
    for domain in private_libvirtd.connection.listAllDomains():
        if domain.isActive():
            domain.destroy()
        domain.undefineFlags(4)  # with its UEFI variables
