"""A kept answer as bytes, and back: a frame, and behind it the arrays that are large.

    4 bytes   "WVR" and the version, 1
    4 bytes   length of the frame, little-endian
    frame     the small arrays, and facts: among them dtype, shape and CRC-32 of each large array
    arrays    raw little-endian contents, each at a multiple of 16 from the beginning

An answer without large arrays is the frame alone. A frame is sealed with SHA-256, which would take
most of the time that finding a megabyte takes. What lies in a cache must be guarded against
damage only, as whoever may write there could seal it anew: CRC-32 finds that in a third of the
time. Large arrays are used where they were read, without another copy.
"""

from __future__ import annotations

import math
import struct
import sys
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, TypeGuard, cast

import numpy as np

from wherever._cache_age import Stamp, stamp_of
from wherever_contracts.frames import FrameError, pack_frame, unpack_frame
from wherever_contracts.receipts import Answer, Ran
from wherever_contracts.tensors import DTYPES, Array

LARGE_BYTES = 32 * 1024

_MAGIC = b"WVR\x01"
_PREFIX = struct.Struct("<4sI")
_ALIGNMENT = 16
_RAN_KINDS = [int if name == "threads" else str for name in Ran._fields]
_ENTRY = {"name", "dtype", "shape", "crc32"}


class Found(NamedTuple):
    """An answer that was kept, when, and which host gave it ("device", or an address)."""

    answer: Answer
    kept: Stamp
    host: str = ""


def pack(key: bytes, found: Found) -> bytes:
    """An answer as it is kept under `key`.

    Raises:
        FrameError: an array of a dtype that no package knows, or a confidence that is no number.
    """
    answer = found.answer
    large = {name: array for name, array in answer.outputs.items() if _is_large(array)}
    raw = {name: _little_endian(array) for name, array in large.items()}
    confidence = answer.confidence
    facts: dict[str, Any] = {
        "key": key.hex(),
        "confidence": None if confidence is None else float(confidence),
        "ran": answer.ran._asdict(),
        "kept": list(found.kept),
        "host": found.host,
    }
    if not large:
        return pack_frame(answer.outputs, facts)
    small = {name: array for name, array in answer.outputs.items() if name not in large}
    facts["order"] = list(answer.outputs)
    facts["large"] = [_entry(name, array, raw[name]) for name, array in large.items()]
    frame = pack_frame(small, facts)
    parts: list[bytes | memoryview] = [_PREFIX.pack(_MAGIC, len(frame)), frame]
    parts.append(_gap(_PREFIX.size + len(frame)))
    for data in raw.values():
        parts += (data, _gap(len(data)))
    return b"".join(parts)


def unpack(key: bytes, data: bytes | bytearray) -> Found:
    """What `pack` made under the same key; the arrays are the caller's own.

    Args:
        key: what was asked for.
        data: what was found; it must not be used for anything else afterwards.

    Raises:
        FrameError: damaged, or not what lies under this key.
    """
    frame, start = _split(data)
    arrays, facts = unpack_frame(frame)
    # a whole frame under another's key would be the answer to another question
    if facts.get("key") != key.hex():
        raise FrameError("not the answer that was asked for")
    outputs = {name: array.copy() for name, array in arrays.items()}
    if start:
        outputs.update(_large(facts.get("large"), memoryview(data), start))
        outputs = {name: outputs[name] for name in _order(facts.get("order"), outputs)}
    confidence, kept, host = facts.get("confidence"), stamp_of(facts.get("kept")), facts.get("host")
    if not isinstance(confidence, float | None) or kept is None or type(host) is not str:
        raise FrameError("the facts are not those of a kept answer")
    return Found(Answer(outputs, confidence, _ran(facts.get("ran")), 0.0, cached=True), kept, host)


def _is_large(array: Array) -> bool:
    return array.nbytes >= LARGE_BYTES and array.dtype.name in DTYPES


def _little_endian(array: Array) -> memoryview:
    plain = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return plain.reshape(-1).view(np.uint8).data


def _entry(name: str, array: Array, data: memoryview) -> dict[str, object]:
    shape = list(array.shape)
    return {"name": name, "dtype": array.dtype.name, "shape": shape, "crc32": zlib.crc32(data)}


def _split(data: bytes | bytearray) -> tuple[bytes, int]:
    """The frame, and where the large arrays begin; 0 when there are none."""
    if data[:4] != _MAGIC:
        return bytes(data), 0
    if len(data) < _PREFIX.size:
        raise FrameError(f"expected {_PREFIX.size} bytes or more, found {len(data)}")
    _, length = _PREFIX.unpack_from(data)
    end = _PREFIX.size + length
    return bytes(memoryview(data)[_PREFIX.size : end]), end + -end % _ALIGNMENT


def _large(entries: object, view: memoryview, start: int) -> Iterator[tuple[str, Array]]:
    """Name and array of every entry, read where they lie; the last must end where `view` does."""
    if not isinstance(entries, list):
        raise FrameError(f"expected a list of large arrays, found {entries!r:.100}")
    for entry in cast("list[object]", entries):
        name, dtype, shape, crc32 = _checked(entry)
        size = math.prod(shape) * dtype.itemsize
        part = view[start : start + size]
        if len(part) != size or zlib.crc32(part) != crc32:
            raise FrameError(f"{name!r}: the contents are damaged")
        array: Array = np.ndarray(shape, dtype, part if not view.readonly else bytearray(part))
        yield name, array.astype(dtype.newbyteorder("=")) if sys.byteorder == "big" else array
        start += size + -size % _ALIGNMENT
    if start != len(view):
        raise FrameError(f"expected {start} bytes, found {len(view)}")


def _checked(entry: object) -> tuple[str, np.dtype[Any], list[int], int]:
    fields = cast("dict[str, Any]", entry) if isinstance(entry, dict) else {}
    if fields.keys() != _ENTRY:
        raise FrameError(f"expected {', '.join(sorted(_ENTRY))}, found {entry!r:.100}")
    name, dtype, shape, crc32 = (fields[each] for each in ("name", "dtype", "shape", "crc32"))
    named = type(name) is str and dtype in DTYPES and dtype != "bytes" and type(crc32) is int
    if not named or not _are_lengths(shape):
        raise FrameError(f"expected a large array, found {entry!r:.100}")
    return name, np.dtype(dtype).newbyteorder("<"), shape, crc32


def _are_lengths(value: object) -> TypeGuard[list[int]]:
    if not isinstance(value, list):
        return False
    return all(type(item) is int and item >= 0 for item in cast("list[object]", value))


def _order(names: object, arrays: Mapping[str, Array]) -> list[str]:
    """The names of all arrays, in the order in which they were given."""
    given = [str(name) for name in cast("list[object]", names)] if isinstance(names, list) else []
    if sorted(given) != sorted(arrays):
        raise FrameError(f"expected the names {', '.join(arrays)}, found {names!r:.100}")
    return given


def _ran(facts: object) -> Ran:
    """What ran, out of JSON: text, and a number of threads."""
    given = cast("dict[str, Any]", facts) if isinstance(facts, dict) else {}
    values = list(given.values())
    if tuple(given) != Ran._fields or [type(value) for value in values] != _RAN_KINDS:
        raise FrameError(f"expected {', '.join(Ran._fields)}, found {facts!r:.100}")
    return Ran(*values)


def _gap(size: int) -> bytes:
    return bytes(-size % _ALIGNMENT)
