# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a serial console has said, as it is shown."""

from __future__ import annotations

import pytest

from ansible_collections.altostratus.ecs.plugins.module_utils._model.console import check_asked, clean, last_lines
from ansible_collections.altostratus.ecs.plugins.module_utils._model.errors import InvalidInput


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("[\x1b[0;32m  OK  \x1b[0m] Started \x1b[0;1;39mssh\x1b[0m.\r", "[  OK  ] Started ssh."),
        ("\x1b]0;title\x07root@web:~# \x1b[?2004h", "root@web:~# "),
        ("10%\r20%\r100%", "100%"),
        ("a\x00b\x9bc\x7f", "abc"),
        ("\x1bcgone\x1b(B", "gone"),
        ("tab\tstays, ünïcode too", "tab\tstays, ünïcode too"),
    ],
)
def test_nothing_steers_the_readers_terminal(line, shown):
    assert clean(line) == shown


@pytest.mark.parametrize(
    ("texts", "count", "lines"),
    [
        ([b"1\n2\n3\n"], 2, ["2", "3"]),
        ([b"1\n2\n3"], 2, ["2", "3"]),
        ([b"1\n2\n"], 9, ["1", "2"]),
        ([b"3b\n4\n", b"1\n2\n3a"], 3, ["2", "3a3b", "4"]),
        ([b"3\n4\n", b"1\n2\n"], 3, ["2", "3", "4"]),
        ([b"", b"1\n2\n"], 2, ["1", "2"]),
        ([b"\n\n"], 1, [""]),
        ([], 5, []),
        ([b"1\n"], 0, []),
        ([b"\xff\n"], 1, ["\ufffd"]),
    ],
)
def test_last_lines_of_a_log_that_was_rotated(texts, count, lines):
    assert last_lines(iter(texts), count) == lines


@pytest.mark.parametrize(
    ("asked", "option"), [((-1, None, None), "lines"), ((0, "web.png", None), "screenshot"), ((0, None, 5), "vnc_timeout")]
)
def test_refused(asked, option):
    with pytest.raises(InvalidInput, match=option):
        check_asked(*asked)
