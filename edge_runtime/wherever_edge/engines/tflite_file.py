"""What a `.tflite` file says of its inputs and outputs, for engines that do not tell.

The file is a FlatBuffer. Only the path from the model to the scales of its outermost tensors is
read; numbers are the positions of fields in TensorFlow Lite's published schema.
"""

from __future__ import annotations

from wherever_edge.engines.flat_tables import Table, root_table
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
    root = root_table(model)
    graph = root.tables(_SUBGRAPHS)[0]
    tensors = graph.tables(_TENSORS)
    scales = [
        [_scale(tensors[int(at)]) for at in graph.numbers(side, "i")]
        for side in (_INPUTS, _OUTPUTS)
    ]
    return scales[0], scales[1]


def _scale(tensor: Table) -> Scale | None:
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
