# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Print, as one JSON object, what role network_control needs to know about this host. Reads only.

Argument: a JSON object with ``packages`` and ``services`` of a control host, ``authorities``: directories of certificate authorities, and
``databases``: commands that print their settings. While any of the packages or services is missing or stopped, only ``missing`` and
``stopped`` are printed.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any


def output(*arguments: str) -> str:
    """Standard output of a program, whatever its exit code."""
    return subprocess.run(arguments, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False).stdout


def missing(packages: list[str]) -> list[str]:
    installed = output("dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status}\n", *packages).splitlines()
    return [package for package in packages if f"{package} installed" not in installed]


def runs(service: str) -> bool:
    """Whether a service runs now and will after a reboot."""
    return (
        output("systemctl", "is-enabled", service).strip() != "disabled" and output("systemctl", "is-active", service).strip() == "active"
    )


def survey(packages: list[str], services: list[str], authorities: list[str], databases: list[list[str]]) -> dict[str, Any]:
    absent = missing(packages)
    stopped = [] if absent else [service for service in services if not runs(service)]
    if absent or stopped:
        return {"missing": absent, "stopped": stopped}
    return {
        "missing": absent,
        "stopped": stopped,
        "authorities": [path for path in authorities if all(Path(path, name).exists() for name in ("ca.pem", "ca.key"))],
        "databases": [output(*command).splitlines() for command in databases],
    }


if __name__ == "__main__":
    print(json.dumps(survey(**json.loads(sys.argv[1]))))
