# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images: a directory of finished qcow2 files, each with its description beside it; both appear by rename.

While an import runs, ``<id>.progress`` tells how far it is. What an import that was killed left behind goes with the next call.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Any

from .._engines import files, qemu_img, storage_pool
from .._engines.download import SCHEMES, download
from .._model import images as model
from .._model import times
from .._model import volumes as volume_model
from .._model.errors import EcsError, InvalidInput, NotFound
from .._model.image_formats import ImageFacts, inspect, parse_checksum
from .._model.images import Image, Source
from .._model.names import Scope, check_name
from .._model.plan import Step, changes

_UUID = re.compile(r"\.?(?P<id>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.(?P<kind>.+)")


@dataclass(frozen=True)
class ImageRequest:
    """An image as the user wants it; *description* holds the options among ``model.DESCRIPTION`` that were set."""

    name: str
    source: str | None
    checksum: str | None
    format: str | None
    description: Mapping[str, Any]


def request(item: Mapping[str, Any]) -> ImageRequest:
    """A request from the options of module image."""
    description = {name: item[name] for name in model.DESCRIPTION if item[name] is not None}
    return ImageRequest(item["name"], item["source"], item["checksum"], item["format"], description)


def read_images(library: str, scope: Scope, public: bool = True) -> list[Image]:
    """The images that a project may use, by name: its own, and the public ones of other projects."""
    found = []
    for entry in sorted(os.listdir(library)) if os.path.isdir(library) else ():
        if entry.endswith(".json") and (image := _read(library, entry.removesuffix(".json"))):
            own = (image.region, image.project) == (scope.region, scope.project)
            if own or (public and image.visibility == "public"):
                found.append(image)
    return sorted(found, key=lambda image: (image.name, image.project))


def _read(library: str, image_id: str) -> Image | None:
    try:
        with open(f"{library}/{image_id}.json", encoding="utf-8") as stream:
            return model.load(stream.read(), library)
    except FileNotFoundError:
        return None


def checksums(library: str) -> dict[str, str]:
    """What each image was made from, by id: images of one checksum are the same to who is built on them."""
    entries = os.listdir(library) if os.path.isdir(library) else ()
    found = [_read(library, entry.removesuffix(".json")) for entry in sorted(entries) if entry.endswith(".json")]
    return {image.id: image.source.checksum for image in found if image}


def find_image(library: str, scope: Scope, name: str) -> Image:
    """The image of a name: the project's own, else a public one.

    :raises NotFound: with the names of those there are.
    """
    own = _read(library, scope.id("image", name))
    if own is not None:
        return own
    known = read_images(library, scope)
    for image in known:
        if image.name == name:
            return image
    names = ", ".join(sorted({image.name for image in known})) or "none"
    raise NotFound("image", name, f"project {scope.project} of library {library}", f"Import it with module image; there are: {names}")


@contextmanager
def in_use(image: Image) -> Iterator[None]:
    """Keep an image from being removed for the length of a ``with`` block, beside others that use it.

    :raises NotFound: when it is gone already.
    """
    with files.lock(_lock(image.library, image.id), shared=True):
        if _read(image.library, image.id) is None:
            raise NotFound("image", image.name, f"library {image.library}", "It was removed a moment ago")
        yield


def _lock(library: str, image_id: str) -> str:
    return f"{library}/.{image_id}.lock"


# --- present -------------------------------------------------------------------------------------------------------------------------


def ensure_present(library: str, scope: Scope, requests: Sequence[ImageRequest], check: bool) -> tuple[list[Step], list[Image], list[str]]:
    """Import what is missing, and change the descriptions that differ.

    Every request is checked before the first import begins.

    :returns: steps, the images as they are or will be, warnings.
    :raises EcsError: when a source is no image that stands alone, its checksum differs, or there is no room.
    """
    imports = [_Import(library, scope, request, check) for request in requests]
    if not check and any(each.live is None for each in imports):
        if not os.path.isdir(library):
            raise NotFound("image library", library, "", "Prepare it with role image_library")
        _sweep(library)
    steps: list[Step] = []
    images: list[Image] = []
    for each in imports:
        image = each.live
        if image is None:
            image = each.planned() if check else each.run(steps)
        if check and each.live is None:
            steps.append(_created(image))
        images.append(_describe(image, each.request, check, steps))
    return steps, images, [warning for each in imports for warning in each.warnings]


def _created(image: Image) -> Step:
    shown = ("visibility", "min_disk", "min_memory", "os_type", "default_user", "architecture", "cloud_init")
    after = {**{name: getattr(image, name) for name in shown}, "source": image.source.location, "source_format": image.source_format}
    return Step("create", "image", image.name, after={key: value for key, value in after.items() if value not in (None, "")})


def _describe(image: Image, request: ImageRequest, check: bool, steps: list[Step]) -> Image:
    """Change the description where the user set it otherwise."""
    before, after = changes(image.represent(), request.description)
    if not after:
        return image
    if image.virtual_size:
        model.check_min_disk(image.name, after.get("min_disk"), image.virtual_size)
    changed = replace(image, **after)
    if not check:
        _write(changed)
    steps.append(Step("update", "image", image.name, before, after))
    return changed


def _write(image: Image) -> None:
    files.write(f"{image.library}/{image.id}.json", model.dump(image), mode=0o644)


class _Import:
    """One image from its request to its place in the library."""

    def __init__(self, library: str, scope: Scope, request: ImageRequest, check: bool) -> None:
        self.library, self.scope, self.request = library, scope, request
        self.warnings: list[str] = []
        self.id = scope.id("image", check_name("name", request.name))
        self.checksum = parse_checksum(request.checksum) if request.checksum else None
        self.live = self._same(_read(library, self.id))
        self.facts: ImageFacts | None = None
        self.is_url = bool(request.source) and str(request.source).lower().startswith(SCHEMES)
        if self.live is None:
            self._look(check)

    def _error(self, error: EcsError) -> EcsError:
        """Put the image's name and source before what was found in it."""
        error.message = f"image {self.request.name}: {self.request.source} {error.message}"
        return error

    def _same(self, live: Image | None) -> Image | None:
        """The image that is there, when it came from the source that is asked for.

        :raises EcsError: ECS_IMMUTABLE when it came from another.
        """
        if live is None:
            return None
        asked, known = ":".join(self.checksum or ()), live.source.checksum
        if self.checksum is None:
            source = self.request.source
            if source is None or source.lower().startswith(SCHEMES) or not os.path.isfile(source):
                return live
            there = os.stat(source)
            if (there.st_size, there.st_mtime_ns) == (live.source.size, live.source.mtime):
                return live
            algorithm = known.partition(":")[0]
            asked = f"{algorithm}:{files.digests(source, [algorithm])[algorithm]}"
        elif self.checksum[0] != known.partition(":")[0]:
            raise InvalidInput("checksum", self.request.checksum, f"cannot be compared, image {live.name} has {known}", "Give that one")
        if asked == known:
            return live
        raise EcsError(
            f"image {live.name} was imported from a source with {known}, now one with {asked} is asked for, and images never change",
            "ECS_IMMUTABLE",
            "Import it under another name, or remove the image first (state: absent)",
        )

    def _look(self, check: bool) -> None:
        """See whether a source on this host is an image, without any tool, before anything is done."""
        source = self.request.source
        if not source:
            raise InvalidInput("source", source, f"is missing for new image {self.request.name}", "Give a path on the host or a URL")
        if self.is_url:
            return
        if not os.path.isabs(source):
            raise InvalidInput("source", source, "is neither an absolute path nor an http or https URL")
        if not os.path.exists(source) and check:
            self.warnings.append(f"image {self.request.name}: {source} is not on this host yet, so it was not inspected")
        elif not os.path.isfile(source):
            raise InvalidInput("source", source, "is no file on this host", "Copy it there first; role image_library does that")
        else:
            self.facts = self._inspect(source)

    def _inspect(self, path: str) -> ImageFacts:
        with open(path, "rb") as stream:

            def read(offset: int, length: int) -> bytes:
                stream.seek(offset)
                return stream.read(length)

            try:
                facts = inspect(read, os.fstat(stream.fileno()).st_size, self.request.format)
            except EcsError as error:
                raise self._error(error) from error
        model.check_min_disk(self.request.name, self.request.description.get("min_disk"), facts.virtual_size)
        return facts

    def planned(self) -> Image:
        """The image as it would be, as far as check mode can know."""
        size = self.facts.virtual_size if self.facts else 0
        form = self.facts.format if self.facts else self.request.format or ""
        return self._image(Source(_location(str(self.request.source)), self.request.checksum or ""), form, size, 0, "")

    def _image(self, source: Source, form: str, virtual_size: int, size: int, created: str) -> Image:
        return Image(
            id=self.id,
            name=self.request.name,
            project=self.scope.project,
            region=self.scope.region,
            source=source,
            source_format=form,
            virtual_size=virtual_size,
            size=size,
            created=created,
            library=self.library,
            **{"min_disk": model.least_disk(virtual_size), "architecture": platform.machine(), **self.request.description},
        )

    def run(self, steps: list[Step]) -> Image:
        """Import the image; when a parallel run did so meanwhile, take that one."""
        with files.lock(_lock(self.library, self.id)):
            live = self._same(_read(self.library, self.id))
            if live is not None:
                return live
            image = self._import()
        steps.append(_created(image))
        return image

    def _import(self) -> Image:
        base = f"{self.library}/.{self.id}"
        try:
            path, hashed = self._fetch(f"{base}.source") if self.is_url else self._verify(str(self.request.source))
            facts = self._inspect(path)
            self._convert(path, facts, f"{base}.new")
            source = hashed()
            if path == source.location and _identity(path) != (source.size, source.mtime):
                raise EcsError(f"image {self.request.name}: {path} changed while it was read", "ECS_IMAGE_REFUSED", "Try again")
            final = f"{self.library}/{self.id}.qcow2"
            created = times.stamp(times.now())
            size = os.stat(f"{base}.new").st_blocks * 512
            image = self._image(source, facts.format, qemu_img.virtual_size(f"{base}.new"), size, created)
            files.publish(f"{base}.new", final, 0o644)
            _write(image)
            return image
        finally:
            for left in (f"{base}.source", f"{base}.new", f"{self.library}/{self.id}.progress"):
                files.remove(left)

    def _progress(self, doing: str, percent: int) -> None:
        with open(f"{self.library}/{self.id}.progress", "w", encoding="utf-8") as stream:
            stream.write(f"{doing} {self.request.name}: {percent}%\n")

    def _room(self, needed: int) -> None:
        free = files.free(self.library)
        if needed > free:
            raise EcsError(
                f"image {self.request.name}: library {self.library} has {model.gib(free)} free, {model.gib(needed)} needed",
                "ECS_NO_SPACE",
                "Free space there, or remove images that nothing uses",
            )

    def _agrees(self, algorithm: str, digest: str) -> str:
        """The checksum as the library keeps it.

        :raises EcsError: ECS_CHECKSUM when another was given.
        """
        if self.checksum and self.checksum[1] != digest:
            raise EcsError(
                f"image {self.request.name}: {self.request.source} has {algorithm}:{digest}, not {self.request.checksum}",
                "ECS_CHECKSUM",
                "Correct the checksum, or fetch the source again",
            )
        return f"{algorithm}:{digest}"

    def _verify(self, path: str) -> tuple[str, Callable[[], Source]]:
        """A source on this host, and what tells its checksum.

        One that was given is verified before any tool opens the file. One that only says what the image was made from is computed while the
        file is converted, which takes as long.
        """
        algorithm = self.checksum[0] if self.checksum else "sha256"
        size, mtime = _identity(path)

        def source() -> Source:
            return Source(path, self._agrees(algorithm, files.digests(path, [algorithm])[algorithm]), size, mtime)

        if self.checksum:
            verified = source()
            return path, lambda: verified
        beside = ThreadPoolExecutor(1)
        hashing = beside.submit(source)
        beside.shutdown(wait=False)
        return path, hashing.result

    def _fetch(self, path: str) -> tuple[str, Callable[[], Source]]:
        url = str(self.request.source)
        algorithm = self.checksum[0] if self.checksum else "sha256"
        shown = -1

        def progress(done: int, length: int | None) -> None:
            nonlocal shown
            percent = 100 * done // length if length else 0
            if percent > shown:
                shown = percent
                self._progress("downloading", percent)

        try:
            _size, digest = download(url, path, algorithm, lambda length: self._room(length or 0), progress)
        except EcsError as error:
            if not error.message.startswith("image "):
                error.message = f"image {self.request.name}: {error.message}"
            raise
        source = Source(_location(url), self._agrees(algorithm, digest))
        return path, lambda: source

    def _convert(self, path: str, facts: ImageFacts, target: str) -> None:
        try:
            qemu_img.check(path, facts.qemu_format)
            needed = qemu_img.required(path, facts.qemu_format)
        except EcsError as error:
            raise self._error(error) from error
        self._room(needed)
        try:
            qemu_img.convert(path, facts.qemu_format, target, facts.virtual_size, lambda percent: self._progress("converting", percent))
        except EcsError as error:
            raise self._error(error) from error


def _location(source: str) -> str:
    """The source as it is remembered for all to read: without the query of a URL, which may be a signature."""
    return source.partition("?")[0] if source.lower().startswith(SCHEMES) else source


def _identity(path: str) -> tuple[int, int]:
    there = os.stat(path)
    return there.st_size, there.st_mtime_ns


def _sweep(library: str) -> None:
    """Remove what killed imports left: everything of an image but a finished pair, unless somebody is at work on it."""
    entries = [found for entry in os.listdir(library) if (found := _UUID.fullmatch(entry))]
    finished = {found["id"] for found in entries if found["kind"] == "json"}
    for found in entries:
        if found["kind"] in ("json", "lock") or (found["kind"] == "qcow2" and found["id"] in finished):
            continue
        with files.lock(_lock(library, found["id"]), wait=False) as held:
            # Whoever held it when we looked may have finished since.
            if held and not (found["kind"] == "qcow2" and os.path.exists(f"{library}/{found['id']}.json")):
                files.remove(f"{library}/{found.string}")


# --- absent --------------------------------------------------------------------------------------------------------------------------


def ensure_absent(
    library: str, scope: Scope, names: Iterable[str], connect: Callable[[], AbstractContextManager[Any]], check: bool
) -> list[Step]:
    """Remove a project's own images.

    :param connect: opens libvirt, which is asked for the volumes that are made from an image.
    :raises EcsError: ECS_IN_USE when volumes are made from one of them; then none is removed.
    """
    live = [image for name in names if (image := _read(library, scope.id("image", check_name("name", name))))]
    if live:
        with connect() as connection:
            _refuse_used(connection, live)
            for image in () if check else live:
                with files.lock(_lock(library, image.id)):
                    # Volumes are made under the same lock: what is unused now stays so until the image is gone.
                    _refuse_used(connection, [image])
                    files.remove(f"{library}/{image.id}.json")
                    files.remove(image.path)
    return [Step("delete", "image", image.name, before={"source": image.source.location, "size": image.size}) for image in live]


def _refuse_used(connection: Any, images: Sequence[Image]) -> None:
    paths = {image.path: image for image in images}
    # libvirt lists in no order of its own: by name, two runs name the same volume
    for pool, volume in sorted(storage_pool.volumes(connection), key=lambda found: (found[0], found[1].name())):
        xml = storage_pool.describe(volume)
        image = paths.get(volume_model.backing_path(xml)) if xml else None
        if image is not None:
            problem = f"image {image.name} is the base of volume {volume.name()} in pool {pool}"
            raise EcsError(problem, "ECS_IN_USE", "Delete what is made from it first")
