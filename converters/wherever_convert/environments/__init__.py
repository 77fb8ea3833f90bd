"""Environments for tools that do not fit beside each other, or beside the runtime.

A set of tools that is not installed here gets a virtual environment of its own, in the user's
cache, when it is first needed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

# Told what takes long, in a few words.
Tell: TypeAlias = Callable[[str], None]


def quiet(words: str) -> None:
    """Tell nobody."""


def python_for(tools: str, tell: Tell = quiet) -> Path:
    """The interpreter that can run a set of tools: this one where they are installed here.

    Args:
        tools: the name of the set (see `wherever_convert.environments.tool_sets`).
        tell: told what takes long.

    Raises:
        MissingExtraError: they are not installed, and cannot be; the message says why.
    """
    from wherever_convert.environments.cache import python_of  # noqa: PLC0415 (only when asked)
    from wherever_convert.environments.imports import is_installed  # noqa: PLC0415
    from wherever_convert.environments.tool_sets import TOOL_SETS  # noqa: PLC0415

    wanted = TOOL_SETS[tools]
    if all(map(is_installed, wanted.needs)):
        return Path(sys.executable)
    return python_of(wanted, tell)
