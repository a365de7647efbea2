# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation fragment: the connection to the OVN Northbound database."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  ovn_nb:
    description:
      - OVN Northbound database, for example V(ssl:192.0.2.10:6641) or V(unix:/run/ovn/ovnnb_db.sock).
      - A cluster is a comma separated list; the leader is found.
      - If not set, the environment variable E(ECS_OVN_NB) is used, then the host's C(/etc/altostratus/host.json), which role
        P(altostratus.ecs.hypervisor#role) writes.
    type: str
  ovn_ca_cert:
    description:
      - CA certificate that signed the database servers' certificates, for V(ssl:) remotes.
      - If not set, the environment variable E(ECS_OVN_CA_CERT) is used, then the host's C(/etc/altostratus/host.json).
    type: path
  ovn_client_cert:
    description:
      - Client certificate, for V(ssl:) remotes.
      - If not set, the environment variable E(ECS_OVN_CLIENT_CERT) is used, then the host's C(/etc/altostratus/host.json).
    type: path
  ovn_client_key:
    description:
      - Private key of the client certificate, for V(ssl:) remotes.
      - If not set, the environment variable E(ECS_OVN_CLIENT_KEY) is used, then the host's C(/etc/altostratus/host.json).
    type: path
requirements:
  - python >= 3.11
  - ovs (the Python library of Open vSwitch)
"""
