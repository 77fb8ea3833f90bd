"""What numbers and words of a conversion may be. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from wherever_contracts.errors import ConversionError

MAX_DROP = 0.01

_Choice = TypeVar("_Choice", bound=str)


def checked_drop(max_drop: float) -> float:
    """A loss of points of the metric.

    Raises:
        ConversionError: it is not from 0 to 1.
    """
    if not 0 <= max_drop <= 1:
        raise ConversionError(
            f"max_drop must be from 0 to 1, not {max_drop}; 0.01, or 1% on the shell, is one point"
        )
    return max_drop


def one_of(what: str, given: _Choice, known: Sequence[_Choice]) -> _Choice:
    """One of some words.

    Raises:
        ConversionError: it is another one.
    """
    if given not in known:
        raise ConversionError(f"{what} must be one of {', '.join(known)}, not {given!r}")
    return given
