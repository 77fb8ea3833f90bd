"""One stream of calls to a server, on the client's side; see docs/stream.md."""

from __future__ import annotations

import atexit
import heapq
import itertools
import threading
import weakref
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

import grpc

from wherever_contracts.wire.framing import WireError
from wherever_contracts.wire.streaming import call_parts, cancel_part, decode_answers
from wherever_edge.oip import forks
from wherever_edge.oip.yielding import let_others_run

if TYPE_CHECKING:
    from wherever_contracts.wire.streaming import Answer, Headers
    from wherever_contracts.wire.tensors import Buffer

# grpc's call is an iterator too; its type has no public name
Opened: TypeAlias = Any

# calls that wait for their answers; one more goes another way
_MOST_CALLS = 1024
# of calls that were answered long ago, too; then they are sorted out
_MOST_DEADLINES = 8 * _MOST_CALLS
# answers that are handed out before those who got them may go on
_AT_ONCE = 16
# Calls go out together up to this size, which is within what every server takes beside the largest
# message that it is set to.
_MESSAGE_BYTES = 60 * 1024
# a stream that is not used is ended
_IDLE_S = 60.0
# how long the end of the process waits for a stream's threads
_EXIT_S = 1.0


class Broken(NamedTuple):
    """How a stream ended under calls that had no answer yet: gRPC's name for it, and its words."""

    status: str
    details: str


class Waiting(Protocol):
    """Whoever waits for an answer. One of these is called, once, from another thread.

    None of them raises.
    """

    def answered(self, data: bytes, answer: Answer) -> None:
        """Here is the answer, in this message."""
        ...

    def broken(self, broken: Broken) -> None:
        """The stream ended; whether the call was carried out is not known."""
        ...

    def expired(self) -> None:
        """The call's time is over."""
        ...


class CallStream:
    """Sends calls, several in a message where they queue, and hands out answers as they come.

    Safe to use from many threads. It has three threads at most: grpcio's own that writes, one that
    reads, and one that looks at deadlines once there are any.

    Args:
        open_with: opens the stream, given what it will send.

    Attributes:
        heard: whether any answer ever came.
    """

    def __init__(self, open_with: Callable[[Iterator[bytes]], Opened]) -> None:
        self.heard = False
        self._numbers = itertools.count(1)
        self._pending: dict[int, Waiting] = {}
        self._outgoing: deque[Sequence[Buffer]] = deque()
        self._deadlines: list[tuple[float, int]] = []
        self._watch: threading.Thread | None = None
        self._open = True
        self._resting = False
        self._bell: SimpleQueue[None] = SimpleQueue()
        self._lock = threading.Lock()
        self._due = threading.Condition(self._lock)
        self._call: Opened = open_with(self._messages())
        self._reader = threading.Thread(target=self._read, name="wherever-stream", daemon=True)
        self._reader.start()
        _streams.add(self)

    @property
    def takes_calls(self) -> bool:
        """Whether calls may be sent; once False, it stays so."""
        return self._open

    @property
    def ended(self) -> bool:
        """Whether all is over."""
        return not self._reader.is_alive()

    def send(
        self,
        waiting: Waiting,
        request: bytes,
        timeout_s: float | None,
        headers: Headers = (),
        *,
        watched: bool = False,
    ) -> int:
        """Send a call.

        Args:
            waiting: told of the answer.
            request: the call's message.
            timeout_s: how long the answer is of use, None for no limit.
            headers: go along.
            watched: whether `waiting` is to be told when that time is over.

        Returns:
            Its number; 0 when the stream takes no more calls, or has too many: nothing was sent.
        """
        if timeout_s is not None and timeout_s > threading.TIMEOUT_MAX:
            timeout_s = None
        number = next(self._numbers)
        parts = call_parts(number, request, timeout_s, headers)
        with self._lock:
            if not self._open or len(self._pending) >= _MOST_CALLS:
                return 0
            self._pending[number] = waiting
            if watched and timeout_s is not None:
                self._watch_for(monotonic() + timeout_s, number)
            wake = self._put(parts)
        if wake:
            self._bell.put(None)
        return number

    def forget(self, number: int) -> bool:
        """Give a call up, and tell the server; False when its answer came first."""
        with self._lock:
            found = self._pending.pop(number, None) is not None
            wake = found and self._put((cancel_part(number),))
        if wake:
            self._bell.put(None)
        return found

    def close(self) -> None:
        """End it at once; calls that wait are told that it broke."""
        self._call.cancel()

    def wait_closed(self, timeout_s: float) -> None:
        """Wait for its end."""
        self._reader.join(timeout_s)

    def _put(self, parts: Sequence[Buffer]) -> bool:
        """Have something sent; True when the one who writes rests, and has to be woken."""
        self._outgoing.append(parts)
        resting, self._resting = self._resting, False
        return resting

    def _messages(self) -> Generator[bytes]:
        """What is sent: run by grpcio's thread, and waits there for something to send."""
        while True:
            with self._lock:
                batch = self._next_batch()
                self._resting = not batch
                idle = not self._pending
                if not batch and idle and not self._open:
                    return
            if batch:
                yield b"".join([part for parts in batch for part in parts])
            elif not self._rings() and idle:
                self._take_no_more(if_idle=True)

    def _rings(self) -> bool:
        try:
            self._bell.get(timeout=_IDLE_S)
        except Empty:
            return False
        return True

    def _next_batch(self) -> list[Sequence[Buffer]]:
        batch: list[Sequence[Buffer]] = []
        n_bytes = 0
        while self._outgoing:
            n_bytes += sum(map(len, self._outgoing[0]))
            if batch and n_bytes > _MESSAGE_BYTES:
                break
            batch.append(self._outgoing.popleft())
        return batch

    def _read(self) -> None:
        broken = Broken("CANCELLED", "the server ended the stream of calls")
        try:
            for data in self._call:
                self._hand_out(data)
        except grpc.RpcError as error:
            assert isinstance(error, grpc.Call)  # noqa: S101 (grpcio raises no others here)
            broken = Broken(error.code().name, error.details() or "")
        except WireError as error:
            self._call.cancel()
            broken = Broken("INTERNAL", f"an answer that cannot be read: {error}")
        self._take_no_more()
        with self._lock:
            left, self._pending = self._pending, {}
            self._outgoing.clear()
            self._due.notify()
        self._bell.put(None)
        for waiting in left.values():
            waiting.broken(broken)

    def _hand_out(self, data: bytes) -> None:
        found = decode_answers(data)
        self.heard = True
        for count, answer in enumerate(found.answers, 1):
            waiting = self._pending.pop(answer.number, None)
            if waiting is not None:
                waiting.answered(data, answer)
            if not count % _AT_ONCE:
                let_others_run()  # or no call would go out before all are handed out
        if found.goaway:
            self._take_no_more()
        elif not self._open:
            self._bell.put(None)

    def _take_no_more(self, *, if_idle: bool = False) -> None:
        with self._lock:
            if if_idle and self._pending:
                return
            self._open = False
        self._bell.put(None)

    def _watch_for(self, deadline: float, number: int) -> None:
        soonest = not self._deadlines or deadline < self._deadlines[0][0]
        heapq.heappush(self._deadlines, (deadline, number))
        if len(self._deadlines) > _MOST_DEADLINES:
            self._deadlines = [each for each in self._deadlines if each[1] in self._pending]
            heapq.heapify(self._deadlines)
        if self._watch is None:
            self._watch = threading.Thread(
                target=self._look_at_deadlines, name="wherever-stream-deadlines", daemon=True
            )
            self._watch.start()
        elif soonest:
            self._due.notify()

    def _look_at_deadlines(self) -> None:
        while True:
            with self._lock:
                late = self._late(monotonic())
                if not late and self._wait_for_deadline():
                    return
            for waiting in late:
                waiting.expired()

    def _late(self, now: float) -> list[Waiting]:
        late: list[Waiting] = []
        while self._deadlines and self._deadlines[0][0] <= now:
            waiting = self._pending.pop(heapq.heappop(self._deadlines)[1], None)
            if waiting is not None:
                late.append(waiting)
        return late

    def _wait_for_deadline(self) -> bool:
        """Wait until something may be late; True when nothing will be any more."""
        if not self._open and not self._pending:
            return True
        self._due.wait(self._deadlines[0][0] - monotonic() if self._deadlines else None)
        return False


_streams: weakref.WeakSet[CallStream] = weakref.WeakSet()


def _end_all() -> None:
    """End every stream before the process does.

    Their threads would be frozen wherever they are, also where they hold what gRPC's end waits for.
    """
    if forks.in_child():
        return
    streams = list(_streams)
    for stream in streams:
        with suppress(ValueError):  # its channel is closed
            stream.close()
    for stream in streams:
        stream.wait_closed(_EXIT_S)


atexit.register(_end_all)
