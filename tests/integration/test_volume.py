# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules volume and volume_info on a private libvirtd: real pools, qcow2 files, and QEMU processes without an operating system."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import libvirt
import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.altostratus.ecs.plugins.module_utils._model import domain_xml, metadata
from ansible_collections.altostratus.ecs.plugins.module_utils._model.names import Scope, disk_serial
from ansible_collections.altostratus.ecs.plugins.modules import image, volume, volume_info

GIB = 1 << 30
SHOP = Scope("local", "shop")
Call = Callable[..., dict[str, Any]]

# Its own mounts, so that nothing of the machine's libvirt is seen or touched, and its own process tree, whose end is the end of all.
LIBVIRTD = """
set -e
mount --make-rprivate /
for directory in /etc/libvirt /var/lib/libvirt /var/cache/libvirt /var/log/libvirt /run; do
    mkdir -p $directory; mount -t tmpfs tmpfs $directory
done
cp /etc/passwd /etc/group /run/
echo libvirt-qemu:x:64055:64055::/:/bin/false >>/run/passwd
echo libvirt-qemu:x:64055: >>/run/group
mount --bind /run/passwd /etc/passwd
mount --bind /run/group /etc/group
cat >/etc/libvirt/qemu.conf <<END
user = "root"
group = "root"
security_driver = "none"
namespaces = []
cgroup_controllers = []
stdio_handler = "file"
END
cat >/etc/libvirt/libvirtd.conf <<END
unix_sock_dir = "$1"
auth_unix_rw = "none"
log_outputs = "3:file:$1/log"
END
libvirtd --config /etc/libvirt/libvirtd.conf --pid-file "$1/pid" &
wait
"""


@pytest.fixture(scope="module")
def uri() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="libvirt-") as directory:
        command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", LIBVIRTD, "sh", directory]
        with subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            deadline = time.monotonic() + 30
            while not os.path.exists(f"{directory}/libvirt-sock") and time.monotonic() < deadline:
                time.sleep(0.05)
            try:
                yield f"qemu+unix:///system?socket={directory}/libvirt-sock"
            finally:
                process.send_signal(signal.SIGKILL)


@pytest.fixture
def host(tmp_path: Path, uri: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A prepared host: library, pool ``standard``, and the environment that leads the modules to them."""
    for name in ("library", "standard"):
        (tmp_path / name).mkdir()
    settings = {"name": "hv1", "image_library": str(tmp_path / "library"), "default_pool": "standard"}
    (tmp_path / "host.json").write_text(json.dumps(settings))
    monkeypatch.setenv("ECS_HOST_FILE", str(tmp_path / "host.json"))
    monkeypatch.setenv("ECS_LIBVIRT_URI", uri)
    connection = libvirt.open(uri)
    pool = connection.storagePoolCreateXML(
        f"<pool type='dir'><name>standard</name><target><path>{tmp_path}/standard</path></target></pool>", 0
    )
    yield tmp_path
    for domain in connection.listAllDomains():
        if domain.isActive():
            domain.destroy()
        domain.undefine()
    pool.destroy()
    connection.close()


@pytest.fixture
def connection(host: Path, uri: str) -> Iterator[Any]:
    connection = libvirt.open(uri)
    yield connection
    connection.close()


@pytest.fixture
def call(host: Path, capsys: pytest.CaptureFixture[str]) -> Call:
    """Runs a real module in project shop and returns what Ansible would get."""

    def run(module: Any = volume, check: bool = False, **options: Any) -> dict[str, Any]:
        with (
            patch_module_args({"project": "shop", "_ansible_check_mode": check, "_ansible_diff": True, **options}),
            pytest.raises(SystemExit),
        ):
            module.main()
        return json.loads(capsys.readouterr().out.splitlines()[-1])

    return run


@pytest.fixture
def debian(call: Call, tmp_path: Path) -> dict[str, Any]:
    """An image whose disk has 2 GiB."""
    source = tmp_path / "debian.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", source, "2G"], check=True)
    return call(image, name="debian", source=str(source))["image"]


@pytest.fixture
def make_server(connection: Any, host: Path) -> Callable[..., Any]:
    """Defines a server with a system volume, as module server does, and starts it without anything to boot."""

    def make(name: str, active: bool = False) -> Any:
        path = host / "standard" / f"shop.{name}-system.qcow2"
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", path, "1G"], check=True)
        connection.storagePoolLookupByName("standard").refresh()
        disk = metadata.Disk(SHOP.id("volume", f"{name}-system"), f"{name}-system", role="system", size=1, type="standard")
        spec = domain_xml.DomainSpec(
            name=f"shop.{name}", uuid=SHOP.id("server", name), title=name, type="qemu", vcpus=1, memory=64,
            console_log=f"{host}/{name}.log", metadata=metadata.ServerMetadata("local", "shop", name, disks=(disk,)),
            disks=[domain_xml.system_disk(str(path), "qcow2", disk.id)],
        )  # fmt: skip
        domain = connection.defineXML(domain_xml.build(spec))
        if active:
            domain.create()
        return domain

    return make


def info(path: str) -> dict[str, Any]:
    return json.loads(subprocess.run(["qemu-img", "info", "-U", "--output=json", path], check=True, capture_output=True).stdout)


def serials(domain: Any, flags: int = 0) -> list[str]:
    return [node.text or "" for node in ET.fromstring(domain.XMLDesc(flags)).iterfind("devices/disk/serial")]


def remembered(domain: Any) -> list[tuple[str, int]]:
    told = metadata.parse(domain.XMLDesc())
    assert told is not None
    return [(disk.name, disk.size) for disk in told.disks]


def test_life_of_a_blank_volume(call: Call, host: Path) -> None:
    planned = call(name="data", size=1, check=True)
    assert (planned["changed"], planned["volume"]["size"], list((host / "standard").iterdir())) == (True, 1, [])
    made = call(name="data", size=1)
    assert (made["steps"], made["diff"]) == (["create volume data"], planned["diff"])
    told = made["volume"]
    assert (told["id"], told["serial"]) == (SHOP.id("volume", "data"), disk_serial(SHOP.id("volume", "data")))
    assert (told["type"], told["status"], told["server"], told["image_id"]) == ("standard", "available", None, None)
    assert (info(told["path"])["format"], info(told["path"])["virtual-size"]) == ("qcow2", GIB)
    assert os.stat(told["path"]).st_mode & 0o777 == 0o600
    assert not call(name="data", size=1)["changed"]

    grown = call(name="data", size=3)
    assert grown["diff"] == {"before": {"volume data": {"size": 1}}, "after": {"volume data": {"size": 3}}}
    assert info(told["path"])["virtual-size"] == 3 * GIB
    assert not call(name="data")["changed"]
    assert call(name="data", size=2)["error_code"] == "ECS_INVALID_INPUT"

    assert call(volume_info)["volumes"] == [grown["volume"]]
    assert call(volume_info, name="other")["volumes"] == []
    assert call(volume_info, project="other")["volumes"] == []
    assert call(name="data", state="absent", check=True)["changed"]
    assert call(name="data", state="absent")["volume"] is None
    assert list((host / "standard").iterdir()) == []
    assert not call(name="data", state="absent")["changed"]


def test_a_volume_of_an_image_is_an_overlay_and_keeps_the_image(call: Call, debian: dict[str, Any]) -> None:
    made = call(volumes=[{"name": "one", "image": "debian"}, {"name": "two", "image": "debian", "size": 5}])
    assert [(each["size"], each["image_id"]) for each in made["volumes"]] == [(2, debian["id"]), (5, debian["id"])]
    told = info(made["volumes"][1]["path"])
    assert (told["backing-filename"], told["backing-filename-format"], told["virtual-size"]) == (debian["path"], "qcow2", 5 * GIB)
    assert not call(volumes=[{"name": "one", "image": "debian"}, {"name": "two", "image": "debian", "size": 5}])["changed"]

    refused = call(image, name="debian", state="absent")
    assert refused["error_code"] == "ECS_IN_USE"
    assert "volume shop.one.qcow2 in pool standard" in refused["msg"]
    call(state="absent", volumes=[{"name": "one"}, {"name": "two"}])
    assert call(image, name="debian", state="absent")["changed"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"name": "x"}, "volume x: size: None is missing for a new blank volume"),
        ({"name": "x", "size": 0}, "0 is no size of a disk"),
        ({"name": "x", "size": 40000}, "Give 1 to 32768 GiB"),
        ({"name": "x", "size": 32768}, "volume x: pool standard on hv1 has "),
        ({"name": "x", "size": 1, "image": "debian"}, "1 is less than image debian needs (2 GiB)"),
        ({"name": "x", "image": "plan9"}, "there are: debian"),
        ({"name": "x", "size": 1, "type": "fast"}, "pool fast does not exist. Active pools: standard"),
        ({"name": "x y", "size": 1}, "is not a valid name"),
        ({"name": "x", "size": 1, "server": "web"}, "server web does not exist in project shop on hv1"),
        ({"name": "there", "image": "debian"}, "differs from what it was made with (none)"),
        ({"volumes": [{"name": "y", "size": 1}, {"name": "z"}]}, "volume z: size"),
    ],
)
def test_bad_input_changes_nothing(call: Call, debian: dict[str, Any], host: Path, options: dict[str, Any], told: str) -> None:
    call(name="there", size=1)
    result = call(**options)
    assert result.get("failed"), result
    assert told in result["msg"]
    assert [path.name for path in (host / "standard").iterdir()] == ["shop.there.qcow2"]


def test_what_is_no_volume_of_ours_is_not_seen(call: Call, host: Path, connection: Any) -> None:
    for name in ("foreign.img", ".hidden", "shop.data.raw"):
        (host / "standard" / name).write_bytes(bytes(512))
    (host / "standard" / "lost+found").mkdir()
    connection.storagePoolLookupByName("standard").refresh()
    assert call(volume_info)["volumes"] == []


def test_attaching_to_a_stopped_server(call: Call, make_server: Callable[..., Any]) -> None:
    web, db = make_server("web"), make_server("db")
    planned = call(name="data", size=1, server="web", check=True)
    made = call(name="data", size=1, server="web")
    assert made["steps"] == planned["steps"] == ["create volume data", "attach volume data"]
    assert (made["volume"]["server"], made["volume"]["status"], made["volume"]["role"]) == ("web", "in_use", "data")
    assert made["volume"] | {"path": ""} == planned["volume"] | {"status": "in_use", "path": ""}
    assert serials(web)[1] == made["volume"]["serial"]
    assert remembered(web) == [("web-system", 1), ("data", 1)]
    assert not call(name="data", size=1, server="web")["changed"]
    assert call(name="data", state="absent")["error_code"] == "ECS_IN_USE"

    assert call(name="data", size=2)["steps"] == ["update volume data"]
    assert remembered(web) == [("web-system", 1), ("data", 2)]

    assert call(name="data", server="db")["steps"] == ["detach volume data", "attach volume data"]
    assert (len(serials(web)), remembered(web)) == (1, [("web-system", 1)])
    assert remembered(db) == [("db-system", 1), ("data", 2)]

    assert call(name="data", server="")["volume"]["status"] == "available"
    assert not call(name="data", server="")["changed"]
    assert remembered(db) == [("db-system", 1)]


def test_a_run_that_was_killed_before_it_told_the_domain_is_completed(call: Call, make_server: Callable[..., Any]) -> None:
    web = make_server("web")
    call(name="data", size=1, server="web")
    told = metadata.parse(web.XMLDesc())
    assert told is not None
    without = metadata.build(metadata.ServerMetadata("local", "shop", "web", disks=told.disks[:1]))
    web.setMetadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, without, metadata.PREFIX, metadata.NAMESPACE, libvirt.VIR_DOMAIN_AFFECT_CONFIG)
    assert call(name="data", server="web")["steps"] == ["update server web"]
    assert remembered(web) == [("web-system", 1), ("data", 1)]
    assert not call(name="data", server="web")["changed"]


def test_a_disk_of_a_running_server(call: Call, make_server: Callable[..., Any]) -> None:
    """X-3, D-30, D-31: live and in the definition; a guest that does not answer keeps its disk."""
    web = make_server("web", active=True)
    made = call(name="data", size=1, server="web")
    assert made.get("changed"), made
    serial = made["volume"]["serial"]
    assert serial in serials(web)
    assert serial in serials(web, libvirt.VIR_DOMAIN_XML_INACTIVE)

    call(name="data", size=2)
    assert web.blockInfo("vdb")[0] == 2 * GIB
    assert remembered(web) == [("web-system", 1), ("data", 2)]

    # Nothing runs in this guest that could let the disk go.
    kept = call(name="data", server="", detach_timeout=1)
    assert kept["error_code"] == "ECS_TIMEOUT", kept
    assert serial in serials(web)
    assert serial in serials(web, libvirt.VIR_DOMAIN_XML_INACTIVE)
    assert remembered(web) == [("web-system", 1), ("data", 2)]

    system = call(name="web-system", server="")
    assert (system["error_code"], "system disk of web" in system["msg"]) == ("ECS_IN_USE", True)
    web.destroy()
    assert call(name="data", server="")["changed"]
    assert call(name="web-system", server="")["changed"]
    assert (serials(web), remembered(web)) == ([], [])


def test_parallel_runs_make_one_volume(call: Call, debian: dict[str, Any]) -> None:
    program = (
        "import json, sys; from ansible.module_utils.testing import patch_module_args\n"
        "from ansible_collections.altostratus.ecs.plugins.modules import volume\n"
        "with patch_module_args(json.loads(sys.argv[1])): volume.main()"
    )
    arguments = json.dumps({"project": "shop", "name": "same", "image": "debian"})
    processes = [subprocess.Popen([sys.executable, "-c", program, arguments], stdout=subprocess.PIPE, text=True) for _number in range(3)]
    results = [json.loads(process.communicate()[0]) for process in processes]
    assert [result.get("msg") for result in results] == [None] * 3
    assert len({result["volume"]["path"] for result in results}) == 1
    assert [each["name"] for each in call(volume_info)["volumes"]] == ["same"]
