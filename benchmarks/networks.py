# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Networks in a private Northbound: a network of 1000 ports as a whole, one port among 10,000, rules to ACLs, a list against a loop.

The limit is one bare transaction over a socket: the very rows that ours has made, recorded after a run of ours, or the least that
answers the question.
"""

from __future__ import annotations

import contextlib
import gc
import io
import json
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from ipaddress import IPv4Network
from pathlib import Path
from statistics import median
from types import ModuleType
from typing import Any

from ansible.module_utils.testing import patch_module_args
from harness import ROOT, Figure, Play, Times, pings, run, take_turns

from ansible_collections.altostratus.ecs.plugins.module_utils._engines.ovsdb import Northbound
from ansible_collections.altostratus.ecs.plugins.module_utils._model import northbound as model
from ansible_collections.altostratus.ecs.plugins.module_utils._model import rules
from ansible_collections.altostratus.ecs.plugins.module_utils._model.names import Scope
from ansible_collections.altostratus.ecs.plugins.module_utils._services import ports as port_service
from ansible_collections.altostratus.ecs.plugins.module_utils._services import security_groups, vpcs
from ansible_collections.altostratus.ecs.plugins.modules import network_interface, network_interface_info, security_group, vpc

SCHEMA = "/usr/share/ovn/ovn-nb.ovsschema"
SCOPE = Scope("local", "bench")
SETTINGS = {"module_defaults": {"group/altostratus.ecs.project": {"project": SCOPE.project, "region": SCOPE.region}}}
TABLES = (model.SWITCH, model.PORT, model.ROUTER, model.ROUTER_PORT, model.DHCP, model.GROUP, model.ACL)

Operation = dict[str, Any]
Items = list[dict[str, Any]]


class Database:
    """A private ovsdb-server with the schema of OVN's Northbound."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="bench-"))  # a socket's path has at most 107 characters
        self.remote = f"unix:{self.directory}/nb.sock"
        self._server: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop()
        shutil.rmtree(self.directory)

    def _stop(self) -> None:
        if self._server:
            self._server.send_signal(signal.SIGTERM)
            self._server.wait()

    def reset(self, rows: Sequence[Operation] = ()) -> None:
        """Start anew with these rows and nothing else."""
        self._stop()
        file = self.directory / "nb.db"
        file.unlink(missing_ok=True)
        subprocess.run(["ovsdb-tool", "create", file, SCHEMA], check=True)
        options = [f"--remote=p{self.remote}", f"--unixctl={self.directory}/ctl", "--verbose=console:off"]
        self._server = subprocess.Popen(["ovsdb-server", *options, file], stdin=subprocess.DEVNULL)
        while not (self.directory / "ctl").exists() or not self._listens():
            time.sleep(0.01)
        if rows:
            self.transact(*rows)
        self._begin = file.stat().st_size

    def _listens(self) -> bool:
        with socket.socket(socket.AF_UNIX) as server:
            return server.connect_ex(self.remote.removeprefix("unix:")) == 0

    def transact(self, *operations: Operation) -> list[dict[str, Any]]:
        """One transaction as bare as can be: connect, send, receive."""
        with socket.socket(socket.AF_UNIX) as server:
            server.connect(self.remote.removeprefix("unix:"))
            server.sendall(json.dumps({"method": "transact", "params": ["OVN_Northbound", *operations], "id": 1}).encode())
            answer = bytearray()
            while True:
                answer += server.recv(1 << 20)
                if answer.endswith(b"}"):
                    with contextlib.suppress(ValueError):
                        results: list[dict[str, Any]] = json.loads(answer)["result"]
                        break
        if problems := [result for result in results if result and result.get("error")]:
            raise RuntimeError(str(problems))
        return results

    def rows(self) -> list[Operation]:
        """Insertions of all rows there are, as one transaction takes them; what is empty needs no mention."""
        found = []
        for table, result in zip(TABLES, self.transact(*({"op": "select", "table": table, "where": []} for table in TABLES)), strict=True):
            for row in result["rows"]:
                told = {key: value for key, value in row.items() if key[0] != "_" and value not in (["set", []], ["map", []], "")}
                found.append({"op": "insert", "table": table, "uuid": row["_uuid"][1], "row": told})
        return found

    def written(self) -> list[dict[str, int]]:
        """What each transaction since the reset has written, by the server's own log: how many rows of which table."""
        text = (self.directory / "nb.db").read_bytes()[self._begin :]
        found = []
        while text:
            header, _newline, text = text.partition(b"\n")  # OVSDB JSON <bytes> <sha1>
            length = int(header.split()[2])
            record, text = json.loads(text[:length]), text[length:]
            found.append({table: len(rows) for table, rows in record.items() if table[0] != "_"})
        return found


def play(name: str, nb: Database, *tasks: Mapping[str, Any]) -> Play:
    """A play of our modules on this Northbound."""
    return Play(name, tasks, settings=SETTINGS, environment={"ECS_OVN_NB": nb.remote})


def in_process(module: ModuleType, nb: Database, **options: Any) -> dict[str, Any]:
    """Run a module in this process, as Ansible's wrapper does in one of its own."""
    output = io.StringIO()
    arguments = {"project": SCOPE.project, "region": SCOPE.region, "ovn_nb": nb.remote, **options}
    with patch_module_args(arguments), contextlib.redirect_stdout(output), contextlib.suppress(SystemExit):
        module.main()
    result: dict[str, Any] = json.loads(output.getvalue().splitlines()[-1])
    if result.get("failed"):
        raise RuntimeError(result["msg"])
    return result


def expected(play: Play, changed: bool) -> Callable[[], None]:
    """The play, which must change something or nothing."""
    return lambda: play(changed=changed)


def logged(work: Callable[[], None], nb: Database, log: list[list[dict[str, int]]]) -> Callable[[], float]:
    """The same work, and a note of what it has written."""

    def noted() -> float:
        started = time.perf_counter()
        work()
        seconds = time.perf_counter() - started
        log.append(nb.written())
        return seconds

    return noted


# --- a network as a whole ------------------------------------------------------------------------------------------------------------

SUBNETS, GROUPS, RULES, PORTS = 20, 50, 20, 1000


def subnets(count: int = SUBNETS, size: int = 22) -> Items:
    """Subnets of as many addresses each."""
    parts = IPv4Network("10.64.0.0/12").subnets(new_prefix=size)
    return [{"name": f"s{number:03d}", "cidr": str(cidr)} for number, cidr in zip(range(count), parts, strict=False)]


def groups(count: int = GROUPS, size: int = RULES) -> Items:
    """Security groups of as many rules each."""
    return [
        {"name": f"g{group:03d}", "rules": [{"ports": 8000 + rule, "source": f"10.{group % 250}.{rule}.0/24"} for rule in range(size)]}
        for group in range(count)
    ]


def ports(count: int = PORTS, subnets: int = SUBNETS, groups: int = GROUPS) -> Items:
    """Ports, spread evenly over subnets and groups."""
    return [
        {"name": f"p{port:05d}", "subnet": f"s{port % subnets:03d}", "security_groups": [f"g{port % groups:03d}"]} for port in range(count)
    ]


def network(count: int = PORTS) -> list[tuple[ModuleType, dict[str, Any]]]:
    """The calls that make a network of *count* ports; its subnets stay equally full whatever its size."""
    wide, many = SUBNETS * count // PORTS, GROUPS * count // PORTS
    return [
        (vpc, {"vpcs": [{"name": "bench", "cidr": "10.64.0.0/12", "subnets": subnets(wide)}]}),
        (security_group, {"security_groups": groups(many)}),
        (network_interface, {"network_interfaces": ports(count, wide, many)}),
    ]


def tasks(calls: Sequence[tuple[ModuleType, dict[str, Any]]]) -> Iterator[dict[str, Any]]:
    for module, options in calls:
        yield {f"altostratus.ecs.{module.__name__.rpartition('.')[2]}": options}


def _one_command_a_row() -> Iterator[list[str]]:
    """The same network by ovn-nbctl; what belongs to one row is one command."""
    yield ["lr-add", "bench"]
    wanted = subnets()
    for number, subnet in enumerate(wanted):
        cidr, name = IPv4Network(subnet["cidr"]), subnet["name"]
        yield ["ls-add", name]
        yield ["lrp-add", "bench", f"lrp-{name}", f"fa:16:3e:00:01:{number:02x}", f"{cidr[1]}/{cidr.prefixlen}"]
        joined = ["lsp-set-type", f"lsp-{name}", "router", "--", "lsp-set-addresses", f"lsp-{name}", "router"]
        yield ["lsp-add", name, f"lsp-{name}", "--", *joined, "--", "lsp-set-options", f"lsp-{name}", f"router-port=lrp-{name}"]
        yield ["create", "DHCP_Options", f"cidr={cidr}", f"options:router={cidr[1]}", f"options:server_id={cidr[1]}"]
    yield ["pg-add", "ecs_ports"]
    for group in groups():
        name = group["name"]
        acl = ["--type=port-group", "acl-add", name]
        yield ["pg-add", name]
        for rule in group["rules"]:
            match = f"outport == @{name} && ip4 && ip4.src == {rule['source']} && tcp.dst == {rule['ports']}"
            yield [*acl, "to-lport", "1198", match, "allow-related"]
        for version in ("ip4", "ip6"):
            yield [*acl, "from-lport", "1198", f"inport == @{name} && {version}", "allow-related"]
    for number, port in enumerate(ports()):
        place, subnet = divmod(number, SUBNETS)
        address = f"fa:16:3e:01:{subnet:02x}:{place:02x} {IPv4Network(wanted[subnet]['cidr'])[2 + place]}"
        made = ["create", model.PORT, f"name={port['name']}", f'addresses="{address}"', f'port_security="{address}"']
        parents = [(model.SWITCH, port["subnet"]), (model.GROUP, port["security_groups"][0]), (model.GROUP, "ecs_ports")]
        yield ["--id=@port", *made, *(part for table, name in parents for part in ("--", "add", table, name, "ports", "@port"))]


def nbctl(nb: Database, commands: Iterator[list[str]]) -> None:
    """Run commands of ovn-nbctl, a process each."""
    for command in commands:
        subprocess.run(["ovn-nbctl", f"--db={nb.remote}", *command], check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def _services(nb: Database) -> None:
    """The same network by our services in this process: planned, and written in three transactions."""
    made = [vpcs.SubnetRequest(**subnet) for subnet in subnets()]
    with Northbound(nb.remote) as northbound:
        vpcs.ensure(northbound, SCOPE, [vpcs.VpcRequest("bench", cidr="10.64.0.0/12", subnets=tuple(made))], 1442, False)
        wanted = [security_groups.SecurityGroupRequest(group["name"], rules=tuple(group["rules"])) for group in groups()]
        security_groups.ensure(northbound, SCOPE, wanted, False)
        interfaces = [port_service.InterfaceItem(port_service.PortRequest(**port)) for port in ports()]
        port_service.ensure(northbound, SCOPE, interfaces, False)


def _kept_modules(whole: Play, nb: Database) -> list[Path]:
    """The modules of a play as Ansible packs them for a host, options included: programs that can be run again."""
    kept = nb.directory / "remote"
    replace(whole, environment={**whole.environment, "ANSIBLE_KEEP_REMOTE_FILES": "1", "ANSIBLE_REMOTE_TMP": str(kept)})()
    return sorted(kept.glob("*/AnsiballZ_*.py"), key=lambda path: path.stat().st_mtime_ns)


def network_converge() -> Iterator[Figure]:
    """20 subnets, 50 groups of 20 rules, 1000 ports from nothing; again; and with one rule changed."""
    count = SUBNETS + GROUPS * (RULES + 1) + PORTS
    calls = network()
    with Database() as nb:
        whole = play("network", nb, *tasks(calls))
        nb.reset()
        programs = _kept_modules(whole, nb)
        rows, written = nb.rows(), nb.written()
        if len(written) != len(calls):
            raise RuntimeError(f"not one transaction for each module: {written}")

        gc.freeze()  # what stands here for the limit is no burden of ours

        def modules() -> None:
            for program in programs:
                run(sys.executable, program, environment=whole.environment)

        contenders: dict[str, Callable[[], Any]] = {
            "ours": expected(whole, True),
            "fixed": pings(len(calls)),
            "modules": modules,
            "services": lambda: _services(nb),
            "limit": lambda: nb.transact(*rows),
            "ovn-nbctl": lambda: nbctl(nb, _one_command_a_row()),
        }
        times = take_turns(contenders, before=lambda contender: nb.reset())
        yield times.figure(
            "network_converge create", count, "<= 2x limit", lambda figure: figure.ratio_to_limit <= 2, "ovn-nbctl",
            f"{_shares(times)}; planning and transactions take {times['services']:.3f} s",
        )  # fmt: skip
        services = Times({**times.turns, "ours": times.turns["services"], "fixed": [0.0]})
        yield services.figure(
            "network_converge create, services", count, "<= 2x limit", lambda figure: figure.ratio_to_limit <= 2, "ovn-nbctl",
            "planning and transactions in this process, without Ansible and its modules",
        )  # fmt: skip
        yield _no_change(nb, rows, count, whole, modules)
        yield _one_rule(nb, rows, count)


def _shares(times: Times) -> str:
    over, inside = times["ours"] - times["fixed"], times["modules"]
    return (
        f"{over:.2f} s more than as many pings without options; the three modules run for {inside:.2f} s, from the start of Python to the "
        "printed result; the rest is Ansible, which packs three modules and carries their options and results"
    )


def _no_change(nb: Database, rows: Sequence[Operation], count: int, whole: Play, modules: Callable[[], None]) -> Figure:
    def read() -> None:
        nb.transact(*({"op": "select", "table": table, "where": []} for table in TABLES))

    written: list[list[dict[str, int]]] = []
    ours = logged(expected(whole, False), nb, written)
    contenders: dict[str, Callable[[], Any]] = {"ours": ours, "fixed": pings(len(whole.tasks)), "modules": modules, "limit": read}
    times = take_turns(contenders, before=lambda contender: nb.reset(rows))
    return times.figure(
        "network_converge no change", count, "<= 1 s in the modules, nothing written",
        lambda figure: times["modules"] <= 1 and not any(written), note=_shares(times),
    )  # fmt: skip


def _one_rule(nb: Database, rows: Sequence[Operation], count: int) -> Figure:
    changed = groups()
    changed[7]["rules"][3] = {"ports": 9999, "source": "10.7.3.0/24"}
    one = play("network one rule", nb, *tasks([(security_group, {"security_groups": changed})]))
    nb.reset(rows)
    one(changed=True)
    before = {operation["uuid"]: operation for operation in rows}
    after = {operation["uuid"]: operation for operation in nb.rows()}
    (new,), (old,) = after.keys() - before.keys(), before.keys() - after.keys()
    (group,) = (uuid for uuid in before.keys() & after.keys() if before[uuid] != after[uuid])
    mutations = [["acls", "insert", ["uuid", new]], ["acls", "delete", ["uuid", old]]]
    bare = [after[new], {"op": "mutate", "table": model.GROUP, "where": [["_uuid", "==", ["uuid", group]]], "mutations": mutations}]
    gone, come = before[old]["row"], after[new]["row"]
    name = before[group]["row"]["name"]
    commands = [
        ["--type=port-group", "acl-del", name, gone["direction"], str(gone["priority"]), gone["match"]],
        ["--type=port-group", "acl-add", name, come["direction"], str(come["priority"]), come["match"], come["action"]],
    ]
    written: list[list[dict[str, int]]] = []
    contenders: dict[str, Callable[[], Any]] = {
        "ours": logged(expected(one, True), nb, written),
        "fixed": pings(),
        "limit": lambda: nb.transact(*bare),
        "ovn-nbctl": lambda: nbctl(nb, iter(commands)),
    }
    times = take_turns(contenders, before=lambda contender: nb.reset(rows))
    # the rule that comes and the one that goes, and the group that holds them
    least = [{model.ACL: 2, model.GROUP: 1}]
    return times.figure(
        "network_converge one rule", count, "one transaction, only rows that differ", lambda figure: all(log == least for log in written),
        "ovn-nbctl", f"by the log of ovsdb-server each run wrote {written[0]}",
    )  # fmt: skip


# --- one port among many -------------------------------------------------------------------------------------------------------------

CALLS = 100
"""Calls in one turn; the turn is their median."""
ONE = "p00000"
"""The port that is looked up."""


def _median(call: Callable[[int], object]) -> float:
    seconds = []
    for number in range(CALLS):
        started = time.perf_counter()
        call(number)
        seconds.append(time.perf_counter() - started)
    return median(seconds)


def _replica(nb: Database, what: str) -> float:
    return float(run("/usr/bin/python3", ROOT / "benchmarks/bare/replica.py", nb.remote, SCHEMA, ONE, what).splitlines()[-1])


def _read_one(nb: Database, number: int) -> None:
    if len(in_process(network_interface_info, nb, name=ONE)["network_interfaces"]) != 1:
        raise RuntimeError(f"port {ONE} is not found")


def _change_one(nb: Database, number: int) -> None:
    if not in_process(network_interface, nb, name=ONE, subnet="s000", port_security=bool(number % 2))["changed"]:
        raise RuntimeError(f"port {ONE} is not changed")


def _put_back(nb: Database) -> None:
    in_process(network_interface, nb, name=ONE, subnet="s000", port_security=True)


_NAMED = [["external_ids", "includes", ["map", [["ecs:name", ONE]]]]]


def _select_one(nb: Database, number: int) -> None:
    nb.transact({"op": "select", "table": model.PORT, "where": _NAMED})


def _update_one(nb: Database, number: int) -> None:
    secured = "fa:16:3e:00:00:01 10.64.0.9" if number % 2 else ["set", []]
    nb.transact({"op": "update", "table": model.PORT, "where": _NAMED, "row": {"port_security": secured}})


def port_lookup() -> Iterator[Figure]:
    """One port read, and one changed, in Northbounds of 1,000 and 10,000 ports."""
    sizes = (1000, 10_000)
    with contextlib.ExitStack() as stack:
        clouds = {size: stack.enter_context(Database()) for size in sizes}
        for size, nb in clouds.items():
            print(f"    {size} ports are made", flush=True)
            nb.reset()
            for module, options in network(size):
                in_process(module, nb, **options)
        works = {"read": (_read_one, _select_one), "change": (_change_one, _update_one)}
        for what, (ours, limit) in works.items():
            contenders: dict[str, Callable[[], float | None]] = {}
            for size, nb in clouds.items():
                contenders[f"ours {size}"] = partial(_median, partial(ours, nb))
                contenders[f"limit {size}"] = partial(_median, partial(limit, nb))
                contenders[f"full IDL {size}"] = partial(_replica, nb, what)
            times = take_turns(contenders, before=lambda contender: list(map(_put_back, clouds.values())), repetitions=5)
            yield from _by_size(what, sizes, times)


def _by_size(what: str, sizes: Sequence[int], times: Times) -> Iterator[Figure]:
    least = times[f"ours {sizes[0]}"]
    for size in sizes:
        of_size = Times({name: times.turns[f"{name} {size}"] for name in ("ours", "limit", "full IDL")})
        note = f"the module in this process, options and connection included; {of_size['ours'] / least:.2f} times the cost among {sizes[0]}"
        yield of_size.figure(
            f"port_lookup {what} {size}", size, "cost independent of the size of the cloud", lambda figure: figure.ours <= 1.25 * least,
            "full IDL", note,
        )  # fmt: skip


# --- rules to ACLs -------------------------------------------------------------------------------------------------------------------


def security_compile() -> Iterator[Figure]:
    """500 groups of 120 rules, from what a user writes to ACL rows, without any I/O."""
    count = 500
    written = {f"g{group:03d}": list(_written(group)) for group in range(count)}
    made: list[int] = []
    gc.freeze()  # the input is there before

    def compiled() -> None:
        rows = 0
        for name, of_group in written.items():
            parsed = rules.parse_rules(of_group)
            rows += len(model.SecurityGroup(SCOPE.id("security_group", name), name, SCOPE.region, SCOPE.project, "", parsed).rows()) - 1
        made.append(rows)

    times = take_turns({"ours": compiled}, repetitions=5)
    if made[0] != 120 * count:
        raise RuntimeError(f"{made[0]} ACLs")
    yield times.figure(
        "security_compile",
        made[0],
        "< 1 s",
        lambda figure: figure.ours < 1,
        note="rules as users write them, checked and parsed, to rows with ids",
    )


def _written(group: int) -> Iterator[dict[str, Any]]:
    """What becomes 120 rules: those for a group count twice, for IPv4 and IPv6, and so does the one for all egress that is added."""
    for rule in range(98):
        low = 1000 + rule
        yield (
            {"ports": low, "source": f"10.{group % 250}.{rule}.0/24"},
            {"ports": f"{low}-{low + 100},{low + 200}", "source": f"2001:db8:{group:x}:{rule:x}::/64", "action": "deny"},
            {"protocol": "icmp", "source": f"192.0.2.{rule}", "priority": rule + 1, "description": f"monitor {rule}"},
        )[rule % 3]
    for other in range(10):
        yield {"ports": 3306 + other, "source_group": f"g{(group + other) % 500:03d}"}


# --- a list against a loop -----------------------------------------------------------------------------------------------------------


def loop_cost() -> Iterator[Figure]:
    """50 network interfaces by one call with a list, and by a call for each."""
    wanted = ports(50)
    with Database() as nb:
        nb.reset()
        for module, options in network()[:2]:
            in_process(module, nb, **options)
        rows = nb.rows()
        listed = play("interfaces list", nb, {"altostratus.ecs.network_interface": {"network_interfaces": wanted}})
        each = {"name": "{{ item.name }}", "subnet": "{{ item.subnet }}", "security_groups": "{{ item.security_groups }}"}
        looped = play("interfaces loop", nb, {"altostratus.ecs.network_interface": each, "loop": wanted})
        contenders = {"ours": expected(listed, True), "fixed": pings(), "loop": expected(looped, True)}
        times = take_turns(contenders, before=lambda contender: nb.reset(rows))
    with_start, without = times["loop"] / times["ours"], (times["loop"] - times["fixed"]) / (times["ours"] - times["fixed"])
    yield times.figure(
        "loop_cost", len(wanted), ">= 15x", lambda figure: (figure.ratio_to_peer or 0) >= 15, "loop",
        f"{with_start:.1f} times with Ansible's start in both, {without:.1f} times without it in either",
    )  # fmt: skip
