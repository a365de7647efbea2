# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images: a large one brought into the library, and many system disks made from one."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from harness import BUILD, ON_HOST, Figure, Play, on_host, pings, prepared_lab, run, take_turns

_MIB = 1 << 20


def _sparse_vmdk(directory: Path) -> Path:
    """A VMDK of 1 GiB, every other 4 MiB of it random: 512 MiB of data."""
    raw, vmdk = directory / "source.raw", directory / "source.vmdk"
    with raw.open("wb") as stream:
        stream.truncate(1 << 30)
        for offset in range(0, 1 << 30, 8 * _MIB):
            stream.seek(offset)
            stream.write(os.urandom(4 * _MIB))
    run("qemu-img", "convert", "-f", "raw", "-O", "vmdk", raw, vmdk)
    raw.unlink()
    return vmdk


def image_import() -> Iterator[Figure]:
    """1 GiB of sparse VMDK to a qcow2 in the library, without a checksum to verify and with one."""
    directory = BUILD / "images"
    shutil.rmtree(directory, ignore_errors=True)
    library = directory / "library"
    library.mkdir(parents=True)
    try:
        vmdk = _sparse_vmdk(directory)
        (directory / "host.json").write_text(json.dumps({"image_library": str(library)}))
        checksum = f"sha256:{run('sha256sum', vmdk).split()[0]}"

        def before(contender: str) -> None:
            shutil.rmtree(library)
            library.mkdir()
            # what the contender before it left to be written to the disk is not its successor's to wait for
            os.sync()

        for name, more in (("image_import", {}), ("image_import checked", {"checksum": checksum})):
            task = {"altostratus.ecs.image": {"name": "large", "source": str(vmdk), **more}}
            ours = Play(name, [task], environment={"ECS_HOST_FILE": str(directory / "host.json")})
            bare = ("qemu-img", "convert", "-f", "vmdk", "-O", "qcow2", vmdk, library / "bare.qcow2")

            def converted_and_synced(bare: tuple[str | Path, ...] = bare) -> None:
                run(*bare)
                run("sync", bare[-1])

            times = take_turns(
                {
                    "ours": lambda ours=ours: ours(changed=True),  # type: ignore[misc]
                    "fixed": pings(),
                    "limit": lambda bare=bare: run(*bare),  # type: ignore[misc]
                    "convert, sync": converted_and_synced,
                },
                repetitions=5,
                before=before,
            )
            goal = "none: the source is hashed before any tool opens it" if more else "<= 1.1x limit"
            note = "ours inspects, hashes (beside the conversion), converts and syncs; the limit converts only"
            yield times.figure(
                name, 1, goal, lambda figure, more=more: bool(more) or figure.ratio_to_limit <= 1.1, "convert, sync", "" if more else note
            )  # fmt: skip
    finally:
        shutil.rmtree(directory)


def disk_from_image() -> Iterator[Figure]:
    """50 system disks from one image of 256 MiB of data: overlays, against overlays by qemu-img and against full copies."""
    prepared_lab()
    count, host = 50, "hv1"
    scope = {"module_defaults": {"group/altostratus.ecs.project": {"project": "bench"}}}
    volumes = [{"name": f"disk-{number:04d}", "image": "base"} for number in range(count)]

    def play(name: str, *tasks: dict[str, object]) -> Play:
        return Play(name, tasks, hosts=host, lab=True, settings=scope)

    present = play("disks", {"altostratus.ecs.volume": {"volumes": volumes}})
    absent = play("no disks", {"altostratus.ecs.volume": {"volumes": volumes, "state": "absent"}})
    source = f"{ON_HOST}/base.raw"
    try:
        on_host(host, "disk_image.py", source)
        play(
            "base image",
            {"altostratus.ecs.image": {"name": "base", "source": source, "format": "raw", "cloud_init": False}, "register": "made"},
            {
                "ansible.builtin.copy": {"content": "{{ made.image.path }}", "dest": str(BUILD / "image"), "mode": "0644"},
                "delegate_to": "localhost",
            },
        )()
        image = (BUILD / "image").read_text()
        absent()

        def before(contender: str) -> None:
            absent()
            on_host(host, "disks.py", "remove")

        times = take_turns(
            {
                "ours": lambda: present(changed=True),
                "fixed": pings(hosts=host, lab=True),
                "limit": lambda: on_host(host, "disks.py", "overlays", image, str(count)),
                "full copies": lambda: on_host(host, "disks.py", "copies", image, str(count)),
            },
            before=before,
        )
        yield times.figure("disk_from_image", count, "<= 1.5x limit", lambda figure: figure.ratio_to_limit <= 1.5, "full copies")
    finally:
        absent()
        on_host(host, "disks.py", "remove")
        play(
            "no base image",
            {"altostratus.ecs.image": {"name": "base", "state": "absent"}},
        )()
