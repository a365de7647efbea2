# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files from http and https URLs, hashed while they arrive."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from .._model.errors import EcsError

SCHEMES = ("http://", "https://")
_CHUNK = 1 << 20
_TIMEOUT = 60


def download(
    url: str, path: str, algorithm: str, begin: Callable[[int | None], None], progress: Callable[[int, int | None], None]
) -> tuple[int, str]:
    """Fetch *url* into the new file *path*.

    :param begin: called with the length in bytes (None if the server does not tell) before anything is written; may refuse by raising.
    :param progress: called with the bytes so far and the length.
    :returns: bytes and hexadecimal digest.
    :raises EcsError: ECS_DOWNLOAD when the server refuses, is silent for a minute, or stops early.
    """
    # These take longer to import than most calls, which fetch nothing, take altogether.
    import http.client
    import urllib.error
    import urllib.request

    if not url.lower().startswith(SCHEMES):
        raise EcsError(f"{url} is no http or https URL", "ECS_DOWNLOAD")
    request = urllib.request.Request(url, headers={"User-Agent": "altostratus.ecs"})  # noqa: S310 - seen above
    hashing, done = hashlib.new(algorithm), 0
    try:
        with urllib.request.build_opener().open(request, timeout=_TIMEOUT) as answer, open(path, "xb") as stream:
            told = answer.headers.get("Content-Length")
            length = int(told) if told else None
            begin(length)
            while chunk := answer.read(_CHUNK):
                stream.write(chunk)
                hashing.update(chunk)
                done += len(chunk)
                progress(done, length)
    except urllib.error.HTTPError as error:
        raise EcsError(f"{url}: the server answers {error.code} {error.reason}", "ECS_DOWNLOAD", "Check the URL") from error
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise EcsError(f"{url} cannot be fetched ({reason})", "ECS_DOWNLOAD", "Check the URL and the network") from error
    if length is not None and done != length:
        raise EcsError(f"{url} ended after {done} of {length} bytes", "ECS_DOWNLOAD", "Try again")
    return done, hashing.hexdigest()
