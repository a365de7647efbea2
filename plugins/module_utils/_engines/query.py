# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""JMESPath, for those who ask for it: nobody else needs the library."""

from __future__ import annotations

from typing import Any

from .._model.errors import EcsError, InvalidInput


def query(option: str, expression: str, data: Any) -> Any:
    """What a JMESPath expression makes of plain data.

    :param option: where the expression was written.
    :raises EcsError: ECS_JMESPATH when the library is missing.
    :raises InvalidInput: when the expression is wrong, or does not fit the data.
    """
    try:
        import jmespath
    except ImportError as error:
        hint = "Install python3-jmespath, or jmespath from PyPI, where the module runs; filters need no library"
        raise EcsError(f"{option} needs the Python library jmespath, which is missing", "ECS_JMESPATH", hint) from error
    try:
        return jmespath.search(expression, data)
    except jmespath.exceptions.JMESPathError as error:
        reason = str(error).strip().splitlines()[0]
        raise InvalidInput(option, expression, f"is not a JMESPath expression for this ({reason})", "See https://jmespath.org") from error
