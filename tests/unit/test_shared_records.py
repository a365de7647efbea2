# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is kept beside disks in shared storage, and what a host that comes back makes of it (spec EV-22)."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from ansible_collections.altostratus.ecs.plugins.module_utils._model.errors import EcsError
from ansible_collections.altostratus.ecs.plugins.module_utils._model.shared_records import DIRECTORY, Record, dump, load

SCRIPT = Path(__file__).resolve().parents[2] / "roles/hypervisor/files/shared_owner.py"
ID = "9b1deb4d-3b7d-4bad-9bdd-2b0d7b3dcb6d"
XML = f"<domain><name>shop.web</name><uuid>{ID}</uuid></domain>"


def record(**more):
    return Record(**{"id": ID, "owner": "hv1", "heir": "", "server": {"name": "web"}, "running": True, "xml": XML, "files": {}, **more})


def test_a_record_comes_back_as_it_was():
    told = record(files={"/var/lib/drive.iso": b"\x00\xff"})
    assert load(dump(told), "there") == told
    assert load(json.dumps({**json.loads(dump(told)), "later": 1}), "there") == told
    assert XML not in repr(told)


@pytest.mark.parametrize("text", ["", "[]", "{}", dump(record()).replace('"files": {}', '"files": {"a": "?"}')])
def test_a_broken_record_is_named(text):
    with pytest.raises(EcsError, match=r"/pool/web\.json is broken"):
        load(text, "/pool/web.json")


@pytest.fixture
def owner_hook(tmp_path):
    spec = importlib.util.spec_from_file_location("shared_owner", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (tmp_path / DIRECTORY).mkdir()
    host = {"name": "hv1", "shared_pools": {"shared": str(tmp_path), "gone": "/nowhere"}}
    return lambda text=None: (
        (tmp_path / DIRECTORY / f"{ID}.json").write_text(text) if text else None,
        module.check_start(host, XML),
    )[1]


def test_the_hook_of_libvirt_lets_only_the_owner_and_its_heir_start_a_server(owner_hook, capsys):
    assert owner_hook() == 0, "no record"
    assert owner_hook(dump(record())) == 0
    assert owner_hook(dump(record(owner="hv2", heir="hv1"))) == 0, "it comes here"
    assert owner_hook(dump(record(owner="hv2"))) == 1
    assert "shop.web belongs to hv2, which took it over from hv1" in capsys.readouterr().err
