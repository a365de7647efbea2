# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Inventory plugin: every ECS of every hypervisor."""

from __future__ import annotations

DOCUMENTATION = r"""
name: servers
short_description: All servers of all hypervisors
author: altostratus.ecs contributors (@altostratus)
description:
  - Reads the servers of any number of hypervisors in parallel, each with one libvirt connection, and makes a host of each.
  - The configuration file's name is C(ecs.yml), or ends in C(.ecs.yml) or C(.ecs.yaml).
  - A host has the server's name. Where servers of two projects have the same name, or a group or something else in the inventory has it,
    they are called C(<project>.<name>), with a warning.
  - Groups are C(project_<project>), C(az_<az>), C(hypervisor_<hypervisor>), C(vpc_<vpc>), C(flavor_<flavor>), C(status_<status>) and
    C(tag_<key>_<value>); whatever may not be in a group's name becomes C(_).
  - The host variables are the fields of a server, as M(altostratus.ecs.server_info) returns them, each with C(ecs_) before its name, and
    C(ecs_domain), C(ecs_libvirt_uri).
options:
  plugin:
    description: Marks a configuration file of this plugin.
    type: str
    required: true
    choices: [altostratus.ecs.servers]
  hypervisors:
    description:
      - libvirt URIs of the hypervisors, or a mapping of names to URIs.
      - Without a name a hypervisor is called as libvirt calls it.
    type: raw
    env:
      - name: ECS_LIBVIRT_URI
  hypervisor_group:
    description:
      - A group of an inventory source that was read before this one; its hosts are the hypervisors.
      - A host's URI is its variable C(ecs_libvirt_uri), otherwise it is made of the variables that reach it over SSH, C(ansible_host),
        C(ansible_user), C(ansible_port), C(ansible_ssh_private_key_file) and C(ansible_host_key_checking).
    type: str
  ovn_nb:
    description:
      - OVN Northbound database, for example V(ssl:192.0.2.10:6641), from which EIPs and live addresses are read.
      - Without it a server has the addresses that it was created with, and no EIP.
    type: str
    env:
      - name: ECS_OVN_NB
  ovn_ca_cert:
    description: CA certificate that signed the database servers' certificates, for V(ssl:) remotes.
    type: path
    env:
      - name: ECS_OVN_CA_CERT
  ovn_client_cert:
    description: Client certificate, for V(ssl:) remotes.
    type: path
    env:
      - name: ECS_OVN_CLIENT_CERT
  ovn_client_key:
    description: Private key of the client certificate, for V(ssl:) remotes.
    type: path
    env:
      - name: ECS_OVN_CLIENT_KEY
  connection:
    description:
      - How Ansible reaches a server.
      - V(auto) uses SSH to the EIP of a server that has one, otherwise P(altostratus.ecs.guest_agent#connection).
      - V(ssh) uses SSH to the EIP, otherwise to the private address.
      - V(none) sets no connection variables.
    type: str
    choices: [auto, ssh, guest_agent, none]
    default: auto
  user:
    description:
      - Login for SSH. By default the user of the server's image, C(root) for most.
      - Set it per host by O(compose), C(ansible_user).
    type: str
  filters:
    description:
      - Only servers that have all these values, by the names of a server's fields, such as V(project) or V(status); a list, or a text with
        commas, means any of its values.
      - V(subnet), V(vpc), V(vpc_id) and V(security_group) match any interface. V(tags) takes a dictionary, or a list of C(key) and
        C(key=value); all of them must match.
      - A part of the value is enough for V(name), V(flavor) and V(address). The filters are those of
        O(altostratus.ecs.server_info#module:filters), which tells more of them.
    type: dict
    default: {}
  search:
    description: As O(altostratus.ecs.server_info#module:search), only servers whose id, flavor, EIP or private address is this.
    type: str
  qualified_names:
    description: Call every host C(<project>.<name>).
    type: bool
    default: false
  timeout:
    description: Seconds for a hypervisor, or the Northbound, to answer. All are asked at once, so a dead one costs this time once.
    type: int
    default: 30
  connect_timeout:
    description: Seconds for an SSH connection to a hypervisor to come about.
    type: int
    default: 5
  unreachable:
    description:
      - What to do when a hypervisor, or the Northbound, cannot be read.
      - V(warn) goes on with the others, and fails only when no hypervisor can be read. V(fail) fails.
    type: str
    choices: [warn, fail]
    default: warn
requirements:
  - python >= 3.11
  - libvirt-python
  - ovs (the Python library of Open vSwitch), when O(ovn_nb) is set
extends_documentation_fragment:
  - ansible.builtin.constructed
  - ansible.builtin.inventory_cache
notes:
  - What hypervisors tell is never templated.
"""

EXAMPLES = r"""
# servers.ecs.yml: two hypervisors, EIPs from the Northbound
plugin: altostratus.ecs.servers
hypervisors:
  hv1: qemu+ssh://root@192.0.2.11/system
  hv2: qemu+ssh://root@192.0.2.12/system
ovn_nb: ssl:192.0.2.10:6641
ovn_ca_cert: /etc/altostratus/ovn/ca.pem
ovn_client_cert: /etc/altostratus/ovn/cert.pem
ovn_client_key: /etc/altostratus/ovn/key.pem
---
# The hypervisors are a group of an inventory file that is given before this one
plugin: altostratus.ecs.servers
hypervisor_group: hypervisors
filters:
  project: shop
  status: [running, stopped]
  tags:
    tier: web
compose:
  ansible_user: "'debian' if ecs_image.startswith('debian') else 'root'"
keyed_groups:
  - prefix: image
    key: ecs_image
cache: true
cache_plugin: ansible.builtin.jsonfile
cache_connection: ~/.ansible/inventory
cache_timeout: 300
"""

import re
from collections.abc import Mapping
from functools import lru_cache, partial
from hashlib import sha256
from typing import Any
from urllib.parse import quote

from ansible import constants as C
from ansible.errors import AnsibleError, AnsibleParserError
from ansible.inventory.helpers import get_group_vars
from ansible.plugins.inventory import BaseInventoryPlugin, Cacheable, Constructable
from ansible.utils.path import unfrackpath
from ansible.utils.unsafe_proxy import wrap_var
from ansible.utils.vars import combine_vars
from ansible.vars.plugins import get_vars_from_inventory_sources

from ansible_collections.altostratus.ecs.plugins.module_utils._engines.shared_ssh import share_ssh
from ansible_collections.altostratus.ecs.plugins.module_utils._model.errors import EcsError, InvalidInput
from ansible_collections.altostratus.ecs.plugins.module_utils._model.inventory import InventoryHost, Options, build
from ansible_collections.altostratus.ecs.plugins.module_utils._services.inventory import Hypervisor, read_servers

try:
    from ansible.template import trust_as_template
except ImportError:  # ansible-core 2.17, 2.18
    trust_as_template = None

# No template and no expression that calls something can be written with these.
_PLAIN = re.compile(r"[\w .:,;/@+=?&%~-]*")


@lru_cache(maxsize=4096)
def _mark_text(value: str) -> str:
    """The text marked, for what comes from a hypervisor must never be templated.

    Until ansible-core 2.18 the untrusted is marked; from 2.19 on the trusted is, and ansible-inventory shows any other text as
    C(__ansible_unsafe), so plain texts are marked for the readers' sake. Most texts of a server are those of many others.
    """
    if _PLAIN.fullmatch(value):
        return trust_as_template(value) if trust_as_template else value
    return value if trust_as_template else wrap_var(value)


def _mark(value: Any) -> Any:
    """A copy of the value with every text in it marked."""
    if isinstance(value, str):
        return _mark_text(value)
    if isinstance(value, dict):
        return {key: _mark(item) for key, item in value.items()}
    return [_mark(item) for item in value] if isinstance(value, list) else value


class InventoryModule(BaseInventoryPlugin, Constructable, Cacheable):
    """Reads, or takes from the cache, and fills the inventory."""

    NAME = "altostratus.ecs.servers"

    def verify_file(self, path: str) -> bool:
        """Whether the file may be ours by its name."""
        return super().verify_file(path) and path.endswith(("ecs.yml", "ecs.yaml"))

    def parse(self, inventory: Any, loader: Any, path: str, cache: bool = True) -> None:
        """Fill the inventory from hypervisors, or from the cache."""
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        try:
            self._populate(self._data(path, cache))
        except EcsError as error:
            raise AnsibleParserError(str(error)) from None

    def _data(self, path: str, cache: bool) -> dict[str, Any]:
        """Servers and warnings as plain data; what comes from the cache is not written back."""
        hypervisors = self._hypervisors()
        caching = self.get_option("cache")
        source = repr([(hypervisor.name, hypervisor.uri) for hypervisor in hypervisors] + [self.get_option("ovn_nb")])
        key = f"{self.get_cache_key(path)}_{sha256(source.encode()).hexdigest()[:12]}"
        if caching and cache:
            try:
                return self._cache[key]
            except KeyError:
                pass  # not there, or too old
        data = self._fetch(hypervisors)
        if caching:
            self._cache[key] = data
        return data

    def _fetch(self, hypervisors: list[Hypervisor]) -> dict[str, Any]:
        northbound = None
        if remote := self.get_option("ovn_nb"):
            # late, as Ansible compiles what it imports each time
            from ansible_collections.altostratus.ecs.plugins.module_utils._engines.ovsdb import Northbound

            files = [self.get_option(f"ovn_{name}") or "" for name in ("ca_cert", "client_cert", "client_key")]
            northbound = partial(Northbound, remote, *files)
        else:
            self.display.v("altostratus.ecs.servers: ovn_nb is not set, so no EIP is known")
        found = read_servers(hypervisors, northbound, self.get_option("timeout"))
        failures = [f"{name}: {problem}" for name, problem in found.failures.items()]
        dead = len(found.failures.keys() - {"ovn_nb"})
        if failures and (self.get_option("unreachable") == "fail" or dead == len(hypervisors)):
            raise EcsError(f"{dead} of {len(hypervisors)} hypervisors cannot be read: {' '.join(failures)}", "ECS_UNREACHABLE")
        return {"servers": found.servers, "warnings": failures}

    def _populate(self, data: Mapping[str, Any]) -> None:
        options = Options(**{name: self.get_option(name) for name in ("connection", "user", "qualified_names", "filters", "search")})
        taken = dict.fromkeys(self.inventory.groups) | {name: host.vars.get("ecs_id") for name, host in self.inventory.hosts.items()}
        built = build(data["servers"], options, taken)
        for warning in [*data["warnings"], *built.warnings]:
            self.display.warning(f"altostratus.ecs.servers: {warning}")
        constructed = [self.get_option(name) for name in ("compose", "groups", "keyed_groups")]
        for host in built.hosts:
            self._add(host)
            if any(constructed):
                self._construct(host.name, *constructed)

    def _add(self, host: InventoryHost) -> None:
        self.inventory.add_host(host.name)
        known = self.inventory.hosts[host.name]
        # set_variable would copy every value once more, to mark each part of it with this file's name: more than all the rest costs.
        known.vars = combine_vars(known.vars, _mark(host.variables))
        for group in host.groups:
            self.inventory.add_child(self.inventory.add_group(group), host.name)

    def _construct(self, name: str, compose: Any, groups: Any, keyed_groups: Any) -> None:
        strict = self.get_option("strict")
        self._set_composite_vars(compose, self.inventory.get_host(name).get_vars(), name, strict=strict)
        variables = self.inventory.get_host(name).get_vars()
        self._add_host_to_composed_groups(groups, variables, name, strict=strict, fetch_hostvars=False)
        self._add_host_to_keyed_groups(keyed_groups, variables, name, strict=strict, fetch_hostvars=False)

    def _hypervisors(self) -> list[Hypervisor]:
        """The hypervisors that the user named, each once.

        :raises EcsError: ECS_INVALID_INPUT when there is none.
        """
        wanted = self.get_option("hypervisors") or {}
        if isinstance(wanted, str):
            wanted = [uri.strip() for uri in wanted.split(",")]
        named = list(wanted.items()) if isinstance(wanted, Mapping) else [(None, uri) for uri in wanted]
        if group := self.get_option("hypervisor_group"):
            named += self._members(group)
        if not named:
            raise InvalidInput("hypervisors", None, "names no hypervisor", "Set hypervisors or hypervisor_group")
        directory = unfrackpath(f"{C.ANSIBLE_HOME}/cp")
        wait = self.get_option("connect_timeout")
        by_uri = {uri: name for name, uri in reversed(named)}
        return [Hypervisor(uri, name, share_ssh(uri, directory, wait)) for uri, name in reversed(by_uri.items())]

    def _members(self, group: str) -> list[tuple[str, str]]:
        if group not in self.inventory.groups:
            raise InvalidInput("hypervisor_group", group, "is not a group", "Give the inventory source that has it before this one")
        return [(host.name, self._uri_of(host)) for host in self.inventory.groups[group].get_hosts()]

    def _uri_of(self, host: Any) -> str:
        sources = self.inventory.processed_sources
        groups = host.get_groups()
        variables = combine_vars(get_group_vars(groups), get_vars_from_inventory_sources(self.loader, sources, groups, "all"))
        variables = combine_vars(variables, host.get_vars())
        variables = combine_vars(variables, get_vars_from_inventory_sources(self.loader, sources, [host], "all"))
        self.templar.available_variables = variables

        def variable(name: str, default: Any = None) -> Any:
            try:
                return self.templar.template(variables.get(name, default))
            except AnsibleError as error:
                raise InvalidInput("hypervisor_group", host.name, f"has a variable {name} that cannot be templated ({error})") from None

        if uri := variable("ecs_libvirt_uri"):
            return uri
        if variable("ansible_connection") == "local":
            return "qemu:///system"
        parameters = {
            "keyfile": variable("ansible_ssh_private_key_file") or variable("ansible_private_key_file"),
            "no_verify": None if variable("ansible_host_key_checking", True) in (True, "true", "yes") else "1",
        }
        query = "&".join(f"{name}={quote(str(value))}" for name, value in parameters.items() if value)
        user, port = variable("ansible_user", "root"), variable("ansible_port")
        return f"qemu+ssh://{user}@{variable('ansible_host', host.name)}{f':{port}' if port else ''}/system{'?' + query if query else ''}"
