"""Reading protobuf messages without copying their bulk fields.

A message of the protocol is a small header and one large `bytes` field for each tensor. Parsing
copies every byte; walking over the top-level fields instead finds the large ones where they lie.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from google.protobuf.message import DecodeError

from wherever_contracts.wire.schema import CLASSES
from wherever_contracts.wire.tensors import Buffer

# Below this many bytes protobuf's own copy costs less than walking over the fields in Python.
IN_PLACE_FROM = 4096

_LENGTH_DELIMITED = 2


class WireError(ValueError):
    """A message is not what the protocol says; the text says in which way."""


def parse(name: str, data: Buffer, bulk_field: int = 0) -> tuple[Any, Sequence[Buffer]]:
    """Parse a message, leaving its bulk field's values where they are.

    Args:
        name: the message's name in the schema.
        data: its bytes; they must not change while the values are in use.
        bulk_field: number of a `repeated bytes` field, 0 for none.

    Returns:
        The message, without the bulk field when `data` is large, and that field's values in order.

    Raises:
        WireError: the bytes are no such message.
    """
    if bulk_field and len(data) >= IN_PLACE_FROM:
        split = _split(memoryview(data), bulk_field)
        if split is not None:
            header, values = split
            return from_bytes(name, header), values
    message = from_bytes(name, data)
    if not bulk_field:
        return message, ()
    descriptor = message.DESCRIPTOR.fields_by_number[bulk_field]
    return message, tuple(getattr(message, descriptor.name))


def from_bytes(name: str, data: Buffer) -> Any:
    """Parse a whole message.

    Raises:
        WireError: the bytes are no such message.
    """
    try:
        return CLASSES[name].FromString(data)
    except DecodeError as error:
        raise WireError(f"{len(data)} bytes that are not a {name} message ({error})") from error


def bulk_parts(bulk_field: int, values: Sequence[Buffer]) -> list[Buffer]:
    """The pieces of a message that hold `values` in a `repeated bytes` field, for one join."""
    tag = _varint(bulk_field << 3 | _LENGTH_DELIMITED)
    parts: list[Buffer] = []
    for value in values:
        size = value.nbytes if isinstance(value, memoryview) else len(value)
        parts += (tag + _varint(size), value)
    return parts


def _split(data: memoryview, bulk_field: int) -> tuple[bytes, list[memoryview]] | None:
    """The message without its bulk field, and that field's values.

    None for anything unusual (a field above 15, a group, a cut field): protobuf judges it then.
    """
    wanted = bulk_field << 3 | _LENGTH_DELIMITED
    header: list[memoryview] = []
    values: list[memoryview] = []
    position, size = 0, len(data)
    while position < size:
        start, end = _value_at(data, position)
        if not position < end <= size:
            return None
        if data[position] == wanted:
            values.append(data[start:end])
        else:
            header.append(data[position:end])
        position = end
    return b"".join(header), values


def _value_at(data: memoryview, position: int) -> tuple[int, int]:
    """Where the value of the field at `position` starts and ends; the end is -1 when unclear."""
    tag = data[position]
    start = position + 1
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


def _read_varint(data: memoryview, position: int) -> tuple[int, int]:
    """A number of at most five bytes, and where it ends (-1 when it is longer or cut)."""
    value = 0
    for count, byte in enumerate(data[position : position + 5]):
        value |= (byte & 0x7F) << 7 * count
        if byte < 0x80:
            return value, position + count + 1
    return 0, -1


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
