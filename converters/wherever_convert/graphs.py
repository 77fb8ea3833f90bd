"""Changes to ONNX graphs that do not change what they compute."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from wherever_convert.env.onnx_graphs import inner_graphs

# What the axis that counts rows is called.
ROWS = "rows"


def count_nodes(graph: Any) -> int:
    """How many nodes a graph has, with those of the graphs inside them."""
    return len(graph.node) + sum(
        count_nodes(inner) for node in graph.node for inner in inner_graphs(node)
    )


def inputs_of(model: Any) -> list[Any]:
    """What has to be given to a model; old files list their weights as inputs, too."""
    weights = {tensor.name for tensor in model.graph.initializer}
    return [each for each in model.graph.input if each.name not in weights]


def why_no_rows(model: Any) -> str:
    """Why the first axis of every tensor cannot count rows; "" when it may."""
    for side, values in (("input", inputs_of(model)), ("output", model.graph.output)):
        for each in values:
            tensor = each.type.tensor_type
            if not each.type.HasField("tensor_type") or not tensor.HasField("shape"):
                return f"the file does not say how long {side} {each.name!r} is"
            first = tensor.shape.dim[0] if tensor.shape.dim else None
            if first is None:
                return f"{side} {each.name!r} is a single number"
            if first.HasField("dim_value") and first.dim_value != 1:
                return f"the first length of {side} {each.name!r} is {first.dim_value}"
    return ""


def open_rows(model: Any, *, all_reshapes: bool = False) -> bool:
    """Let the first axis of every tensor have any length, where it is 1.

    Lengths that constants give to `Reshape` are opened with it. Whether the graph then still works
    is to be tried.

    Args:
        model: an `onnx.ModelProto`; changed.
        all_reshapes: also open first lengths that are not 1, for graphs that fold the rows into
            another axis for a while.

    Returns:
        Whether there was anything to change.
    """
    values = [*inputs_of(model), *model.graph.output]
    closed = [dim for dim in map(_first, values) if dim.dim_value == 1]
    for dim in closed:
        dim.Clear()
        dim.dim_param = ROWS
    if not closed:
        return False
    del model.graph.value_info[:]  # they say 1 still
    _open_reshapes(model.graph, all_reshapes=all_reshapes)
    return True


def _first(value: Any) -> Any:
    return value.type.tensor_type.shape.dim[0]


def _open_reshapes(graph: Any, *, all_reshapes: bool) -> None:
    import onnx.numpy_helper as arrays  # noqa: PLC0415 (an extra)

    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            constants[node.output[0]] = node.attribute[0].t
    for node in graph.node:
        shape = constants.get(node.input[1]) if node.op_type == "Reshape" else None
        if shape is None:
            continue
        lengths = opened_lengths(arrays.to_array(shape).tolist(), any_first=all_reshapes)
        if lengths is not None:
            name = f"{node.input[1]}_{ROWS}"
            if name not in constants:
                constants[name] = arrays.from_array(np.array(lengths, np.int64), name)
                graph.initializer.append(constants[name])
            node.input[1] = name


def opened_lengths(lengths: Sequence[int], *, any_first: bool = False) -> list[int] | None:
    """The lengths that a `Reshape` gives, for any number of rows; None when they are as they are.

    A first length of 1 becomes -1 (whatever is left over), or 0 (as long as it came) where another
    one is -1 already; with `any_first` another first length becomes -1, too.
    """
    if not lengths or lengths[0] < 1 or (-1 in lengths and lengths[0] != 1):
        return None
    if lengths[0] != 1 and not any_first:
        return None
    return [0 if -1 in lengths else -1, *lengths[1:]]
