# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs ``ansible-test sanity`` on a copy of the collection; more arguments go to ansible-test.

ansible-test wants the collection at ``.../ansible_collections/altostratus/ecs`` and follows symlinks, so the files that git
knows or would add are copied to ``.build/sanity``. Its caches stay in ``.build/home``, so that ``make clean`` finds them.
JUnit reports are left in ``.build/sanity/.../tests/output/junit``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / ".build"
COPY = BUILD / "sanity/ansible_collections/altostratus/ecs"
REPORTS = COPY / "tests/output/junit"
VERSION = "{}.{}".format(*sys.version_info[:2])
# pslint needs pwsh, which Debian does not have; the collection holds no PowerShell
SKIPPED = ("pslint",)


def copy_collection() -> None:
    """Make the copy equal to the work tree."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True
    ).stdout
    files = b"\0".join(name for name in listing.split(b"\0") if name and os.path.lexists(os.path.join(os.fsencode(ROOT), name)))
    shutil.rmtree(COPY, ignore_errors=True)
    COPY.mkdir(parents=True)
    # a repository of its own: ansible-test asks the nearest one for its files, and the one around it ignores .build
    subprocess.run(["git", "init", "--quiet", COPY], check=True)
    subprocess.run(["rsync", "--archive", "--from0", "--files-from=-", f"{ROOT}/", f"{COPY}/"], input=files, check=True)


def place_bootstrap(home: Path) -> None:
    """Put our pip bootstrap where ansible-test keeps its download, under the name of the pip version that it wants."""
    from ansible_test._internal.host_configs import NativePythonConfig
    from ansible_test._internal.python_requirements import get_venv_packages

    pip = get_venv_packages(NativePythonConfig(version=VERSION, path=sys.executable))["pip"].replace(".", "_")
    cache = home / ".ansible/test/cache"
    cache.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(ROOT / "tools/get_pip.py", cache / f"get_pip_{pip}.py")


def main() -> int:
    """Copy, then test; the exit status is ansible-test's."""
    home = BUILD / "home"
    copy_collection()
    place_bootstrap(home)
    command = ["ansible-test", "sanity", "--junit", "--color", "no", "--python", VERSION]
    command += [word for name in SKIPPED for word in ("--skip-test", name)]
    environment = {**os.environ, "HOME": str(home), "PIP_QUIET": "1"}
    return subprocess.run([*command, *sys.argv[1:]], cwd=COPY, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
