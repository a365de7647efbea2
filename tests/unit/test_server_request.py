# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a user asks of servers."""

from __future__ import annotations

import pytest

from ansible_collections.altostratus.ecs.plugins.module_utils._model import logins
from ansible_collections.altostratus.ecs.plugins.module_utils._model.errors import EcsError, InvalidInput
from ansible_collections.altostratus.ecs.plugins.module_utils._model.server_request import requests

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGr0 ops"


def request(**item):
    (only,) = requests([{"name": "web", **item}])
    return only


@pytest.mark.parametrize(
    ("item", "login"), [({"password": "Cloud.1234!"}, "password"), ({"key": "ops", "public_keys": [KEY]}, "key_pair"), ({}, "later")]
)
def test_login_modes(item, login):
    """Spec M7."""
    assert request(**item).login == login


def test_one_login_mode():
    """Spec M7: a password or a key pair; the refusal does not tell the password."""
    with pytest.raises(InvalidInput, match="one login mode") as failed:
        request(password="Cloud.1234!", public_keys=[KEY])
    assert "Cloud.1234!" not in str(failed.value)
    assert "Cloud.1234!" not in repr(request(password="Cloud.1234!"))


@pytest.mark.parametrize("password", ["Abcdefgh", "toor!A1b2c", "Short.1", "x" * 27])
def test_passwords_refused(password):
    """Spec M9, appendix B."""
    with pytest.raises(EcsError, match="password") as failed:
        request(password=password)
    assert password not in str(failed.value)


@pytest.mark.parametrize(
    ("default_user", "os_type", "login", "user"),
    [
        ("", "linux", logins.KEY_PAIR, "root"),
        ("", "windows", logins.PASSWORD, "Administrator"),
        ("debian", "linux", logins.PASSWORD, "debian"),
        ("core", "linux", logins.KEY_PAIR, "core"),
        ("core", "linux", logins.PASSWORD, "root"),
        ("", "other", logins.LATER, "root"),
    ],
)
def test_user(default_user, os_type, login, user):
    """Spec M8."""
    assert logins.user(default_user, os_type, login) == user


def test_a_batch_has_numbered_host_names():
    """Spec M5."""
    told = requests([{"name": "web", "hostname": "front[7,2]", "count": 2}])
    assert [(server.name, server.hostname) for server in told] == [("web-0001", "front07"), ("web-0002", "front08")]


def test_description_at_its_limit():
    """Spec G4, appendix B; one character more is refused, see test_plan."""
    assert request(description="x" * 255).description == "x" * 255


def test_data_disks_at_their_limit():
    """Spec S8, appendix B."""
    disks = [{"name": f"d{number}", "size": 1} for number in range(24)]
    assert len(request(data_disks=disks[:23]).data_disks) == 23
    with pytest.raises(InvalidInput, match="24 are too many disks"):
        request(data_disks=disks)


@pytest.mark.parametrize("timezone", ["Europe/Berlin", "UTC", "America/Argentina/Buenos_Aires", "Etc/GMT+1"])
def test_time_zones(timezone):
    """Spec T2."""
    assert request(timezone=timezone).timezone == timezone


@pytest.mark.parametrize("timezone", ["../../etc/passwd", "", "Europe/", "/UTC", "Europe Berlin", "UTC\n"])
def test_time_zones_refused(timezone):
    with pytest.raises(InvalidInput, match="timezone"):
        request(timezone=timezone)
