"""Changes to ONNX graphs that exporters make, in whatever environment they run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from wherever_convert.env.tools import tool

# What onnxruntime 1.20, the oldest that wherever runs with, can read.
_IR_VERSION = 10


def keep_outputs(model: Any, names: Sequence[str]) -> None:
    """Drop every other output of an ONNX model, and the nodes that only they needed.

    Args:
        model: an `onnx.ModelProto`; changed.
        names: the outputs that stay.
    """
    graph = model.graph
    for output in [output for output in graph.output if output.name not in names]:
        graph.output.remove(output)
    needed = set(names)
    for node in reversed(list(graph.node)):  # nodes are sorted: users come after what they use
        if needed.isdisjoint(node.output):
            graph.node.remove(node)
        else:
            needed.update(node.input)
            needed.update(_captured(node))


def limit_ir_version(model: Any) -> None:
    """Let older runtimes read an ONNX model; nothing that the newer versions added is used."""
    model.ir_version = min(model.ir_version, _IR_VERSION)


def spell_out_scalers(model: Any) -> None:
    """Write (x - offset) * scale instead of ai.onnx.ml's Scaler, which ONNX Runtime alone knows.

    Args:
        model: an `onnx.ModelProto`; changed where a Scaler takes a float32 input of the model.
    """
    onnx = tool("onnx", "converting to ONNX")
    graph = model.graph
    kinds = {each.name: each.type.tensor_type.elem_type for each in graph.input}
    for node in [each for each in graph.node if each.op_type == "Scaler"]:
        if kinds.get(node.input[0]) == onnx.TensorProto.FLOAT:
            position = list(graph.node).index(node)
            graph.node.remove(node)
            for step in reversed(_scaling(onnx, graph, node)):
                graph.node.insert(position, step)


def cast_ends_to_float32(model: Any) -> None:
    """Let a model of float64 tensors take and give float32; in between it computes as before.

    Args:
        model: an `onnx.ModelProto`; changed.
    """
    onnx = tool("onnx", "converting to ONNX")
    double, single = onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT
    graph = model.graph
    for value in (*graph.input, *graph.output):
        if value.type.tensor_type.elem_type != double:
            continue
        inner = f"{value.name}_float64"
        _rename(graph, value.name, inner)
        if value in graph.input:
            graph.node.insert(0, onnx.helper.make_node("Cast", [value.name], [inner], to=double))
        else:
            graph.node.append(onnx.helper.make_node("Cast", [inner], [value.name], to=single))
        value.type.tensor_type.elem_type = single


def two_sided(model: Any, *, column: int) -> None:
    """Let a model of one output give -x and x, where x is one of the output's columns.

    Args:
        model: an `onnx.ModelProto`; changed.
        column: which one is x.
    """
    onnx = tool("onnx", "converting to ONNX")
    graph = model.graph
    name = graph.output[0].name
    _rename(graph, name, f"{name}_given")
    index = onnx.numpy_helper.from_array(np.array([column], np.int64), f"{name}_column")
    graph.initializer.append(index)
    make = onnx.helper.make_node
    graph.node.append(make("Gather", [f"{name}_given", index.name], [f"{name}_x"], axis=1))
    graph.node.append(make("Neg", [f"{name}_x"], [f"{name}_minus_x"]))
    graph.node.append(make("Concat", [f"{name}_minus_x", f"{name}_x"], [name], axis=1))
    lengths = graph.output[0].type.tensor_type.shape.dim
    lengths[1].dim_value = 2


def inner_graphs(node: Any) -> list[Any]:
    """The graphs inside a node (of If, Loop, Scan)."""
    return [attribute.g for attribute in node.attribute if attribute.HasField("g")]


def _rename(graph: Any, old: str, new: str) -> None:
    """Let nodes speak of a tensor by another name; inputs and outputs keep theirs."""
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [new if name == old else name for name in names]


def _captured(node: Any) -> set[str]:
    """What the graphs inside a node read."""
    names: set[str] = set()
    for graph in inner_graphs(node):
        for inner in graph.node:
            names.update(inner.input)
            names |= _captured(inner)
    return names


def _scaling(onnx: Any, graph: Any, scaler: Any) -> list[Any]:
    """The two steps that a Scaler stands for; their constants are added to the graph."""
    (result,) = scaler.output
    for attribute in scaler.attribute:
        numbers = np.array(attribute.floats, np.float32)
        name = f"{result}_{attribute.name}"
        graph.initializer.append(onnx.numpy_helper.from_array(numbers, name))
    moved = f"{result}_moved"
    return [
        onnx.helper.make_node("Sub", [scaler.input[0], f"{result}_offset"], [moved]),
        onnx.helper.make_node("Mul", [moved, f"{result}_scale"], [result]),
    ]
