"""What is taken straight from gRPC's completion queue, past grpcio's own threads; see ADR 22."""

from __future__ import annotations

import importlib
import logging
import re
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

if TYPE_CHECKING:
    import grpc

_LOG = logging.getLogger(__name__)

T = TypeVar("T")

# releases of grpcio that the tests of what uses this, and of the server, passed on: from, and
# below; what is used of them is theirs to change without a word
_PROVEN = (1, 80), (1, 86)
_NEEDED = ("CompletionQueue", "CompletionType", "ReceiveCloseOnServerOperation")
_NEEDED_OF_SERVER = ("register_completion_queue", "register_method", "request_registered_call")
_NO_FLAGS = 0
# how long the threads have to end; those that work for a call that was cancelled may take longer
_END_S = 1.0


class Status(NamedTuple):
    """How a call or a stream ended: gRPC's code, words, and trailing metadata."""

    code: int
    words: str
    trailing: tuple[tuple[str, str], ...] = ()


WELL = Status(0, "")


def possible(server: grpc.Server) -> bool:
    """Whether this release of grpcio does what is needed; else its own way serves."""
    below = getattr(server, "_cy_server", None)
    found = _core()
    return (
        found is not None
        and _PROVEN[0] <= _release() < _PROVEN[1]
        and all(hasattr(found, name) for name in _NEEDED)
        and all(hasattr(below, name) for name in _NEEDED_OF_SERVER)
    )


class Completions:
    """A queue of a server, and the one method whose calls arrive in it.

    What is begun for a call ends as an event, which its function is told by whoever polls; when the
    queue was closed, or the call is over, nothing is begun. Safe to use from many threads, of which
    one polls at a time.

    Args:
        server: the server, before it starts.
        path: the method.

    Attributes:
        closed: whether the last event has come.
    """

    def __init__(self, server: grpc.Server, path: str) -> None:
        self.closed = False
        self._core: Any = _core()
        self._server: Any = getattr(server, "_cy_server")  # noqa: B009 (private: see `possible`)
        self._queue = self._core.CompletionQueue()
        self._server.register_completion_queue(self._queue)
        self._server.register_method(path)
        self._path = path
        self._lock = threading.Lock()
        self._closing = False

    def ask(self, count: int, begin: Callable[[Any], None]) -> None:
        """Have `begin` told of so many further calls; in lots they cost less than one by one."""
        queue = self._queue
        with suppress(ValueError):  # the server stops; a call that is here has its answer still
            for _ in range(count):
                self._server.request_registered_call(queue, queue, self._path, begin)

    def poll(self, deadline: float | None) -> bool:
        """Handle the next event; False when there is none by `deadline`."""
        event = self._queue.poll(deadline)
        kind = event.completion_type
        if kind == self._core.CompletionType.queue_timeout:
            return False
        if kind == self._core.CompletionType.queue_shutdown:
            self.closed = True
            return False
        try:
            event.tag(event)
        except Exception:  # noqa: BLE001 (logged; the other calls go on)
            _LOG.exception("a call was lost")
        return True

    def hear_end(self, rpc: Any, ended: Callable[[Any], None]) -> bool:
        """Have `ended` told when a call is over; False when that is not begun."""
        return self._batch(rpc, (self._core.ReceiveCloseOnServerOperation(_NO_FLAGS),), ended)

    def receive(self, rpc: Any, received: Callable[[Any], None]) -> bool:
        """Have `received` told of a call's next message; False as in `hear_end`."""
        return self._batch(rpc, (self._core.ReceiveMessageOperation(_NO_FLAGS),), received)

    def send(self, rpc: Any, message: bytes, sent: Callable[[Any], None], *, first: bool) -> bool:
        """Send a message of a stream; False as in `hear_end`."""
        operations = self._head(first=first)
        operations.append(self._core.SendMessageOperation(message, _NO_FLAGS))
        return self._batch(rpc, tuple(operations), sent)

    def end(
        self, rpc: Any, status: Status, message: bytes | None = None, *, first: bool = True
    ) -> bool:
        """End a call, with its only message where there is one; False as in `hear_end`."""
        operations = self._head(first=first)
        if message is not None:
            operations.append(self._core.SendMessageOperation(message, _NO_FLAGS))
        words = status.words.encode(errors="replace")
        trailing = status.trailing or None
        operations.append(
            self._core.SendStatusFromServerOperation(trailing, status.code, words, _NO_FLAGS)
        )
        return self._batch(rpc, tuple(operations), _done)

    def close(self) -> None:
        """Begin nothing more; what was begun ends. The server has stopped."""
        with self._lock:
            self._closing = True
        self._queue.shutdown()

    def _head(self, *, first: bool) -> list[Any]:
        return [self._core.SendInitialMetadataOperation(None, _NO_FLAGS)] if first else []

    def _batch(self, rpc: Any, operations: tuple[Any, ...], tag: Callable[[Any], None]) -> bool:
        with self._lock:
            if self._closing:  # a queue that is shut down takes no operation
                return False
            return not rpc.start_server_batch(operations, tag)


class Pollers(Generic[T]):
    """Threads of which one polls, and those that found something work on it.

    There are as many as work, and one that polls.

    Args:
        take: polls until there is something to work on; None once there will be nothing.
        work: works on it, without holding up who polls.
        name: of the threads.
        most: of them at a time; None where what they work on is bounded.
        instead: what is done with it when there can be no more of them; takes little.
    """

    def __init__(
        self,
        take: Callable[[], T | None],
        work: Callable[[T], None],
        name: str,
        *,
        most: int | None = None,
        instead: Callable[[T], None] | None = None,
    ) -> None:
        self._take = take
        self._work = work
        self._name = name
        self._most = most
        self._instead = instead or work
        self._polling = threading.Lock()
        self._counting = threading.Lock()
        self._idle = 0
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Poll from now on."""
        self._spawn()

    def join(self) -> None:
        """Wait for the threads to end, though not for long."""
        ends = time.monotonic() + _END_S
        for thread in self._threads:
            thread.join(max(0.0, ends - time.monotonic()))

    def _serve(self) -> None:
        while True:
            with self._polling:
                taken = self._take()
                if taken is None:
                    return
                free = self._leave_polling()
            (self._work if free else self._instead)(taken)
            del taken  # a thread that waits holds no message
            with self._counting:
                self._idle += 1

    def _leave_polling(self) -> bool:
        """Count this thread among those that work; False when it has to poll on soon."""
        with self._counting:
            self._idle -= 1
            if self._idle:
                return True
            if self._most is not None and len(self._threads) >= self._most:
                return False
            try:
                self._spawn()
            except RuntimeError:  # no thread is to be had
                return False
            return True

    def _spawn(self) -> None:
        thread = threading.Thread(target=self._serve, name=self._name, daemon=True)
        self._idle += 1
        try:
            thread.start()
        except RuntimeError:
            self._idle -= 1
            raise
        self._threads.append(thread)


def _done(_event: Any) -> None:
    """What was sent is on its way."""


def _release() -> tuple[int, ...]:
    """The first two numbers of grpcio's version."""
    found = re.match(r"(\d+)\.(\d+)", importlib.import_module("grpc").__version__)
    return tuple(map(int, found.groups())) if found else ()


def _core() -> Any:
    try:
        return importlib.import_module("grpc._cython.cygrpc")
    except ImportError:
        return None
