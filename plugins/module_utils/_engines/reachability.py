# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a host can be reached."""

from __future__ import annotations

import socket
from collections.abc import Iterable


def answers(address: str, ports: Iterable[int], timeout: float) -> int | None:
    """The first port at which somebody answers, even to refuse; None where nobody does.

    :param timeout: seconds for each.
    """
    for port in ports:
        try:
            with socket.create_connection((address, port), timeout):
                return port
        except ConnectionRefusedError:
            return port
        except OSError:  # no route, no answer
            continue
    return None
