"""Fields of protobuf messages as bytes: found without parsing, written without building.

A message of the protocol has a header that is the same from call to call, a few fields that
change, and one large `bytes` field for each tensor. Protobuf copies every byte and makes objects
of every header; finding the fields where they lie leaves it only the headers not seen before.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import Any, NamedTuple

from google.protobuf.message import DecodeError

from wherever_contracts.wire.schema import CLASSES
from wherever_contracts.wire.tensors import IN_PLACE_FROM, Buffer

ID_TAG, PARAMETER_TAG, TENSOR_TAG = 0x1A, 0x22, 0x2A

_LENGTH_DELIMITED = 2
_DOUBLE = struct.Struct("<d")

# between the key and the eight bytes of a parameter that is a double: field 2 of the map's entry,
# nine bytes long; field 4 of InferParameter, 64 bits
_DOUBLE_VALUE = b"\x12\x09\x21"


class WireError(ValueError):
    """A message is not what the protocol says; the text says in which way."""


class Fields(NamedTuple):
    """The fields of an inference message.

    Attributes:
        header: the bytes of all fields but those below.
        id: the value of the field `id`.
        doubles: the parameters that are doubles.
        bulk: the values of the bulk field, in order.
    """

    header: bytes
    id: bytes
    doubles: dict[str, float]
    bulk: list[Buffer]


def split(data: bytes, bulk_tag: int, position: int = 0, size: int | None = None) -> Fields | None:
    """Find the fields of an inference message.

    Args:
        data: the message.
        bulk_tag: the tag of the bulk field.
        position: where to begin; a field must begin there.
        size: where the message ends; None for the end of `data`.

    Returns:
        The fields; None when anything is unusual (an unknown kind of field, one that is cut, a
        field twice), and protobuf has to judge.
    """
    header: list[bytes] = []
    ids: list[bytes] = []
    doubles: dict[str, float] = {}
    bulk: list[Buffer] = []
    size = len(data) if size is None else size
    while position < size:
        tag = data[position]
        start = position + 2
        if tag & 0x87 == _LENGTH_DELIMITED and start <= size and data[start - 1] < 0x80:
            end = start + data[start - 1]
        else:
            start, end = _value_at(data, position + 1, tag)
        if not position < end <= size:
            return None
        if tag == bulk_tag:
            bulk.append(_part(data, start, end))
        elif tag == ID_TAG:
            ids.append(data[start:end])
        elif tag != PARAMETER_TAG or not _take_double(data[start:end], doubles):
            header.append(data[position:end])
        position = end
    if len(ids) > 1:
        return None
    return Fields(b"".join(header), ids[0] if ids else b"", doubles, bulk)


def sole_value(data: bytes, tag: int, position: int, end: int) -> Buffer | None:
    """The value of the one field from `position` to `end`; None where there is anything else."""
    if position >= end or data[position] != tag:
        return None
    start, ends = _value_at(data, position + 1, tag)
    return _part(data, start, end) if ends == end else None


def parse(name: str, data: bytes) -> Any:
    """Parse a message with protobuf.

    Raises:
        WireError: the bytes are no such message.
    """
    try:
        return CLASSES[name].FromString(data)
    except DecodeError as error:
        raise WireError(f"{len(data)} bytes that are not a {name} message ({error})") from error


def text_field(tag: int, text: str) -> bytes:
    """A field that holds a text; no bytes at all for "", as protobuf has it."""
    value = text.encode()
    return length_field(tag, len(value)) + value if value else b""


def double_parameter(name: str, value: float) -> bytes:
    """A parameter that is a double."""
    return _double_head(name) + _DOUBLE.pack(value)


@lru_cache(maxsize=1024)
def length_field(tag: int, size: int) -> bytes:
    """What stands before a value of `size` bytes."""
    return bytes((tag, *varint(size)))


def varint(value: int) -> bytes:
    """A number that is not negative, as protobuf writes it."""
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


@lru_cache(maxsize=256)
def _double_head(name: str) -> bytes:
    key = text_field(0x0A, name) or b"\x0a\x00"
    entry = key + _DOUBLE_VALUE
    return length_field(PARAMETER_TAG, len(entry) + _DOUBLE.size) + entry


def _take_double(entry: bytes, doubles: dict[str, float]) -> bool:
    """Put a map entry that is written as we write doubles into `doubles`."""
    end = len(entry) - _DOUBLE.size - len(_DOUBLE_VALUE)
    if end < 2 or entry[0] != 0x0A or entry[1] != end - 2 or entry[1] >= 0x80:
        return False
    if entry[end : end + len(_DOUBLE_VALUE)] != _DOUBLE_VALUE:
        return False
    try:
        name = entry[2:end].decode()
    except UnicodeDecodeError:
        return False
    (doubles[name],) = _DOUBLE.unpack_from(entry, end + len(_DOUBLE_VALUE))
    return True


def _part(data: bytes, start: int, end: int) -> Buffer:
    return memoryview(data)[start:end] if end - start >= IN_PLACE_FROM else data[start:end]


def _value_at(data: bytes, start: int, tag: int) -> tuple[int, int]:
    """Where the value after a tag starts and ends; the end is -1 when that is unclear."""
    match tag & 0x87:  # the wire type, and the bit that says that the tag goes on
        case 2:
            length, start = _read_varint(data, start)
            return start, (start + length if start > 0 else -1)
        case 0:
            return start, _read_varint(data, start)[1]
        case 1:
            return start, start + 8
        case 5:
            return start, start + 4
        case _:
            return start, -1


def _read_varint(data: bytes, position: int) -> tuple[int, int]:
    """A number of at most five bytes, and where it ends (-1 when it is longer or cut)."""
    value = 0
    for count, byte in enumerate(data[position : position + 5]):
        value |= (byte & 0x7F) << 7 * count
        if byte < 0x80:
            return value, position + count + 1
    return 0, -1
