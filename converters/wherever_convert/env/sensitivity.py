"""How far off a model's outputs are, as a share of their range."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from wherever_contracts.tensors import Array

# More than this says nothing more; numbers that are not finite count as this.
WORST = 1e6
# A column that hardly changes is judged by the range of the one that changes most.
_LEAST_SHARE = 0.01
_DIGITS = 6


def output_error(found: Sequence[Array], expected: Sequence[Array]) -> float:
    """The error of the worst output, as a share of its range.

    Columns (the last axis, or the channels of an image) are judged one by one: box corners in
    pixels do not hide what happens to scores.

    Args:
        found: a run's outputs.
        expected: the outputs that they should be, in the same order.
    """
    errors = [_error(own, other) for own, other in zip(found, expected, strict=True)]
    return max(errors, default=0.0)


def rounded(error: float) -> float:
    """An error with so many digits as mean something."""
    return float(f"{min(error, WORST):.{_DIGITS}g}")


def _error(found: Array, expected: Array) -> float:
    if found.shape != expected.shape:
        return WORST
    if expected.dtype.kind != "f":
        return int(np.count_nonzero(found != expected)) / max(1, expected.size)
    own, other = _columns(found), _columns(expected)
    if not (np.isfinite(own).all() and np.isfinite(other).all()):
        return WORST
    if not other.size:
        return 0.0
    ranges = np.ptp(other, axis=1)
    if not ranges.max() > 0:
        ranges = np.abs(other).max(axis=1)
    least = max(float(ranges.max()) * _LEAST_SHARE, 1 / WORST)
    off = np.sqrt(np.mean(np.square(own - other), axis=1)) / np.maximum(ranges, least)
    return float(off.mean())


def _columns(array: Array) -> Array:
    """The numbers of each column in a row of its own."""
    numbers = array.astype(np.float64)
    if numbers.ndim < 3 and numbers.shape[:1] in {(), (1,)}:
        return numbers.reshape(1, -1)  # one row alone has no ranges of its columns
    axis = 1 if numbers.ndim == 4 else -1
    return np.moveaxis(numbers, axis, 0).reshape(numbers.shape[axis], -1)
