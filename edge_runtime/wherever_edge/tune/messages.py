"""What is said between the process that measures and those in which plans run: framed messages."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import IO, TYPE_CHECKING, Any

from wherever_contracts.frames import pack_frame, unpack_frame

if TYPE_CHECKING:
    from wherever_contracts.tensors import Array

_LENGTH = struct.Struct("<Q")


def send(stream: IO[bytes], meta: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
    """Write one message.

    Raises:
        OSError: nobody reads any more.
    """
    frame = pack_frame(arrays, meta)
    stream.write(_LENGTH.pack(len(frame)))
    stream.write(frame)
    stream.flush()


def receive(stream: IO[bytes]) -> tuple[dict[str, Any], dict[str, Array]] | None:
    """Wait for a message; None when the other side has ended."""
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (size,) = _LENGTH.unpack(head)
    frame = stream.read(size)
    if len(frame) < size:
        return None
    arrays, meta = unpack_frame(frame)
    return meta, arrays
