# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command that a hypervisor's timers start: to its systemd what _module.py is to Ansible.

Private to this collection; module hypervisor_service installs it.
"""

from __future__ import annotations

import os
import sys
from functools import partial

from ._engines.host import read_host
from ._engines.ovsdb import Northbound
from ._model.errors import EcsError
from ._services import leases


def main(reclaims_only: bool = False) -> None:
    """Do what is due on this host."""
    try:
        host = read_host()
        uri = os.environ.get("ECS_LIBVIRT_URI", "qemu:///system")
        northbound = partial(Northbound, host.ovn_nb, host.ovn_ca_cert, host.ovn_client_cert, host.ovn_client_key)
        leases.run(uri, northbound, host)
        if not reclaims_only:
            leases.refresh(uri, northbound, host)
    except EcsError as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main(reclaims_only=sys.argv[1:] == ["reclaims"])
