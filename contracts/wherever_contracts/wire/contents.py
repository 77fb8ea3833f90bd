"""Typed contents (`InferTensorContents`) turned into raw ones.

Other clients may send numbers as repeated protobuf fields; everything behind the codec sees raw
contents alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from wherever_contracts.tensors import DTYPE_OF_WIRE
from wherever_contracts.wire.framing import WireError
from wherever_contracts.wire.tensors import from_bytes

# datatype -> the field that carries it ("Tensor Data Types" of the protocol; FP16 has none)
_FIELDS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


def to_raw(tensor: Any) -> bytes:
    """The raw contents of a tensor message that has typed ones.

    Raises:
        WireError: the datatype has no typed contents, they stand in another datatype's field, or
            a number does not fit the datatype.
    """
    datatype: str = tensor.datatype
    field = _FIELDS.get(datatype)
    if field is None:
        raise WireError(
            f"tensor {tensor.name!r}: {datatype!r} has no typed contents; send raw ones"
        )
    for descriptor, _ in tensor.contents.ListFields():
        if descriptor.name != field:
            raise WireError(
                f"tensor {tensor.name!r}: {datatype} travels in {field}, not in {descriptor.name}"
            )
    values = getattr(tensor.contents, field)
    if datatype == "BYTES":
        return bytes(from_bytes("", list(values)).data)
    return _packed(tensor.name, datatype, values)


def _packed(name: str, datatype: str, values: Sequence[Any]) -> bytes:
    dtype = np.dtype(DTYPE_OF_WIRE[datatype])
    wide = np.array(values, dtype=_widest(dtype))
    narrow = wide.astype(dtype)
    if dtype.kind in "iu" and not np.array_equal(narrow, wide):
        raise WireError(f"tensor {name!r}: a number that does not fit {datatype}")
    return narrow.astype(dtype.newbyteorder("<"), copy=False).tobytes()


def _widest(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return {"i": np.dtype(np.int64), "u": np.dtype(np.uint64)}.get(dtype.kind, dtype)
