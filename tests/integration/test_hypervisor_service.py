# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's own code, installed as role hypervisor does: what Ansible sends along is all that it needs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from ansible_collections.altostratus.ecs.plugins.modules import hypervisor_service


def python(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the installed code as the host does, with nothing else of ours at hand."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=directory / "current", env=environment, capture_output=True, text=True, check=False
    )


def test_installed_once_and_as_a_whole(call: Any, tmp_path: Path) -> None:
    """Check mode, a second run, another version, and code that somebody changed."""
    path = tmp_path / "lib"
    foreseen = call(hypervisor_service, check=True, project=None, path=str(path))
    assert not path.exists()
    done = call(hypervisor_service, project=None, path=str(path))
    assert (foreseen["steps"], foreseen["diff"]) == (done["steps"], done["diff"]) != ([], {})
    assert done["path"] == str(path / "current")
    assert not call(hypervisor_service, project=None, path=str(path))["changed"]
    assert {entry.stat().st_mode & 0o777 for entry in (path / "current").rglob("*") if entry.is_file()} == {0o644}
    assert {entry.stat().st_mode & 0o777 for entry in [path, *path.rglob("*")] if entry.is_dir()} == {0o755}

    changed = path / "current/altostratus_ecs/_model/leases.py"
    changed.write_text("broken")
    assert call(hypervisor_service, project=None, path=str(path))["changed"]
    assert "broken" not in changed.read_text()

    version = os.readlink(path / "current")
    for other in ("older", "oldest"):
        (path / other).mkdir()
    (path / "current").unlink()
    (path / "current").symlink_to("older")
    assert call(hypervisor_service, project=None, path=str(path))["diff"]["before"] == {"service altostratus_ecs": {"version": "older"}}
    assert sorted(os.listdir(path)) == sorted(["current", version, "older"]), "what may still be running stays"


def test_it_runs_without_ansible(play: Any, hypervisor: Any, tmp_path: Path) -> None:
    """Installed by a real Ansible, it starts from what is there alone, compiled, and imports nothing of Ansible."""
    path = tmp_path / "lib"
    done = play([{"altostratus.ecs.hypervisor_service": {"path": str(path)}}])
    assert "changed=1" in done.stdout, done.stdout + done.stderr
    again = play([{"altostratus.ecs.hypervisor_service": {"path": str(path)}}])
    assert "changed=0" in again.stdout, again.stdout + again.stderr
    assert list((path / "current/altostratus_ecs/_services/__pycache__").glob("leases.*.pyc"))
    told = python(path, "-c", "import sys, altostratus_ecs._host; print([name for name in sys.modules if name.startswith('ansible')])")
    assert told.stdout.strip() == "[]", told.stderr
    done = python(path, "-m", "altostratus_ecs._host")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
