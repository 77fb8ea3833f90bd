"""Frames: named arrays and a few facts beside them in one piece of bytes, without pickle.

    4 bytes   "WVF" and the version, 1
    4 bytes   length of the header, little-endian
    header    JSON: {"meta": {...}, "tensors": [{"name", "dtype", "shape", "offset", "bytes"}]}
    buffers   raw little-endian contents, each at a multiple of 16 from the frame's start
    16 bytes  the first half of the SHA-256 of all that comes before

A frame has one layout only: buffers follow each other in the header's order, so that none can
overlap another, leave the frame, or be followed by something that nobody named. Elements of a
`bytes` tensor are each preceded by their length, as on the wire.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard, cast

from wherever_contracts.tensors import DTYPE_OF_WIRE, DTYPES, WIRE_TYPES, Array, describe
from wherever_contracts.wire.tensors import Buffer, WireTensor, from_array, to_array

MAX_HEADER_BYTES = 64 * 1024

_MAGIC = b"WVF\x01"
_PREFIX = struct.Struct("<4sI")
_ALIGNMENT = 16
_CHECKSUM_SIZE = 16
_FIELDS = {"name", "dtype", "shape", "offset", "bytes"}
_NO_BYTES = bytes(_ALIGNMENT)


class FrameError(ValueError):
    """Bytes that are no whole, undamaged frame, or arrays that cannot become one."""


def pack_frame(arrays: Mapping[str, Array], meta: Mapping[str, Any]) -> bytes:
    """Arrays by name and `meta` as one frame; equal arguments give equal bytes.

    Args:
        arrays: of the dtypes that packages know; object arrays must hold `bytes` alone. Their
            order is kept, their strides and byte order are not.
        meta: what JSON can hold, without NaN and infinity.

    Raises:
        FrameError: an array of another dtype, or `meta` is not JSON.
    """
    tensors = [_tensor(name, array) for name, array in arrays.items()]
    header = _header(tensors, meta)
    parts: list[Buffer] = [_PREFIX.pack(_MAGIC, len(header)), header]
    parts.append(_gap(_PREFIX.size + len(header)))
    for tensor in tensors:
        parts += (tensor.data, _gap(len(tensor.data)))
    parts.append(_checksum(*parts))
    return b"".join(parts)


def unpack_frame(
    data: bytes, *, max_header_bytes: int = MAX_HEADER_BYTES
) -> tuple[dict[str, Array], dict[str, Any]]:
    """The arrays and the `meta` of a frame.

    The arrays are read-only views of `data`, which stays in memory as long as one of them; only
    the elements of `bytes` tensors are copies.

    Args:
        data: the frame, whole.
        max_header_bytes: the longest header that is parsed.

    Raises:
        FrameError: not a frame, cut off, damaged, or laid out otherwise than frames are.
    """
    header = _checked_header(data, max_header_bytes)
    try:
        fields = json.loads(header, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise FrameError(f"the header is no JSON: {error}") from None
    if not _is_object(fields) or fields.keys() != {"meta", "tensors"}:
        raise FrameError("the header is no object of 'meta' and 'tensors'")
    meta, entries = fields["meta"], fields["tensors"]
    if not _is_object(meta) or not isinstance(entries, list):
        raise FrameError("the header's 'meta' is no object, or 'tensors' is no list")
    start = _aligned(_PREFIX.size + len(header))
    view = memoryview(data).toreadonly()[:-_CHECKSUM_SIZE]
    return dict(_arrays(cast("list[object]", entries), view, start)), meta


def peek_meta(start: bytes) -> dict[str, Any]:
    """The `meta` of a frame of which only the beginning is at hand; nothing of it is checked.

    Args:
        start: the frame's first bytes, its header whole.

    Raises:
        FrameError: not a frame, or the header goes on beyond `start`.
    """
    magic, length = _PREFIX.unpack_from(start) if len(start) >= _PREFIX.size else (b"", 0)
    if magic != _MAGIC or length > len(start) - _PREFIX.size:
        raise FrameError(f"expected a frame with its header in {len(start)} bytes")
    try:
        fields = json.loads(start[_PREFIX.size : _PREFIX.size + length])
    except (ValueError, RecursionError) as error:
        raise FrameError(f"the header is no JSON: {error}") from None
    meta = fields.get("meta") if _is_object(fields) else None
    if not _is_object(meta):
        raise FrameError("the header's 'meta' is no object")
    return meta


def _tensor(name: str, array: Array) -> WireTensor:
    known = array.dtype.name in DTYPES
    if not known and not (array.dtype == object and all(type(e) is bytes for e in array.flat)):
        raise FrameError(f"{name!r}: expected one of {', '.join(DTYPES)}, found {describe(array)}")
    return from_array(name, array)


def _header(tensors: list[WireTensor], meta: Mapping[str, Any]) -> bytes:
    entries: list[dict[str, object]] = []
    size = 0
    for name, datatype, shape, data, _ in tensors:
        dtype = DTYPE_OF_WIRE[datatype]
        place = {"offset": size, "bytes": len(data)}
        entries.append({"name": name, "dtype": dtype, "shape": shape, **place})
        size += _aligned(len(data))
    try:
        fields = {"meta": dict(meta), "tensors": entries}
        return json.dumps(fields, separators=(",", ":"), allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise FrameError(f"meta cannot be written as JSON: {error}") from error


def _checked_header(data: bytes, max_header_bytes: int) -> bytes:
    """The header's bytes, once it is known that nothing of the frame was damaged."""
    least = _PREFIX.size + _CHECKSUM_SIZE
    if len(data) < least:
        raise FrameError(f"expected {least} bytes or more, found {len(data)}")
    magic, length = _PREFIX.unpack_from(data)
    if magic != _MAGIC:
        raise FrameError(f"expected a frame of version 1, found bytes that begin with {magic!r}")
    if length > min(max_header_bytes, len(data) - least):
        most = f"{max_header_bytes} bytes, and within a frame of {len(data)}"
        raise FrameError(f"expected a header of at most {most}, found one of {length}")
    end = len(data) - _CHECKSUM_SIZE
    if _checksum(memoryview(data)[:end]) != data[end:]:
        raise FrameError("the checksum does not fit: the frame is damaged")
    return data[_PREFIX.size : _PREFIX.size + length]


def _arrays(entries: list[object], view: memoryview, start: int) -> Iterator[tuple[str, Array]]:
    """Name and array of every entry; the last buffer must end where the frame does."""
    names: set[str] = set()
    position = start
    for entry in entries:
        tensor, size = _read_entry(entry, view, start, position)
        if tensor.name in names:
            raise FrameError(f"two tensors named {tensor.name!r}")
        names.add(tensor.name)
        position += _aligned(size)
        yield tensor.name, _array(tensor)
    if position != len(view):
        raise FrameError(f"expected a frame that ends at {position}, found {len(view)} bytes")


def _read_entry(
    entry: object, view: memoryview, start: int, position: int
) -> tuple[WireTensor, int]:
    if not _is_object(entry) or entry.keys() != _FIELDS:
        raise FrameError(f"expected a tensor's {', '.join(sorted(_FIELDS))}, found {entry!r:.200}")
    name, dtype, shape = entry["name"], entry["dtype"], entry["shape"]
    offset, size = entry["offset"], entry["bytes"]
    if type(name) is not str or type(dtype) is not str or dtype not in DTYPES:
        raise FrameError(f"expected a name and one of {', '.join(DTYPES)}, found {entry!r:.200}")
    if not _are_lengths(shape) or not _are_lengths([offset, size]):
        raise FrameError(f"expected whole numbers from 0 on, found {entry!r:.200}")
    if offset != position - start or size > len(view) - position:
        expected = f"{name!r} at {position - start} and within the frame"
        raise FrameError(f"expected {expected}, found {size} bytes at {offset}")
    data = view[position : position + size]
    return WireTensor(name, WIRE_TYPES[dtype], tuple(shape), data), size


def _array(tensor: WireTensor) -> Array:
    try:
        return to_array(tensor)
    except (ValueError, OverflowError, MemoryError) as error:
        raise FrameError(f"{tensor.name!r}: expected {error}") from None


def _are_lengths(value: object) -> TypeGuard[list[int]]:
    if not isinstance(value, list):
        return False
    return all(type(item) is int and item >= 0 for item in cast("list[object]", value))


def _is_object(value: object) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _aligned(size: int) -> int:
    return size + -size % _ALIGNMENT


def _gap(size: int) -> bytes:
    return _NO_BYTES[: -size % _ALIGNMENT]


def _checksum(*parts: Buffer) -> bytes:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.digest()[:_CHECKSUM_SIZE]
