# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of a migration can be seen without a second hypervisor (spec R2, EV-3, EV-22): places of ports in a real Northbound, servers that
are where they shall be or between two hosts, and who may be evacuated. The rest is in tests/lab."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ansible_collections.altostratus.ecs.plugins.module_utils._model import metadata
from ansible_collections.altostratus.ecs.plugins.module_utils._model.errors import EcsError
from ansible_collections.altostratus.ecs.plugins.module_utils._services.evacuation import check_dead
from ansible_collections.altostratus.ecs.plugins.module_utils._services.ports import locate_ports
from ansible_collections.altostratus.ecs.plugins.modules import (
    hypervisor_info,
    migration_plan,
    network_interface,
    server,
    server_evacuation,
    server_info,
    server_migration,
)

WEB = {"flavor": "s7n.small.05", "image": "mini", "nics": []}


def facts(call: Any, **more: Any) -> dict[str, Any]:
    return {**call(hypervisor_info, project=None)["hypervisor"], **more}


def test_ports_are_where_their_server_is(cloud: Any, northd: Any) -> None:
    """OVN takes the second chassis of a moving port, and another run of the module leaves the place alone."""
    port = cloud(network_interface, name="web", subnet="front")["network_interface"]
    for number in (1, 2):
        northd.sbctl("chassis-add", f"hv{number}", "vxlan", f"127.0.0.{number}")

    def requested(column: str) -> str:
        assert northd.settle() == ""
        found = northd.sbctl("--bare", f"--columns={column}", "find", "Port_Binding", f"logical_port={port['id']}").strip()
        return " ".join(northd.sbctl("get", "Chassis", uuid, "name").strip() for uuid in found.split())

    with northd.connect() as nb:
        locate_ports(nb, [port["id"]], ["hv1", "hv2"])
        assert (requested("requested_chassis"), requested("requested_additional_chassis")) == ("hv1", "hv2")
        assert not cloud(network_interface, name="web", subnet="front")["changed"]
        locate_ports(nb, [port["id"]], ["hv2"])
        assert (requested("requested_chassis"), requested("requested_additional_chassis")) == ("hv2", "")
        assert "activation-strategy" not in northd.nbctl("get", "Logical_Switch_Port", port["id"], "options")
        locate_ports(nb, [port["id"]], [])
        assert northd.nbctl("get", "Logical_Switch_Port", port["id"], "options").strip() == "{}"


def test_a_server_that_is_there_is_left_alone(call: Any, hypervisor: Any) -> None:
    made = call(server, name="web", **WEB)["server"]
    told = call(server_migration, name="web", hypervisor="hv1", hypervisors=[facts(call)])
    assert not told["changed"]
    assert told["migration"] == {
        "id": made["id"], "name": "web", "project": "shop", "source": "hv1", "destination": "hv1", "method": None, "duration": None,
        "downtime": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "code", "words"),
    [
        ({"hypervisor": "hv9"}, "ECS_INVALID_INPUT", "hypervisor: 'hv9' is none of the hypervisors of this call. There are hv1, hv2"),
        ({"hypervisor": "hv2"}, "ECS_UNLIKE", "host hv2 is not ready to take servers from others. Run role hypervisor there"),
        ({"hypervisor": "hv1", "name": "db"}, "ECS_NOT_FOUND", "server db does not exist"),
        ({"hypervisor": None}, "ECS_INVALID_INPUT", "is missing for server web. Name it, or ask module migration_plan"),
    ],
)
def test_refusals(call: Any, hypervisor: Any, asked: dict[str, Any], code: str, words: str) -> None:
    call(server, name="web", **WEB)
    known = [facts(call), facts(call, name="hv2", servers=[])]
    failed = call(server_migration, fails=True, **{"name": "web", "hypervisors": known, **asked})
    assert (failed["error_code"], words in failed["msg"]) == (code, True), failed["msg"]


def test_nobody_else_touches_a_server_between_two_hosts(call: Any, hypervisor: Any) -> None:
    """Appendix A: what a killed run leaves is shown as ``migrating``, and only a migration takes it up."""
    call(server, name="web", **WEB)
    task = metadata.Task("migrating", "2999-01-31T12:00:00Z", True, "hv1", "hv2")
    domain = hypervisor.connection.lookupByName("shop.web")
    domain.setMetadata(2, metadata.build_task(task), metadata.TASK_PREFIX, metadata.TASK_NAMESPACE, 2)
    assert call(server_info, name="web")["servers"][0]["status"] == "migrating"
    for state in ("present", "stopped", "absent"):
        failed = call(server, fails=True, name="web", state=state)
        assert failed["error_code"] == "ECS_INCOMPLETE"
        assert "its migration from hv1 to hv2 was not finished. Module server_migration on hv1 finishes it" in failed["msg"]


def test_the_plan_is_made_of_what_hypervisors_tell(call: Any, hypervisor: Any) -> None:
    """The facts hold what the rules look at: server, flavor, disk types and images."""
    call(server, name="web", **WEB)
    hv1 = facts(call, address="192.0.2.1")
    (one,) = hv1["servers"]
    assert (one["flavor"], one["disk_types"], one["bound"]) == ("s7n.small.05", ["default-pool"], False)
    assert one["image_id"] in hv1["images"]
    hv2 = {**hv1, "name": "hv2", "servers": []}
    planned = call(migration_plan, project=None, drain="hv1", hypervisors=[hv1, hv2])
    assert planned["moves"] == {"hv1": [{"project": "shop", "name": "web", "hypervisor": "hv2"}], "hv2": []}
    planned = call(migration_plan, servers=[{"name": "web"}], hypervisors=[hv1, {**hv2, "maintenance": True}])
    assert planned["stays"] == [{"project": "shop", "name": "web", "hypervisor": "hv1", "reason": "hv2 is in maintenance"}]
    assert call(migration_plan, fails=True, servers=[{"name": "db"}], hypervisors=[hv1])["error_code"] == "ECS_NOT_FOUND"


def test_a_host_of_which_nothing_is_recorded_is_not_evacuated(call: Any, hypervisor: Any) -> None:
    """EV-22."""
    assert call(hypervisor_info, project=None, lost="hv2")["hypervisor"] is None
    failed = call(server_evacuation, fails=True, lost="hv2", confirmed="hv2", servers=[{"name": "web"}])
    assert (failed["error_code"], "pools that this host shares" in failed["msg"]) == ("ECS_NOT_FOUND", True)


def test_a_host_is_dead_when_somebody_says_so_and_it_is_silent() -> None:
    """EV-22: an address that refuses is alive, too; 192.0.2.0/24 is nobody's."""
    with pytest.raises(EcsError, match="nobody has confirmed that host hv2 is off"):
        check_dead({"name": "hv2", "address": "192.0.2.1"}, "hv1")
    with pytest.raises(EcsError, match=r"host hv2 answers at 127\.0\.0\.1"):
        check_dead({"name": "hv2", "address": "127.0.0.1"}, "hv2")


def test_facts_are_plain_data(call: Any, hypervisor: Any) -> None:
    assert json.loads(json.dumps(facts(call))) == facts(call)
