"""What a `.tflite` file says of its inputs and outputs, for engines that do not tell.

The file is a FlatBuffer. Only the path from the model to the scales of its outermost tensors is
read; numbers are the positions of fields in TensorFlow Lite's published schema.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

from wherever_edge.engines.scales import INTEGERS, Scale

_SUBGRAPHS = 2  # of Model
_TENSORS, _INPUTS, _OUTPUTS = 0, 1, 2  # of SubGraph
_TYPE, _QUANTIZATION = 1, 4  # of Tensor
_STEPS, _ZERO_POINTS = 2, 3  # of QuantizationParameters
_TYPES = {3: "uint8", 7: "int16", 9: "int8"}  # of TensorType


def read_scales(model: bytes) -> tuple[list[Scale | None], list[Scale | None]]:
    """The scale of every input and every output, in the file's order; None without one.

    Args:
        model: a file that the engine has already read.

    Raises:
        struct.error: the file is no FlatBuffer of a model after all.
    """
    root = _Table(model, struct.unpack_from("<I", model, 0)[0])
    graph = root.tables(_SUBGRAPHS)[0]
    tensors = graph.tables(_TENSORS)
    scales = [
        [_scale(tensors[int(at)]) for at in graph.numbers(side, "i")]
        for side in (_INPUTS, _OUTPUTS)
    ]
    return scales[0], scales[1]


def _scale(tensor: _Table) -> Scale | None:
    """The scale of a tensor that has one for all its numbers."""
    dtype = _TYPES.get(tensor.byte(_TYPE), "")
    quantization = tensor.table(_QUANTIZATION)
    if dtype not in INTEGERS or quantization is None:
        return None
    steps = quantization.numbers(_STEPS, "f")
    if len(steps) != 1 or steps[0] == 0:
        return None
    zero_points = quantization.numbers(_ZERO_POINTS, "q")
    return Scale(dtype, steps[0], zero_points[0] if zero_points else 0)


@dataclass(frozen=True, slots=True)
class _Table:
    """A table of a FlatBuffer: fields by their number, absent ones with their default."""

    data: bytes
    start: int

    def byte(self, field: int) -> int:
        at = self._at(field)
        return 0 if at is None else self.data[at]

    def table(self, field: int) -> _Table | None:
        at = self._at(field)
        return None if at is None else _Table(self.data, self._target(at))

    def tables(self, field: int) -> list[_Table]:
        at = self._at(field)
        if at is None:
            return []
        vector = self._target(at)
        (count,) = self._read("I", vector)
        return [
            _Table(self.data, self._target(vector + 4 + 4 * position)) for position in range(count)
        ]

    def numbers(self, field: int, kind: str) -> tuple[Any, ...]:
        at = self._at(field)
        if at is None:
            return ()
        vector = self._target(at)
        (count,) = self._read("I", vector)
        return self._read(f"{count}{kind}", vector + 4)

    def _at(self, field: int) -> int | None:
        """Where a field is, by the table of offsets that the table points back to."""
        offsets = self.start - self._read("i", self.start)[0]
        (size,) = self._read("H", offsets)
        entry = 4 + 2 * field
        offset = self._read("H", offsets + entry)[0] if entry < size else 0
        return self.start + offset if offset else None

    def _target(self, at: int) -> int:
        return at + int(self._read("I", at)[0])

    def _read(self, kind: str, at: int) -> tuple[Any, ...]:
        return struct.unpack_from(f"<{kind}", self.data, at)
