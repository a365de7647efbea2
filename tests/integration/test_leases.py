# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host does by itself, on libvirt's test driver: servers go at their time (spec D8), preemptible ones give way (spec B6 to B10)."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import libvirt
import pytest

from ansible_collections.altostratus.ecs.plugins.module_utils import _host
from ansible_collections.altostratus.ecs.plugins.module_utils._engines import files
from ansible_collections.altostratus.ecs.plugins.module_utils._engines.storage_pool import definition
from ansible_collections.altostratus.ecs.plugins.module_utils._model import metadata, times
from ansible_collections.altostratus.ecs.plugins.module_utils._services.server_update import remember
from ansible_collections.altostratus.ecs.plugins.modules import (
    cloud_plan,
    eip,
    eip_info,
    hypervisor_info,
    placement,
    server,
    server_failure_info,
    server_info,
    volume,
)

from .conftest import SHOP

WEB: dict[str, Any] = {"name": "web", "flavor": "s7n.small.05", "image": "mini", "nics": []}
DB: dict[str, Any] = {**WEB, "name": "db", "flavor": "s7n.small.1"}
SPOT: dict[str, Any] = {**DB, "name": "spot", "count": 2, "preemptible": True, "priority": 10}


def tell(host: Any, name: str, **told: Any) -> None:
    """Let a server remember something else, by the function that the services use; a moment may be given in seconds from now."""
    domain = host.connection.lookupByName(f"shop.{name}")
    moments = {
        field: times.stamp(times.now() + timedelta(seconds=value)) if isinstance(value, int) else value for field, value in told.items()
    }
    remember(domain, replace(metadata.parse(definition(domain)), **moments))


def ahead(**length: float) -> str:
    return times.stamp(times.now() + timedelta(**length))


Run = Callable[[], None]


@pytest.fixture
def fire(hypervisor: Any, ovn: Any) -> Run:
    """What the host's timers start; its settings lead to the Northbound, and it has a metadata service."""
    path = hypervisor.directory / "host.json"
    settings = {"ovn_nb": ovn.remote, "metadata": str(hypervisor.directory / "metadata")}
    path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))
    return _host.main


def instance_action(host: Any, server_id: str) -> Path:
    """Where a guest reads that it is to go (spec MD18)."""
    return host.directory / "metadata/servers" / server_id / "instance-action"


def names(call: Any, **options: Any) -> list[str]:
    return [told["name"] for told in call(server_info, **options)["servers"]]


def failures(call: Any, **options: Any) -> list[tuple[str, str, str]]:
    return [(item["kind"], item["task"], item["code"]) for item in call(server_failure_info, **options)["failures"]]


def test_a_schedule_is_set_changed_and_withdrawn(call: Any, hypervisor: Any) -> None:
    """Spec D8: an hour to three years ahead, changeable; the same time again changes nothing, also when it is near."""
    wanted = {**WEB, "scheduled_deletion": ahead(hours=2)}
    made = call(server, **wanted)
    assert made["server"]["scheduled_deletion"] == wanted["scheduled_deletion"]
    assert made["diff"]["after"]["server web"]["scheduled_deletion"] == wanted["scheduled_deletion"]
    assert not call(server, **wanted)["changed"]
    assert not call(server, **WEB)["changed"], "what is not said is not compared"
    assert call(server_info)["servers"][0]["scheduled_deletion"] == wanted["scheduled_deletion"]
    assert names(call, filters={"scheduled_deletion": wanted["scheduled_deletion"]}) == ["web"]

    later = {**WEB, "scheduled_deletion": "3d"}
    assert call(server, check=True, **later)["steps"] == ["update server web"]
    assert call(server_info)["servers"][0]["scheduled_deletion"] == wanted["scheduled_deletion"]
    changed = call(server, **later)
    assert changed["diff"]["before"] == {"server web": {"scheduled_deletion": wanted["scheduled_deletion"]}}
    assert ahead(days=3, minutes=-1) < changed["server"]["scheduled_deletion"] <= ahead(days=3)

    near = ahead(minutes=5)
    failed = call(server, fails=True, **{**WEB, "scheduled_deletion": near})
    assert failed["error_code"] == "ECS_INVALID_INPUT"
    tell(hypervisor, "web", scheduled_deletion=near)
    assert not call(server, **{**WEB, "scheduled_deletion": near})["changed"]
    assert call(server, **{**WEB, "scheduled_deletion": ""})["server"]["scheduled_deletion"] is None
    assert not call(server, **{**WEB, "scheduled_deletion": ""})["changed"]
    assert failures(call) == [], "a wrong word is no failure"


def test_a_new_server_is_refused_a_time_that_has_passed(call: Any, hypervisor: Any) -> None:
    """Spec D8: the YAML of a server that has gone."""
    failed = call(server, fails=True, **WEB, scheduled_deletion="2026-01-01T00:00:00Z")
    assert "sooner than an hour" in failed["msg"]
    assert hypervisor.domains == []


def test_servers_go_at_their_time(cloud: Any, hypervisor: Any, fire: Run) -> None:
    """Spec D8, R12: as with state absent, in every project; data disk and public address stay, and all servers whose time has not come."""
    wanted = {**WEB, "nics": [{"subnet": "front"}], "eip": {}, "data_disks": [{"name": "data", "size": 1}]}
    made = cloud(server, **wanted, scheduled_deletion="1h")["server"]
    cloud(server, **{**WEB, "name": "later"}, scheduled_deletion="1h")
    cloud(server, **{**WEB, "name": "never"})
    fire()
    assert names(cloud) == ["later", "never", "web"]
    tell(hypervisor, "web", scheduled_deletion=0)
    fire()
    assert hypervisor.domains == ["shop.later", "shop.never"]
    assert hypervisor.volumes == ["shop.later-system.qcow2", "shop.never-system.qcow2", "shop.web-data.qcow2"]
    assert [item["status"] for item in cloud(eip_info)["eips"]] == ["unbound"]
    assert failures(cloud) == []
    back = cloud(server, **wanted)["server"]
    assert (back["scheduled_deletion"], back["eip"]) == (None, made["eip"])


def test_a_protected_server_stays_which_is_recorded_once(call: Any, hypervisor: Any, fire: Run) -> None:
    """Spec D8, B1, V2; once the protection is lifted it goes."""
    call(server, **WEB, scheduled_deletion="1h", deletion_protection=True)
    tell(hypervisor, "web", scheduled_deletion=0)
    fire()
    fire()
    assert failures(call, name="web") == [("operation", "absent", "ECS_PROTECTED")]
    assert names(call) == ["web"]
    call(server, name="web", deletion_protection=False)
    fire()
    assert hypervisor.domains == []


def test_a_run_that_is_at_the_server_is_waited_for_and_may_withdraw(call: Any, hypervisor: Any, fire: Run) -> None:
    """Spec Z2: what counts is what is asked when the other run is done."""
    uuid = call(server, **WEB)["server"]["id"]
    tell(hypervisor, "web", scheduled_deletion=0)
    thread = threading.Thread(target=fire)
    with files.lock(str(hypervisor.directory / "locks" / f"{uuid}.lock")):
        thread.start()
        time.sleep(1)
        assert thread.is_alive()
        tell(hypervisor, "web", scheduled_deletion="")
    thread.join(30)
    assert names(call) == ["web"]


def test_what_cannot_be_removed_is_tried_again(cloud: Any, hypervisor: Any, ovn: Any, fire: Run) -> None:
    """It is recorded once (spec V2), and not asked for every few seconds; nothing of it is gone until all can go."""
    uuid = cloud(server, **{**SPOT, "count": None, "nics": [{"subnet": "front"}]})["server"]["id"]
    tell(hypervisor, "spot", reclaim_at=120)
    fire()
    marks = hypervisor.directory / "locks/reclaims"
    assert [path.name for path in marks.iterdir()] == [uuid]
    tell(hypervisor, "spot", reclaim_at=0)
    settings = json.loads((hypervisor.directory / "host.json").read_text())
    (hypervisor.directory / "host.json").write_text(json.dumps({**settings, "ovn_nb": "unix:/nowhere"}))
    _host.main(reclaims_only=True)
    with pytest.raises(SystemExit, match="ECS_OVN"):
        fire()
    assert (hypervisor.domains, hypervisor.volumes) == (["shop.spot"], ["shop.spot-system.qcow2"])
    assert [kind for kind, _task, _code in failures(cloud)] == ["operation"]
    assert list(marks.iterdir()) == []
    (hypervisor.directory / "host.json").write_text(json.dumps(settings))
    fire()
    assert (hypervisor.domains, hypervisor.volumes) == ([], [])


def test_a_server_that_moves_arrives_first(call: Any, hypervisor: Any, fire: Run) -> None:
    """Spec R2, V2: nothing of it is taken away meanwhile; what got stuck is recorded."""
    call(server, **WEB)
    tell(hypervisor, "web", scheduled_deletion=0)
    domain = hypervisor.connection.lookupByName("shop.web")
    for since, recorded in ((ahead(), []), (ahead(hours=-1), ["operation"])):
        task = metadata.Task("migrating", since, True, "hv0", "hv1")
        flags = libvirt.VIR_DOMAIN_AFFECT_CONFIG
        domain.setMetadata(
            libvirt.VIR_DOMAIN_METADATA_ELEMENT, metadata.build_task(task), metadata.TASK_PREFIX, metadata.TASK_NAMESPACE, flags
        )
        fire()
        assert hypervisor.domains == ["shop.web"]
        assert [kind for kind, _task, _code in failures(call)] == recorded
    domain.setMetadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, None, metadata.TASK_PREFIX, metadata.TASK_NAMESPACE, flags)
    fire()
    assert hypervisor.domains == []


def test_the_whole_cloud_is_placed_around_preemptible_servers(call: Any, hypervisor: Any) -> None:
    """What module server then does, cloud_plan tells before: who goes (spec B7), and who finds no room and is left out (spec B6)."""
    call(server, **SPOT)
    facts = {"hv1": call(hypervisor_info, project=None)["hypervisor"]}
    described = {
        "servers": [{**SPOT, "preemptible": "yes", "count": 3, "scheduled_deletion": "2999-01-01T00:00:00Z"}, DB],
        "images": [{"name": "mini", "source": "/mini.qcow2"}],
        "hypervisors": facts,
    }
    decided = call(cloud_plan, **described)
    assert [item["name"] for item in decided["reclaims"]] == ["spot-0002"]
    assert {told["name"]: told["hypervisor"] for told in decided["servers"]} == {
        "spot-0001": "hv1", "spot-0002": "hv1", "spot-0003": None, "db": "hv1",
    }  # fmt: skip
    assert "server spot-0003" in str(decided["warnings"])
    told = {item["name"]: item for item in decided["placement"]["hv1"]}
    assert list(told) == ["spot-0001", "spot-0002", "db"]
    placed = call(placement, servers=[DB], hypervisors=list(facts.values()))
    assert placed["reclaims"] == decided["reclaims"]


def test_settings_that_are_broken_are_told(hypervisor: Any) -> None:
    (hypervisor.directory / "host.json").write_text("{")
    with pytest.raises(SystemExit, match="Run role hypervisor again"):
        _host.main()


def test_a_preemptible_server_gives_way(cloud: Any, hypervisor: Any, fire: Run) -> None:
    """Spec B6 to B10, K1: notice, status, record; only its host deletes it; disks and address stay; then there is room."""
    spot = {**SPOT, "nics": [{"subnet": "front"}], "eip": {}, "data_disks": [{"name": "data", "size": 1}]}
    cloud(server, **spot)
    assert not cloud(server, **spot)["changed"]
    before = [told["reclaim_at"] for told in cloud(server_info)["servers"]]

    foreseen = cloud(server, check=True, fails=True, **DB)
    assert foreseen["error_code"] == "ECS_RECLAIMING"
    assert [told["reclaim_at"] for told in cloud(server_info)["servers"]] == before == [None, None], "check mode tells nobody"
    failed = cloud(server, fails=True, **DB)
    assert failed["error_code"] == "ECS_RECLAIMING"
    (told,) = (told for told in cloud(server_info)["servers"] if told["reclaim_at"])
    assert ahead(minutes=4, seconds=30) < told["reclaim_at"] <= ahead(minutes=5)
    for words in (told["name"], told["reclaim_at"], "Run this again after", "reclaim_timeout"):
        assert words in failed["msg"]
    assert told["status"] == "reclaiming"
    action = instance_action(hypervisor, told["id"])
    moment = told["reclaim_at"].replace("T", " ").removesuffix("Z")
    assert json.loads(action.read_text()) == {"action": "terminate", "timestamp": moment}
    assert failures(cloud, name=told["name"]) == [("interruption", "reclaim", "ECS_RECLAIMING")]
    assert [item["reclaim_at"] for item in cloud(hypervisor_info, project=None)["hypervisor"]["servers"] if item["reclaim_at"]] != []

    again = cloud(server, fails=True, **DB)
    assert (again["error_code"], told["reclaim_at"] in again["msg"]) == ("ECS_RECLAIMING", True)
    assert [item["reclaim_at"] for item in cloud(server_info)["servers"]].count(None) == 1, "nobody else is told"
    assert not cloud(server, **spot)["changed"]
    assert cloud(server, fails=True, name=told["name"], state="absent")["error_code"] == "ECS_RECLAIMING"
    fire()
    assert told["name"] in names(cloud), "five minutes have not passed"
    assert [path.name for path in (hypervisor.directory / "locks/reclaims").iterdir()] == [told["id"]]

    tell(hypervisor, told["name"], reclaim_at=0)
    fire()
    assert told["name"] not in names(cloud)
    assert not action.parent.exists()
    assert f"shop.{told['name']}-data.qcow2" in hypervisor.volumes
    assert f"shop.{told['name']}-system.qcow2" not in hypervisor.volumes
    assert {item["status"] for item in cloud(eip_info, name=told["name"])["eips"]} == {"unbound"}
    assert list((hypervisor.directory / "locks/reclaims").iterdir()) == []

    assert cloud(server, **DB)["changed"]
    assert not cloud(server, **DB)["changed"]
    no_room = cloud(server, fails=True, **spot)
    assert no_room["error_code"] == "ECS_NO_CAPACITY", "preemptible servers take nobody's room"


def test_room_is_waited_for(call: Any, hypervisor: Any, fire: Run) -> None:
    """The host takes servers away that the very call keeps other runs from, and they are not made again by it."""
    call(server, **SPOT)
    asked = {"servers": [SPOT, DB], "reclaim_timeout": 30}
    foreseen = call(server, check=True, **asked)
    assert foreseen["steps"] == ["reclaim server spot-0002", "create volume db-system", "create server db"]
    assert [told["name"] for told in foreseen["servers"]] == ["spot-0001", "db"]

    def host() -> None:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            for domain in hypervisor.connection.listAllDomains():
                if metadata.parse(definition(domain)).reclaim_at:
                    tell(hypervisor, domain.name().removeprefix("shop."), reclaim_at=0)
                    fire()
                    return
            time.sleep(0.1)

    thread = threading.Thread(target=host)
    thread.start()
    done = call(server, **asked)
    thread.join()
    assert (done["steps"], [told["name"] for told in done["servers"]]) == (foreseen["steps"], ["spot-0001", "db"])
    assert done["diff"]["before"]["server spot-0002"] == {"project": "shop", "reclaim_at": None}
    assert hypervisor.domains == ["shop.db", "shop.spot-0001"]


def test_room_that_does_not_come_in_time(call: Any, hypervisor: Any) -> None:
    call(server, **SPOT)
    failed = call(server, fails=True, **DB, reclaim_timeout=1)
    assert failed["error_code"] == "ECS_TIMEOUT"
    assert "altostratus-host.timer" in failed["msg"]
    assert hypervisor.domains == ["shop.spot-0001", "shop.spot-0002"]


def test_who_is_busy_is_not_told(call: Any, hypervisor: Any) -> None:
    """The notice is given to all or none, and by one run at a time (spec Z2)."""
    call(server, **SPOT)
    large = {**DB, "flavor": "s7n.small.2"}
    uuid = SHOP.id("server", "spot-0001")
    with files.lock(str(hypervisor.directory / "locks" / f"{uuid}.lock")):
        failed = call(server, fails=True, **large, wait_timeout=0)
    assert failed["error_code"] == "ECS_BUSY"
    assert [told["reclaim_at"] for told in call(server_info)["servers"]] == [None, None]
    assert call(server, fails=True, **large)["error_code"] == "ECS_RECLAIMING"
    assert None not in [told["reclaim_at"] for told in call(server_info)["servers"]]


def test_a_notice_that_cannot_be_given_to_all_is_given_to_none(cloud: Any, hypervisor: Any, fire: Run) -> None:
    """All is taken back, and what is in the way is told."""
    cloud(server, **{**SPOT, "nics": [{"subnet": "front"}]})
    actions = [instance_action(hypervisor, SHOP.id("server", f"spot-000{number}")) for number in (1, 2)]
    obstacle = actions[0].with_name(".instance-action.new")
    obstacle.mkdir()
    failed = cloud(server, fails=True, **{**DB, "flavor": "s7n.small.2"})
    assert failed["error_code"] == "ECS_FILE"
    assert str(obstacle) in failed["msg"]
    assert [told["reclaim_at"] for told in cloud(server_info)["servers"]] == [None, None]
    assert [action.exists() for action in actions] == [False, False]
    assert [kind for kind, _task, _code in failures(cloud)] == ["creation"], "nobody was told"


def test_what_servers_read_of_themselves_is_kept_true(cloud: Any, hypervisor: Any, fire: Run) -> None:
    """A public address that was bound since the last run on the server (spec MD4); the timer for reclaims leaves that to the other."""
    told = cloud(server, **{**WEB, "nics": [{"subnet": "front"}]})["server"]
    path = hypervisor.directory / "metadata/servers" / told["id"] / "current/data/latest/meta-data/public-ipv4"
    address = cloud(eip, name="extra", network="public", server="web")["eip"]["address"]
    _host.main(reclaims_only=True)
    assert path.read_text() == ""
    fire()
    assert path.read_text() == address


def test_what_preemptible_servers_are_not_for(call: Any, hypervisor: Any) -> None:
    """Spec B8: no other size, no other image, no protection, their system disk stays; their priority may change."""
    one = {**SPOT, "count": None, "name": "spot"}
    call(server, **one)
    for wrong, code in (
        ({"flavor": "s7n.small.05"}, "ECS_PREEMPTIBLE"),
        ({"state": "rebuilt", "image": "other", "allow_stop": True}, "ECS_PREEMPTIBLE"),
        ({"deletion_protection": True}, "ECS_PREEMPTIBLE"),
        ({"preemptible": False, "priority": None}, "ECS_IMMUTABLE"),
    ):
        options = {**one, "preemptible": None, **wrong}
        assert call(server, fails=True, **options)["error_code"] == code, wrong
    call(server, name="spot", state="stopped")
    assert call(volume, fails=True, name="spot-system", server="")["error_code"] == "ECS_PREEMPTIBLE"
    assert call(server, name="spot", priority=99)["server"]["priority"] == 99
    assert not call(server, name="spot", priority=99)["changed"]


def test_a_notice_after_a_reboot_of_the_host(call: Any, hypervisor: Any, fire: Run) -> None:
    """What the host looks at every few seconds is found again, and forgotten when nobody is told any more."""
    call(server, **SPOT)
    tell(hypervisor, "spot-0001", reclaim_at=120)
    fire()
    marks = hypervisor.directory / "locks/reclaims"
    assert [path.name for path in marks.iterdir()] == [SHOP.id("server", "spot-0001")]
    tell(hypervisor, "spot-0001", reclaim_at="")
    fire()
    assert list(marks.iterdir()) == []
