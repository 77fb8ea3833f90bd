"""Calls that go over a host's stream of calls, and when they go by themselves instead."""

from __future__ import annotations

import threading
from time import monotonic
from typing import TYPE_CHECKING

from wherever_edge.oip.call_stream import Broken

if TYPE_CHECKING:
    from wherever_contracts.errors import AttemptError
    from wherever_contracts.wire.streaming import Answer, Headers
    from wherever_contracts.wire.tensors import InferResponse
    from wherever_edge.oip.allotted import Allotted
    from wherever_edge.oip.call_stream import CallStream
    from wherever_edge.oip.connection import Connection
    from wherever_edge.oip.link import Link

# larger messages go by themselves: they would hold up the small ones behind them
LARGEST_BYTES = 1024 * 1024

# after a stream that ended before any answer came, calls go by themselves for so long
_REFUSED_FOR_S = 10.0

# in gRPC's words when packets were lost: another try would wait for them once more
_LOST = ("timed out", "timeout")


class Streaming:
    """Decides which calls go over a stream. Safe to use from many threads.

    Attributes:
        offered: whether the server said that it takes streams.
    """

    def __init__(self) -> None:
        self.offered = False
        self._not_before = 0.0

    def of(self, link: Link, n_bytes: int) -> CallStream | None:
        """The stream that a call of so many bytes goes over; None when it goes by itself.

        Raises:
            ValueError: the channel was closed.
        """
        if not self.offered or n_bytes > LARGEST_BYTES:
            return None
        if self._not_before and monotonic() < self._not_before:
            return None
        return link.stream()

    def broke(self, stream: CallStream) -> None:
        """Note that a stream did not carry a call, and perhaps ended before it carried any."""
        if not stream.heard and not stream.takes_calls:
            self._not_before = monotonic() + _REFUSED_FOR_S


def infer_streamed(
    connection: Connection, data: bytes, time: Allotted, headers: Headers
) -> InferResponse | Broken | None:
    """Send a call over the stream and wait for its answer.

    Returns:
        The answer; how the stream broke under the call, which is to go again by itself; or None
        when the call goes by itself from the start.

    Raises:
        AttemptError: it failed.
        ClosedError: the connection was closed.
    """
    left_s = time.left_s(connection.name)
    link = connection.links.enter()
    try:
        stream = connection.streaming.of(link, len(data))
        if stream is None:
            return None
        awaited = Awaited()
        number = stream.send(awaited, data, left_s, headers)
        if not number:
            connection.streaming.broke(stream)
            return None
        _wait(awaited, stream, number, left_s)
    except ValueError as error:  # the channel was closed in between
        raise connection.links.closed_error() from error
    finally:
        link.leave()
    return _outcome(connection, awaited, stream, time)


def failed(connection: Connection, answer: Answer, time: Allotted) -> AttemptError:
    """What it means that a call was answered with a status."""
    pushback = None if answer.pushback_ms is None else str(answer.pushback_ms)
    return connection.ended(time, answer.status, answer.details, answer.code, pushback)


def late(connection: Connection, time: Allotted) -> AttemptError:
    """The error of a call that was not answered in its time."""
    return connection.ended(time, "DEADLINE_EXCEEDED", "Deadline Exceeded")


def goes_again(broken: Broken) -> bool:
    """Whether a call that had no answer is worth another try, by itself.

    The server may have ended the stream alone, or stop, and be followed by another at once.
    """
    return broken.status != "UNAVAILABLE" or not any(mark in broken.details for mark in _LOST)


def _wait(awaited: Awaited, stream: CallStream, number: int, left_s: float | None) -> None:
    try:
        if not awaited.wait(left_s) and not stream.forget(number):
            awaited.wait(None)  # its answer came at the same moment
    except BaseException:
        stream.forget(number)
        raise


def _outcome(
    connection: Connection, awaited: Awaited, stream: CallStream, time: Allotted
) -> InferResponse | Broken:
    answer, broken = awaited.answer, awaited.broken_off
    if answer is not None:
        if answer.status:
            raise failed(connection, answer, time)
        return connection.answer(awaited.data, answer.start, answer.end)
    if broken is None:
        raise late(connection, time)
    connection.streaming.broke(stream)
    if connection.links.closed:
        raise connection.links.closed_error()
    if goes_again(broken):
        return broken
    raise connection.ended(time, *broken)


class Awaited:
    """A call whose thread waits for the answer."""

    __slots__ = ("_bell", "answer", "broken_off", "data")

    def __init__(self) -> None:
        self.data: bytes = b""
        self.answer: Answer | None = None
        self.broken_off: Broken | None = None
        self._bell = threading.Lock()
        self._bell.acquire()

    def wait(self, timeout_s: float | None) -> bool:
        """Wait for it; False when the time was over first."""
        if timeout_s is None:
            return self._bell.acquire()
        return self._bell.acquire(timeout=min(timeout_s, threading.TIMEOUT_MAX))

    def answered(self, data: bytes, answer: Answer) -> None:
        """Here is the answer, in this message."""
        self.data, self.answer = data, answer
        self._bell.release()

    def broken(self, broken: Broken) -> None:
        """The stream ended."""
        self.broken_off = broken
        self._bell.release()

    def expired(self) -> None:
        """Not asked for: the thread itself knows when."""
