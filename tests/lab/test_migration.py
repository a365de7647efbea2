# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers move between real hypervisors: what their users notice, and what is left where they were (spec R2, EV-3)."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from .conftest import Cloud, Guest, Host, Lab, command
from .test_server import run, traces

LINES = 150
# Answers on the port that its security group opens with numbered lines, for half a minute; and on one that the group does not open.
USER_DATA = f"""#!/bin/sh
mkdir -p /srv/cgi-bin && echo "hello from mover" > /srv/index.html
cat > /srv/cgi-bin/lines <<'END'
#!/bin/sh
printf 'Content-type: text/plain\\n\\n'
i=0
while [ $i -lt {LINES} ]; do echo $i; i=$((i+1)); sleep 0.2; done
END
chmod +x /srv/cgi-bin/lines
httpd -p 80 -h /srv && httpd -p 8080 -h /srv
"""
MOVER: dict[str, Any] = {
    "name": "mover",
    "nics": [{"vpc": "shop", "subnet": "front", "security_groups": ["web"]}],
    "eip": {"bandwidth": 50},
    "data_disks": [{"name": "data", "size": 1}],
    "user_data": USER_DATA,
    "wait_for": "cloud_init",
}


def server(lab: Lab, host: Host, **options: Any) -> dict[str, Any]:
    """Run module server on the server."""
    return run(lab, host, **{**MOVER, **options})


def facts(lab: Lab) -> list[dict[str, Any]]:
    return [run(lab, host, "hypervisor_info", libvirt_uri="qemu:///system")["hypervisor"] for host in lab.hosts]


def move(lab: Lab, source: Host, destination: Host, **options: Any) -> dict[str, Any]:
    """Move the server; the lab's hosts are in different zones."""
    told = {"project": "lab", "name": "mover", "hypervisor": destination.name, "hypervisors": facts(lab), "allow_az_change": True}
    return run(lab, source, "server_migration", **{**told, **options})


def failing(lab: Lab, source: Host, destination: Host, **options: Any) -> str:
    """What a move says that fails."""
    told = {"project": "lab", "name": "mover", "hypervisor": destination.name, "hypervisors": facts(lab), "allow_az_change": True}
    done = lab.controller(command(lab, source, "server_migration", {**told, **options}), check=False, timeout=600)
    assert done.returncode != 0
    assert "Traceback" not in done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def mover(lab: Lab, cloud: Cloud) -> Iterator[dict[str, Any]]:
    """A server on the first host."""

    def gone() -> None:
        for host in lab.hosts:
            server(lab, host, state="absent", delete_data_disks=True, delete_eip=True)
            host.run(["rm", "-f", "/var/log/altostratus/failures.jsonl"])

    gone()
    yield server(lab, lab.hosts[0])["server"]
    gone()


def shown(lab: Lab, host: Host) -> dict[str, Any]:
    """The server as its host tells of it."""
    servers = run(lab, host, "server_info", project="lab", name="mover")["servers"]
    return servers[0] if servers else {}


def home(lab: Lab, mover: dict[str, Any]) -> Host:
    """The host that has the server, and the only one that has anything of it."""
    (there,) = [host for host in lab.hosts if f"lab.{mover['name']}" in host.run(["virsh", "list", "--all", "--name"]).stdout.split()]
    return there


def other(lab: Lab, host: Host) -> Host:
    return next(one for one in lab.hosts if one is not host)


def left(lab: Lab, host: Host, mover: dict[str, Any]) -> list[str]:
    """What a host has of the server that is not there; its row in the Northbound is everybody's."""
    return [name for name in traces(lab, host, mover) if name != mover["nics"][0]["id"]]


def fetch(lab: Lab, mover: dict[str, Any], port: int) -> str:
    return lab.internet(["curl", "-sS", "--max-time", "5", f"http://{mover['eip']}:{port}/"], check=False).stdout


def test_live_there_and_back_under_a_connection(lab: Lab, mover: dict[str, Any]) -> None:
    """EV-3: a stream of numbered lines loses none, both ways; address, MAC, disks and security group go with the server."""
    here = home(lab, mover)
    there = other(lab, here)
    guest = Guest(here, "lab.mover")
    assert guest.run("echo kept > /boot/proof; echo on the data disk > /dev/vdb; sync; cat /proc/sys/kernel/random/boot_id")
    boot = guest.run("cat /proc/sys/kernel/random/boot_id")
    argv = ["ip", "netns", "exec", f"{lab.name}-internet", "curl", "-sSN", "--max-time", "120", f"http://{mover['eip']}/cgi-bin/lines"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as stream:
        gone = move(lab, here, there)
        assert (gone["changed"], gone["steps"], gone["migration"]["method"]) == (True, ["migrate server mover"], "live")
        assert (gone["migration"]["source"], gone["migration"]["destination"]) == (here.name, there.name)
        assert 0 < gone["migration"]["downtime"] < 10000
        assert left(lab, here, mover) == []
        back = move(lab, there, here)
        assert back["migration"]["method"] == "live"
        assert left(lab, there, mover) == []
        lines, problems = stream.communicate(timeout=120)
    assert lines.split() == [str(number) for number in range(LINES)], problems
    assert guest.run("cat /proc/sys/kernel/random/boot_id") == boot
    assert guest.run("cat /boot/proof; head -c 17 /dev/vdb").split("\n") == ["kept", "on the data disk", ""]
    now = shown(lab, here)
    assert (now["id"], now["address"], now["nics"][0]["mac"], now["az"]) == (
        mover["id"], mover["address"], mover["nics"][0]["mac"], mover["az"]
    )  # fmt: skip
    assert fetch(lab, mover, 80) == "hello from mover\n"
    assert fetch(lab, mover, 8080) == ""
    assert move(lab, here, here)["steps"] == ["create metadata mover"]
    assert not move(lab, here, here)["changed"]
    assert mover["id"] in guest.run("wget -q -T 10 -O - http://169.254.169.254/openstack/latest/meta_data.json")


def test_check_mode_tells_what_a_run_then_does_and_a_second_run_changes_nothing(lab: Lab, mover: dict[str, Any]) -> None:
    here = home(lab, mover)
    there = other(lab, here)
    before = left(lab, there, mover)
    foreseen = lab.controller([*command(lab, here, "server_migration", {
        "project": "lab", "name": "mover", "hypervisor": there.name, "hypervisors": facts(lab), "allow_az_change": True
    }), "--check", "--diff"]).stdout  # fmt: skip
    assert "migrate server mover" in foreseen
    assert (left(lab, there, mover), home(lab, mover)) == (before, here)
    assert move(lab, here, there)["steps"] == ["migrate server mover"]
    again = move(lab, here, there)
    assert (again["changed"], again["migration"]["destination"], again["migration"]["method"]) == (False, there.name, None)
    assert move(lab, there, there)["steps"] == ["create metadata mover"]
    assert not move(lab, there, there)["changed"]
    assert shown(lab, there)["az"] == there.variables["ecs_az"]


def test_a_host_without_room_or_in_another_zone_is_refused_before_anything_is_touched(lab: Lab, mover: dict[str, Any]) -> None:
    here = home(lab, mover)
    there = other(lab, here)
    full = [{**one, "reserved_memory": one["memory"]} for one in facts(lab)]
    assert "ECS_NO_CAPACITY" in failing(lab, here, there, hypervisors=full)
    assert "ECS_AZ" in failing(lab, here, there, allow_az_change=False)
    assert "ECS_MAINTENANCE" in failing(lab, here, there, hypervisors=[{**one, "maintenance": True} for one in facts(lab)])
    assert left(lab, there, mover) == []
    assert shown(lab, here)["status"] == "running"


def test_a_migration_that_does_not_end_in_time_leaves_the_server_where_it_was(lab: Lab, mover: dict[str, Any]) -> None:
    here = home(lab, mover)
    there = other(lab, here)
    printed = failing(lab, here, there, bandwidth=1, timeout=4)
    assert "ECS_MIGRATION" in printed
    assert "Undone: 2 volumes" in printed
    assert left(lab, there, mover) == []
    assert shown(lab, here)["status"] == "running"
    assert fetch(lab, mover, 80) == "hello from mover\n"


def wait(condition: Callable[[], bool], timeout: float = 30) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_a_run_that_was_killed_is_taken_up_by_the_next(lab: Lab, mover: dict[str, Any]) -> None:
    """Appendix A: the server is ``migrating`` until then, and nobody else may change it."""
    here = home(lab, mover)
    there = other(lab, here)
    options = {
        "project": "lab",
        "name": "mover",
        "hypervisor": there.name,
        "hypervisors": facts(lab),
        "allow_az_change": True,
        "bandwidth": 1,
    }
    argv = ["ip", "netns", "exec", f"{lab.name}-lab", *command(lab, here, "server_migration", options)]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as killed:
        wait(lambda: "lab.mover" in there.run(["virsh", "list", "--name"]).stdout)
        here.run(["sh", "-c", "kill -9 $(pgrep -f 'AnsiballZ_server_migratio[n].py')"])
        killed.wait(60)
    assert shown(lab, here)["status"] == "migrating"
    refused = lab.controller(command(lab, here, "server", {"project": "lab", "name": "mover", "state": "stopped"}), check=False)
    assert "ECS_INCOMPLETE" in refused.stdout
    assert move(lab, here, there)["changed"]
    assert left(lab, here, mover) == []
    assert shown(lab, there)["status"] == "running"
    assert fetch(lab, mover, 80) == "hello from mover\n"


def test_cold_off_or_stopped_for_it(lab: Lab, mover: dict[str, Any]) -> None:
    """R2: a stopped server keeps its id and what is on its disks; one that runs is stopped only where that is allowed."""
    here = home(lab, mover)
    there = other(lab, here)
    Guest(here, "lab.mover").run("echo kept > /boot/proof; echo on the data disk > /dev/vdb; sync")
    assert "ECS_STOP_NEEDED" in failing(lab, here, there, method="cold")
    moved = move(lab, here, there, method="cold", allow_stop=True)["migration"]
    assert (moved["method"], moved["downtime"] > 0) == ("cold", True)
    assert left(lab, here, mover) == []
    guest = Guest(there, "lab.mover")
    server(lab, there, wait_for="agent", state="running")
    wait(lambda: "0" in guest.run("cat /proc/uptime", check=False), 90)
    assert guest.run("cat /boot/proof; head -c 17 /dev/vdb").split("\n") == ["kept", "on the data disk", ""]

    server(lab, there, state="stopped")
    back = move(lab, there, here)["migration"]
    assert (back["method"], back["downtime"]) == ("cold", None)
    assert left(lab, there, mover) == []
    now = shown(lab, here)
    assert (now["id"], now["status"], now["address"]) == (mover["id"], "stopped", mover["address"])
    assert server(lab, here, state="running", wait_for="agent")["server"]["status"] == "running"
    assert Guest(here, "lab.mover").run("cat /boot/proof") == "kept\n"


def test_drain_empties_a_host_and_says_who_cannot_leave(lab: Lab, cloud: Cloud, mover: dict[str, Any]) -> None:
    """EV-3: maintenance, and all servers go; in the lab each host is a zone of its own."""
    here, there = lab.hosts[0], lab.hosts[1]
    if home(lab, mover) is not here:
        move(lab, there, here)
    names = set(here.run(["virsh", "list", "--all", "--name"]).stdout.split())
    assert "lab.web" in names
    stuck = cloud.play("drain_host", "-e", f"ecs_drain_host={here.name}", check=False)
    assert stuck.returncode != 0
    assert f"server web (project lab) stays on {here.name}" in stuck.stdout
    try:
        cloud.play("drain_host", "-e", f"ecs_drain_host={here.name}", "-e", "ecs_allow_az_change=true")
        assert here.run(["virsh", "list", "--all", "--name"]).stdout.split() == []
        assert names <= set(there.run(["virsh", "list", "--name"]).stdout.split())
        assert lab.internet(["curl", "-sS", "--max-time", "10", f"http://{cloud.server('web')['eip']}/"]).stdout == "hello from web\n"
        again = cloud.play("drain_host", "-e", f"ecs_drain_host={here.name}", "-e", "ecs_allow_az_change=true")
        assert "changed=0" in again.stdout.rpartition("PLAY RECAP")[2]
    finally:
        run(lab, here, "hypervisor", maintenance=False)
        wanted = [{"project": "lab", "name": name.partition(".")[2], "hypervisor": here.name} for name in sorted(names)]
        cloud.play("migrate", "-e", json.dumps({"ecs_migrate": wanted, "ecs_allow_az_change": True}))
    assert names <= set(here.run(["virsh", "list", "--name"]).stdout.split())
    assert left(lab, there, mover) == []


def connects(host: Host, other: Host, certificates: dict[str, str]) -> bool:
    """Whether libvirt of another host talks to who shows these certificates."""
    links = " && ".join(f"ln -s {path} $d/{name}" for name, path in certificates.items())
    uri = f"qemu+tls://{other.address}/system?pkipath=$d&tls_hostname={other.name}"
    script = f'd=$(mktemp -d) && {links} && virsh -c "{uri}" uri; code=$?; rm -r $d; exit $code'
    return host.run(["sh", "-c", script], check=False).returncode == 0


@pytest.mark.parametrize(("identity", "admitted"), [("ovn", True), ("pki/controller", False), ("nobody", False), ("qemu", False)])
def test_libvirt_listens_to_hypervisors_only(lab: Lab, identity: str, admitted: bool) -> None:
    """At the management address alone; neither the inventory's certificate nor QEMU's, which a broken-out guest has, opens it."""
    here, there = lab.hosts[0], lab.hosts[1]
    listening = there.run(["ss", "-Hltn", "sport = 16514"]).stdout.split()
    assert [word for word in listening if word.endswith(":16514")] == [f"{there.address}:16514"]
    directory = "/etc/pki/qemu" if identity == "qemu" else f"/etc/altostratus/{identity}"
    own = {} if identity == "nobody" else {"clientcert.pem": f"{directory}/cert.pem", "clientkey.pem": f"{directory}/key.pem"}
    assert connects(here, there, {"cacert.pem": "/etc/altostratus/ovn/ca.pem", **own}) is admitted
    assert here.run(["stat", "--format=%a %U %G", "/etc/pki/qemu/key.pem"]).stdout == "640 root libvirt-qemu\n"
