"""Streams of calls that are taken straight from gRPC's completion queue; see ADR 21 and 22.

No stream has a thread of its own. Who finds a message works on its calls and begins to send their
answers, and lets another thread poll meanwhile; what was sent, whoever polls sends on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from wherever_edge.oip.calling import header_in
from wherever_edge.oip.completion import WELL, Completions, Pollers, Status
from wherever_edge.oip.open_stream import OpenStream, ending_of, joined

if TYPE_CHECKING:
    import grpc

    from wherever_edge.oip.open_stream import House, Metadata, Sized, StreamedCall
    from wherever_edge.oip.stream_work import Lane, Workers

# streams that may be opened while nobody polls
_ASKED_FOR = 8


class Doorkeeper(Protocol):
    """Who decides about streams. Safe to use from many threads."""

    @property
    def workers(self) -> Workers:
        """Who answers the calls."""
        ...

    def check(self, authorization: str | None) -> None:
        """Raise what refuses a stream that is opened with this header."""
        ...

    def admit(self, make: Callable[[House], OpenStream]) -> OpenStream:
        """A stream that is open from now on; raises what refuses it."""
        ...


class DirectStream(OpenStream):
    """One stream; its functions that are told of events are called by one thread at a time.

    Args:
        rpc: the stream as gRPC's core has it.
        metadata: what it was opened with.
        completions: where it came from.
        arrived: told of calls that are to be worked on; takes little.
        house: where it is open.
    """

    def __init__(
        self,
        rpc: Any,
        metadata: Metadata,
        completions: Completions,
        arrived: Callable[[Sequence[StreamedCall]], None],
        house: House,
    ) -> None:
        super().__init__(metadata, house)
        self._rpc = rpc
        self._completions = completions
        self._arrived = arrived
        self._status = WELL
        self._began = False
        self._over = False

    def start(self) -> None:
        """Take messages from now on."""
        if self._completions.hear_end(self._rpc, self._ended):
            self._read_on()
        else:
            self._gone()

    def _read_on(self) -> None:
        """Have the next message come, now or when there is room for it."""
        if any(room.await_place(self._read_on) for room in self._house.rooms):
            return
        if not self._completions.receive(self._rpc, self._received):
            self._gone()

    def _received(self, event: Any) -> None:
        """A message has come, or None: there will be no more."""
        data: bytes | None = event.batch_operations[0].message()
        calls: list[StreamedCall] = []
        try:
            if data is not None:
                calls = self._calls_in(data)
        except Exception as error:  # noqa: BLE001 (the boundary: told to the client, or logged)
            code, words = ending_of(error)
            self._status = Status(code.value[0], words)
            data = None
        if data is None:
            self._read_all()
            return
        self._arrived(calls)
        self._read_on()

    def _ended(self, event: Any) -> None:
        """The stream is over, as it was to be or because its client is gone."""
        if event.batch_operations[0].cancelled():
            self._gone()

    def _write_on(self) -> None:
        """Begin to send what there is, unless something is on its way; gRPC takes one at a time."""
        while batch := self._next_of_mine():
            if self.alive and not self._over and self._send(batch):
                return
            self._let_go(batch)
            with self._lock:
                self._writing = False

    def _next_of_mine(self) -> list[Sized]:
        """What this thread sends; nothing where another one does, or when all is over."""
        with self._lock:
            if self._writing:
                return []
            batch = self._next_batch()
            self._writing = bool(batch)
            ending = not batch and not self._over and self._is_over()
            self._over = self._over or ending
        if ending:
            self._end()
        return batch

    def _send(self, batch: Sequence[Sized]) -> bool:
        first, self._began = not self._began, True
        sent = partial(self._sent, batch)
        return self._completions.send(self._rpc, joined(batch), sent, first=first)

    def _sent(self, batch: Sequence[Sized], _event: Any) -> None:
        self._let_go(batch)
        with self._lock:
            self._writing = False
        self._write_on()

    def _end(self) -> None:
        if self.alive:
            self._completions.end(self._rpc, self._status, first=not self._began)
        self._house.ended(self)


class DirectStreams:
    """Serves a method's streams of a grpcio server.

    Args:
        server: the server, before it starts.
        path: the method.
        door: decides about streams.
        status: what a client is told of an error.
        most: threads that work on calls beside those of `workers`.
    """

    def __init__(
        self,
        server: grpc.Server,
        path: str,
        door: Doorkeeper,
        status: Callable[[Exception], Status],
        most: int,
    ) -> None:
        self._completions = Completions(server, path)
        self._door = door
        self._workers = door.workers
        self._status = status
        self._pending: list[StreamedCall] = []
        self._pollers = Pollers(
            self._take,
            self._workers.work,
            "wherever-direct-stream",
            most=most,
            instead=lambda lane: self._workers.start([lane]),
        )

    def start(self) -> None:
        """Take streams; the server has started."""
        self._completions.ask(_ASKED_FOR, self._begin)
        self._pollers.start()

    def close(self) -> None:
        """End the threads; the server has stopped."""
        self._completions.close()
        self._pollers.join()

    def _take(self) -> Lane | None:
        """Calls that nobody works on yet; None once there will be none."""
        while True:
            while not self._pending:
                if self._completions.closed:
                    return None
                self._completions.poll(None)
            calls, self._pending = self._pending, []
            lanes = self._workers.enter(calls, hurried=calls[0].stream.waits_for_one(calls))
            if lanes:
                self._workers.start(lanes[1:])
                return lanes[0]

    def _begin(self, event: Any) -> None:
        """A stream has come."""
        if not event.success:
            return  # the server stops
        self._completions.ask(1, self._begin)
        rpc, metadata = event.call, event.invocation_metadata
        try:
            self._door.check(header_in(metadata, "authorization"))
            stream = self._door.admit(partial(self._made, rpc, metadata))
        except Exception as error:  # noqa: BLE001 (told to its client)
            self._completions.hear_end(rpc, _over)
            self._completions.end(rpc, self._status(error))
            return
        stream.start()

    def _made(self, rpc: Any, metadata: Metadata, house: House) -> DirectStream:
        return DirectStream(rpc, metadata, self._completions, self._arrived, house)

    def _arrived(self, calls: Sequence[StreamedCall]) -> None:
        self._pending += calls


def _over(_event: Any) -> None:
    """A stream that was refused is over."""
