"""Environments for tools that do not fit beside each other, or beside the runtime."""

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
        tools: the name of the set.
        tell: told what takes long.

    Raises:
        MissingExtraError: they are not installed, and cannot be.
    """
    return Path(sys.executable)
