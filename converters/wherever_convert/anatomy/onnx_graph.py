"""What an `.onnx` file is made of. Pure: it takes the model that the library `onnx` has read."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

from wherever_convert.anatomy import Anatomy, Port, Weights, add_weights, frequent_first
from wherever_convert.graphs import inputs_of

# onnx.TensorProto.DataType -> name, and the bits of a number
TYPES: dict[int, tuple[str, int]] = {
    1: ("float32", 32),
    2: ("uint8", 8),
    3: ("int8", 8),
    4: ("uint16", 16),
    5: ("int16", 16),
    6: ("int32", 32),
    7: ("int64", 64),
    8: ("string", 0),
    9: ("bool", 8),
    10: ("float16", 16),
    11: ("float64", 64),
    12: ("uint32", 32),
    13: ("uint64", 64),
    16: ("bfloat16", 16),
    17: ("float8", 8),
    18: ("float8", 8),
    19: ("float8", 8),
    20: ("float8", 8),
    21: ("uint4", 4),
    22: ("int4", 4),
}
# Domains whose operators the runtimes know; any other one is some library's own.
_COMMON = frozenset(
    {"", "ai.onnx", "ai.onnx.ml", "com.microsoft", "com.microsoft.nchwc", "ai.onnx.preview"}
)


def read_onnx(model: Any) -> Anatomy:
    """Read what a model says of itself.

    Args:
        model: an `onnx.ModelProto`.
    """
    return Anatomy(
        "onnx",
        _weights(model.graph),
        frequent_first(Counter(map(_operator, nodes_of(model.graph)))),
        tuple(map(_port, inputs_of(model))),
        tuple(map(_port, model.graph.output)),
        version=_version(model),
        producer=" ".join(filter(None, (model.producer_name, model.producer_version))),
        metadata=_metadata(model),
    )


def nodes_of(graph: Any) -> Iterator[Any]:
    """Every node, those of the graphs inside of nodes included."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from nodes_of(attribute.g)


def opset_of(model: Any) -> int:
    """The version of the standard operators; 0 when none is declared."""
    return max((each.version for each in model.opset_import if each.domain in _STANDARD), default=0)


def foreign_operators(model: Any) -> tuple[str, ...]:
    """Operators of domains that no runtime knows by itself, as DOMAIN.NAME."""
    defined = {(function.domain, function.name) for function in model.functions}
    found = {
        f"{node.domain}.{node.op_type}"
        for node in nodes_of(model.graph)
        if node.domain not in _COMMON and (node.domain, node.op_type) not in defined
    }
    return tuple(sorted(found))


_STANDARD = frozenset({"", "ai.onnx"})


def _weights(graph: Any) -> dict[str, Weights]:
    weights: dict[str, Weights] = {}
    for tensor in _constants(graph):
        name, bits = TYPES.get(tensor.data_type, (f"type {tensor.data_type}", 8))
        numbers = math.prod(tensor.dims)
        size = (numbers * bits + 7) // 8 or sum(map(len, tensor.string_data))
        add_weights(weights, name, numbers, size)
    return weights


def _constants(graph: Any) -> Iterator[Any]:
    yield from graph.initializer
    for node in nodes_of(graph):
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from attribute.g.initializer
            elif node.op_type == "Constant" and attribute.HasField("t"):
                yield attribute.t


def _operator(node: Any) -> str:
    name: str = node.op_type
    return name if node.domain in _STANDARD else f"{node.domain}.{name}"


def _port(value: Any) -> Port:
    tensor = value.type.tensor_type
    if not value.type.HasField("tensor_type"):
        return Port(value.name, value.type.WhichOneof("value") or "nothing", ())
    name, _ = TYPES.get(tensor.elem_type, (f"type {tensor.elem_type}", 0))
    return Port(value.name, name, tuple(map(_length, tensor.shape.dim)))


def _length(dim: Any) -> int | str:
    return int(dim.dim_value) if dim.HasField("dim_value") else dim.dim_param or "any"


def _version(model: Any) -> str:
    opsets = [f"{each.domain or 'ai.onnx'} {each.version}" for each in model.opset_import]
    return f"IR {model.ir_version}, opset {', '.join(opsets) or 'not said'}"


def _metadata(model: Any) -> dict[str, str]:
    said = {each.key: each.value for each in model.metadata_props}
    if model.doc_string:
        said["description"] = model.doc_string
    return {key: " ".join(value.split()) for key, value in said.items() if value.strip()}
