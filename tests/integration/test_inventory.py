# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory plugin, run by ansible-inventory over libvirt's test driver: each file of it is a hypervisor."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

from ansible_collections.altostratus.ecs.plugins.module_utils._model.metadata import Nic, ServerMetadata, element
from ansible_collections.altostratus.ecs.plugins.module_utils._model.names import Scope
from ansible_collections.altostratus.ecs.plugins.modules import eip, eip_info, network_interface

TEMPLATE = "{{ lookup('pipe', 'touch PROOF') }}"
DEAD = "qemu+unix:///system?socket=/nonexistent/libvirt-sock"


def domain(name: str, project: str = "shop", running: bool = True, **told) -> str:
    """The XML of a server's domain, as the test driver reads it."""
    metadata = ServerMetadata(region="local", project=project, name=name, flavor="s7n.medium.2", image="debian-13", **told)
    return f"""
      <domain type="test">
        <name>{project}.{name}</name>
        <uuid>{Scope("local", project).id("server", name)}</uuid>
        <metadata>{ElementTree.tostring(element(metadata), encoding="unicode")}</metadata>
        <memory unit="MiB">2048</memory>
        <vcpu>1</vcpu>
        <os><type>hvm</type></os>
        <test:runstate xmlns:test="http://libvirt.org/schemas/domain/test/1.0">{1 if running else 5}</test:runstate>
      </domain>"""


class Site:
    """Hypervisors as files, and Ansible over them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.sources: list[str] = []

    def hypervisor(self, name: str, *domains: str) -> str:
        path = self.directory / f"{name}.xml"
        path.write_text(f"<node>{''.join(domains)}</node>")
        return f"test://{path}"

    def configure(self, **options) -> None:
        path = self.directory / "servers.ecs.yml"
        path.write_text(yaml.safe_dump({"plugin": "altostratus.ecs.servers", **options}))
        self.sources = [*self.sources[:-1], str(path)] if len(self.sources) > 1 else [str(path)]

    def run(self, *arguments: str, program: str = "ansible-inventory", **environment: str) -> subprocess.CompletedProcess[str]:
        sources = [word for source in self.sources for word in ("-i", source)]
        return subprocess.run(
            [str(Path(sys.executable).with_name(program)), *sources, *arguments],
            env={
                **{name: value for name, value in os.environ.items() if not name.startswith("ECS_")},
                "ANSIBLE_HOME": str(self.directory / "home"),
                "ANSIBLE_INVENTORY_UNPARSED_FAILED": "1",
                "ANSIBLE_COLLECTIONS_PATH": os.environ.get("ANSIBLE_COLLECTIONS_PATH") or os.environ["PYTHONPATH"],
                **environment,
            },
            cwd=self.directory,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def list(self, *arguments: str, **environment: str) -> dict:
        result = self.run("--list", *arguments, **environment)
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout)

    def variables(self, **environment: str) -> dict:
        return self.list(**environment)["_meta"]["hostvars"]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture
def two_tier(site: Site) -> Site:
    nic = Nic("p1", "web-nic0", "fa:16:3e:00:00:01", "10.20.1.10", "10.20.1.0/24", "front", "shop", ("web",), 1442)
    site.configure(
        hypervisors={
            "hv1": site.hypervisor("hv1", domain("web", az="az1", nics=(nic,), tags={"tier": "web"}), FOREIGN),
            "hv2": site.hypervisor("hv2", domain("db", az="az2", running=False, tags={"tier": "db"}, description=TEMPLATE)),
            "hv3": site.hypervisor("hv3", domain("db", "bank")),
        }
    )
    return site


FOREIGN = """<domain type="test"><name>foreign</name><memory unit="MiB">64</memory><os><type>hvm</type></os></domain>"""


def test_graph_shows_every_server_of_every_hypervisor_in_its_groups(two_tier):
    graph = two_tier.run("--graph")
    assert graph.returncode == 0, graph.stderr
    lines = [line.strip(" |-") for line in graph.stdout.splitlines()]
    assert "foreign" not in graph.stdout
    for group, members in {
        "project_shop": ["shop.db", "web"],
        "project_bank": ["bank.db"],
        "az_az1": ["web"],
        "vpc_shop": ["web"],
        "hypervisor_hv2": ["shop.db"],
        "status_stopped": ["shop.db"],
        "status_running": ["bank.db", "web"],
        "flavor_s7n_medium_2": ["bank.db", "shop.db", "web"],
        "tag_tier_db": ["shop.db"],
    }.items():
        start = lines.index(f"@{group}:") + 1
        assert sorted(lines[start : start + len(members)]) == members
    assert "names that are not unique or taken, shown with their project: db" in " ".join(graph.stderr.split())


def test_host_variables_are_the_servers_fields(two_tier):
    found = two_tier.variables()["web"]
    assert (found["ecs_project"], found["ecs_name"], found["ecs_az"], found["ecs_hypervisor"]) == ("shop", "web", "az1", "hv1")
    assert (found["ecs_flavor"], found["ecs_vcpus"], found["ecs_memory"]) == ("s7n.medium.2", 1, 2048)
    assert found["ecs_id"] == Scope("local", "shop").id("server", "web")
    assert found["ecs_nics"][0]["address"] == found["ecs_address"] == "10.20.1.10"
    assert found["ecs_libvirt_uri"].endswith("/hv1.xml")
    assert found["ansible_connection"] == "altostratus.ecs.guest_agent"
    assert "ansible_host" not in found


@pytest.mark.parametrize("cached", [False, True])
def test_what_a_hypervisor_tells_is_never_a_template(two_tier, cached):
    environment = {
        "ANSIBLE_INVENTORY_CACHE": "1",
        "ANSIBLE_INVENTORY_CACHE_PLUGIN": "jsonfile",
        "ANSIBLE_INVENTORY_CACHE_CONNECTION": "cache",
    }
    if cached:
        two_tier.variables(**environment)
    show = ["-c", "local", "-m", "ansible.builtin.debug", "-a", "var=ecs_description"]
    result = two_tier.run("shop.db", *show, program="ansible", **environment)
    assert result.returncode == 0, result.stderr
    assert TEMPLATE in result.stdout
    assert not (two_tier.directory / "PROOF").exists()


def test_constructed_options_work_on_the_servers_fields(site):
    site.configure(
        hypervisors=[site.hypervisor("hv1", domain("web", tags={"tier": "web"}), domain("db"))],
        compose={"ansible_user": "'debian' if ecs_image.startswith('debian') else 'root'"},
        groups={"frontend": "ecs_tags.tier | default('') == 'web'"},
        keyed_groups=[{"prefix": "image", "key": "ecs_image"}, {"prefix": "login", "key": "ansible_user"}],
        filters={"project": "shop"},
        strict=True,
    )
    listed = site.list()
    assert listed["frontend"]["hosts"] == ["web"]
    assert sorted(listed["image_debian_13"]["hosts"]) == ["db", "web"]
    assert sorted(listed["login_debian"]["hosts"]) == ["db", "web"]


def test_search_and_filters_leave_servers_out(two_tier):
    """The rules are server_info's (spec V5 to V11)."""
    hypervisors = {name: f"test://{two_tier.directory}/{name}.xml" for name in ("hv1", "hv2", "hv3")}

    def hosts(**options):
        two_tier.configure(hypervisors=hypervisors, **options)
        return sorted(two_tier.variables())

    assert hosts(search="10.20.1.10") == ["web"]
    assert hosts(filters={"name": "d", "status": "running|stopped"}) == ["bank.db", "shop.db"]
    assert hosts(filters={"domain": "bank.db"}) == ["db"]
    assert hosts(filters={"tags": ["tier=db"]}) == ["db"]


def test_hypervisors_can_be_a_group_of_another_source(site):
    uri = site.hypervisor("one", domain("web"))
    hosts = site.directory / "hosts.yml"
    hosts.write_text(yaml.safe_dump({"all": {"children": {"hypervisors": {"hosts": {"hv1": None}}}}}))
    (site.directory / "group_vars").mkdir()
    (site.directory / "group_vars/hypervisors.yml").write_text(yaml.safe_dump({"where": uri, "ecs_libvirt_uri": "{{ where }}"}))
    site.configure(hypervisor_group="hypervisors")
    site.sources.insert(0, str(hosts))
    listed = site.list()
    assert listed["hypervisor_hv1"]["hosts"] == ["web"]
    assert listed["_meta"]["hostvars"]["web"]["ecs_libvirt_uri"] == uri


def test_every_one_of_many_servers_is_read(site):
    names = [f"web-{number:03d}" for number in range(150)]
    site.configure(hypervisors=[site.hypervisor("hv1", *(domain(name, description=name) for name in names))])
    assert {name: told["ecs_description"] for name, told in site.variables().items()} == {name: name for name in names}


def test_hosts_and_groups_of_another_source_are_left_as_they_are(site):
    uri = site.hypervisor("hv1", domain("web"), domain("db"), domain("az_az1", az="az1"))
    hosts = site.directory / "hosts.yml"
    known = {"ecs_id": Scope("local", "shop").id("server", "db"), "backup": "daily"}
    hosts.write_text(yaml.safe_dump({"web": {"hosts": {"proxy": None}}, "all": {"hosts": {"db": known}}}))
    site.configure(hypervisors=[uri])
    site.sources.insert(0, str(hosts))
    listed = site.list()
    assert listed["web"] == {"hosts": ["proxy"]}
    assert listed["az_az1"] == {"hosts": ["shop.az_az1"]}
    assert sorted(listed["project_shop"]["hosts"]) == ["db", "shop.az_az1", "shop.web"]
    found = listed["_meta"]["hostvars"]
    assert (found["db"]["ecs_name"], found["db"]["backup"], found["shop.web"]["ecs_name"]) == ("db", "daily", "web")
    assert "proxy" not in found


def test_the_cache_answers_without_a_hypervisor_and_can_be_flushed(site):
    uri = site.hypervisor("hv1", domain("web"))
    site.configure(hypervisors=[uri], cache=True, cache_plugin="ansible.builtin.jsonfile", cache_connection="cache")
    first = site.list()
    (entry,) = (site.directory / "cache").iterdir()
    written = entry.stat().st_mtime_ns
    (site.directory / "hv1.xml").unlink()
    assert site.list() == first
    assert entry.stat().st_mtime_ns == written
    site.hypervisor("hv1", domain("other"))
    assert list(site.variables()) == ["web"]
    (site.directory / "play.yml").write_text(yaml.safe_dump([{"hosts": "all"}]))
    assert "other" in site.run("play.yml", "--list-hosts", "--flush-cache", program="ansible-playbook").stdout
    assert list(site.variables()) == ["other"]


def test_a_dead_hypervisor_costs_a_warning_or_a_failure(site):
    hypervisors = {"hv1": site.hypervisor("hv1", domain("web")), "hv2": DEAD}
    site.configure(hypervisors=hypervisors)
    result = site.run("--list")
    assert list(json.loads(result.stdout)["_meta"]["hostvars"]) == ["web"]
    assert "hv2: cannot connect to libvirt" in " ".join(result.stderr.split())
    site.configure(hypervisors=hypervisors, unreachable="fail")
    assert "1 of 2 hypervisors cannot be read" in " ".join(site.run("--list").stderr.split())
    site.configure(hypervisors={"hv2": DEAD})
    assert "1 of 1 hypervisors cannot be read" in " ".join(site.run("--list").stderr.split())


def test_hypervisors_that_never_answer_cost_their_timeout_once(site):
    silent = site.directory / "silent"
    silent.write_text("#!/bin/sh\nsleep 60\n")
    silent.chmod(0o755)
    dead = {f"hv{number}": f"qemu+ssh://hv{number}/system?command={silent}" for number in range(2, 6)}
    site.configure(hypervisors={"hv1": site.hypervisor("hv1", domain("web")), **dead}, timeout=5)
    start = time.monotonic()
    result = site.run("--list")
    assert time.monotonic() - start < 16
    assert list(json.loads(result.stdout)["_meta"]["hostvars"]) == ["web"]
    assert "hv5: no answer within 5 s" in " ".join(result.stderr.split())


def test_a_hypervisor_that_falls_silent_while_it_is_read_costs_its_timeout_once(site, qemu):
    for number in range(20):
        qemu.connection.defineXML(domain(f"far-{number}").replace('type="test"', 'type="qemu"'))
    socket = qemu.uri.partition("socket=")[2]
    # What SSH would carry, until a part of the definitions is through.
    line = site.directory / "line"
    line.write_text(f"#!/bin/sh\nsocat - UNIX-CONNECT:{socket} | {{ dd bs=1 count=12000 status=none; sleep 60; }}\n")
    line.chmod(0o755)
    hypervisors = {"hv1": site.hypervisor("hv1", domain("web")), "hv2": f"qemu+ssh://hv2/session?command={line}"}
    site.configure(hypervisors=hypervisors, timeout=4)
    start = time.monotonic()
    result = site.run("--list")
    assert time.monotonic() - start < 16
    assert list(json.loads(result.stdout)["_meta"]["hostvars"]) == ["web"]
    assert "hv2: no answer within 4 s" in " ".join(result.stderr.split())
    site.configure(hypervisors={"hv2": qemu.uri})
    assert len(site.variables()) == 20


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "Set hypervisors or hypervisor_group"),
        ({"hypervisor_group": "nowhere"}, "Give the inventory source that has it before this one"),
        ({"hypervisors": ["test:///default"], "filters": {"colour": "red"}}, "is not a property of a server"),
        ({"hypervisors": ["test:///default"], "connection": "telnet"}, "telnet"),
    ],
)
def test_bad_options_say_what_to_do(site, options, message):
    if "filters" in options:
        options["hypervisors"] = [site.hypervisor("hv1", domain("web"))]
    site.configure(**options)
    result = site.run("--list")
    assert result.returncode
    assert message in " ".join(result.stderr.split())


def test_eips_and_live_addresses_come_from_the_northbound(site, cloud, ovn):
    port = cloud(network_interface, name="web-nic0", vpc="shop", subnet="front")["network_interface"]
    cloud(eip, name="web", network="public", interface="web-nic0")
    nic = Nic(port["id"], "web-nic0", port["mac"], "10.20.1.250", "10.20.1.0/24", "front", "shop")
    uri = site.hypervisor("hv1", domain("web", nics=(nic,)), domain("db"))
    site.configure(hypervisors=[uri], ovn_nb=ovn.remote)
    found = site.variables()
    address = cloud(eip_info, name="web")["eips"][0]["address"]
    assert found["web"]["ecs_eip"] == found["web"]["ansible_host"] == address
    assert "ansible_connection" not in found["web"]
    assert found["web"]["ecs_nics"][0]["address"] == found["web"]["ecs_address"] == port["address"]
    assert found["db"]["ecs_eip"] is None
    assert found["db"]["ansible_connection"] == "altostratus.ecs.guest_agent"
    site.configure(hypervisors=[uri], ovn_nb="unix:/nonexistent/nb.sock")
    result = site.run("--list")
    assert sorted(json.loads(result.stdout)["_meta"]["hostvars"]) == ["db", "web"]
    assert "ovn_nb: cannot connect to the OVN database" in " ".join(result.stderr.split())
