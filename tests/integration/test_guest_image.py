# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The image builder: what it leaves behind, and when it builds. Whether its images boot is asked in the lab."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from signal import Signals
from typing import Any

import pytest

BUILDER = Path(__file__).resolve().parents[2] / "roles/guest_image/files/build_image.py"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
FOREIGN_KEYRING = "/usr/share/keyrings/debian-archive-removed-keys.gpg"


def command(directory: Path, *arguments: str, keyring: str = KEYRING) -> list[str]:
    image = ("--name", "tiny", "--kind", "mini", "--suite", "trixie", "--keyring", keyring)
    return ["unshare", "--mount", sys.executable, str(BUILDER), "build", "--directory", str(directory), *image, *arguments]


def build(directory: Path, *arguments: str) -> dict[str, Any]:
    done = subprocess.run(command(directory, *arguments), capture_output=True, text=True, check=True)
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def state(directory: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in directory.iterdir() if path.name != ".lock"}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with an image in it, and one of someone else."""
    directory = tmp_path_factory.mktemp("images")
    assert build(directory)["changed"]
    (directory / "other.json").write_text('{"name": "other"}')
    (directory / "other.qcow2").write_bytes(b"")
    return directory


def test_metadata_tells_the_file(built: Path) -> None:
    metadata = json.loads((built / "tiny.json").read_text())
    info = json.loads(subprocess.check_output(["qemu-img", "info", "--output=json", metadata["path"]]))
    assert (info["format"], info["virtual-size"]) == (metadata["format"], metadata["virtual_size"])
    assert "backing-filename" not in info
    assert metadata["min_disk"] == 1
    checksum = subprocess.check_output(["sha256sum", metadata["path"]], text=True).split()[0]
    assert metadata["checksum"] == f"sha256:{checksum}"


def test_same_recipe_is_not_built_again(built: Path) -> None:
    before = state(built)
    assert build(built) == {"changed": False, "image": json.loads((built / "tiny.json").read_text())}
    assert build(built, "--package", "tcpdump", "--check")["changed"], "a package more is another recipe"
    assert state(built) == before


@pytest.mark.parametrize(
    ("arguments", "keyring", "cause"),
    [
        (("--package", "no-such-package"), KEYRING, "Unable to locate package no-such-package"),
        (("--size", "1"), FOREIGN_KEYRING, "NO_PUBKEY"),
        (("--kind", "full", "--architecture", "aarch64"), KEYRING, "kind full is built for x86_64 only, not for aarch64"),
    ],
)
def test_failure_leaves_what_was_there(built: Path, arguments: tuple[str, ...], keyring: str, cause: str) -> None:
    before = state(built)
    done = subprocess.run(command(built, *arguments, keyring=keyring), capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert cause in done.stderr
    assert "Traceback" not in done.stderr
    assert state(built) == before


@pytest.mark.parametrize("signal", ["SIGTERM", "SIGKILL"])
def test_interrupted_build_leaves_nothing_for_long(tmp_path: Path, signal: str) -> None:
    with subprocess.Popen(command(tmp_path), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while not any(tmp_path.glob(".build-*/packages/var")):
            assert process.poll() is None
            time.sleep(0.1)
        process.send_signal(Signals[signal])
    assert str(tmp_path) not in Path("/proc/mounts").read_text()
    assert bool(state(tmp_path)) == (signal == "SIGKILL"), "only a build that had no chance to leaves its directory behind"
    assert build(tmp_path)["changed"]
    assert sorted(state(tmp_path)) == ["tiny.json", "tiny.qcow2"]


def test_clean_removes_what_was_built_and_no_more(built: Path) -> None:
    clean = [sys.executable, str(BUILDER), "clean", "--directory", str(built)]
    outcomes = [json.loads(subprocess.check_output(words)) for words in ([*clean, "--check"], clean, clean)]
    assert [outcome["changed"] for outcome in outcomes] == [True, True, False]
    assert sorted(path.name for path in built.iterdir()) == ["other.json", "other.qcow2"]
