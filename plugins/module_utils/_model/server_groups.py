# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Server groups: servers of a project that shall run on different hosts, or on the same (spec D2, R3).

A group lives in the metadata of its members, name and policy; one without members is only a line in somebody's YAML.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .errors import EcsError, InvalidInput, NotFound
from .flavors import Flavor
from .host_pools import Candidate, Pool
from .names import check_name, check_unique

POLICIES = ("anti-affinity", "affinity", "soft-anti-affinity", "soft-affinity")
DEFAULT_POLICY = POLICIES[0]
"""The only policy of the guide (spec R3)."""


def check_group(group: str | None, policy: str | None) -> None:
    """Validate what a server says of its group; an empty name is none.

    :raises InvalidInput: when the name or the policy is wrong, or the policy stands alone.
    """
    if group:
        check_name("server_group", group)
    if policy is not None and policy not in POLICIES:
        raise InvalidInput("server_group_policy", policy, "is not a policy", f"Use one of {', '.join(POLICIES)}")
    if policy is not None and not group:
        raise InvalidInput("server_group_policy", policy, "needs a server_group", "Name the group as well")


def membership(group: str | None, policy: str | None, now: tuple[str, str] = ("", "")) -> tuple[str, str]:
    """Group and policy of a server that is asked for these: None leaves it in its group, an empty name in none (spec R6).

    :param now: group and policy of a server that exists.
    """
    if group is None:
        return now
    if not group:
        return "", ""
    return group, policy or (now[1] if group == now[0] else DEFAULT_POLICY)


def declared(items: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Policies by name of the groups that a user lists.

    :raises InvalidInput: when a name or a policy is wrong, or a name stands there twice.
    """
    items = list(items)
    for item in items:
        check_group(check_name("server_groups.name", item.get("name") or ""), item.get("policy"))
    check_unique("server_groups.name", [item["name"] for item in items])
    return {item["name"]: item.get("policy") or DEFAULT_POLICY for item in items}


@dataclass
class Group:
    """A group while servers are placed.

    :param members: names of the members by host.
    :param joining: existing servers that the call makes members, or gives another policy.
    :param coming: sizes of the members that the call makes, by name.
    """

    name: str
    policy: str
    members: dict[str, list[str]] = field(default_factory=dict)
    joining: list[str] = field(default_factory=list)
    coming: dict[str, Flavor] = field(default_factory=dict)
    # At each number, the hosts with more members than that.
    _above: list[set[str]] = field(default_factory=list)
    _levels: dict[tuple[Pool, int, int], int] = field(default_factory=dict)
    _last: dict[tuple[Pool, int, int], Candidate] = field(default_factory=dict)

    @property
    def hard(self) -> bool:
        """Whether the policy is kept at any price."""
        return not self.policy.startswith("soft-")

    @property
    def together(self) -> bool:
        """Whether the members that come choose their host as one, as there is none yet that they must follow."""
        return self.policy == "affinity" and not self.members

    @property
    def block(self) -> Flavor:
        """The room that all who come need together."""
        return Flavor("", sum(size.vcpus for size in self.coming.values()), sum(size.memory for size in self.coming.values()))

    def admits(self, host: str) -> bool:
        """Whether the policy lets one more member go to a host, room or not."""
        if not self.hard or self.together:
            return True
        return (host in self.members) is (self.policy == "affinity")

    def add(self, server: str, host: str) -> None:
        """Count a member."""
        there = self.members.setdefault(host, [])
        if len(there) == len(self._above):
            self._above.append(set())
        self._above[len(there)].add(host)
        there.append(server)

    def choose(self, pool: Pool, size: Flavor) -> Candidate | None:
        """The host of the pool for one more member."""
        key = (pool, size.vcpus, size.memory)
        return self._apart(key, size) if self.policy.endswith("anti-affinity") else self._near(key, size)

    def _apart(self, key: tuple[Pool, int, int], size: Flavor) -> Candidate | None:
        # Room only shrinks and members only grow in number: a level at which nobody had room stays so.
        levels = range(self._levels.get(key, 0), 1 if self.hard else len(self._above) + 1)
        for level in levels:
            self._levels[key] = level
            if host := key[0].find(size, self._above[level] if level < len(self._above) else ()):
                return host
        return None

    def _near(self, key: tuple[Pool, int, int], size: Flavor) -> Candidate | None:
        pool, last = key[0], self._last.get(key)
        if last is None or not last.fits(size):
            homes = sorted(self.members, key=lambda name: (-len(self.members[name]), name))
            last = next((pool.hosts[name] for name in homes if name in pool.hosts and pool.hosts[name].fits(size)), None)
            if last is None and not self.members:
                last = pool.find(self.block)
            if last is None and not self.hard:
                last = pool.find(size)
        if last is not None:
            self._last[key] = last
        return last


def gather(
    policies: Mapping[str, str], wanted: Sequence[Mapping[str, Any]], hypervisors: Iterable[Mapping[str, Any]], project: str
) -> dict[str, Group]:
    """The groups of a project by name, with the members that exist, as they will be when the wanted servers are as they are asked to be.

    :param policies: see :func:`declared`. A group that is not in it has the policy that its servers name, else the one its members have.
    :param wanted: single servers.
    :raises EcsError: when a server names a group that there is not, or policies contradict each other.
    """
    policies = dict(policies)
    for server in wanted:
        group, policy = server.get("server_group"), server.get("server_group_policy")
        check_group(group, policy)
        if group and policy and policies.setdefault(group, policy) != policy:
            hint = f"Group {group} is {policies[group]}; a group has one policy"
            raise InvalidInput("server_group_policy", policy, f"of server {server['name']} contradicts its group's", hint)
    existing = [(server, host["name"]) for host in hypervisors for server in host.get("servers", ()) if server["project"] == project]
    for server, _host in existing:
        if server.get("server_group"):
            policies.setdefault(server["server_group"], server.get("server_group_policy") or DEFAULT_POLICY)
    for server in wanted:
        if server.get("server_group") and server["server_group"] not in policies:
            known = f"known: {', '.join(sorted(policies)) or 'none'}"
            raise NotFound(
                "server group", server["server_group"], f"project {project} (server {server['name']})", f"List it in server_groups; {known}"
            )
    groups = {name: Group(name, policies[name]) for name in sorted(policies)}
    asked = {server["name"]: server for server in wanted}
    for server, host in existing:
        _register(groups, server, host, asked.get(server["name"], {}))
    return groups


def _register(groups: Mapping[str, Group], server: Mapping[str, Any], host: str, asked: Mapping[str, Any]) -> None:
    """Count a server that exists; one that is to be removed or to leave its group (spec R6) is none of its members any more."""
    recorded = server.get("server_group") or ""
    name = recorded if asked.get("server_group") is None else asked["server_group"]
    if not name or asked.get("state") == "absent":
        return
    group = groups[name]
    group.add(server["name"], host)
    if asked.get("server_group") and (name, group.policy) != (recorded, server.get("server_group_policy")):
        group.joining.append(server["name"])


def _broken(group: Group) -> Iterator[tuple[list[str], str]]:
    """Who breaks a hard policy, and how."""
    if group.policy == "anti-affinity":
        for host, names in sorted(group.members.items()):
            if len(names) > 1:
                yield names, f"{', '.join(names)} are on {host}"
    elif group.policy == "affinity" and len(group.members) > 1:
        names = [name for host in sorted(group.members) for name in group.members[host]]
        yield names, " and ".join(f"{', '.join(there)} on {host}" for host, there in sorted(group.members.items()))


def check_members(groups: Iterable[Group]) -> list[str]:
    """See that existing servers which join a group need not move, as no run moves them (spec R4).

    :returns: warnings of members that break their group's policy since before.
    :raises EcsError: ECS_SERVER_GROUP.
    """
    warnings = []
    for group in groups:
        for names, how in _broken(group):
            if joining := sorted(set(names) & set(group.joining)):
                raise EcsError(
                    f"server {joining[0]}: it cannot join server group {group.name} ({group.policy}) where it is: {how}",
                    "ECS_SERVER_GROUP",
                    f"Move it first, with module server_migration, leave it out of the group, or use policy soft-{group.policy}",
                )
            warnings.append(f"server group {group.name} ({group.policy}): {how}; nothing is moved")
    return warnings


def check_quotas(groups: Iterable[Group], limits: Mapping[str, int | None]) -> None:
    """See that the call makes no group and no member too many (spec R3): quotas hold for what comes, not for what is there.

    :param limits: ``server_groups`` of a project, ``server_group_members`` of a group; None for no limit.
    :raises EcsError: ECS_QUOTA.
    """
    groups = [group for group in groups if group.members or group.coming]
    most, members = limits.get("server_groups"), limits.get("server_group_members")
    new = [group for group in groups if len(group.joining) == sum(map(len, group.members.values()))]
    if most is not None and new and len(groups) > most:
        raise EcsError(
            f"server group {new[-1].name}: it would be number {len(groups)}, the quota of the project is {most}",
            "ECS_QUOTA",
            "Use fewer groups or raise quota server_groups",
        )
    for group in groups:
        count = sum(map(len, group.members.values())) + len(group.coming)
        if members is not None and (group.coming or group.joining) and count > members:
            raise EcsError(
                f"server group {group.name}: it would have {count} members, the quota is {members}",
                "ECS_QUOTA",
                "Use several groups or raise quota server_group_members",
            )
