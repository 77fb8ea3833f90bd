"""Changing a TensorFlow Lite file: what its borders are called, and how they are laid out.

Runs where `ai-edge-litert` is installed, which brings the format's schema and numpy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from wherever_convert.env.tools import tool

_FEATURE = "changing a TensorFlow Lite file"
SIGNATURE = "serving_default"
_IDENTIFIER = b"TFL3"


def schema() -> Any:
    """The format's tables."""
    return tool("ai_edge_litert.schema_py_generated", _FEATURE)


def read(data: bytes) -> Any:
    """A file as tables that can be changed.

    What a file keeps behind its tables (some tools write constants there) is put into them, and
    operators get the code that newer tools look at, where an older one wrote the file.
    """
    model = schema().ModelT.InitFromPackedBuf(bytearray(data), 0)
    for code in model.operatorCodes:
        code.builtinCode = max(code.builtinCode, code.deprecatedBuiltinCode)
    for buffer in model.buffers:
        if buffer.offset:
            buffer.data = _piece(data, buffer.offset, buffer.size)
            buffer.offset = buffer.size = 0
    for operator in [each for graph in model.subgraphs for each in graph.operators or ()]:
        if operator.largeCustomOptionsOffset:
            start, size = operator.largeCustomOptionsOffset, operator.largeCustomOptionsSize
            operator.customOptions = _piece(data, start, size)
            operator.largeCustomOptionsOffset = operator.largeCustomOptionsSize = 0
    return model


def packed(model: Any) -> bytes:
    """The file of such tables."""
    builder = tool("flatbuffers", _FEATURE).Builder(1024)
    builder.Finish(model.Pack(builder), _IDENTIFIER)
    return bytes(builder.Output())


def name_of(model: Any, index: int) -> str:
    """The name of a tensor of the main graph."""
    return str(model.subgraphs[0].tensors[index].name.decode())


def borders(model: Any) -> tuple[dict[str, int], dict[str, int]]:
    """Inputs and outputs: the name that the signature gives -> the tensor."""
    signature = model.signatureDefs[0]
    return _indices(signature.inputs), _indices(signature.outputs)


def call_by_signature(model: Any, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Call tensors by the names that the signature gives them, and put them in an order."""
    graph = model.subgraphs[0]
    taken, given = borders(model)
    for name, index in (*taken.items(), *given.items()):
        graph.tensors[index].name = name.encode()
    graph.inputs = np.array([taken[name] for name in inputs], np.int32)
    graph.outputs = np.array([given[name] for name in outputs], np.int32)


def sign(model: Any) -> None:
    """Give the main graph a signature whose names are those of its tensors."""
    tables, graph = schema(), model.subgraphs[0]
    signature = tables.SignatureDefT()
    signature.signatureKey = SIGNATURE.encode()
    signature.subgraphIndex = 0
    signature.inputs = [_entry(model, index) for index in graph.inputs]
    signature.outputs = [_entry(model, index) for index in graph.outputs]
    model.signatureDefs = [signature]


def rename_outputs(model: Any, names: Mapping[str, str]) -> None:
    """Give outputs other names in the signature: old -> new."""
    for entry in model.signatureDefs[0].outputs:
        entry.name = names[entry.name.decode()].encode()


def turn_outputs(model: Any, axes: Mapping[str, Sequence[int]]) -> None:
    """Add a transposition after outputs, by their names in the signature, where one is needed."""
    _, given = borders(model)
    for name, order in axes.items():
        if list(order) != sorted(order):
            _turn(model, given[name], order)


def laid_out(array: Any, detail: Mapping[str, Any]) -> Any:
    """An array as an input takes it: as it is, or with the channels last.

    Args:
        array: of the model that the file was made of.
        detail: of the input, as the interpreter tells.

    Raises:
        ValueError: neither fits.
    """
    shape = tuple(detail["shape"])
    moved = np.moveaxis(array, 1, -1) if array.ndim > 2 else array
    for each in (array, moved):
        if each.shape == shape:
            return np.ascontiguousarray(each, detail["dtype"])
    raise ValueError(f"{detail['name']} takes {shape}, not {array.shape}")


def _piece(data: bytes, start: int, size: int) -> Any:
    return np.frombuffer(data, np.uint8, size, start)


def _indices(entries: Sequence[Any]) -> dict[str, int]:
    return {each.name.decode(): each.tensorIndex for each in entries}


def _entry(model: Any, index: int) -> Any:
    entry = schema().TensorMapT()
    entry.name, entry.tensorIndex = name_of(model, index).encode(), int(index)
    return entry


def _turn(model: Any, index: int, order: Sequence[int]) -> None:
    tables, graph = schema(), model.subgraphs[0]
    before = graph.tensors[index]
    turned = _tensor(before.name + b"/turned", before.type, [before.shape[n] for n in order])
    graph.tensors.append(turned)
    operator = tables.OperatorT()
    operator.opcodeIndex = _opcode(model, tables.BuiltinOperator.TRANSPOSE)
    operator.inputs = np.array([index, _constant(model, order)], np.int32)
    end = graph.tensors.index(turned)
    operator.outputs = np.array([end], np.int32)
    operator.builtinOptionsType = tables.BuiltinOptions.TransposeOptions
    operator.builtinOptions = tables.TransposeOptionsT()
    graph.operators.append(operator)
    graph.outputs = np.array([end if n == index else n for n in graph.outputs], np.int32)
    for entry in model.signatureDefs[0].outputs:
        entry.tensorIndex = end if entry.tensorIndex == index else entry.tensorIndex


def _tensor(name: bytes, kind: int, shape: Sequence[int]) -> Any:
    tensor = schema().TensorT()
    tensor.name, tensor.type, tensor.buffer = name, kind, 0
    tensor.shape = np.array(shape, np.int32)
    return tensor


def _constant(model: Any, numbers: Sequence[int]) -> int:
    """A new constant tensor of the main graph; returns its index."""
    tables, graph = schema(), model.subgraphs[0]
    buffer = tables.BufferT()
    buffer.data = np.frombuffer(np.array(numbers, np.int32).tobytes(), np.uint8)
    model.buffers.append(buffer)
    tensor = _tensor(f"order{len(graph.tensors)}".encode(), tables.TensorType.INT32, [len(numbers)])
    tensor.buffer = len(model.buffers) - 1
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


def _opcode(model: Any, builtin: int) -> int:
    for index, code in enumerate(model.operatorCodes):
        if code.builtinCode == builtin:
            return index
    code = schema().OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = builtin
    code.version = 1
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1
