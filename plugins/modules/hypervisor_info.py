#!/usr/bin/python
# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: hypervisor_info
short_description: Read what a hypervisor has and what its servers take
description:
  - Returns the capacity of the hypervisor that it runs on, what is allocated, its storage pools and its servers.
  - Module M(altostratus.ecs.placement) takes the results of all hypervisors.
author:
  - altostratus.ecs contributors (@altostratus)
extends_documentation_fragment:
  - altostratus.ecs.libvirt
  - altostratus.ecs.attributes_info
options:
  lost:
    description:
      - Name of another hypervisor, which is dead. What is told is that one then, as far as it is recorded in pools that both share;
        servers are those that can be started elsewhere (M(altostratus.ecs.server_evacuation)).
      - Null is told where nothing is recorded.
    type: str
"""

EXAMPLES = r"""
- name: What is there
  altostratus.ecs.hypervisor_info:
  register: capacity
"""

RETURN = r"""
hypervisor:
  description: The hypervisor.
  returned: success
  type: dict
  contains:
    name:
      description: The host's name in the inventory that prepared it.
      type: str
    region:
      description: Region.
      type: str
    az:
      description: Availability zone.
      type: str
    cpus:
      description: Number of CPUs.
      type: int
    memory:
      description: MiB.
      type: int
    reserved_memory:
      description: MiB that the host keeps for itself.
      type: int
    cpu_overcommit:
      description: So many vCPUs a CPU.
      type: float
    memory_overcommit:
      description: So many times the memory that is not reserved may be given to servers.
      type: float
    maintenance:
      description: Whether the host takes no new servers.
      type: bool
    dedicated_to:
      description: The only projects whose new servers it takes; empty for all.
      type: list
      elements: str
    flavors:
      description: Patterns of the only flavors that it takes; empty for all.
      type: list
      elements: str
    vcpus_allocated:
      description: vCPUs of all domains, stopped ones included.
      type: int
    memory_allocated:
      description: MiB of all domains, stopped ones included.
      type: int
    vcpus_free:
      description: vCPUs that may still be given to servers; negative where the overcommit was lowered afterwards.
      type: int
    memory_free:
      description: MiB that may still be given to servers; negative where a limit was lowered afterwards.
      type: int
    kvm:
      description: Whether guests run under KVM.
      type: bool
    datapath:
      description: Datapath of Open vSwitch, C(system) or C(netdev).
      type: str
    address:
      description: Where other hypervisors bring servers to.
      type: str
    shared_pools:
      description: Paths of the pools that are the same storage on every host which has them, by name.
      type: dict
    image_library:
      description: Directory of the image library.
      type: str
    images:
      description: What each image of the library was made from, its checksum by the image's id.
      type: dict
    pools:
      description: Active storage pools with C(name), C(type), C(capacity) and C(available) in GiB.
      type: list
      elements: dict
    servers:
      description:
        - Servers of all projects with C(id), C(name), C(project), C(vcpus), C(memory) in MiB, C(flavor), C(status), C(tags), C(created),
          C(server_group), C(server_group_policy), C(preemptible), C(priority), C(reclaim_at), C(image_id), C(disk_types), and C(bound)
          for one with processors or pages of its own.
      type: list
      elements: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.altostratus.ecs.plugins.module_utils import _module
from ansible_collections.altostratus.ecs.plugins.module_utils._engines.host import read_host
from ansible_collections.altostratus.ecs.plugins.module_utils._engines.libvirt_client import connect
from ansible_collections.altostratus.ecs.plugins.module_utils._services import hypervisors, shared_records


def main() -> None:
    module = AnsibleModule(argument_spec={"lost": {"type": "str"}, **_module.LIBVIRT_OPTIONS}, supports_check_mode=True)

    def service() -> _module.Result:
        host = read_host()
        if module.params["lost"]:
            return _module.Result([], {"hypervisor": shared_records.lost(host, module.params["lost"])})
        with connect(module.params["libvirt_uri"], readonly=True) as connection:
            return _module.Result([], {"hypervisor": hypervisors.represent(connection, host)})

    _module.run(module, service)


if __name__ == "__main__":
    main()
