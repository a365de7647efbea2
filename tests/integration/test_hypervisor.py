# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host takes: module hypervisor, and module server on a host with settings, on libvirt's test driver."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ansible_collections.altostratus.ecs.plugins.modules import flavor_info, hypervisor, hypervisor_info, server

WEB = {"name": "web", "flavor": "s7n.small.05", "image": "mini", "nics": []}


def settings(host: Any) -> dict[str, Any]:
    return json.loads((host.directory / "host.json").read_text())


def settle(host: Any, **changed: Any) -> None:
    """Settings as role hypervisor writes them."""
    (host.directory / "host.json").write_text(json.dumps({**settings(host), **changed}))


def test_maintenance_is_switched_on_the_host_alone(call: Any, hypervisor_alone: Any) -> None:
    """Check mode, diff, a second run, and nothing else in the file is touched."""
    path = hypervisor_alone.directory / "host.json"
    settle(hypervisor_alone, kvm_probe="works", of_a_newer_version=[1])
    path.chmod(0o640)
    before = settings(hypervisor_alone)
    foreseen = call(hypervisor, check=True, project=None, maintenance=True)
    assert settings(hypervisor_alone) == before
    done = call(hypervisor, project=None, maintenance=True)
    assert (foreseen["changed"], foreseen["steps"], foreseen["diff"]) == (True, done["steps"], done["diff"])
    assert done["diff"] == {"before": {"hypervisor hv1": {"maintenance": False}}, "after": {"hypervisor hv1": {"maintenance": True}}}
    assert done["hypervisor"] == {"name": "hv1", "maintenance": True}
    assert settings(hypervisor_alone) == {**before, "maintenance": True}
    assert path.stat().st_mode & 0o777 == 0o640
    assert not call(hypervisor, project=None, maintenance=True)["changed"]
    assert call(hypervisor, project=None, maintenance=False)["changed"]
    assert [item.name for item in hypervisor_alone.directory.iterdir() if item.name.startswith(".")] == []


@pytest.fixture
def hypervisor_alone(hypervisor: Any) -> Any:
    """The host, under a name that does not hide the module's."""
    return hypervisor


def test_a_host_that_was_never_prepared(call: Any, ovn: Any) -> None:
    failed = call(hypervisor, fails=True, project=None, maintenance=True)
    assert failed["error_code"] == "ECS_HOST_FILE"
    assert "Run role hypervisor first" in failed["msg"]
    assert not (ovn.directory / "host.json").exists()
    assert not call(hypervisor, project=None, maintenance=False)["changed"]


def test_maintenance_stops_new_servers_only(call: Any, hypervisor_alone: Any) -> None:
    call(server, **WEB)
    call(hypervisor, project=None, maintenance=True)
    assert call(hypervisor_info, project=None)["hypervisor"]["maintenance"] is True
    failed = call(server, fails=True, **{**WEB, "name": "new"})
    assert failed["error_code"] == "ECS_MAINTENANCE"
    assert "server new: host hv1 is in maintenance. Choose another host" in failed["msg"]
    assert not call(server, **WEB)["changed"]
    call(server, name="web", state="stopped")
    assert call(server, name="web", state="running", tags={"a": "b"})["server"]["status"] == "running"
    assert call(server, name="web", state="absent")["changed"]
    assert hypervisor_alone.domains == []


@pytest.mark.parametrize(
    ("settled", "options", "code", "words"),
    [
        ({"dedicated_to": ["bank", "lab"]}, {}, "ECS_DEDICATED", "host hv1 is dedicated to bank, lab"),
        ({"dedicated_to": ["shop"]}, {"dedicated": False}, "ECS_DEDICATED", "is dedicated to shop, and dedicated is false"),
        ({}, {"dedicated": True}, "ECS_DEDICATED", "host hv1 is not dedicated to shop"),
        ({"flavors": ["c7*.*", "s7n.medium.2"]}, {}, "ECS_NOT_OFFERED", "host hv1 offers flavors c7*.*, s7n.medium.2 only"),
        ({"flavors": ["*"]}, {"flavor": None, "vcpus": 1, "memory": 256}, None, ""),
        ({"dedicated_to": ["shop"], "flavors": ["s7n.*"]}, {"dedicated": True}, None, ""),
        ({"dedicated_to": ["shop"]}, {}, None, ""),
        ({}, {"dedicated": False}, None, ""),
    ],
)
def test_a_host_takes_what_it_is_for(
    call: Any, hypervisor_alone: Any, settled: dict[str, Any], options: dict[str, Any], code: str | None, words: str
) -> None:
    """C3 (dedicated hosts) and F7 (flavors), where a server is created without placement; a server that exists is not asked again."""
    settle(hypervisor_alone, **settled)
    told = call(server, fails=code is not None, **{**WEB, **options})
    assert (told.get("error_code"), hypervisor_alone.domains) == (code, [] if code else ["shop.web"])
    assert words in told.get("msg", "")
    settle(hypervisor_alone, dedicated_to=["bank"], flavors=["none"])
    if code is None:
        assert not call(server, **{**WEB, **options})["changed"]


@pytest.mark.parametrize(
    ("settled", "flavor", "code", "words"),
    [
        ({"flavors": ["s7n.small.*"]}, "s7n.large.025", "ECS_NOT_OFFERED", "server web: host hv1 offers flavors s7n.small.* only"),
        ({"flavors": ["s7n.small.*"]}, "c7.small.05", "ECS_NOT_OFFERED", "offers flavors s7n.small.* only"),
        ({"dedicated_to": ["bank"]}, "s7n.large.025", "ECS_DEDICATED", "server web: host hv1 is dedicated to bank"),
        ({"maintenance": True}, "s7n.large.025", "ECS_MAINTENANCE", "server web: host hv1 is in maintenance"),
        ({"flavors": ["s7n.*"], "dedicated_to": ["shop"]}, "s7n.large.025", None, ""),
    ],
)
def test_another_size_is_one_that_the_host_takes(
    call: Any, hypervisor_alone: Any, settled: dict[str, Any], flavor: str, code: str | None, words: str
) -> None:
    """Z3: a server becomes what a new one could be; it is not stopped for what its host refuses, and keeps its size as long as it likes."""
    call(server, **WEB)
    settle(hypervisor_alone, **settled)
    assert not call(server, **WEB)["changed"]
    assert call(server, name="web", max_memory=1024, allow_stop=True)["server"]["max_memory"] == 1024
    session = hypervisor_alone.connection.lookupByName("shop.web").ID()
    told = call(server, fails=code is not None, name="web", flavor=flavor, allow_stop=True)
    assert told.get("error_code") == code
    assert words in told.get("msg", "")
    assert (hypervisor_alone.connection.lookupByName("shop.web").ID() == session) is (code is not None)


def test_flavors_that_are_to_be_had(call: Any, hypervisor_alone: Any) -> None:
    """F7: sold out by zone, hidden when asked, the latest generation only; the host has 2560 MiB and 64 vCPUs to give."""
    call(server, **WEB)
    hosts = [call(hypervisor_info, project=None)["hypervisor"]]
    assert (hosts[0]["memory_free"], hosts[0]["vcpus_free"]) == (2048, 63)
    hosts.append({**hosts[0], "name": "hv2", "az": "az2", "maintenance": True})
    told = call(flavor_info, hypervisors=hosts)["flavors"]
    assert [flavor["name"] for flavor in told if not flavor["sold_out"]] == ["s7n.small.05", "s7n.small.1", "s7n.medium.2", "s7n.large.025"]
    assert told[0] == {
        "name": "s7n.small.05", "vcpus": 1, "memory": 512, "available": 4, "sold_out": False,
        "zones": [{"az": "az1", "available": 4, "sold_out": False}, {"az": "az2", "available": 0, "sold_out": True}],
    }  # fmt: skip
    assert len(call(flavor_info, hypervisors=hosts, hide_sold_out=True)["flavors"]) == 4
    assert call(flavor_info, hypervisors=hosts, hide_sold_out=True, az="az2")["flavors"] == []
    names = ["S6.small.1", "s7.small.1", "s7.small.1"]
    assert [flavor["name"] for flavor in call(flavor_info, hypervisors=hosts, flavors=names)["flavors"]] == ["s6.small.1", "s7.small.1"]
    (newest,) = call(flavor_info, hypervisors=hosts, flavors=names, latest_generation=True)["flavors"]
    assert (newest["name"], newest["available"]) == ("s7.small.1", 2)
    assert call(flavor_info, hypervisors=hosts, name="c7.large.2")["flavors"][0]["sold_out"] is True
    assert call(flavor_info, fails=True, hypervisors=hosts, name="huge")["error_code"] == "ECS_INVALID_INPUT"
