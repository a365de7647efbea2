# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lines in the host's journal."""

from __future__ import annotations

import syslog


def tell(text: str, failed: bool = False) -> None:
    """Write a line that the host's operator should see."""
    syslog.openlog("altostratus")
    syslog.syslog(syslog.LOG_ERR if failed else syslog.LOG_NOTICE, text)
