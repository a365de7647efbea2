# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Security groups: their rules against the live ACLs, and only the difference written."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .._engines.ovsdb import Northbound
from .._model import northbound as model
from .._model import rules as rules_model
from .._model.errors import EcsError, InvalidInput, NotFound
from .._model.names import Scope, check_name, check_unique
from .._model.northbound import SecurityGroup
from .._model.rules import DEFAULT_GROUP, Rule
from .northbound import Draft, apply, owned, shorten


@dataclass(frozen=True)
class SecurityGroupRequest:
    """What a user wants of one group; None leaves a field as it is.

    :param rules: all rules of the group, as written.
    :param default_egress: allow all egress where *rules* has no egress rule.
    """

    name: str
    present: bool = True
    description: str | None = None
    rules: tuple[Mapping[str, Any], ...] | None = None
    default_egress: bool = True


def ensure(nb: Northbound, scope: Scope, requests: Sequence[SecurityGroupRequest], check: bool) -> tuple[Draft, list[SecurityGroup]]:
    """Make all groups as requested, in one transaction; returns those that are to be present."""
    check_unique("name", [check_name("name", request.name) for request in requests])
    parsed = {request.name: _parse(request) for request in requests}
    groups: list[SecurityGroup] = []

    def plan() -> Draft:
        groups.clear()
        draft = Draft()
        ids = {request.name: scope.id("security_group", request.name) for request in requests}
        live = read_by_id(nb, ids.values(), draft)
        for request in requests:
            current = live.get(ids[request.name])
            if request.present:
                wanted = _merge(scope, request, parsed[request.name], current)
                groups.append(wanted)
                rows = wanted.rows()
                draft.put("security_group", wanted.name, rows)
                if current is None:
                    draft.know(model.ACL, (row.uuid for row in rows[1:]), {})  # OVSDB keeps no ACL without its group
                _change(draft, current, wanted)
                draft.warnings += rules_model.warnings(wanted.name, wanted.rules)
        _check_sources(nb, scope, groups, draft, check)
        _remove(nb, draft, [live[ids[request.name]] for request in requests if not request.present and ids[request.name] in live])
        return draft.finish(nb)

    return apply(nb, plan, lambda draft: draft, check), groups


def _parse(request: SecurityGroupRequest) -> tuple[Rule, ...] | None:
    if not request.present:
        return None
    if request.description is not None:
        rules_model.check_description("description", request.description)
    if request.rules is None:
        return None
    return rules_model.parse_rules(request.rules, request.default_egress, f"{request.name}: rules")


def _merge(scope: Scope, request: SecurityGroupRequest, rules: tuple[Rule, ...] | None, current: SecurityGroup | None) -> SecurityGroup:
    if current is None and request.name == DEFAULT_GROUP:
        current = model.default_group(scope)
    if current is None:
        group_id = scope.id("security_group", request.name)
        initial = rules_model.parse_rules([], request.default_egress)
        current = SecurityGroup(group_id, request.name, scope.region, scope.project, "", initial)
    description = current.description if request.description is None else request.description
    return replace(current, description=description, rules=current.rules if rules is None else rules)


def _change(draft: Draft, current: SecurityGroup | None, wanted: SecurityGroup) -> None:
    """A step that shows only the rules that come and go."""
    common = set(current.rules) & set(wanted.rules) if current else set()
    before, after = (
        group and replace(group, rules=tuple(rule for rule in group.rules if rule not in common)) for group in (current, wanted)
    )
    draft.change("security_group", wanted.name, before, after)


def _check_sources(nb: Northbound, scope: Scope, groups: Sequence[SecurityGroup], draft: Draft, check: bool) -> None:
    """Every group that a rule names exists, or is made by this call."""
    listed = {group.name for group in groups}
    named = {rule.group: group.name for group in groups for rule in group.rules if rule.group and rule.group not in listed}
    missing = missing_groups(nb, scope, named)
    if not missing:
        for name in named:
            draft.guard(model.GROUP, scope.id("security_group", name), {})
    elif check:
        draft.warnings += [f"security group {name}, a source in group {named[name]}, does not exist yet" for name in missing]
    else:
        where = f"project {scope.project} (named by a rule of {named[missing[0]]})"
        raise NotFound("security group", missing[0], where, "Create it in the same call")


def missing_groups(nb: Northbound, scope: Scope, names: Iterable[str]) -> list[str]:
    """Those of the names that no group of the project has."""
    ids = {scope.id("security_group", name): name for name in names}
    found = nb.find(model.GROUP, ids, ["_uuid"])
    return [name for uuid, name in ids.items() if uuid not in found]


def drop_default(nb: Northbound, scope: Scope, draft: Draft) -> None:
    """Give up a project's group ``default`` as it was made automatically, unless something refers to it or changed its rules."""
    group = read_by_id(nb, [scope.id("security_group", DEFAULT_GROUP)]).get(scope.id("security_group", DEFAULT_GROUP))
    if group and set(group.rules) == set(rules_model.default_rules()):
        users = nb.select(model.ACL, [("external_ids", "includes", {"ecs:source_group_id": group.id})], ["external_ids"])
        (row,) = nb.find(model.GROUP, [group.id], ["ports"]).values()
        if not row["ports"] and {user["external_ids"].get("ecs:group_id") for user in users} <= {group.id}:
            draft.guard(model.GROUP, group.id, row)
            draft.drop(group.rows()[:1])
            draft.change("security_group", group.name, group, None)


def _remove(nb: Northbound, draft: Draft, groups: Sequence[SecurityGroup]) -> None:
    """Delete groups that have no member and that no rule of another group names."""
    ids = {group.id: group for group in groups}
    members = nb.find(model.GROUP, ids, ["ports"])
    ports = nb.find(model.PORT, (port for row in members.values() for port in row["ports"]), ["external_ids"])
    sources = nb.select_all((model.ACL, [("external_ids", "includes", {"ecs:source_group_id": uuid})], ["external_ids"]) for uuid in ids)
    for (uuid, group), rows in zip(ids.items(), sources, strict=True):
        if group.name == DEFAULT_GROUP and any(nb.count((model.ROUTER, owned(Scope(group.region, group.project), "vpc")))):
            hint = "Change its rules instead; once the project has no VPC it can be deleted"
            raise InvalidInput("name", group.name, "is the group of ports that name none, it cannot be deleted", hint)
        names = [ports[port]["external_ids"].get("ecs:name", port) for port in members[uuid]["ports"] & ports.keys()]
        others = {row["external_ids"].get("ecs:group_id") for row in rows} - ids.keys()
        if names or others:
            owners = nb.find(model.GROUP, (other for other in others if other), ["external_ids"]).values()
            told = [f"interfaces {shorten(names)}"] if names else []
            told += [f"rules of groups {shorten(row['external_ids']['ecs:name'] for row in owners)}"] if others else []
            raise EcsError(f"security group {group.name} is in use by {' and '.join(told)}", "ECS_IN_USE", "Remove it there first")
        draft.guard(model.GROUP, uuid, {"ports": members[uuid]["ports"]})
        draft.drop(group.rows()[:1])
        draft.change("security_group", group.name, group, None)


def read_by_id(nb: Northbound, ids: Collection[str], draft: Draft | None = None) -> dict[str, SecurityGroup]:
    """Groups by id; a draft that is given need not read their rows again."""
    rows = nb.find(model.GROUP, ids, model.GROUP_COLUMNS)
    if draft:
        draft.know(model.GROUP, ids, rows)
    return _assemble(nb, rows, draft)


def read_all(nb: Northbound, scope: Scope, name: str | None = None) -> list[SecurityGroup]:
    """All groups of a project, by name; or only the one of that name."""
    if name is not None:
        return list(read_by_id(nb, [scope.id("security_group", name)]).values())
    rows = nb.select(model.GROUP, owned(scope, "security_group"), ["_uuid", *model.GROUP_COLUMNS])
    return sorted(_assemble(nb, {row["_uuid"]: row for row in rows}).values(), key=lambda group: group.name)


def _assemble(nb: Northbound, rows: Mapping[str, Mapping[str, Any]], draft: Draft | None = None) -> dict[str, SecurityGroup]:
    acls = nb.find(model.ACL, (acl for row in rows.values() for acl in row["acls"]), model.ACL_COLUMNS)
    if draft:
        draft.know(model.ACL, acls, acls)
    rules: dict[str, list[Rule]] = defaultdict(list)
    for row in acls.values():
        if row["external_ids"].get("ecs:kind") == "rule":
            rules[row["external_ids"]["ecs:group_id"]].append(model.read_rule(row))
    return {uuid: SecurityGroup.read(row, rules[uuid]) for uuid, row in rows.items()}
