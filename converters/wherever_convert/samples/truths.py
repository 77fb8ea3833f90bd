"""What is right for samples, as tables and arrays say it. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from wherever_contracts.errors import ConversionError
from wherever_convert.samples.sample import Truth

# Of more different ones, none is a class.
MOST_CLASSES = 100_000


def truth_of(value: Any) -> Truth:
    """A class by its name, or a number; a whole number is a class.

    Raises:
        ValueError: it is missing, or neither.
    """
    if isinstance(value, str):
        return _from_text(value.strip())
    plain = np.asarray(value)
    if value is None or plain.ndim or plain.dtype.kind not in "biufUS":
        raise ValueError("no label" if value is None else f"a label {value!r:.60}")
    if plain.dtype.kind == "f":
        if not np.isfinite(plain):
            raise ValueError("no label")
        return float(plain)
    return str(int(plain)) if plain.dtype.kind in "biu" else str(plain)


def classes(truths: Iterable[Truth]) -> tuple[str, ...] | None:
    """The classes in the order of their numbers, or of their names; None when there are none."""
    names = {truth for truth in truths if isinstance(truth, str)}
    if all(name.isdecimal() for name in names):
        return tuple(sorted(names, key=int)) or None
    return tuple(sorted(names))


def moved(truth: Truth, offset: int) -> Truth:
    """A class that is given by its number, counted from elsewhere.

    Raises:
        ConversionError: its number would be below 0, or it has none.
    """
    number = _whole(truth)
    if number is None or number + offset < 0:
        raise ConversionError(f"--label-offset {offset}: there is a class {truth!r}")
    return str(number + offset)


def _whole(truth: Truth) -> int | None:
    if isinstance(truth, str) and truth.isdecimal():
        return int(truth)
    return int(truth) if isinstance(truth, float) and truth.is_integer() else None


def _from_text(text: str) -> Truth:
    if not text:
        raise ValueError("no label")
    if "." not in text:
        return text
    try:
        return float(text)
    except ValueError:
        return text
