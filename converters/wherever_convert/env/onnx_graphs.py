"""Changes to ONNX graphs that exporters make, in whatever environment they run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

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


def inner_graphs(node: Any) -> list[Any]:
    """The graphs inside a node (of If, Loop, Scan)."""
    return [attribute.g for attribute in node.attribute if attribute.HasField("g")]


def _captured(node: Any) -> set[str]:
    """What the graphs inside a node read."""
    names: set[str] = set()
    for graph in inner_graphs(node):
        for inner in graph.node:
            names.update(inner.input)
            names |= _captured(inner)
    return names
