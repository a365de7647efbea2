# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Console and dump of a server under real QEMU, whose guest is a boot sector that speaks on its serial line, also when an NMI comes."""

from __future__ import annotations

import json
import socket
import subprocess
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import libvirt
import pytest

from ansible_collections.altostratus.ecs.plugins.module_utils._model import domain_xml, metadata
from ansible_collections.altostratus.ecs.plugins.module_utils._model.names import Scope
from ansible_collections.altostratus.ecs.plugins.modules import server, server_console, server_dump

SHOP = Scope("local", "shop")
# .code16: xor %ax,%ax; mov %ax,%ds; mov %ax,%ss; mov $0x7000,%sp; movw $nmi,8; mov %ax,10; cld; mov $text,%si; call print; 1: hlt; jmp 1b
# nmi: mov $told,%si; call print; iret
# print: mov $0x3f8,%dx; 1: lodsb; test %al,%al; jz 2f; out %al,%dx; jmp 1b; 2: ret
CODE = bytes.fromhex("31c08ed88ed0bc0070c70608001c7ca30a00fcbe2f7ce80a00f4ebfdbe5c7ce80100cfbaf803ac84c07403eeebf8c3")
TEXTS = b"\x1b[32mhello\x1b[0m from the guest\r\nsecond line\r\n\0an NMI came\r\n\0"
GUEST = (CODE + TEXTS).ljust(510, b"\0") + b"\x55\xaa"


@pytest.fixture
def host(qemu: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hypervisor on the private libvirtd; returns the directory of its console logs."""
    logs = qemu.directory / "logs"
    logs.mkdir(exist_ok=True)
    logs.chmod(0o777)
    (tmp_path / "host.json").write_text(json.dumps({"name": "hv1", "console_logs": str(logs)}))
    monkeypatch.setenv("ECS_HOST_FILE", str(tmp_path / "host.json"))
    monkeypatch.setenv("ECS_LIBVIRT_URI", qemu.uri)
    return Path(logs)


@pytest.fixture
def web(qemu: Any, host: Path) -> Any:
    """The domain of server web of project shop, 4 vCPUs and 64 MiB, running."""
    disk = qemu.directory / "guest.raw"
    disk.write_bytes(GUEST.ljust(1 << 20, b"\0"))
    disk.chmod(0o666)
    spec = domain_xml.DomainSpec(
        name="shop.web",
        uuid=SHOP.id("server", "web"),
        title="web",
        metadata=metadata.ServerMetadata("local", "shop", "web", os_type="linux"),
        type="qemu",
        vcpus=4,
        memory=64,
        console_log=str(host / "shop.web.log"),
        disks=[domain_xml.system_disk(str(disk), "raw", SHOP.id("volume", "web-system"))],
        vnc_password="closed00",
    )
    (host / "shop.web.log").unlink(missing_ok=True)
    domain = qemu.connection.defineXMLFlags(domain_xml.build(spec), libvirt.VIR_DOMAIN_DEFINE_VALIDATE)
    domain.create()
    return domain


def until(seen: Callable[[], Any], seconds: float = 30) -> Any:
    """What *seen* returns, as soon as it is something."""
    deadline = time.monotonic() + seconds
    while not (found := seen()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found


def lines(call: Any, count: int = 100) -> list[str]:
    told: list[str] = call(server_console, name="web", lines=count)["console"]["lines"]
    return told


def lets_in(port: int, password: str) -> bool:
    """Whether the VNC server at that port takes a password (RFC 6143, 7.2.2)."""
    with socket.create_connection(("127.0.0.1", port), 10) as stream, stream.makefile("rwb") as screen:
        screen.read(12)
        screen.write(b"RFB 003.008\n")
        screen.flush()
        kinds = screen.read(screen.read(1)[0])
        assert kinds == b"\x02", "it asks for a password and offers nothing else"
        screen.write(b"\x02")
        screen.flush()
        challenge = screen.read(16)
        key = bytes(int(f"{byte:08b}"[::-1], 2) for byte in password.encode().ljust(8, b"\0"))
        des = ["openssl", "enc", "-des-ecb", "-provider", "legacy", "-provider", "default", "-nopad", "-K", key.hex()]
        screen.write(subprocess.run(des, input=challenge, capture_output=True, check=True).stdout)
        screen.flush()
        return screen.read(4) == bytes(4)


def test_log(call: Any, web: Any, host: Path) -> None:
    """What the guest said is kept over a restart; the last lines are told, without what would colour the reader's terminal."""
    assert until(lambda: lines(call)[-2:] == ["hello from the guest", "second line"])
    assert lines(call, 1) == ["second line"]
    web.destroy()
    web.create()
    assert until(lambda: lines(call).count("second line") == 2)
    told = call(server_console, name="web", lines=0)
    assert (told["changed"], told["console"]["lines"], told["console"]["path"]) == (False, [], str(host / "shop.web.log"))


def test_screenshot(call: Any, web: Any, tmp_path: Path) -> None:
    path = tmp_path / "web.png"
    assert call(server_console, check=True, name="web", screenshot=str(path))["changed"]
    assert not path.exists()
    told = call(server_console, name="web", screenshot=str(path))["console"]["screenshot"]
    assert (told["type"], told["size"]) == ("image/png", path.stat().st_size)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert path.stat().st_mode & 0o777 == 0o600


def test_screen_lets_in_whom_it_was_opened_for(call: Any, web: Any) -> None:
    """By its password, for its time, and nobody before or after (spec X3, CT-12)."""
    port = int(domain_port(web))
    assert not lets_in(port, "closed00")
    assert call(server_console, check=True, name="web", lines=0, vnc=True)["console"]["vnc"] is None
    first = call(server_console, name="web", lines=0, vnc=True)["console"]["vnc"]
    assert (first["address"], first["port"]) == ("127.0.0.1", port)
    assert 0 < (datetime.fromisoformat(first["expires"]) - datetime.now(UTC)).total_seconds() <= 60
    assert lets_in(port, first["password"])
    second = call(server_console, name="web", lines=0, vnc=True, vnc_timeout=10)["console"]["vnc"]
    assert not lets_in(port, first["password"])
    assert lets_in(port, second["password"])
    assert until(lambda: not lets_in(port, second["password"]))


def domain_port(domain: Any) -> str:
    return str(domain.XMLDesc()).partition("type='vnc' port='")[2].partition("'")[0]


def test_server_of_older_runs_gets_its_password_at_the_next_start(call: Any, web: Any) -> None:
    """Its screen knows none now."""
    web.destroy()
    web.undefine()
    told = ET.tostring(metadata.element(metadata.ServerMetadata("local", "shop", "web")), encoding="unicode")
    domain = web.connect().defineXML(OLDER.format(uuid=web.UUIDString(), told=told))
    domain.create()
    failed = call(server_console, fails=True, name="web", vnc=True)
    assert (failed["error_code"], "restart it" in failed["msg"]) == ("ECS_CONSOLE", True)
    domain.destroy()
    domain.create()
    assert lets_in(int(domain_port(domain)), call(server_console, name="web", vnc=True)["console"]["vnc"]["password"])


OLDER = """<domain type='qemu'><name>shop.web</name><uuid>{uuid}</uuid><metadata>{told}</metadata><memory unit='MiB'>64</memory>
<os><type arch='x86_64' machine='q35'>hvm</type></os><devices><graphics type='vnc' autoport='yes' listen='127.0.0.1'/>
<video><model type='vga'/></video></devices></domain>"""


def test_resized_server_keeps_its_screen_closed(call: Any, web: Any) -> None:
    """Whoever defines a server anew takes over what lets nobody in."""
    web.destroy()
    call(server, name="web", vcpus=2, memory=128)
    web.create()
    assert web.maxVcpus() == 2
    assert not lets_in(int(domain_port(web)), "closed00")


@pytest.mark.parametrize("asked", [{"screenshot": "/tmp/never.png"}, {"vnc": True}])
def test_a_server_that_is_off_has_no_screen(call: Any, web: Any, asked: dict[str, Any]) -> None:
    until(lambda: "second line" in lines(call))
    web.destroy()
    failed = call(server_console, fails=True, name="web", **asked)
    assert (failed["error_code"], "web is stopped" in failed["msg"]) == ("ECS_STOPPED", True)
    assert "second line" in lines(call), "what it said is still there"


def test_no_such_server(call: Any, host: Path) -> None:
    assert call(server_console, fails=True, name="web")["error_code"] == "ECS_NOT_FOUND"


SMALL = {"name": "web", "min_memory": 64}


def test_dump(call: Any, web: Any) -> None:
    """The NMI reaches the guest; one whose agent does not answer is not asked whether it is prepared, with a word (spec OD-2, OD-3)."""
    until(lambda: "second line" in lines(call))
    foreseen = call(server_dump, check=True, **SMALL, confirm=True)
    assert (foreseen["changed"], foreseen["steps"]) == (True, ["dump server web"])
    assert "an NMI came" not in lines(call)
    done = call(server_dump, **SMALL, confirm=True)
    assert (done["changed"], done["dump"]) == (True, {"server": "web", "hypervisor": "hv1", "method": "nmi", "guest_checked": False})
    assert "could not be seen" in str(done["warnings"])
    assert until(lambda: "an NMI came" in lines(call))
    call(server_dump, **SMALL, confirm=True, check_guest=False)
    assert until(lambda: lines(call).count("an NMI came") == 2)


@pytest.mark.parametrize(
    ("options", "running", "code"),
    [
        ({"min_memory": 64}, True, "ECS_INVALID_INPUT"),
        ({"confirm": True}, True, "ECS_OS_DUMP"),
        ({"confirm": True, "min_memory": 64, "min_vcpus": 8}, True, "ECS_OS_DUMP"),
        ({"confirm": True, "min_memory": 64}, False, "ECS_STOPPED"),
    ],
)
def test_gates_of_the_dump(call: Any, web: Any, options: dict[str, Any], running: bool, code: str) -> None:
    """Spec OD-3 to OD-6: it is confirmed, large enough, and runs; otherwise nothing reaches the guest."""
    if not running:
        web.destroy()
    assert call(server_dump, fails=True, name="web", **options)["error_code"] == code
