"""Tensors as the Open Inference Protocol v2 carries them.

Raw contents are row-major and little-endian; an element of a BYTES tensor is a 4-byte
little-endian length followed by that many bytes ("Tensor Data Types" and `raw_input_contents`
of the protocol).
"""

from __future__ import annotations

import math
import struct
import sys
from typing import NamedTuple, TypeAlias

import numpy as np

from wherever_contracts.places import Boundary
from wherever_contracts.tensors import DTYPE_OF_WIRE, WIRE_TYPES, Array

Buffer: TypeAlias = bytes | memoryview
Parameter: TypeAlias = str | int | float | bool
Parameters: TypeAlias = dict[str, Parameter]

_LENGTH = struct.Struct("<I")
# datatype -> the dtype of its raw contents, and back; asking numpy each time is slow
_LITTLE_ENDIAN = {
    wire: np.dtype(name).newbyteorder("<") for name, wire in WIRE_TYPES.items() if name != "bytes"
}
_DATATYPES = {dtype: wire for wire, dtype in _LITTLE_ENDIAN.items()}

# the upper half of a float32 ("Tensor Data Types" of the protocol)
BFLOAT16 = "BF16"
_UPPER_HALF = np.dtype("<u2")

# From this size on contents are read where they lie; a copy of less costs less than a view of it.
IN_PLACE_FROM = 4096


class WireTensor(NamedTuple):
    """One tensor of a message, with its raw contents; `content_type` only for BYTES."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: Buffer
    content_type: str = ""


class InferRequest(NamedTuple):
    """`ModelInferRequest`, with every input's contents in raw form.

    `boundary` says how far its contents may travel, and by default nowhere; what sends it holds to
    that (`wherever_edge.egress.guard`). It does not travel itself. `headers` go along as the
    transport has them: HTTP's headers, or gRPC's metadata. `classes` names outputs that are wanted
    as their best classes, and how many (see `wherever_contracts.wire.classification`).
    """

    model: str
    version: str
    id: str
    parameters: Parameters
    inputs: tuple[WireTensor, ...]
    outputs: tuple[str, ...] = ()
    boundary: Boundary = "device"
    headers: tuple[tuple[str, str], ...] = ()
    classes: tuple[tuple[str, int], ...] = ()


class InferResponse(NamedTuple):
    """`ModelInferResponse`, with every output's contents in raw form.

    `protocol` says how it came: "grpc" or "rest"; it does not travel.
    """

    model: str
    version: str
    id: str
    parameters: Parameters
    outputs: tuple[WireTensor, ...]
    protocol: str = "grpc"


def from_array(name: str, array: Array, content_type: str = "") -> WireTensor:
    """`array` as a tensor of a message, without a copy where it can; object arrays become BYTES."""
    datatype = _DATATYPES.get(array.dtype)
    if datatype is None:
        if array.dtype == object:
            elements = [bytes(element) for element in array.ravel()]
            return from_bytes(name, elements, array.shape, content_type)
        return from_array(name, array.astype(array.dtype.newbyteorder("<")))
    in_place = array.nbytes >= IN_PLACE_FROM and array.flags.c_contiguous
    data = array.data.cast("B") if in_place else array.tobytes()
    return WireTensor(name, datatype, array.shape, data)


def from_bytes(
    name: str, elements: list[bytes], shape: tuple[int, ...] = (1,), content_type: str = ""
) -> WireTensor:
    """A BYTES tensor of `elements`."""
    parts: list[bytes] = []
    for element in elements:
        parts += (_LENGTH.pack(len(element)), element)
    return WireTensor(name, "BYTES", shape, b"".join(parts), content_type)


def to_array(tensor: WireTensor) -> Array:
    """The tensor as an array that reads the message's own memory (so it may be read-only).

    BF16 becomes float32, which holds each of its numbers; no array has a type of that name.

    Raises:
        ValueError: unknown datatype, a negative length, or contents of another size than the
            shape says.
    """
    datatype, shape = tensor.datatype, tensor.shape
    if datatype not in DTYPE_OF_WIRE and datatype != BFLOAT16:
        raise ValueError(f"a known datatype, not {datatype!r}")
    if shape and min(shape) < 0:
        raise ValueError(f"lengths of 0 and more in its shape, not {list(shape)}")
    count = math.prod(shape)
    if datatype == "BYTES":
        return _bytes_array(tensor, count)
    dtype = _UPPER_HALF if datatype == BFLOAT16 else _LITTLE_ENDIAN[datatype]
    size = count * dtype.itemsize
    if size != len(tensor.data):
        raise ValueError(f"{size} bytes for {datatype}{list(shape)}, not {len(tensor.data)}")
    array: Array = np.ndarray(shape, dtype, tensor.data)
    if datatype == BFLOAT16:
        return np.left_shift(array, 16, dtype=np.uint32).view(np.float32)
    return array.astype(dtype.newbyteorder("=")) if sys.byteorder == "big" else array


def _bytes_array(tensor: WireTensor, count: int) -> Array:
    if count * _LENGTH.size > len(tensor.data):
        raise ValueError(f"{count} elements of BYTES, not {len(tensor.data)} bytes in all")
    elements = np.empty(count, dtype=object)
    data = memoryview(tensor.data)
    position = 0
    for index in range(count):
        start = position + _LENGTH.size
        if start > len(data):
            raise ValueError(f"{count} elements of BYTES, not {index}")
        end = start + _LENGTH.unpack_from(data, position)[0]
        if end > len(data):
            raise ValueError(f"element {index} of BYTES within the message, not past its end")
        elements[index] = bytes(data[start:end])
        position = end
    if position != len(data):
        raise ValueError(f"{count} elements of BYTES, not {len(data) - position} bytes more")
    return elements.reshape(tensor.shape)
