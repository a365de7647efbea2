# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names and identities, with the guide's own examples (spec appendix B)."""

from __future__ import annotations

import uuid

import pytest

from ansible_collections.altostratus.ecs.plugins.module_utils._model.errors import InvalidInput
from ansible_collections.altostratus.ecs.plugins.module_utils._model.names import (
    Scope,
    batch_names,
    check_hostname,
    check_name,
    check_unique,
    check_windows_name,
    derived_id,
    disk_serial,
    hostname,
    mac_address,
    tap_name,
)

SHOP = Scope("local", "shop")


def test_ids_are_the_same_everywhere_and_differ_by_all_their_parts():
    server = SHOP.id("server", "web")
    assert server == "d5b4ef1a-fdd8-5944-8158-4cc11d767277"
    assert (
        len(
            {
                server,
                SHOP.id("port", "web"),
                SHOP.id("server", "db"),
                Scope("local", "x").id("server", "web"),
                Scope("r2", "shop").id("server", "web"),
            }
        )
        == 5
    )


@pytest.mark.parametrize("name", ["", "web", "größer/ein name"])
def test_a_derived_id_is_a_uuid5_of_rfc_9562(name):
    namespace = SHOP.id("server", "web")
    assert derived_id(namespace, name) == str(uuid.uuid5(uuid.UUID(namespace), name))


@pytest.mark.parametrize("problem", ["is listed twice", "stands there twice"])
def test_a_name_stands_once(problem):
    check_unique("name", ["a", "b"])
    with pytest.raises(InvalidInput, match=f"name: 'b' {problem}"):
        check_unique("name", ["a", "b", "b"], problem)


def test_what_derives_from_an_id():
    """Prefix of all MAC addresses (spec X-6), tap within IFNAMSIZ (MD16), serial as virtio-blk shows it (D-05)."""
    port = SHOP.id("port", "web-nic0")
    assert mac_address(port).startswith("fa:16:3e:")
    assert mac_address(port) == mac_address(port) != mac_address(SHOP.id("port", "web-nic1"))
    assert tap_name("68a9272d-7152-4ae7-a138-3ef53af669e7") == "tap68a9272d-71"
    assert disk_serial("68a9272d-7152-4ae7-a138-3ef53af669e7") == "68a9272d71524ae7a138"
    assert SHOP.domain("web.1") == "shop.web.1"


@pytest.mark.parametrize(
    ("name", "count", "expanded"),
    [
        ("ecs", None, ["ecs"]),
        ("ecs", 2, ["ecs-0001", "ecs-0002"]),
        ("ecs[66,3]abc", 2, ["ecs066abc", "ecs067abc"]),
        ("ecs[0,1]", 3, ["ecs0", "ecs1", "ecs2"]),
        ("[9999,4]", 1, ["9999"]),
    ],
)
def test_batch_names(name, count, expanded):
    """Spec M4, M5."""
    assert list(batch_names(name, count)) == expanded


@pytest.mark.parametrize(("name", "count"), [("ecs[99,2]", 2), ("web 01", None), ("x" * 65, None), ("", None), ("x" * 62, 2)])
def test_batch_names_refused(name, count):
    with pytest.raises(InvalidInput):
        list(batch_names(name, count))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("_web_01", "web-01"),
        ("web-_01", "web-01"),
        ("web.prod.01", "web"),
        ("..a.b", "a"),
        ("服务器", "ecs-12345678"),
        ("web服", "web"),
        ("-", "ecs-12345678"),
    ],
)
def test_hostname(name, expected):
    """Spec M3."""
    assert hostname(name, "12345678-0000") == expected


@pytest.mark.parametrize("project", ["a.b", "", "-a", "x" * 64])
def test_project_names_refused(project):
    """A project holds no dot, as the first dot of a domain's name parts project and server."""
    with pytest.raises(InvalidInput, match="project"):
        Scope("local", project)


@pytest.mark.parametrize("name", ["web_01", "sg-AB", "a.b", "x" * 64])
def test_names(name):
    """Spec M1, G3, appendix B."""
    assert check_name("name", name) == name


@pytest.mark.parametrize("name", ["web 01", "", "x" * 65, "wéb", "web\n"])
def test_names_refused(name):
    """Spec M1, G3, appendix B."""
    with pytest.raises(InvalidInput, match="not a valid name"):
        check_name("name", name)


def test_check_name_tells_the_option():
    with pytest.raises(InvalidInput, match=r"data_disks\.name: 'a/b' is not a valid name"):
        check_name("data_disks.name", "a/b")


@pytest.mark.parametrize(
    ("hostname", "count", "expanded"),
    [("h", None, ["h"]), ("h", 2, ["h-0001", "h-0002"]), ("web[8,2]-a", 3, ["web08-a", "web09-a", "web10-a"])],
)
def test_batch_hostnames(hostname, count, expanded):
    """Spec M5: host names are numbered as names are."""
    assert list(batch_names(hostname, count, "hostname", check_hostname)) == expanded


@pytest.mark.parametrize("hostname", ["", "-a", "a-", "a_b", "a.b", "x" * 64, "wéb"])
def test_hostname_refused(hostname):
    """Spec M3, RFC 1123."""
    with pytest.raises(InvalidInput, match="hostname"):
        check_hostname("hostname", hostname)


def test_windows_names():
    """Spec M2."""
    check_windows_name("name", "x" * 15)
    with pytest.raises(InvalidInput, match="at most 15"):
        check_windows_name("name", "x" * 16)
