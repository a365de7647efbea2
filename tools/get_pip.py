# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bootstraps pip in the empty virtual environments of ansible-test.

ansible-test downloads ``get-pip.py`` for this, from a server of its own that is no package registry. Placed under the
name that ansible-test caches the download by, this script serves instead: Python's own ensurepip brings a pip, and that
pip installs what is asked for.
"""

from __future__ import annotations

import subprocess
import sys

# get-pip.py's own options, unknown to pip: nothing but pip is installed here anyway
IGNORED = {"--no-setuptools", "--no-wheel"}


def main() -> None:
    """Take get-pip.py's arguments: options of ``pip install`` and requirements."""
    python = [sys.executable, "-m"]
    subprocess.run([*python, "ensurepip", "--default-pip"], check=True, stdout=subprocess.DEVNULL)
    subprocess.run([*python, "pip", "install", "--quiet", *(word for word in sys.argv[1:] if word not in IGNORED)], check=True)


if __name__ == "__main__":
    main()
