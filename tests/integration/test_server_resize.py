# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Another size for a server, on libvirt's test driver (spec Z1 to Z5)."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

import libvirt
import pytest

from ansible_collections.altostratus.ecs.plugins.module_utils._model import domain_size, domain_xml, metadata
from ansible_collections.altostratus.ecs.plugins.modules import server, server_info

from .test_server_states import WEB, WEB_ID, set_task

SMALL, LARGE = "s7n.small.05", "s7n.large.025"
"""1 vCPU, 2 vCPUs; both 512 MiB."""


def definition(hypervisor: Any, name: str = "shop.web") -> str:
    return str(hypervisor.connection.lookupByName(name).XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))


def devices(text: str) -> list[str]:
    return [ET.tostring(node, encoding="unicode") for node in ET.fromstring(text).iterfind("devices/*")]


@pytest.mark.parametrize(
    ("state", "asked", "steps", "status"),
    [
        ("running", "present", ["stop server web", "resize server web", "start server web"], "running"),
        ("running", "running", ["stop server web", "resize server web", "start server web"], "running"),
        ("running", "restarted", ["stop server web", "resize server web", "start server web"], "running"),
        ("running", "stopped", ["stop server web", "resize server web"], "stopped"),
        ("stopped", "present", ["resize server web"], "stopped"),
        ("stopped", "running", ["resize server web", "start server web"], "running"),
        ("stopped", "stopped", ["resize server web"], "stopped"),
    ],
)
def test_resize(call: Any, hypervisor: Any, state: str, asked: str, steps: list[str], status: str) -> None:
    """A server that may be stopped, or is, takes any size; disks and addresses stay where they are; check mode tells all of it."""
    wanted = {**WEB, "flavor": "s7n.large.2", "data_disks": [{"name": "data", "size": 1}]}
    call(server, **wanted | {"flavor": SMALL})
    call(server, name="web", state="stopped" if state == "stopped" else "running")
    before = devices(definition(hypervisor))
    options = {**wanted, "flavor": LARGE, "state": asked, "allow_stop": True}
    foreseen = call(server, check=True, **options)
    assert devices(definition(hypervisor)) == before
    done = call(server, **options)
    assert (foreseen["steps"], foreseen["diff"], foreseen["server"]) == (done["steps"], done["diff"], done["server"])
    assert done["steps"] == steps
    assert done["diff"]["after"]["server web"] | {"status": None} == {"flavor": LARGE, "vcpus": 2, "max_vcpus": 2, "status": None}
    assert [done["server"][key] for key in ("flavor", "vcpus", "memory", "status")] == [LARGE, 2, 512, status]
    assert devices(definition(hypervisor)) == before
    assert call(server, **options)["changed"] is (asked == "restarted")


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize("asked", ["present", "running"])
def test_running_server_is_not_stopped_unasked(call: Any, hypervisor: Any, asked: str, check: bool) -> None:
    """Without leave it goes on as it is, and the error names the parameter and the way out (spec Z1)."""
    call(server, servers=[WEB, WEB | {"name": "db"}])
    refused = call(
        server, check=check, fails=True, servers=[WEB | {"name": "db", "tags": {"a": "b"}}, WEB | {"flavor": LARGE, "state": asked}]
    )
    assert refused["msg"].startswith("server web (project shop): vcpus is 1 and cannot become 2 while it runs. Set allow_stop")
    domain = hypervisor.connection.lookupByName("shop.web")
    assert (domain.isActive(), domain.maxVcpus()) == (True, 1)
    assert "<ecs:tag" not in definition(hypervisor, "shop.db")


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ({"flavor": "c7.xlarge.4"}, "ECS_NO_CAPACITY", "flavor c7.xlarge.4 needs 16384 MiB, host hv1 has"),
        ({"vcpus": 1, "memory": 128}, "ECS_INVALID_INPUT", "image mini needs (256 MiB)"),
        ({"max_vcpus": 1, "vcpus": 2, "memory": 512}, "ECS_INVALID_INPUT", "max_vcpus: 1 is less than the 2"),
    ],
)
def test_sizes_that_cannot_be(call: Any, hypervisor: Any, options: dict[str, Any], code: str, message: str) -> None:
    """What does not fit host or image is refused before the server is stopped (spec Z3)."""
    call(server, **WEB)
    refused = call(server, fails=True, name="web", allow_stop=True, **options)
    assert (refused["error_code"], message in refused["msg"]) == (code, True), refused["msg"]
    assert hypervisor.connection.lookupByName("shop.web").isActive()


def test_a_server_that_moves_over_makes_no_room(call: Any, hypervisor: Any) -> None:
    """Sizes of one call are counted together, each server without what it has now."""
    call(server, servers=[WEB, WEB | {"name": "db"}], flavor="")
    grown = [{"name": "web", "flavor": "s7n.small.1"}, {"name": "db", "flavor": "s7n.medium.2"}]
    refused = call(server, fails=True, servers=grown, allow_stop=True)
    assert (refused["error_code"], "server db" in refused["msg"]) == ("ECS_NO_CAPACITY", True)
    grown[1]["flavor"] = "s7n.small.1"
    assert [told["memory"] for told in call(server, servers=grown, allow_stop=True)["servers"]] == [1024, 1024]


def test_growing_while_it_runs(call: Any, hypervisor: Any) -> None:
    """Within its room a server grows as it runs; a guest that does not answer is warned of, the size stands."""
    roomy = {**WEB, "max_vcpus": 4, "max_memory": 1024}
    made = call(server, **roomy)["server"]
    assert [made[key] for key in ("vcpus", "memory", "max_vcpus", "max_memory")] == [1, 512, 4, 1024]
    assert not call(server, **roomy)["changed"]
    domain = hypervisor.connection.lookupByName("shop.web")
    session = domain.ID()

    options = {**roomy, "flavor": LARGE}
    foreseen = call(server, check=True, **options)
    done = call(server, **options)
    assert (foreseen["steps"], foreseen["server"]) == (done["steps"], done["server"])
    assert done["steps"] == ["resize server web"]
    assert any("the guest may have to be told" in str(warning) for warning in done["warnings"])
    assert (domain.ID(), domain.vcpusFlags(libvirt.VIR_DOMAIN_AFFECT_LIVE), done["server"]["vcpus"]) == (session, 2, 2)
    assert not call(server, **options)["changed"]

    back = call(server, **roomy, allow_stop=True)
    assert [back["server"][key] for key in ("vcpus", "max_vcpus")] == [1, 4]
    assert call(server, **WEB | {"max_vcpus": 1, "max_memory": 512}, allow_stop=True)["server"]["max_vcpus"] == 1


@pytest.mark.parametrize("kind", ["kvm", "qemu"])
def test_definition_with_room_follows_libvirts_schema(hypervisor: Any, kind: str) -> None:
    told = metadata.ServerMetadata("local", "shop", "web")
    spec = domain_xml.DomainSpec("shop.web", WEB_ID, "web", told, kind, 2, 1024, "/tmp/log", max_vcpus=8, max_memory=4096)
    text = domain_xml.build(spec).replace(f'type="{kind}"', 'type="test"', 1)
    domain = hypervisor.connection.defineXMLFlags(text, libvirt.VIR_DOMAIN_DEFINE_VALIDATE)
    assert domain_xml.parse(domain.XMLDesc()).size == domain_size.Size(2, 1024, 8, 4096, domain_size.SLOTS)


def test_name_of_the_size_alone(call: Any, hypervisor: Any) -> None:
    """Another flavor of the same size is another name."""
    call(server, **WEB)
    named = call(server, **WEB | {"flavor": "c7.small.05"})
    assert named["diff"] == {"before": {"server web": {"flavor": SMALL}}, "after": {"server web": {"flavor": "c7.small.05"}}}
    assert not call(server, **WEB | {"flavor": "c7.small.05"})["changed"]
    assert call(server, name="web", vcpus=1, memory=512)["server"]["flavor"] == "c7.small.05"


def test_failure_gives_back_size_and_power(call: Any, hypervisor: Any) -> None:
    """What fails after servers were stopped gives them their old size, and they run again."""
    call(server, servers=[WEB, WEB | {"name": "db", "flavor": LARGE}])
    # Somebody has tuned a vCPU that db would lose; libvirt minds, and nobody could have known.
    tuned = definition(hypervisor, "shop.db").replace("<os>", "<cputune><vcpusched vcpus='1' scheduler='batch'/></cputune><os>")
    hypervisor.connection.defineXML(tuned)
    wanted = [{"name": "web", "flavor": LARGE}, {"name": "db", "flavor": SMALL}]
    failed = call(server, fails=True, servers=wanted, allow_stop=True)
    assert "server db (project shop): step 6 of 7, domain: " in failed["msg"]
    assert "Undone: 1 resize." in failed["msg"]
    told = {one["name"]: (one["vcpus"], one["flavor"], one["status"]) for one in call(server_info)["servers"]}
    assert told == {"web": (1, SMALL, "running"), "db": (2, LARGE, "running")}


def test_layout_made_by_hand_is_seen_before_anything_is_touched(call: Any, hypervisor: Any) -> None:
    """A server whose memory somebody spread over nodes keeps running."""
    call(server, **WEB | {"flavor": "s7n.large.025"})
    nodes = "".join(f"<cell id='{number}' cpus='{number}' memory='256' unit='MiB'/>" for number in range(2))
    hypervisor.connection.defineXML(definition(hypervisor).replace("</cpu>", f"<numa>{nodes}</numa></cpu>"))
    refused = call(server, fails=True, name="web", flavor="s7n.large.2", allow_stop=True)
    assert (refused["error_code"], "2 NUMA nodes" in refused["msg"]) == ("ECS_IMMUTABLE", True)
    assert hypervisor.connection.lookupByName("shop.web").isActive()


@pytest.mark.parametrize("defined", [False, True])
def test_killed_resize(call: Any, hypervisor: Any, defined: bool) -> None:
    """A run that died with the server off, before or after it had its new size, is finished by the next."""
    call(server, **WEB | {"flavor": LARGE if defined else SMALL})
    domain = hypervisor.connection.lookupByName("shop.web")
    domain.destroy()
    set_task(domain, "resizing", running=True)
    assert call(server_info)["servers"][0]["status"] == "resizing"
    done = call(server, **WEB | {"flavor": LARGE})
    assert done["steps"] == [*([] if defined else ["resize server web"]), "start server web"]
    assert (done["server"]["status"], done["server"]["vcpus"]) == ("running", 2)
