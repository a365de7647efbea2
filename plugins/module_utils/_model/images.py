# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images: what the library remembers of each, and what an import asks for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from .errors import EcsError, InvalidInput

GIB = 1 << 30
VISIBILITIES = ("private", "public")


@dataclass(frozen=True)
class Source:
    """Where an image came from; *size* (bytes) and *mtime* (ns) recognise an unchanged file, both 0 for a URL."""

    location: str
    checksum: str
    size: int = 0
    mtime: int = 0


@dataclass(frozen=True)
class Image:
    """An image in the library of a host; it never changes, its description may.

    :param virtual_size: bytes of the disk inside.
    :param size: bytes the image takes in the library.
    :param checksum: of the source as it was imported, ``sha256:...``.
    :param min_disk: GiB.
    :param min_memory: MiB.
    :param cloud_init: whether a guest made from it runs cloud-init, so that there is something to wait for.
    :param library: directory.
    """

    id: str
    name: str
    project: str
    region: str
    source: Source
    source_format: str
    virtual_size: int
    size: int
    created: str
    library: str
    visibility: str = "private"
    min_disk: int = 1
    min_memory: int = 0
    os_type: str = "linux"
    default_user: str = ""
    architecture: str = "x86_64"
    cloud_init: bool = True
    properties: Mapping[str, str] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """The qcow2 file that volumes are made from."""
        return f"{self.library}/{self.id}.qcow2"

    def represent(self) -> dict[str, Any]:
        """The image as modules return it."""
        told = {**asdict(self), "source": self.source.location, "checksum": self.source.checksum, "path": self.path}
        del told["library"]
        return told


DESCRIPTION = ("visibility", "min_disk", "min_memory", "os_type", "default_user", "architecture", "cloud_init", "properties")
"""What may change after the import, as options of the module and fields of :class:`Image`."""


def dump(image: Image) -> str:
    """The image as the library keeps it."""
    return json.dumps({key: value for key, value in asdict(image).items() if key != "library"}, indent=2, sort_keys=True) + "\n"


def load(text: str, library: str) -> Image:
    """Read what :func:`dump` wrote; unknown keys are ignored so that older code reads newer files."""
    try:
        data = json.loads(text)
        known = {item.name for item in fields(Image)}
        values = {key: value for key, value in data.items() if key in known}
        return Image(**{**values, "source": Source(**values["source"]), "library": library})
    except (ValueError, TypeError, KeyError) as error:
        raise EcsError(f"image library {library} holds a broken description ({error})", "ECS_IMAGE_LIBRARY") from error


def least_disk(virtual_size: int) -> int:
    """The smallest disk, in GiB, that an image of *virtual_size* bytes fits on."""
    return max(1, -(-virtual_size // GIB))


def check_min_disk(name: str, min_disk: int | None, virtual_size: int) -> None:
    """A smaller disk could not hold the image.

    :raises InvalidInput: when *min_disk* (GiB) is less than the image's own size.
    """
    if min_disk is not None and min_disk < least_disk(virtual_size):
        problem = f"is less than the image's own size ({least_disk(virtual_size)} GiB)"
        raise InvalidInput(f"image {name}: min_disk", min_disk, problem, "Raise it, or leave it out")


def gib(size: float) -> str:
    """Bytes as people read them: ``12.4 GiB``."""
    return f"{size / GIB:.1f}".removesuffix(".0") + " GiB"
