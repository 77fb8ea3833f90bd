"""Examples of calls: what a model is given, as the fields of a typed call. Pure."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from wherever_contracts.manifest import InputEntry, Signature
from wherever_contracts.tensors import Array

# an example for a page stays readable: larger images are replaced by an invented one
MAX_ENCODED_BYTES = 64 * 1024
_MAX_NUMBERS = 4096

_SIDE = 64  # pixels of the invented picture
_ANY_LENGTH = 3  # of an axis of any length
_WORDS = "The quick brown fox jumps over the lazy dog."


def example_of(
    signature: Signature, inputs: Mapping[str, Array], options: Mapping[str, Any]
) -> dict[str, Any]:
    """A call with these inputs, as they travel, and these options."""
    given = {entry.name: _shown(entry, inputs[entry.name]) for entry in signature.inputs}
    return {**given, **options}


def invented_example(signature: Signature) -> dict[str, Any]:
    """A call that fits the signature; its answer means nothing."""
    return {entry.name: _invented(entry) for entry in signature.inputs}


def picture() -> bytes:
    """A small PNG (RFC 2083): light from the left, darker to the right and below."""
    ramp = np.linspace(255, 0, _SIDE)
    grey = np.minimum.outer(ramp, ramp).astype(np.uint8)
    rows = np.repeat(grey[:, :, None], 3, axis=2).reshape(_SIDE, -1)
    filtered = np.hstack([np.zeros((_SIDE, 1), np.uint8), rows]).tobytes()
    header = struct.pack(">IIBBBBB", _SIDE, _SIDE, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(filtered, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*chunk) for chunk in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _shown(entry: InputEntry, array: Array) -> Any:
    if array.dtype != object:
        return _rounded(array) if array.size <= _MAX_NUMBERS else _invented(entry)
    data = bytes(array.reshape(-1)[0])
    if len(data) > MAX_ENCODED_BYTES:
        return _invented(entry)
    return data.decode() if entry.kind == "text" else _base64(data)


def _rounded(array: Array) -> Any:
    """Numbers in as many digits as tell them apart at their precision."""
    if array.dtype.kind != "f":
        return array.tolist()
    texts = [float(str(value)) for value in array.reshape(-1)]
    return np.array(texts).reshape(array.shape).tolist()


def _invented(entry: InputEntry) -> Any:
    if entry.kind == "text":
        return _WORDS
    if entry.kind in ("image", "bytes"):
        return _base64(picture())
    shape = [_ANY_LENGTH if length < 0 else length for length in entry.shape or ()]
    if entry.dtype == "bytes":
        return np.full(shape, _WORDS, dtype=object).tolist()
    low = max(entry.min or 0.0, 0.0)
    most = low if entry.max is None else min(entry.max, max(low, 1.0))
    return np.full(shape, min(low, most), dtype=entry.dtype).tolist()


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
