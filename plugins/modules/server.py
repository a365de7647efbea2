#!/usr/bin/python
# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: server
short_description: Create, change, start, stop and remove servers
description:
  - Manages the servers (ECS) of the hypervisor that it runs on, one by its own options or many at once by O(servers).
  - A new server gets its ports in one Northbound transaction, then its volumes and its config drive, and is started. When any of that
    fails, all that the call has made is undone. When only the wait after it fails, the server is kept, so that its console can be read.
  - A run that was killed leaves a server in status C(creating) or C(deleting); the next run with O(state=present) makes it whole, one
    with O(state=absent) removes what is there. One that was killed while the server was off leaves it to the next run to start it.
  - Two runs never act on the same server at once; the second waits for the first, for O(wait_timeout) at most.
  - Only what is set is compared. Size, display name, tags, description, name of the key pair, server group, security groups, public address
    and further data disks of an existing server are changed; asking for another zone is an error, and so it is for another image, system
    disk or user data, unless with O(state=rebuilt).
  - Use M(altostratus.ecs.placement) to choose the hypervisors of many servers.
author:
  - altostratus.ecs contributors (@altostratus)
extends_documentation_fragment:
  - altostratus.ecs.scope
  - altostratus.ecs.libvirt
  - altostratus.ecs.ovn
  - altostratus.ecs.attributes
options:
  name: &name
    description:
      - Name of the server, unique in the project; 1 to 64 letters, digits, V(_), V(.) or V(-). The guest's first host name derives from it.
      - With O(count) it is the beginning of the names, or a pattern such as V(web[1,3]-prod) for C(web001-prod), C(web002-prod) and so on.
    type: str
  display_name: &display_name
    description:
      - What people call the server, where that is not its name; it may change at any time, the server goes on as it is.
      - It shows in results, in the inventory's variables and as the domain's title. O(name) stays what modules know the server by, as its
        id, its addresses and its disks derive from it; the guest's host name stays too.
      - The empty string makes it the name again.
    type: str
  count: &count
    description:
      - So many servers of the same kind. Their names end in C(-0001), C(-0002) and so on.
      - Fixed addresses in O(nics) count up from the given one.
    type: int
  exact_count: &exact_count
    description:
      - Exactly so many servers have the tags O(count_tags), on this host. Missing ones are made with the other options, named as with
        O(count) by the first free numbers; of too many the oldest are removed. Those that stay are left as they are.
      - M(altostratus.ecs.placement) and role P(altostratus.ecs.cloud#role) count the servers of all hosts.
      - With O(state=absent) all of them are removed.
    type: int
  count_tags: &count_tags
    description: The tags that O(exact_count) counts servers by; by default all of O(tags), otherwise some of them.
    type: dict
  state:
    description:
      - V(present) creates and starts a server that does not exist; one that exists stays running or stopped as it is.
      - V(running) and V(stopped) start and shut down, V(restarted) does both; the server must exist. V(running) wakes one that is paused.
      - Servers that run come back when their host starts, those that were stopped stay off.
      - V(rebuilt) installs the server again, from its image or from another O(image). What is on the system disk is lost. Addresses, data
        disks and all that is not said stay, also the keys or the password that it was made with. It must be off, or O(allow_stop) be set;
        it runs afterwards. Every run of it installs it again.
      - When anything of that fails, the old system is back; its disk goes when the new one is as far as O(wait_for) says.
      - V(absent) removes the server with its ports, system disk, config drive and console log.
    type: str
    choices: [present, running, stopped, restarted, rebuilt, absent]
    default: present
  clone_from: &clone_from
    description:
      - Name or id of a server of the project on this host that a new server shall be like. It takes over flavor, image, system disk,
        the first 10 data disks (empty), the first 5 interfaces with their first 5 security groups, and tags, as far as the own options do
        not say otherwise.
      - Contents of disks, addresses, the public address, the login, user data and all other options are not taken over.
      - Large-memory servers (flavor families beginning with C(e)) are not cloned.
      - A server that exists is not compared with the other one.
    type: str
  flavor: &flavor
    description:
      - Size by name, such as V(s7n.medium.2); family and generation, size, GiB of memory a vCPU.
      - Required for a new server, unless O(vcpus) and O(memory) are given.
      - A server that is stopped takes any other size that its host would take in a new server. One that runs grows as far as O(max_vcpus)
        and O(max_memory) let it, for everything else it has to be off, see O(allow_stop).
    type: str
  vcpus: &vcpus
    description: Number of vCPUs, together with O(memory).
    type: int
  memory: &memory
    description: Memory in MiB, together with O(vcpus).
    type: int
  max_vcpus: &max_vcpus
    description:
      - Up to so many vCPUs the server can grow while it runs. By default it takes no more than it starts with.
      - The guest must be able to take CPUs in, as Linux on x86_64 is under KVM. One that is emulated may see them after its next start
        only; the call warns of a guest that does not take them.
    type: int
  max_memory: &max_memory
    description:
      - Up to so many MiB of memory the server can grow while it runs, in steps of a multiple of 128 MiB, at most 16 of them between two
        stops. By default it takes no more than it starts with.
    type: int
  image: &image
    description:
      - Name of the image in this host's library, of the own project or public. Required for a new server.
      - One for another architecture than the host's is emulated, where the host has the emulator.
    type: str
  firmware: &firmware
    description:
      - How a new server starts; by default as the image's property C(hw_firmware_type) says, else V(bios) on x86_64 and V(uefi) on aarch64,
        which has no other. The host needs the firmware, package C(ovmf) or C(qemu-efi-aarch64).
    type: str
    choices: [bios, uefi]
  cpu_options: &cpu_options
    description: The processors of a new server, as its guest sees them.
    type: dict
    suboptions:
      threads_per_core:
        description:
          - V(2) is hyper-threading, which x86_64 servers with an even number of vCPUs have by default; a vCPU is a thread.
          - With V(1) the guest has one thread of each core, and sees half of the flavor's vCPUs.
        type: int
        choices: [1, 2]
      model:
        description:
          - CPU model as libvirt calls it, such as V(Nehalem) or V(host-model). By default V(host-passthrough) under KVM.
          - Servers that shall migrate between different processors want one that all of them have.
        type: str
  root_disk: &root_disk
    description: Size of the system disk in GiB; by default the image's.
    type: int
  disk_type: &disk_type
    description: Storage pool of the system disk; by default the host's default pool.
    type: str
  data_disks: &data_disks
    description:
      - Data disks, at most 23. Those that a server does not have yet are created and attached; none is ever taken away.
      - A data volume of that name that was kept when the server was removed is used again, with what is on it.
    type: list
    elements: dict
    suboptions:
      name:
        description: Name of the disk within the server; the volume's name is C(<server>-<name>).
        type: str
        required: true
      size:
        description: GiB.
        type: int
        required: true
      type:
        description: Storage pool; by default the host's default pool.
        type: str
      mount:
        description: Where role P(altostratus.ecs.guest_disks#role) mounts it in the guest.
        type: str
      filesystem:
        description: What role P(altostratus.ecs.guest_disks#role) formats it with in the guest.
        type: str
  nics: &nics
    description: Network interfaces, the primary one first. Their ports are called C(<server>-nic0), C(<server>-nic1) and so on.
    type: list
    elements: dict
    suboptions:
      subnet:
        description: Name of the subnet.
        type: str
        required: true
      vpc:
        description: Name of the VPC; only needed when several VPCs have a subnet of that name.
        type: str
      address:
        description: Fixed IPv4 address; by default the next free one.
        type: str
      security_groups:
        description: Names of the security groups; by default the project's group C(default).
        type: list
        elements: str
      port_security:
        description: Whether the guest may send from its own MAC and IP address only; by default it may.
        type: bool
  key: &key
    description: Name of the key pair that O(public_keys) begins with.
    type: str
  public_keys: &public_keys
    description:
      - Public keys that may log in, lines as in C(authorized_keys).
      - They are given to a new server only; M(altostratus.ecs.server_key) changes them later.
    type: list
    elements: str
  password: &password
    description:
      - Password of the image's user, C(root) for most images, instead of O(key) and O(public_keys).
      - It is given to a new server only; M(altostratus.ecs.server_password) sets another later.
      - 8 to 26 characters of at least three kinds (capital and small letters, digits, special characters), without the user's name.
      - The host and the guest see its hash only; a Windows guest, which takes none, the password.
      - A new server with neither password nor keys is one that somebody sets a password for later.
      - M(altostratus.ecs.placement) hands it on as it is; set C(no_log) on that task.
    type: str
  hostname: &hostname
    description:
      - The guest's first host name, where it shall not derive from O(name). With O(count) it is numbered as the names are.
    type: str
  timezone: &timezone
    description: Time zone of a new server's guest, such as V(Europe/Berlin); by default the image's. Windows guests cannot be told.
    type: str
  user_data: &user_data
    description:
      - What cloud-init does at the first boot; a script that begins with V(#!), or a document that begins with V(#cloud-config). For a
        Windows guest a batch file that begins with V(rem cmd), or a PowerShell script that begins with V(#ps1).
      - At most 32768 bytes. The guest reads it again at C(http://169.254.169.254/openstack/latest/user_data).
      - It never changes in the life of a server's system; O(state=rebuilt) takes another.
    type: str
  config_drive: &config_drive
    description:
      - Whether what a new server is told of itself is on a disk of its own as well; by default it is.
      - Otherwise the guest reads it from the metadata service alone, at C(http://169.254.169.254). Its first interface must be in a subnet
        with DHCP then, and its security groups must let TCP 80 out to that address.
    type: bool
  config_drive_format: &config_drive_format
    description:
      - How that disk is laid out; by default V(config-2), OpenStack's way. V(nocloud) is for Linux images whose cloud-init knows no other.
    type: str
    choices: [config-2, nocloud]
  eip: &eip
    description: Public address for the primary interface. It is called like the server.
    type: dict
    suboptions:
      bandwidth:
        description: Mbit/s in each direction; without it there is no limit.
        type: int
      network:
        description: External network to take the address from; only needed when there are several.
        type: str
  tags: &tags
    description: At most 10 tags, keys of up to 36 and values of up to 43 characters; they replace the ones that are there.
    type: dict
  az: &az
    description: Availability zone. It must be this host's; M(altostratus.ecs.placement) chooses by it.
    type: str
  dedicated: &dedicated
    description:
      - Whether a new server goes to a host that is dedicated to its project, or to one that is open to all.
      - By default M(altostratus.ecs.placement) takes the project's dedicated hosts where it has any.
    type: bool
  server_group: &server_group
    description:
      - Name of the group of servers that O(server_group_policy) keeps apart or together; an empty text takes the server out of its group.
      - A server that exists is never moved; it can only join where it may stay.
    type: str
  server_group_policy: &server_group_policy
    description:
      - Policy of the group; by default V(anti-affinity), or the one that the server knows already.
        M(altostratus.ecs.placement) and M(altostratus.ecs.cloud_plan) fill it in.
      - On its own a hypervisor can only see that it has no other member of an V(anti-affinity) group. All other policies are kept by
        M(altostratus.ecs.placement).
    type: str
    choices: [anti-affinity, affinity, soft-anti-affinity, soft-affinity]
  description: &description
    description: Free text of at most 255 characters.
    type: str
  deletion_protection: &deletion_protection
    description:
      - Whether O(state=absent) is refused, and scheduled deletion passes the server by. A new server is not protected.
      - It is lifted by V(false), which may stand in the same call as O(state=absent).
    type: bool
  scheduled_deletion: &scheduled_deletion
    description:
      - When the server's host deletes it by itself, as O(state=absent) does; data disks and public address are kept.
      - A time such as V(2026-12-31T22:00:00Z), or a number of minutes, hours, days or weeks from now such as V(90m), V(12h), V(7d) or
        V(2w); at least an hour and at most 3 years ahead. It may be changed until then; the empty string withdraws it.
      - A duration counts from each run, which puts the deletion off anew.
      - A server that is protected from deletion stays; M(altostratus.ecs.server_failure_info) tells then.
    type: str
  preemptible: &preemptible
    description:
      - Whether a new server gives way to servers that are not preemptible and find no room. It is told five minutes before, by its metadata
        C(spot/instance-action) and status C(reclaiming), and then deleted by its host; data disks and public address are kept.
      - Which of them go first tells O(priority).
      - It cannot be protected from deletion, gets no other size and no other image, and its system disk cannot be detached. Once it is
        told, only its host deletes it.
      - It is never changed; the server is one from the beginning, or not.
    type: bool
  priority: &priority
    description:
      - Priority of a preemptible server, 0 to 100, by default 0. Those of the lowest priority are reclaimed first; of equal ones as few as
        possible, the newest first.
    type: int
  servers:
    description: Many servers, in the words of the single form. The call's other options hold for all of them.
    type: list
    elements: dict
    suboptions:
      name:
        <<: *name
        required: true
      display_name: *display_name
      count: *count
      exact_count: *exact_count
      count_tags: *count_tags
      state:
        description: As O(state), which is the default.
        type: str
        choices: [present, running, stopped, restarted, rebuilt, absent]
      clone_from: *clone_from
      flavor: *flavor
      vcpus: *vcpus
      memory: *memory
      max_vcpus: *max_vcpus
      max_memory: *max_memory
      image: *image
      firmware: *firmware
      cpu_options: *cpu_options
      root_disk: *root_disk
      disk_type: *disk_type
      data_disks: *data_disks
      nics: *nics
      key: *key
      public_keys: *public_keys
      password: *password
      hostname: *hostname
      timezone: *timezone
      user_data: *user_data
      config_drive: *config_drive
      config_drive_format: *config_drive_format
      eip: *eip
      tags: *tags
      az: *az
      dedicated: *dedicated
      server_group: *server_group
      server_group_policy: *server_group_policy
      description: *description
      deletion_protection: *deletion_protection
      scheduled_deletion: *scheduled_deletion
      preemptible: *preemptible
      priority: *priority
  wait_for:
    description:
      - How far servers that were created or started must be when the module returns.
      - V(running) is the process, V(agent) the guest's agent, V(cloud_init) the end of cloud-init's first run; an image with the property
        C(cloud_init) V(false) is waited for as with V(agent).
    type: str
    choices: [none, running, agent, cloud_init]
    default: running
  wait_timeout:
    description: Seconds to wait for all of them together; and before that, for other runs that are at the same servers.
    type: int
    default: 600
  stop_timeout:
    description:
      - Seconds that guests have to shut down, all of them together.
      - Their agents are asked first, by ACPI those without one, and by ACPI those that still run after half of the time.
    type: int
    default: 120
  force:
    description: Power off what did not shut down in time; unsaved data is lost. With O(stop_timeout=0) nobody is asked.
    type: bool
    default: false
  allow_stop:
    description:
      - Let servers that run be stopped, and started again, for changes that need it, another size above all. Without it such a change
        fails, and nothing is touched.
      - What they were asked to be by O(state) comes first; V(stopped) and V(restarted) stop them anyway.
    type: bool
    default: false
  allow_duplicate_name:
    description: Let a server get an O(display_name) that another server of the project on this host goes by.
    type: bool
    default: false
  delete_data_disks:
    description: With O(state=absent), remove the data disks as well. By default they are kept.
    type: bool
    default: false
  reclaim_timeout:
    description:
      - Seconds to wait for room that preemptible servers have, for a server that is to be made, or to grow, and finds none.
      - They are given five minutes' notice, so that less than 330 is not enough. With V(0) the call fails once the notice is given, with
        C(ECS_RECLAIMING), and says when to run again.
    type: int
    default: 0
  delete_eip:
    description: With O(state=absent), release the public address as well. By default it is kept, unbound.
    type: bool
    default: false
notes:
  - The host needs the Python library pycdlib; role P(altostratus.ecs.hypervisor#role) installs it.
"""

EXAMPLES = r"""
- name: A web server with a public address
  altostratus.ecs.server:
    project: shop
    name: web
    flavor: s7n.medium.2
    image: debian-13
    key: ops
    public_keys: ["{{ lookup('ansible.builtin.file', '~/.ssh/id_ed25519.pub') }}"]
    nics: [{subnet: front, security_groups: [web]}]
    eip: {bandwidth: 50}
    user_data: "{{ lookup('ansible.builtin.file', 'web.cloud-config') }}"
    tags: {tier: web}

- name: Many at once, until cloud-init is done
  altostratus.ecs.server:
    project: shop
    servers: "{{ placed.placement[inventory_hostname] }}"
    wait_for: cloud_init

- name: The second of two database servers, on another host than the first
  altostratus.ecs.server:
    project: shop
    name: db-2
    flavor: s7n.medium.4
    image: debian-13
    server_group: db

- name: Shut down, by force after a minute
  altostratus.ecs.server:
    project: shop
    name: web
    state: stopped
    stop_timeout: 60
    force: true

- name: Another size; it is stopped for that and runs again
  altostratus.ecs.server:
    project: shop
    name: web
    flavor: s7n.medium.4
    allow_stop: true

- name: Another one like it
  altostratus.ecs.server:
    project: shop
    name: web-next
    clone_from: web
    key: ops
    public_keys: ["{{ lookup('ansible.builtin.file', '~/.ssh/id_ed25519.pub') }}"]

- name: Three workers, whatever there are now
  altostratus.ecs.server:
    project: shop
    name: worker
    exact_count: 3
    tags: {role: worker}
    flavor: s7n.large.2
    image: debian-13
    nics: [{subnet: back}]

- name: Another operating system; data disks and addresses stay, the old system disk goes when cloud-init is done
  altostratus.ecs.server:
    project: shop
    name: web
    state: rebuilt
    image: debian-14
    allow_stop: true
    wait_for: cloud_init

- name: For a week, unless it is put off
  altostratus.ecs.server:
    project: shop
    name: web-next
    scheduled_deletion: 7d

- name: Workers that give way to whatever needs their room
  altostratus.ecs.server:
    project: shop
    name: worker
    count: 2
    flavor: s7n.medium.2
    image: debian-13
    preemptible: true
    priority: 10

- name: A server that cannot wait, but for the room of such workers
  altostratus.ecs.server:
    project: shop
    name: urgent
    flavor: s7n.medium.4
    image: debian-13
    reclaim_timeout: 400

- name: One that has its data from the metadata service alone
  altostratus.ecs.server:
    project: shop
    name: edge
    flavor: s7n.small.1
    image: debian-13
    nics: [{subnet: front}]
    config_drive: false

- name: Remove it with everything that it had
  altostratus.ecs.server:
    project: shop
    name: web
    state: absent
    delete_data_disks: true
    delete_eip: true
"""

RETURN = r"""
servers:
  description: The servers after the call; in check mode, as they would be. Absent ones are not in it.
  returned: success
  type: list
  elements: dict
  contains: &server
    id:
      description: The server's id, which is the libvirt domain's UUID.
      type: str
    name:
      description: Name.
      type: str
    display_name:
      description: What people call it; its name, unless it was given another.
      type: str
    project:
      description: Project.
      type: str
    region:
      description: Region.
      type: str
    az:
      description: Availability zone.
      type: str
    hypervisor:
      description: The host that runs it.
      type: str
    status:
      description:
        - One of C(creating), C(running), C(stopped), C(starting), C(stopping), C(restarting), C(resizing), C(reinstalling),
          C(changing_os), C(deleting), C(reclaiming), C(paused), C(faulty).
        - What is between two states for more than half an hour is C(faulty).
      type: str
    flavor:
      description: Flavor; null where vCPUs and memory were given.
      type: str
    vcpus:
      description: Number of vCPUs.
      type: int
    memory:
      description: MiB.
      type: int
    max_vcpus:
      description: Up to so many vCPUs it can grow while it runs.
      type: int
    max_memory:
      description: Up to so many MiB it can grow while it runs.
      type: int
    architecture:
      description: C(x86_64) or C(aarch64).
      type: str
    firmware:
      description: C(bios) or C(uefi).
      type: str
    cpu_options:
      description: The processors as the guest sees them, C(threads_per_core) and C(model).
      type: dict
    image:
      description: Name of the image that it was made from.
      type: str
    image_id:
      description: Id of that image.
      type: str
    disks:
      description:
        - The disks with C(id), C(name), C(role) (C(system) or C(data)), C(size) in GiB, C(type), C(serial), C(target), and where given
          C(mount) and C(filesystem).
        - In the guest a disk is C(/dev/disk/by-id/virtio-<serial>).
      type: list
      elements: dict
    nics:
      description: The interfaces with C(id), C(name), C(mac), C(address), C(cidr), C(subnet), C(vpc), C(security_groups), C(mtu).
      type: list
      elements: dict
    address:
      description: Private address of the primary interface.
      type: str
    eip:
      description: Public address.
      type: str
    key:
      description: Name of the key pair.
      type: str
    login:
      description: How one logged in at first, C(key_pair), C(password), or C(later) when somebody was to set a password.
      type: str
    user:
      description: Who logs in.
      type: str
    os_type:
      description: C(linux) or C(windows).
      type: str
    timezone:
      description: The time zone that the guest was told; null for the image's.
      type: str
    config_drive:
      description: Layout of the config drive, C(config-2) or C(nocloud); null for a server that has none.
      type: str
    tags:
      description: Tags.
      type: dict
    server_group:
      description: Server group; null when it is in none.
      type: str
    server_group_policy:
      description: Policy of the group.
      type: str
    description:
      description: Free text.
      type: str
    deletion_protection:
      description: Whether it is protected from deletion.
      type: bool
    scheduled_deletion:
      description: When its host deletes it, in UTC; null for never.
      type: str
    preemptible:
      description: Whether it gives way to others.
      type: bool
    priority:
      description: Its priority among preemptible servers; null where it is none.
      type: int
    reclaim_at:
      description: When its host reclaims it, in UTC; null where it was not told to go.
      type: str
    hostname:
      description: The guest's first host name.
      type: str
    created:
      description: When it was created, in UTC.
      type: str
server:
  description: The server, in the single form without O(count) and O(exact_count); null when it is absent.
  returned: success, in the single form
  type: dict
  contains: *server
steps:
  description: What was done, or would be in check mode.
  returned: changed
  type: list
  elements: str
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.altostratus.ecs.plugins.module_utils import _module
from ansible_collections.altostratus.ecs.plugins.module_utils._engines.host import read_host
from ansible_collections.altostratus.ecs.plugins.module_utils._model.cloud_init import CONFIG_2, NO_CLOUD
from ansible_collections.altostratus.ecs.plugins.module_utils._model.server_groups import POLICIES
from ansible_collections.altostratus.ecs.plugins.module_utils._model.server_request import requests
from ansible_collections.altostratus.ecs.plugins.module_utils._services import servers

SERVER: dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "display_name": {"type": "str"},
    "count": {"type": "int"},
    "exact_count": {"type": "int"},
    "count_tags": {"type": "dict"},
    "state": {"type": "str", "choices": ["present", "running", "stopped", "restarted", "rebuilt", "absent"], "default": "present"},
    "clone_from": {"type": "str"},
    "flavor": {"type": "str"},
    "vcpus": {"type": "int"},
    "memory": {"type": "int"},
    "max_vcpus": {"type": "int"},
    "max_memory": {"type": "int"},
    "image": {"type": "str"},
    "firmware": {"type": "str", "choices": ["bios", "uefi"]},
    "cpu_options": {"type": "dict", "options": {"threads_per_core": {"type": "int", "choices": [1, 2]}, "model": {"type": "str"}}},
    "root_disk": {"type": "int"},
    "disk_type": {"type": "str"},
    "data_disks": {
        "type": "list",
        "elements": "dict",
        "options": {
            "name": {"type": "str", "required": True},
            "size": {"type": "int", "required": True},
            "type": {"type": "str"},
            "mount": {"type": "str"},
            "filesystem": {"type": "str"},
        },
    },
    "nics": {
        "type": "list",
        "elements": "dict",
        "options": {
            "subnet": {"type": "str", "required": True},
            "vpc": {"type": "str"},
            "address": {"type": "str"},
            "security_groups": {"type": "list", "elements": "str"},
            "port_security": {"type": "bool"},
        },
    },
    "key": {"type": "str", "no_log": False},
    "public_keys": {"type": "list", "elements": "str", "no_log": False},
    "password": {"type": "str", "no_log": True},
    "hostname": {"type": "str"},
    "timezone": {"type": "str"},
    # User data may hold secrets; its whole text is kept out of logs and results.
    "user_data": {"type": "str", "no_log": True},
    "config_drive": {"type": "bool"},
    "config_drive_format": {"type": "str", "choices": [CONFIG_2, NO_CLOUD]},
    "eip": {"type": "dict", "options": {"bandwidth": {"type": "int"}, "network": {"type": "str"}}},
    "tags": {"type": "dict"},
    "az": {"type": "str"},
    "dedicated": {"type": "bool"},
    "server_group": {"type": "str"},
    "server_group_policy": {"type": "str", "choices": list(POLICIES)},
    "description": {"type": "str"},
    "deletion_protection": {"type": "bool"},
    "scheduled_deletion": {"type": "str"},
    "preemptible": {"type": "bool"},
    "priority": {"type": "int"},
}
CALL: dict[str, Any] = {
    "wait_for": {"type": "str", "choices": ["none", "running", "agent", "cloud_init"], "default": "running"},
    "wait_timeout": {"type": "int", "default": 600},
    "stop_timeout": {"type": "int", "default": 120},
    "force": {"type": "bool", "default": False},
    "allow_stop": {"type": "bool", "default": False},
    "allow_duplicate_name": {"type": "bool", "default": False},
    "delete_data_disks": {"type": "bool", "default": False},
    "delete_eip": {"type": "bool", "default": False},
    "reclaim_timeout": {"type": "int", "default": 0},
}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **_module.list_form(SERVER, "servers"),
            **CALL,
            **_module.SCOPE_OPTIONS,
            **_module.LIBVIRT_OPTIONS,
            **_module.OVN_OPTIONS,
        },
        mutually_exclusive=[("name", "servers")],
        required_one_of=[("name", "servers")],
        supports_check_mode=True,
    )

    def service() -> _module.Result:
        host = read_host()
        scope = _module.scope_of(module, host)
        items = _module.items(module, SERVER, "servers")
        counted = any(item["exact_count"] is not None for item in items)
        others_matter = counted or any(item["clone_from"] is not None for item in items)
        existing = servers.list_briefly(module.params["libvirt_uri"], host, scope) if others_matter else None
        outcome = servers.converge(
            uri=module.params["libvirt_uri"],
            northbound=lambda: _module.northbound(module, host),
            host=host,
            scope=scope,
            requests=requests(items, existing),
            options=servers.Options(**{name: module.params[name] for name in CALL}),
            check=module.check_mode,
        )
        values: dict[str, Any] = {"servers": outcome.servers}
        if module.params["servers"] is None and module.params["count"] is None and not counted:
            values["server"] = next(iter(outcome.servers), None)
        return _module.Result(outcome.steps, values, outcome.warnings)

    _module.run(module, service)


if __name__ == "__main__":
    main()
