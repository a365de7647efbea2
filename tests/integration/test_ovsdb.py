# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Northbound engine against real database servers: races, TLS, a cluster, an idle connection."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.altostratus.ecs.plugins.module_utils._engines import ovsdb
from ansible_collections.altostratus.ecs.plugins.module_utils._engines.ovsdb import LostRace, Northbound
from ansible_collections.altostratus.ecs.plugins.module_utils._model.errors import EcsError

from .conftest import SCHEMAS, Ovn, run, stop

SWITCH = "Logical_Switch"


def new_id() -> str:
    return str(uuid.uuid4())


def switch(uuid_: str, name: str = "a") -> ovsdb.Operation:
    return ovsdb.insert(SWITCH, uuid_, {"name": name, "external_ids": {"ecs:name": name}})


def test_rows_are_written_under_our_uuid_and_found_by_it(ovn: Ovn) -> None:
    ids = [new_id() for count in range(3)]
    with ovn.connect() as nb:
        nb.transact([switch(item) for item in ids[:2]])
        assert nb.find(SWITCH, ids, ["name", "ports"]) == {item: {"name": "a", "ports": frozenset()} for item in ids[:2]}
        assert len(nb.select(SWITCH, [("external_ids", "includes", {"ecs:name": "a"})], ["_uuid"])) == 2


def test_rows_are_counted_without_a_change(ovn: Ovn) -> None:
    with ovn.connect() as nb:
        nb.transact([switch(new_id(), name) for name in "aab"])
        before = (ovn.directory / "nb.db").stat().st_size, nb.select(SWITCH)
        named = [("external_ids", "includes", {"ecs:name": "a"})]
        assert nb.count((SWITCH, ()), (SWITCH, named), ("Logical_Router", ())) == [3, 2, 0]
        assert ((ovn.directory / "nb.db").stat().st_size, nb.select(SWITCH)) == before


def test_a_large_answer_arrives_whole(ovn: Ovn) -> None:
    with ovn.connect() as nb:
        nb.transact([switch(new_id(), f"{{{number}}}" * 20) for number in range(5000)])
        rows = nb.select(SWITCH, columns=["name", "external_ids"])
    assert {row["name"] for row in rows} == {f"{{{number}}}" * 20 for number in range(5000)}


@pytest.mark.parametrize(
    "late",
    [
        lambda item: ovsdb.insert(SWITCH, item, {"name": "b"}),
        lambda item: ovsdb.expect(SWITCH, item, {"name": "b"}),
        lambda item: ovsdb.expect(SWITCH, new_id()),
        lambda item: ovsdb.mutate(SWITCH, item, "ports", "insert", [new_id()]),
    ],
    ids=["the row exists by now", "it has another value", "it is gone", "what it refers to is gone"],
)
def test_a_lost_race_writes_nothing(ovn: Ovn, late: object) -> None:
    item = new_id()
    with ovn.connect() as nb:
        nb.transact([switch(item)])
        with pytest.raises(LostRace):
            nb.transact([ovsdb.update(SWITCH, [("_uuid", "==", item)], {"name": "changed"}), late(item)])  # type: ignore[operator]
        assert nb.find(SWITCH, [item], ["name"])[item]["name"] == "a"


def test_the_server_s_words_are_told(ovn: Ovn) -> None:
    with ovn.connect() as nb, pytest.raises(EcsError, match="No column colour") as error:
        nb.transact([ovsdb.insert(SWITCH, new_id(), {"colour": "blue"})])
    assert error.value.code == "ECS_OVN"


@pytest.mark.parametrize(
    ("remote", "problem"),
    [
        ("unix:/nonexistent/nb.sock", "cannot connect.*No such file"),
        ("tcp:127.0.0.1:1", "cannot connect.*refused"),
        ("http://127.0.0.1", "ovn_nb.*unix:PATH"),
        ("ssl:127.0.0.1:1", "ovn_ca_cert.*cannot be read"),
    ],
)
def test_a_remote_that_does_not_answer(remote: str, problem: str) -> None:
    with Northbound(remote, "/nonexistent", "/nonexistent", "/nonexistent") as nb, pytest.raises(EcsError, match=problem):
        nb.select(SWITCH)


@pytest.fixture
def pki(tmp_path: Path) -> Path:
    """A certificate authority ``ca`` with a server and a client, and another one ``alien`` with a client."""
    for authority, subjects in (("ca", ("server", "client")), ("alien", ("stranger",))):
        base = tmp_path / authority
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        openssl("req", "-x509", *key, "-days", "1", "-subj", f"/CN={authority}", "-keyout", f"{base}.key", "-out", f"{base}.pem")
        for subject in subjects:
            name = tmp_path / subject
            openssl("req", *key, "-subj", f"/CN={subject}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
            signed = ["-CA", f"{base}.pem", "-CAkey", f"{base}.key", "-CAcreateserial", "-days", "1"]
            openssl("x509", "-req", "-in", f"{name}.csr", *signed, "-out", f"{name}.pem")
    return tmp_path


def openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


@pytest.fixture
def tls(ovn: Ovn, pki: Path) -> str:
    """The Northbound over TLS with client certificates."""
    ovn.nbctl("set-ssl", f"{pki}/server.key", f"{pki}/server.pem", f"{pki}/ca.pem")
    run("ovs-appctl", "-t", str(ovn.directory / "nb.ctl"), "ovsdb-server/add-remote", "pssl:0:127.0.0.1")
    return f"ssl:127.0.0.1:{ovn.logged(r'0:127.0.0.1: listening on port (?P<port>[0-9]+)')['port']}"


def test_tls_with_our_certificates(tls: str, pki: Path) -> None:
    with Northbound(tls, f"{pki}/ca.pem", f"{pki}/client.pem", f"{pki}/client.key") as nb:
        nb.transact([switch(new_id(), str(number)) for number in range(2000)])
        assert len(nb.select(SWITCH, columns=["name", "external_ids"])) == 2000


@pytest.mark.parametrize(("authority", "client"), [("ca", "stranger"), ("alien", "client")])
def test_tls_with_foreign_certificates_is_refused(tls: str, pki: Path, authority: str, client: str) -> None:
    with (
        Northbound(tls, f"{pki}/{authority}.pem", f"{pki}/{client}.pem", f"{pki}/{client}.key") as nb,
        pytest.raises(EcsError) as error,
    ):
        nb.select(SWITCH)
    assert error.value.code == "ECS_OVN"


def test_an_idle_connection_that_the_server_dropped_is_made_anew(ovn: Ovn) -> None:
    ovn.nbctl("set-connection", "punix:" + str(ovn.directory / "probed.sock"))
    ovn.nbctl("set", "Connection", ".", "inactivity_probe=1000")
    run("ovs-appctl", "-t", str(ovn.directory / "nb.ctl"), "ovsdb-server/add-remote", "db:OVN_Northbound,NB_Global,connections")
    with Northbound(f"unix:{ovn.directory}/probed.sock") as nb:
        nb.transact([switch(new_id())])
        ovn.logged("no response to inactivity probe")
        assert len(nb.select(SWITCH)) == 1


@pytest.fixture
def cluster(ovn: Ovn) -> Iterator[list[str]]:
    """Three servers of one RAFT cluster; the remotes, followers first."""
    directory = ovn.directory / "cluster"
    directory.mkdir()
    for number in (1, 2, 3):
        database, raft = f"{directory}/{number}.db", f"unix:{directory}/{number}.raft"
        if number == 1:
            run("ovsdb-tool", "create-cluster", database, str(SCHEMAS / "ovn-nb.ovsschema"), raft)
        else:
            run("ovsdb-tool", "join-cluster", database, "OVN_Northbound", raft, f"unix:{directory}/1.raft")
        run(
            "ovsdb-server", "--detach", "--no-chdir", f"--pidfile={directory}/{number}.pid", f"--log-file={directory}/{number}.log",
            f"--unixctl={directory}/{number}.ctl", f"--remote=punix:{directory}/{number}.sock", database,
        )  # fmt: skip
        run("ovsdb-client", "wait", f"unix:{directory}/{number}.sock", "OVN_Northbound", "connected")
    yield [f"unix:{directory}/{number}.sock" for number in (3, 2, 1)]
    stop(*directory.glob("*.pid"))


def test_the_leader_of_a_cluster_is_found(cluster: list[str]) -> None:
    with Northbound(",".join(cluster)) as nb:
        nb.transact([switch(new_id())])
        assert len(nb.select(SWITCH)) == 1
        assert nb._channel is not None
        assert nb._channel.remote == cluster[-1]


def test_a_member_of_the_cluster_may_be_down(cluster: list[str]) -> None:
    with Northbound(f"unix:/nonexistent.sock,{','.join(cluster)}") as nb:
        assert nb.select(SWITCH) == []
