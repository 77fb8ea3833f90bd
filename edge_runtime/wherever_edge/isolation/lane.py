"""The application's end of a line to a worker: one call at a time, its tensors in shared memory."""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from wherever_contracts.errors import EngineError
from wherever_edge.isolation import arena, frames

if TYPE_CHECKING:
    from wherever_contracts.tensors import Array
    from wherever_edge.isolation.supervision import Shapes

_TIMEOUT = struct.Struct("ll")  # of `struct timeval`
# Models see few shapes; one that sees many pays a little more for each call.
_LAYOUTS = 32
# Copying as much takes as long as waking a worker.
_LARGE_BYTES = 128 * 1024
# As long the caller's core would have been at work if the engine ran in this process.
_MOMENT_S = 300e-6


class _Request(NamedTuple):
    message: bytes
    views: list[Array]
    is_large: bool


class Lane:
    """A line to one thread of a worker. Used by one caller at a time.

    Whatever else than `EngineError` leaves `exchange` leaves the lane in the middle of a call: the
    worker has to be ended then, or a later caller would get this one's answer.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._limit_s = 0.0
        self._took_s = 0.0
        self._memory = arena.nothing()
        self._requests: dict[Shapes, _Request] = {}
        self._replies: dict[bytes, list[tuple[str, Array]]] = {}

    def exchange(
        self, feed: Mapping[str, Array], shapes: Shapes, limit_s: float
    ) -> dict[str, Array]:
        """Let the worker run the model; the arrays returned are the caller's own.

        Args:
            feed: the inputs, contiguous.
            shapes: theirs, in order.
            limit_s: how long the worker may be silent.

        Raises:
            EngineError: the engine failed, or the tensors are too large.
            BlockingIOError: the worker was silent for longer.
            EOFError: the worker died.
            OSError: the same.
            ValueError: the worker talks nonsense.
        """
        request = self._requests.get(shapes) or self._lay_out(feed, shapes)
        if request.is_large:
            # the worker wakes on another core while this one copies: that saves 20 us
            self._connection.sendall(frames.WAKE)
        for view, array in zip(request.views, feed.values(), strict=True):
            np.copyto(view, array)
        self._limit(limit_s)
        self._connection.sendall(request.message)
        reply = self._reply()
        if reply.kind == frames.MORE:
            self._use_more(int(reply.body), frames.GROWN)
            reply = frames.receive(self._connection)
        if reply.kind == frames.FAILED:
            raise EngineError(reply.body.decode("utf-8", "replace"))
        if reply.kind != frames.DONE:
            raise ValueError(f"a message of kind {reply.kind!r}")
        views = self._replies.get(reply.body) or self._understood(reply.body)
        return {name: view.copy() for name, view in views}

    @property
    def begun(self) -> bool:
        """Whether the worker has begun with the last call, and not ended."""
        return self._memory[arena.STATE] == arena.AT_WORK

    def close(self) -> None:
        """Let go of the connection; the memory goes with the lane."""
        self._connection.close()

    def _reply(self) -> frames.Frame:
        """Wait for the worker; without sleeping where it took only a moment the last time."""
        started = perf_counter()
        if self._took_s < _MOMENT_S:
            frames.look_out(self._connection)
        reply = frames.receive(self._connection)
        self._took_s = perf_counter() - started
        return reply

    def _limit(self, limit_s: float) -> None:
        if limit_s != self._limit_s:
            packed = _TIMEOUT.pack(int(limit_s), int(limit_s % 1 * 1e6))
            self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, packed)
            self._limit_s = limit_s

    def _lay_out(self, feed: Mapping[str, Array], shapes: Shapes) -> _Request:
        tensors, end = frames.layout(feed.items(), arena.HEAD_BYTES)
        if end > len(self._memory):
            self._use_more(end)
        body = frames.encoded(tensors)
        views = [view for _, view in frames.views(body, self._memory)]
        if len(self._requests) >= _LAYOUTS:
            self._requests.clear()
        request = self._requests[shapes] = _Request(
            frames.framed(frames.RUN, body), views, end > _LARGE_BYTES
        )
        return request

    def _understood(self, body: bytes) -> list[tuple[str, Array]]:
        if len(self._replies) >= _LAYOUTS:
            self._replies.clear()
        views = self._replies[body] = frames.views(body, self._memory)
        return views

    def _use_more(self, needed: int, kind: bytes = frames.ARENA) -> None:
        """Share a larger memory with the worker.

        Raises:
            EngineError: it would be too large, or there is no room.
        """
        if needed > arena.MOST_BYTES:
            raise EngineError(
                f"the tensors of one call take {needed} bytes, and isolation='process' carries "
                f"at most {arena.MOST_BYTES}; use isolation='none' for this model"
            )
        size = arena.rounded(needed)
        try:
            descriptor = arena.anonymous_file(size)
        except OSError as error:
            raise EngineError(f"no {size} bytes of shared memory for tensors: {error}") from error
        message = frames.framed(kind, str(size).encode())
        try:
            frames.send(self._connection, message, descriptor)
        finally:
            # what was used before is unmapped when the last array in it is gone
            self._memory = arena.mapped(descriptor, size)
            self._requests.clear()
            self._replies.clear()
