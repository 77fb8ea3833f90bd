"""Tensors: names, element types and shapes, in memory and on the wire."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
Tensors: TypeAlias = Mapping[str, Array]

# dtype name in model.json -> datatype of the Open Inference Protocol v2 (tensor data types table).
WIRE_TYPES: dict[str, str] = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
    "bytes": "BYTES",
}
DTYPE_OF_WIRE: dict[str, str] = {wire: name for name, wire in WIRE_TYPES.items()}
DTYPES: tuple[str, ...] = tuple(WIRE_TYPES)


# A spec remembers this many shapes that fitted; most see one or two in their life.
_REMEMBERED = 16


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Name, dtype and shape of a tensor; -1 in the shape stands for any length."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    _numpy: np.dtype[Any] = field(init=False, repr=False, compare=False)
    _fitted: set[tuple[int, ...]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        kind = "object" if self.dtype == "bytes" else self.dtype
        object.__setattr__(self, "_numpy", np.dtype(kind))
        object.__setattr__(self, "_fitted", set())

    @property
    def numpy_dtype(self) -> np.dtype[Any]:
        """The dtype in memory; `bytes` tensors are object arrays of `bytes`."""
        return self._numpy

    def admits(self, array: Array) -> bool:
        """True when `array` has this dtype and a shape that fits."""
        if array.dtype != self._numpy:
            return False
        shape = array.shape
        if shape in self._fitted:
            return True
        fits = shape_fits(self.shape, shape)
        if fits and len(self._fitted) < _REMEMBERED:
            self._fitted.add(shape)
        return fits

    def __str__(self) -> str:
        dims = ", ".join("any" if n < 0 else str(n) for n in self.shape)
        return f"{self.dtype}[{dims}]"


def shape_fits(expected: Sequence[int], found: Sequence[int]) -> bool:
    """True when `found` has the rank of `expected` and every fixed length."""
    return len(expected) == len(found) and all(
        want in (-1, have) for want, have in zip(expected, found, strict=True)
    )


def describe(array: Array) -> str:
    """`array`'s dtype and shape, for messages: `float64[3, 224]`."""
    name = "bytes" if array.dtype == object else array.dtype.name
    return f"{name}[{', '.join(map(str, array.shape))}]"
