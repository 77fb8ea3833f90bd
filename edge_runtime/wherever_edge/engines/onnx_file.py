"""What an `.onnx` file computes in, for an engine that does not tell. Pure.

The file is a protocol buffer. Of the model only the operations' names and the weights' types are
read; numbers are those of the fields in ONNX's published schema.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

_GRAPH = 7  # of ModelProto
_NODE, _INITIALIZER = 1, 5  # of GraphProto
_OP_TYPE = 4  # of NodeProto
_DIMENSIONS, _DATA_TYPE = 1, 2  # of TensorProto
_LONGEST_VARINT = 63  # bits before the last byte
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types
_FLOATS = {1: "float32", 10: "float16", 16: "bfloat16"}  # of TensorProto.DataType
_ON_INTEGERS = (
    "QuantizeLinear",
    "DequantizeLinear",
    "ConvInteger",
    "MatMulInteger",
    "MatMulNBits",
)


def precision_of(model: bytes) -> str:
    """What the file computes in: "int8", "float16", "bfloat16" or "float32"; "" when unclear.

    It is "int8" with an operation on small integers, else the type of most of its weights.
    """
    try:
        graph = next(each for field, each in _fields(memoryview(model)) if field == _GRAPH)
        operations, weights = _read(graph)
    except (ValueError, IndexError, StopIteration):  # ONNX Runtime's own format, for one
        return ""
    if any(name.startswith("QLinear") or name in _ON_INTEGERS for name in operations):
        return "int8"
    return weights.most_common(1)[0][0] if weights else "float32"


def _read(graph: memoryview) -> tuple[set[str], Counter[str]]:
    """The names of the operations, and how many numbers of each type the weights have."""
    operations: set[str] = set()
    weights: Counter[str] = Counter()
    for field, each in _fields(graph):
        if field == _NODE:
            operations.update(bytes(name).decode() for at, name in _fields(each) if at == _OP_TYPE)
        elif field == _INITIALIZER:
            weights += _weight(each)
    return operations, weights


def _weight(tensor: memoryview) -> Counter[str]:
    size, kind = 1, 0
    for field, value, length in _numbers(tensor):
        if field == _DATA_TYPE:
            kind = value
        elif field == _DIMENSIONS:
            size *= value if length is None else _product(tensor[length])
    return Counter({_FLOATS[kind]: size}) if kind in _FLOATS else Counter()


def _product(packed: memoryview) -> int:
    size, at = 1, 0
    while at < len(packed):
        value, at = _varint(packed, at)
        size *= value
    return size


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """The fields that hold bytes: texts and messages."""
    for field, _, place in _numbers(message):
        if place is not None:
            yield field, message[place]


def _numbers(message: memoryview) -> Iterator[tuple[int, int, slice | None]]:
    """(field, its number, None), or (field, 0, where its bytes are)."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        kind = key & 7
        if kind == _VARINT:
            value, at = _varint(message, at)
            yield key >> 3, value, None
        elif kind == _BYTES:
            length, at = _varint(message, at)
            if length > len(message) - at:
                raise ValueError("the file ends within a field")
            yield key >> 3, 0, slice(at, at + length)
            at += length
        elif kind in (_FIXED32, _FIXED64):
            at += 4 if kind == _FIXED32 else 8
        else:
            raise ValueError(f"a field of the unknown kind {kind}")


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > _LONGEST_VARINT:
            raise ValueError("a number of more than 64 bits")
