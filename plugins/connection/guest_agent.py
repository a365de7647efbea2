# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Connection plugin: Ansible in an ECS through its hypervisor."""

from __future__ import annotations

DOCUMENTATION = r"""
name: guest_agent
short_description: Run tasks in an ECS through its hypervisor
author: altostratus.ecs contributors (@altostratus)
description:
  - Runs commands and transfers files in an ECS through libvirt and the QEMU guest agent. It needs no network to the guest, no address,
    no key and no login.
  - Commands run as the agent's user, which is C(root), so C(become) is not needed.
  - The inventory plugin P(altostratus.ecs.servers#inventory) sets the variables for servers without an EIP.
options:
  libvirt_uri:
    description: Connection URI of the libvirt daemon of the hypervisor that runs the server.
    type: str
    default: qemu:///system
    vars:
      - name: ecs_libvirt_uri
    env:
      - name: ECS_LIBVIRT_URI
    ini:
      - section: guest_agent_connection
        key: libvirt_uri
  domain:
    description: The server's libvirt domain, C(<project>.<name>).
    type: str
    required: true
    vars:
      - name: ecs_domain
  timeout:
    description: Seconds to wait for the agent's first answer. Without one the host is unreachable.
    type: int
    default: 10
    vars:
      - name: ecs_agent_timeout
    env:
      - name: ECS_AGENT_TIMEOUT
    ini:
      - section: guest_agent_connection
        key: timeout
  command_timeout:
    description: Seconds that one command may take; V(0) means no limit.
    type: int
    default: 0
    vars:
      - name: ecs_agent_command_timeout
    env:
      - name: ECS_AGENT_COMMAND_TIMEOUT
    ini:
      - section: guest_agent_connection
        key: command_timeout
  executable:
    description: Shell in the guest that runs the commands.
    type: str
    default: /bin/sh
    vars:
      - name: ansible_executable
  share_ssh:
    description:
      - Share one SSH connection to a hypervisor between all tasks and servers, for C(+ssh) URIs. It closes a minute after its last use.
      - Where the URI names a C(command), that must take the options of OpenSSH's C(ssh).
    type: bool
    default: true
    vars:
      - name: ecs_agent_share_ssh
    env:
      - name: ECS_AGENT_SHARE_SSH
    ini:
      - section: guest_agent_connection
        key: share_ssh
  pipelining:
    description: Send modules through the standard input of the interpreter, without a temporary file in the guest.
    type: bool
    default: true
    vars:
      - name: ansible_pipelining
      - name: ecs_agent_pipelining
requirements:
  - python >= 3.11 on the controller
  - libvirt-python on the controller
  - qemu-guest-agent in the guest, with C(guest-exec) and C(guest-file-*) allowed
notes:
  - Some distributions block C(guest-exec) and the file commands by default; a failure says so and how to change it.
"""

from contextlib import ExitStack
from typing import Any

from ansible import constants as C
from ansible.errors import AnsibleConnectionFailure, AnsibleError, AnsibleFileNotFound
from ansible.plugins.connection import ConnectionBase
from ansible.utils.display import Display
from ansible.utils.path import unfrackpath

from ansible_collections.altostratus.ecs.plugins.module_utils._engines import guest_agent
from ansible_collections.altostratus.ecs.plugins.module_utils._engines.libvirt_client import connect
from ansible_collections.altostratus.ecs.plugins.module_utils._engines.shared_ssh import share_ssh
from ansible_collections.altostratus.ecs.plugins.module_utils._model.errors import EcsError

display = Display()


class Connection(ConnectionBase):
    """A connection of one task to one server; libvirt's connection is opened by the first command."""

    transport = "altostratus.ecs.guest_agent"
    has_pipelining = True
    has_tty = False
    default_user = "root"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._stack = ExitStack()
        self._domain: Any = None

    def _connect(self) -> Connection:
        if self._connected:
            return self
        name, uri, timeout = self.get_option("domain"), self.get_option("libvirt_uri"), self.get_option("timeout")
        display.vvv(f"GUEST AGENT of {name} at {uri}", host=self._host)
        if self.get_option("share_ssh"):
            uri = share_ssh(uri, unfrackpath(f"{C.ANSIBLE_HOME}/cp"), timeout)
        try:
            connection = self._stack.enter_context(connect(uri))
            self._domain = guest_agent.find_domain(connection, name)
            guest_agent.ping(self._domain, timeout)
        except EcsError as error:
            self.close()
            raise AnsibleConnectionFailure(str(error)) from None
        self._connected = True
        return self

    def exec_command(self, cmd: str, in_data: bytes | None = None, sudoable: bool = True) -> tuple[int, bytes, bytes]:
        """Run a command and return its exit code, stdout and stderr."""
        super().exec_command(cmd, in_data=in_data, sudoable=sudoable)
        display.vvv(f"EXEC {cmd}", host=self._host)
        # The agent is a service of root; its environment lacks what a login would set.
        login = "export HOME=~root USER=root LOGNAME=root; "
        argv = [self.get_option("executable"), "-c", login + cmd]
        try:
            return guest_agent.run(self._domain, argv, in_data or b"", self.get_option("command_timeout") or None, spool=True)
        except EcsError as error:
            raise AnsibleConnectionFailure(str(error)) from None

    def put_file(self, in_path: str, out_path: str) -> None:
        """Copy a file into the guest."""
        super().put_file(in_path, out_path)
        display.vvv(f"PUT {in_path} TO {out_path}", host=self._host)
        try:
            with open(in_path, "rb") as stream:
                guest_agent.write_file(self._domain, out_path, stream)
        except FileNotFoundError as error:
            raise AnsibleFileNotFound(f"file or module does not exist: {in_path}") from error
        except EcsError as error:
            raise AnsibleError(str(error)) from None

    def fetch_file(self, in_path: str, out_path: str) -> None:
        """Copy a file out of the guest."""
        super().fetch_file(in_path, out_path)
        display.vvv(f"FETCH {in_path} TO {out_path}", host=self._host)
        try:
            with open(out_path, "wb") as stream:
                stream.writelines(guest_agent.read_chunks(self._domain, in_path))
        except EcsError as error:
            raise AnsibleError(str(error)) from None

    def reset(self) -> None:
        """Forget the connection; the next command opens a new one."""
        self.close()

    def close(self) -> None:
        """Close libvirt's connection."""
        self._stack.close()
        self._domain = None
        self._connected = False

    @property
    def _host(self) -> str:
        return self._play_context.remote_addr
