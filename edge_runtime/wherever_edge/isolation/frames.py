"""Messages between an application and its workers, over a stream socket.

A message is four bytes that say how long it is, one that says what it is, and its body; a
descriptor may come along. Tensors travel in shared memory: a message says where they lie.
"""

from __future__ import annotations

import json
import os
import socket
import struct
from collections.abc import Iterable, Sequence
from math import prod
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import mmap

    from wherever_contracts.tensors import Array

# what a message is
RUN = b"r"  # to the worker: run what lies there
ARENA = b"a"  # to the worker: use this memory from now on (with a descriptor)
GROWN = b"g"  # the same, in answer to MORE
LOAD = b"l"  # to the worker: load a model (with a descriptor of its files)
DEVICES = b"d"  # to the worker: say what hardware the engine can use
DONE = b"o"  # from the worker: the outputs lie there; or the answer to LOAD and DEVICES
MORE = b"m"  # from the worker: the outputs need so many bytes
FAILED = b"f"  # from the worker: the engine's complaint

# To the worker: a call is being copied, so wake up; the call itself follows within microseconds.
WAKE = b"\0\0\0\0w"
# of about a microsecond each
_LOOKS = 500

_HEAD = struct.Struct("<IB")
_MOST = 1 << 20
_READ = 1 << 16
_ROOM_FOR_ONE = socket.CMSG_SPACE(4) if hasattr(socket, "CMSG_SPACE") else 0
# tensors begin where vector instructions like them to
_ALIGNED = 64


class Frame(NamedTuple):
    """A message that arrived; `descriptor` is -1 when none came along."""

    kind: bytes
    body: bytes
    descriptor: int


class Tensor(NamedTuple):
    """Where a tensor lies in shared memory."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int


def framed(kind: bytes, body: bytes = b"") -> bytes:
    """A message as it is sent."""
    return _HEAD.pack(len(body), kind[0]) + body


def send(connection: socket.socket, message: bytes, descriptor: int = -1) -> None:
    """Send a message that `framed` made.

    Raises:
        OSError: the other side is gone.
    """
    if descriptor >= 0:
        sent = socket.send_fds(connection, [message], [descriptor])
        message = message[sent:]
    if message:
        connection.sendall(message)


def receive(connection: socket.socket) -> Frame:
    """The next message; nothing may follow it before it is answered.

    Raises:
        EOFError: the other side is gone.
        BlockingIOError: nothing came within the connection's own limit.
        OSError: the connection broke.
    """
    data, descriptor = _read(connection)
    if data == WAKE:
        look_out(connection)
        data, descriptor = _read(connection)
    data = data.removeprefix(WAKE)
    while len(data) < _HEAD.size or len(data) < _HEAD.size + _HEAD.unpack_from(data)[0]:
        more, second = _read(connection)
        data += more
        descriptor = max(descriptor, second)
        if len(data) > _MOST:
            raise OSError(f"a message of more than {_MOST} bytes")
    return Frame(data[4:5], data[_HEAD.size :], descriptor)


def look_out(connection: socket.socket) -> None:
    """Wait for a message without sleeping, for less than a millisecond.

    Waking from sleep on another core takes 20 us; whoever else wants this core gets it meanwhile.
    """
    for _ in range(_LOOKS):
        try:
            connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            os.sched_yield()
        else:
            return


def layout(arrays: Iterable[tuple[str, Array]], start: int = 0) -> tuple[list[Tensor], int]:
    """Where arrays come to lie one after the other, and where the last one ends."""
    tensors: list[Tensor] = []
    end = start
    for name, array in arrays:
        offset = -(-end // _ALIGNED) * _ALIGNED
        tensors.append(Tensor(name, array.dtype.name, array.shape, offset))
        end = offset + array.nbytes
    return tensors, end


def encoded(tensors: Sequence[Tensor]) -> bytes:
    """The places of tensors, as a body."""
    return json.dumps(tensors, separators=(",", ":")).encode()


def views(body: bytes, memory: mmap.mmap) -> list[tuple[str, Array]]:
    """The arrays that a body tells the places of, in shared memory.

    Raises:
        ValueError: the body is damaged, or an array would not lie within the memory.
    """
    return [(at.name, _view(at, memory)) for at in _places(body)]


def end(body: bytes) -> int:
    """Where the last of the tensors ends whose places a body tells."""
    sizes = ((at.offset, np.dtype(at.dtype).itemsize * prod(at.shape)) for at in _places(body))
    return max(map(sum, sizes), default=0)


def _places(body: bytes) -> list[Tensor]:
    try:
        return [Tensor(*each) for each in json.loads(body)]
    except TypeError as error:
        raise ValueError(f"no places of tensors: {body[:80]!r}") from error


def _view(at: Tensor, memory: mmap.mmap) -> Array:
    try:
        if min(at.shape, default=0) < 0:
            raise ValueError(f"{at.name!r} has the shape {at.shape}")
        return np.ndarray(at.shape, np.dtype(at.dtype), memory, at.offset)
    except TypeError as error:
        raise ValueError(f"no array lies where {at} says") from error


def _read(connection: socket.socket) -> tuple[bytes, int]:
    data, ancillary, _, _ = connection.recvmsg(_READ, _ROOM_FOR_ONE)
    if not data:
        raise EOFError
    for level, kind, payload in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            return data, int(struct.unpack("i", payload[:4])[0])
    return data, -1
