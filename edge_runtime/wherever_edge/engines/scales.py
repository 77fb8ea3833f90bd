"""Integers that stand for real numbers: how a quantized tensor is read and written.

Callers see float32; engines that keep such tensors as integers convert at their border, all of
them with this code, so that two engines never differ by how they round.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from wherever_contracts.tensors import Array

INTEGERS = ("int8", "uint8", "int16")


@dataclass(frozen=True, slots=True)
class Scale:
    """What the integers of one tensor stand for: (integer - zero_point) * step.

    Attributes:
        dtype: the integers' type, one of `INTEGERS`.
        step: the real distance between two neighbours.
        zero_point: the integer that stands for 0.
    """

    dtype: str
    step: float
    zero_point: int

    @property
    def range(self) -> tuple[float, float]:
        """What the least and the greatest integer stand for."""
        limits = np.iinfo(self.dtype)
        return (limits.min - self.zero_point) * self.step, (
            limits.max - self.zero_point
        ) * self.step

    def to_integers(self, array: Array) -> Array:
        """The nearest integers; what lies beyond their range becomes its end."""
        limits = np.iinfo(self.dtype)
        nearest = np.divide(array, np.float32(self.step), out=np.empty_like(array))
        np.rint(nearest, out=nearest)
        nearest += np.float32(self.zero_point)
        np.clip(nearest, np.float32(limits.min), np.float32(limits.max), out=nearest)
        return nearest.astype(self.dtype)

    def to_floats(self, array: Array) -> Array:
        """What the integers stand for, as a new float32 array."""
        numbers = array.astype(np.float32)
        numbers -= np.float32(self.zero_point)
        numbers *= np.float32(self.step)
        return numbers
