# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules image and image_info with real files, a real qemu-img and a real web server."""

from __future__ import annotations

import functools
import hashlib
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.altostratus.ecs.plugins.modules import image, image_info

MIB = 1 << 20
Call = Callable[..., dict[str, Any]]


def qemu_img(*arguments: object) -> str:
    return subprocess.run(["qemu-img", *map(str, arguments)], check=True, capture_output=True, text=True).stdout


def checksum(path: Path, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, path.read_bytes()).hexdigest()}"


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ECS_HOST_FILE", str(tmp_path / "host.json"))
    directory = tmp_path / "library"
    directory.mkdir()
    (tmp_path / "host.json").write_text(json.dumps({"image_library": str(directory)}))
    return directory


@pytest.fixture
def call(library: Path, capsys: pytest.CaptureFixture[str]) -> Call:
    """Runs a real module in project shop and returns what Ansible would get."""

    def run(module: Any = image, check: bool = False, **options: Any) -> dict[str, Any]:
        with (
            patch_module_args({"project": "shop", "_ansible_check_mode": check, "_ansible_diff": True, **options}),
            pytest.raises(SystemExit),
        ):
            module.main()
        return json.loads(capsys.readouterr().out.splitlines()[-1])

    return run


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """A raw disk of 8 MiB with a partition table and data here and there."""
    path = tmp_path / "disk.raw"
    with path.open("wb") as stream:
        stream.truncate(8 * MIB)
        for offset in (0, MIB, 5 * MIB + 4096):
            stream.seek(offset)
            stream.write(os.urandom(100_000))
        stream.seek(510)
        stream.write(b"\x55\xaa")
    return path


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """A web server on this machine over the test's directory: /stall sends a third and then nothing, /away redirects to a file."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/away":
                self.send_response(302)
                self.send_header("Location", "file:///etc/passwd")
                self.end_headers()
            elif self.path in ("/stall", "/short"):
                self.send_response(200)
                self.send_header("Content-Length", str(3 * MIB))
                self.end_headers()
                self.wfile.write(bytes(MIB))
                self.wfile.flush()
                if self.path == "/stall":
                    time.sleep(30)
            else:
                super().do_GET()

        def log_message(self, *arguments: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(tmp_path))) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(
    ("format", "options"),
    [
        ("raw", []),
        ("qcow2", []),
        ("qcow2", ["-c"]),
        ("qcow2", ["-o", "compat=0.10"]),
        ("vmdk", []),
        ("vmdk", ["-o", "subformat=streamOptimized"]),
        ("vhd", ["-o", "force_size=on"]),
        ("vhd", ["-o", "subformat=fixed,force_size=on"]),
        ("vhdx", []),
        ("vdi", []),
        ("vdi", ["-o", "static=on"]),
    ],
)
def test_every_format_becomes_the_same_disk(call: Call, library: Path, disk: Path, tmp_path: Path, format: str, options: list[str]) -> None:
    source = tmp_path / "source"
    qemu_img("convert", "-f", "raw", "-O", {"vhd": "vpc"}.get(format, format), *options, disk, source)
    planned = call(name="a", source=str(source), check=True)
    assert (planned["changed"], list(library.iterdir())) == (True, [])

    made = call(name="a", source=str(source), format=format, checksum=checksum(source))
    assert made.get("changed"), made
    assert made["diff"] == planned["diff"]
    told = made["image"]
    assert (told["source_format"], told["virtual_size"], told["min_disk"], told["visibility"]) == (format, 8 * MIB, 1, "private")
    assert "identical" in qemu_img("compare", "-f", "raw", "-F", "qcow2", disk, told["path"])
    assert sorted(path.suffix for path in library.iterdir()) == [".json", ".qcow2"]
    assert Path(told["path"]).stat().st_mode & 0o777 == 0o644

    source.unlink()
    again = call(name="a", source=str(source), checksum=told["checksum"])
    assert (again["changed"], again["image"]) == (False, told)


def vmdk_to_passwd(path: Path) -> None:
    qemu_img("create", "-f", "vmdk", path, "8M")
    data = path.read_bytes()
    name = b'"' + path.name.encode() + b'"'
    path.write_bytes(data.replace(name, b'"/etc/pass' + b"x" * (len(name) - 11) + b'"'))


def backed(path: Path) -> None:
    path.with_name("base").write_bytes(Path("/etc/passwd").read_bytes())
    qemu_img("create", "-f", "qcow2", "-b", path.with_name("base"), "-F", "raw", path, "8M")


def cut(path: Path) -> None:
    path.with_name("whole").write_bytes(os.urandom(4 * MIB))
    qemu_img("convert", "-f", "raw", "-O", "qcow2", path.with_name("whole"), path)
    os.truncate(path, 2 * MIB)


HOSTILE: dict[str, tuple[Callable[[Path], object], str]] = {
    "backing file": (backed, "backing file"),
    "data file": (lambda path: qemu_img("create", "-f", "qcow2", "-o", f"data_file={path}.data", path, "8M"), "external data file"),
    "flat vmdk": (lambda path: qemu_img("create", "-f", "vmdk", "-o", "subformat=monolithicFlat", path, "8M"), "extents are other files"),
    "split vmdk": (lambda path: qemu_img("create", "-f", "vmdk", "-o", "subformat=twoGbMaxExtentSparse", path, "8M"), "extents are other"),
    "vmdk to /etc": (vmdk_to_passwd, "extent outside itself"),
    "cut qcow2": (cut, "corrupt or truncated"),
    "qed": (lambda path: qemu_img("create", "-f", "qed", path, "8M"), "qed image"),
    "text": (lambda path: path.write_text("no image\n" * 100), "is a text"),
    "nothing": (lambda path: path.touch(), "is empty"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_an_image_that_names_other_files_or_is_none_leaves_nothing(call: Call, library: Path, tmp_path: Path, kind: str) -> None:
    make, told = HOSTILE[kind]
    make(tmp_path / "disk.img")
    result = call(name="a", source=str(tmp_path / "disk.img"))
    assert (result.get("failed"), result.get("error_code")) == (True, "ECS_IMAGE_REFUSED"), result
    assert told in result["msg"], result["msg"]
    assert list(library.iterdir()) == []


def test_a_wrong_checksum_a_lie_about_the_format_and_a_missing_source_leave_nothing(
    call: Call, library: Path, disk: Path, server: str
) -> None:
    right, wrong = checksum(disk), checksum(disk)[:-1] + ("0" if checksum(disk)[-1] != "0" else "1")
    for options, code, told in (
        ({"source": str(disk), "checksum": wrong}, "ECS_CHECKSUM", right),
        ({"source": f"{server}/{disk.name}", "checksum": wrong}, "ECS_CHECKSUM", right),
        ({"source": str(disk), "format": "qcow2"}, "ECS_IMAGE_REFUSED", "is a raw image, not qcow2"),
        ({"source": f"{disk}.gone"}, "ECS_INVALID_INPUT", "is no file on this host"),
        ({"source": "disk.raw"}, "ECS_INVALID_INPUT", "neither an absolute path"),
        ({}, "ECS_INVALID_INPUT", "source: None is missing"),
        ({"source": str(disk), "min_disk": 0}, "ECS_INVALID_INPUT", "less than the image's own size"),
        ({"source": f"{server}/gone"}, "ECS_DOWNLOAD", "404"),
        ({"source": f"{server}/short"}, "ECS_DOWNLOAD", f"ended after {MIB} of {3 * MIB} bytes"),
        ({"source": f"{server}/away"}, "ECS_DOWNLOAD", "Redirection to url 'file:///etc/passwd' is not allowed"),
        ({"source": "http://127.0.0.1:1/x"}, "ECS_DOWNLOAD", "refused"),
    ):
        result = call(name="a", **options)
        assert (result.get("error_code"), told in result["msg"]) == (code, True), result["msg"]
        assert list(library.iterdir()) == []


def test_a_library_without_room_is_told_before_anything_is_written(call: Call, disk: Path, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", small], check=True)
    try:
        result = call(name="a", source=str(disk), library=str(small))
        assert result["error_code"] == "ECS_NO_SPACE"
        assert f"library {small} has" in result["msg"]
        assert list(small.iterdir()) == []
    finally:
        subprocess.run(["umount", "-l", small], check=True)


def test_an_image_from_a_url(call: Call, library: Path, disk: Path, server: str) -> None:
    url = f"{server}/{disk.name}?signature=secret"
    assert (call(name="a", source=url, check=True)["changed"], list(library.iterdir())) == (True, [])
    made = call(name="a", source=url, checksum=checksum(disk, "sha512"))
    assert made["image"]["checksum"] == checksum(disk, "sha512")
    assert made["image"]["source"] == f"{server}/{disk.name}"
    assert "secret" not in next(library.glob("*.json")).read_text()
    assert "identical" in qemu_img("compare", "-f", "raw", "-F", "qcow2", disk, made["image"]["path"])
    assert sorted(path.suffix for path in library.iterdir()) == [".json", ".qcow2"]
    assert not call(name="a", source=url)["changed"]


def test_an_image_never_changes_but_its_description_does(call: Call, disk: Path) -> None:
    made = call(name="a", source=str(disk), properties={"x": "1"})["image"]
    changed = call(name="a", source=str(disk), min_disk=5, visibility="public", properties={"y": "2"})
    assert changed["steps"] == ["update image a"]
    assert changed["diff"]["before"]["image a"] == {"visibility": "private", "min_disk": 1, "properties": {"x": "1"}}
    again = call(name="a", min_disk=5)
    assert (again["changed"], again["image"], again["images"]) == (False, changed["image"], [changed["image"]])

    # Touched but the same; then another.
    os.utime(disk)
    assert not call(name="a", source=str(disk))["changed"]
    disk.write_bytes(disk.read_bytes()[:-1] + b"x")
    other = call(name="a", source=str(disk))
    assert other["error_code"] == "ECS_IMMUTABLE"
    assert made["checksum"] in other["msg"]
    assert checksum(disk) in other["msg"]
    assert call(name="a", checksum=checksum(disk))["error_code"] == "ECS_IMMUTABLE"


def test_who_may_see_an_image(call: Call, disk: Path) -> None:
    call(images=[{"name": "mine", "source": str(disk)}, {"name": "ours", "source": str(disk), "visibility": "public"}])
    assert [each["name"] for each in call(image_info)["images"]] == ["mine", "ours"]
    assert [each["name"] for each in call(image_info, project="other")["images"]] == ["ours"]
    assert call(image_info, project="other", public=False)["images"] == []
    assert [each["name"] for each in call(image_info, name="mine")["images"]] == ["mine"]


def test_removing_images(call: Call, library: Path, disk: Path) -> None:
    call(name="a", source=str(disk))
    options = {"state": "absent", "libvirt_uri": "test:///default"}
    assert call(name="a", check=True, **options)["changed"]
    assert len(list(library.iterdir())) == 2
    assert call(name="a", **options)["image"] is None
    assert list(library.iterdir()) == []
    assert not call(name="a", **options)["changed"]


def start(library: Path, **options: Any) -> subprocess.Popen[str]:
    """Run the module in a process of its own."""
    program = (
        "import json, sys; from ansible.module_utils.testing import patch_module_args\n"
        "from ansible_collections.altostratus.ecs.plugins.modules import image\n"
        "with patch_module_args(json.loads(sys.argv[1])): image.main()"
    )
    arguments = json.dumps({"project": "shop", "library": str(library), **options})
    return subprocess.Popen([sys.executable, "-c", program, arguments], stdout=subprocess.PIPE, text=True)


def test_what_a_killed_import_left_goes_with_the_next(call: Call, library: Path, disk: Path, server: str) -> None:
    with start(library, name="a", source=f"{server}/stall") as process:
        deadline = time.monotonic() + 60
        # The file is there a moment before its text.
        while not any(path.read_text() for path in library.glob("*.progress")) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert next(library.glob("*.progress")).read_text() == "downloading a: 33%\n"
        # An import that is at work is left alone.
        call(name="b", source=str(disk))
        assert len(list(library.glob(".*.source"))) == 1
        process.send_signal(signal.SIGKILL)
    call(name="c", source=str(disk))
    assert sorted(path.suffix for path in library.iterdir()) == [".json", ".json", ".qcow2", ".qcow2"]


def test_parallel_imports_of_one_image_import_it_once(library: Path, disk: Path) -> None:
    processes = [start(library, name="a", source=str(disk)) for _number in range(3)]
    results = [json.loads(process.communicate()[0]) for process in processes]
    assert sorted(result["changed"] for result in results) == [False, False, True]
    assert len({result["image"]["created"] for result in results}) == 1
    assert sorted(path.suffix for path in library.iterdir()) == [".json", ".qcow2"]


def test_role_image_library_brings_files_of_the_controller(library: Path, disk: Path, server: str, tmp_path: Path) -> None:
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "module_defaults": {"group/altostratus.ecs.project": {"project": "shop"}},
        "roles": ["altostratus.ecs.image_library"],
        "vars": {
            "image_library_path": str(library),
            "image_library_images": [
                {"name": "local", "source": "disk.raw", "checksum": checksum(disk), "default_user": "debian"},
                {"name": "there", "source": str(disk), "remote_src": True},
                {"name": "web", "source": f"{server}/disk.raw"},
            ],
        },
    }
    (tmp_path / "play.yml").write_text(json.dumps([play]))
    playbook = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", "localhost,", "-c", "local", str(tmp_path / "play.yml")]
    playbook += ["-e", f"ansible_python_interpreter={sys.executable}"]
    for check, changed in (("--check", True), ("--diff", True), ("--diff", False)):
        done = subprocess.run([*playbook, check], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout
        assert ("changed=0" not in done.stdout) is changed, done.stdout
    told = [json.loads(path.read_text()) for path in library.glob("*.json")]
    assert sorted((each["name"], each["project"], each["default_user"]) for each in told) == [
        ("local", "shop", "debian"), ("there", "shop", ""), ("web", "shop", ""),
    ]  # fmt: skip
    assert len(list(library.iterdir())) == 6
