# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Security group rules: what a user wrote -> checked, immutable rules -> OVN ACLs; never wider than written.

A written rule may name several addresses; each becomes a rule of its own, for one IP version (spec S-14, V-10).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from .addresses import any_network
from .errors import EcsError, InvalidInput
from .names import check_name

INGRESS, EGRESS = "ingress", "egress"
IPV4, IPV6 = "ipv4", "ipv6"
ANYWHERE = {IPV4: "0.0.0.0/0", IPV6: "::/0"}
DEFAULT_GROUP = "default"
MAX_PORT_ITEMS = 20
MAX_RESTRICTED = 120
MAX_DESCRIPTION = 255

_PORTS = re.compile(r"(\d+)(?:\s*-\s*(\d+))?", re.ASCII)
_NUMBERS = {"1": "icmp", "6": "tcp", "17": "udp", "47": "gre", "58": "icmpv6"}
_MATCHES = {"tcp": "tcp", "udp": "udp", "icmp": "icmp4", "icmpv6": "icmp6", "gre": "ip.proto == 47"}
# Ports that should not face the Internet: remote logins and a config service (spec S-19), worms and back doors (S-20).
_RISKY = {
    "tcp": frozenset(
        {22, 3389, 8848, 42, 135, 137, 138, 139, 444, 445, 593, 1025, 1068, 1434, 3127, 3128, 3129, 3130}
        | {4444, 4789, 5554, 5800, 5900, 9996}
    ),
    "udp": frozenset({*range(135, 140), 1026, 1027, 1028, 1068, 1433, 1434, 4789, 5554, 9996}),
}


class Rule(NamedTuple):
    """One rule of one group, for one IP version.

    :param priority: 1 to 100, a smaller number wins; at the same number deny wins (spec S-09, S-10).
    :param protocol: ``all``, ``tcp``, ``udp``, ``icmp``, ``icmpv6``, ``gre`` or an IP protocol number.
    :param ports: destination ports such as ``22,8000-8080``; empty means all (spec S-13).
    :param remote: CIDR of the other side; empty when *group* is set.
    :param group: name of the security group on the other side.
    """

    direction: str
    action: str
    priority: int
    ethertype: str
    protocol: str
    ports: str = ""
    remote: str = ""
    group: str = ""
    description: str = ""

    def represent(self) -> dict[str, Any]:
        """The rule in the words of the module's options."""
        side = "source" if self.direction == INGRESS else "destination"
        other = {f"{side}_group": self.group} if self.group else {side: self.remote}
        return {
            "direction": self.direction,
            "action": self.action,
            "priority": self.priority,
            "ethertype": self.ethertype,
            "protocol": self.protocol,
            "ports": self.ports,
            **other,
            "description": self.description,
        }


def _split(items: Iterable[Any] | str | int | None) -> list[str]:
    """The parts of a comma separated text, or of a list of such."""
    listed = [items] if isinstance(items, (str, int)) else items or []
    return [part.strip() for item in listed for part in str(item).split(",") if part.strip()]


def parse_ports(option: str, items: Iterable[Any] | str | int | None) -> str:
    """Destination ports in one spelling: ``22``, ``22-30`` or ``22,23-30``; empty for all (spec S-13, V-07).

    :raises InvalidInput: a port outside 1-65535, a range that ends before it begins, an item twice, more than 20 items.
    """
    texts = _split(items)
    parsed: list[str] = []
    for text in texts:
        found = _PORTS.fullmatch(text)
        if found is None:
            raise InvalidInput(option, text, "is not a port or range", "Write 22, 22-30 or a list of them")
        low = int(found[1])
        high = int(found[2] or low)
        if not 1 <= low <= 65535 or not 1 <= high <= 65535:
            raise InvalidInput(option, text, "is out of range", "Ports are 1 to 65535")
        if low > high:
            raise InvalidInput(option, text, "ends before it begins", f"Write {high}-{low}")
        spelled = str(low) if low == high else f"{low}-{high}"
        if spelled in parsed:
            raise InvalidInput(option, text, "is listed twice", "List each port or range once")
        parsed.append(spelled)
    if len(parsed) > MAX_PORT_ITEMS:
        raise InvalidInput(option, ",".join(texts), f"has {len(parsed)} ports and ranges", f"A rule takes at most {MAX_PORT_ITEMS}")
    return "" if "1-65535" in parsed else ",".join(parsed)


def _protocol(option: str, value: str | None, ports: str) -> str:
    text = str(value or ("tcp" if ports else "all")).lower()
    name = _NUMBERS.get(text, text)
    if name != "all" and name not in _MATCHES and not (name.isascii() and name.isdigit() and int(name) <= 255):
        raise InvalidInput(option, value, "is not a protocol", "Use all, tcp, udp, icmp, icmpv6, gre or a number from 0 to 255")
    if ports and name not in ("tcp", "udp"):
        raise InvalidInput(option, value, f"has no ports, but ports are {ports}", "Ports belong to tcp and udp")
    return str(int(name)) if name.isdigit() else name


def check_description(option: str, value: str) -> str:
    """A description has at most 255 characters and no angle brackets (spec G4, S-15)."""
    if len(value) > MAX_DESCRIPTION or "<" in value or ">" in value:
        raise InvalidInput(option, value, "is not a valid description", f"Use at most {MAX_DESCRIPTION} characters, without < and >")
    return value


def parse_rule(written: Mapping[str, Any], option: str = "rules") -> list[Rule]:
    """One written rule as one or more rules, each for one address and IP version.

    :raises InvalidInput: a value is wrong, or the options contradict each other.
    """
    direction = written.get("direction") or INGRESS
    side, *others = ("source", "destination", "destination_group") if direction == INGRESS else ("destination", "source", "source_group")
    for name in others:
        if written.get(name):
            raise InvalidInput(f"{option}.{name}", written[name], f"does not fit an {direction} rule", f"Use {side} or {side}_group")
    addresses = _split(written.get(side))
    group = written.get(f"{side}_group") or ""
    if addresses and group:
        raise InvalidInput(f"{option}.{side}_group", group, f"and {side} exclude each other", "Write two rules")
    priority = 1 if written.get("priority") is None else written["priority"]
    if not 1 <= priority <= 100:
        raise InvalidInput(f"{option}.priority", priority, "is out of range", "Use 1 (wins) to 100")
    ports = parse_ports(f"{option}.ports", written.get("ports"))
    protocol = _protocol(f"{option}.protocol", written.get("protocol"), ports)
    description = check_description(f"{option}.description", written.get("description") or "")
    first = (direction, written.get("action") or "allow", priority)
    if not addresses:
        if group:
            check_name(f"{option}.{side}_group", group)
        versions = {"icmp": (IPV4,), "icmpv6": (IPV6,)}.get(protocol, (IPV4, IPV6))
        return [Rule(*first, version, protocol, ports, "" if group else ANYWHERE[version], group, description) for version in versions]
    rules = []
    for text in addresses:
        cidr = any_network(f"{option}.{side}", text)
        version = IPV4 if cidr.version == 4 else IPV6
        # ICMP towards an IPv6 address is ICMPv6 (spec S-12, T7-16).
        fitting = "icmpv6" if (protocol, version) == ("icmp", IPV6) else protocol
        if (fitting, version) == ("icmpv6", IPV4):
            raise InvalidInput(f"{option}.{side}", text, "is IPv4, but the protocol is icmpv6", "Use icmp, or an IPv6 address")
        rules.append(Rule(*first, version, fitting, ports, str(cidr), "", description))
    return rules


def parse_rules(written: Iterable[Mapping[str, Any]], default_egress: bool = True, option: str = "rules") -> tuple[Rule, ...]:
    """All rules of a group; where none is for egress, all egress is allowed unless *default_egress* is off (spec S-02, T7-9).

    :raises InvalidInput: as :func:`parse_rule`.
    :raises EcsError: ECS_QUOTA when a direction has too many restricted rules (spec S-04).
    """
    rules = dict.fromkeys(rule for item in written for rule in parse_rule(item, option))
    if default_egress and not any(rule.direction == EGRESS for rule in rules):
        rules.update(dict.fromkeys(parse_rule({"direction": EGRESS}, option)))
    for (direction, version), count in sorted(restricted_counts(rules).items()):
        if count > MAX_RESTRICTED:
            raise EcsError(
                f"{option}: {count} {direction} rules for {version} have a group or several ports, {MAX_RESTRICTED} are allowed",
                "ECS_QUOTA",
                "Use address ranges and port ranges, or split the group",
            )
    return tuple(rules)


def default_rules() -> tuple[Rule, ...]:
    """The rules of group ``default``: all from its own members, all egress (spec S-07, T7-5)."""
    return parse_rules([{"direction": INGRESS, "source_group": DEFAULT_GROUP}])


def restricted_counts(rules: Iterable[Rule]) -> Counter[tuple[str, str]]:
    """How many rules name a group or list several ports, for each direction and IP version (spec S-04, V-08)."""
    return Counter((rule.direction, rule.ethertype) for rule in rules if rule.group or "," in rule.ports)


def warnings(group: str, rules: Iterable[Rule]) -> list[str]:
    """What opens risky ports to everyone (spec S-19, S-20)."""
    opened: dict[str, None] = {}
    for rule in rules:
        if rule.direction != INGRESS or rule.action != "allow" or rule.remote not in ANYWHERE.values():
            continue
        if rule.protocol == "all" or (rule.protocol in _RISKY and not rule.ports):
            opened[f"every {'' if rule.protocol == 'all' else rule.protocol + ' '}port"] = None
        elif rule.protocol in _RISKY:
            ranges = [tuple(int(end) for end in item.split("-")) for item in rule.ports.split(",")]
            risky = [str(port) for port in sorted(_RISKY[rule.protocol]) if any(ends[0] <= port <= ends[-1] for ends in ranges)]
            if risky:
                opened[f"{rule.protocol} {', '.join(risky)}"] = None
    return [f"security group {group}: {what} open to everyone; better name the addresses that need it" for what in opened]


def acl_columns(rule: Rule, port_group: str, address_set: Callable[[str], str]) -> dict[str, Any]:
    """An OVN ACL: direction, priority, match and action.

    In OVN the larger priority wins and equal ones are undefined, so deny gets the odd number above its allow (spec S-09).

    :param port_group: the name of the OVN Port_Group whose members the rule guards.
    :param address_set: gives the name stem of the address sets of another group, to which OVN appends ``_ip4`` and ``_ip6``.
    """
    ingress = rule.direction == INGRESS
    ip = "ip4" if rule.ethertype == IPV4 else "ip6"
    terms = [f"{'outport' if ingress else 'inport'} == @{port_group}", ip]
    side = f"{ip}.{'src' if ingress else 'dst'}"
    if rule.group:
        terms.append(f"{side} == ${address_set(rule.group)}_{ip}")
    elif rule.remote != ANYWHERE[rule.ethertype]:
        terms.append(f"{side} == {rule.remote}")
    if rule.protocol != "all":
        terms.append(_MATCHES.get(rule.protocol, f"ip.proto == {rule.protocol}"))
    if rule.ports:
        terms.append(_port_match(f"{rule.protocol}.dst", rule.ports))
    return {
        "direction": "to-lport" if ingress else "from-lport",
        "priority": 1000 + (100 - rule.priority) * 2 + (rule.action == "deny"),
        "match": " && ".join(terms),
        "action": "drop" if rule.action == "deny" else "allow-related",
    }


def _port_match(field: str, ports: str) -> str:
    if ports.isdigit():
        return f"{field} == {ports}"
    items = [item.partition("-") for item in ports.split(",")]
    singles = [first for first, dash, last in items if not dash]
    terms = [f"{first} <= {field} <= {last}" for first, dash, last in items if dash]
    if singles:
        terms.insert(0, f"{field} == {singles[0]}" if len(singles) == 1 else f"{field} == {{{', '.join(singles)}}}")
    return terms[0] if len(terms) == 1 else f"({' || '.join(terms)})"
