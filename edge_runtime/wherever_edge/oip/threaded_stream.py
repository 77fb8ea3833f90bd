"""A stream of calls that grpcio's own server serves, with two threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

import grpc

from wherever_edge.oip.open_stream import OpenStream, ending_of, joined
from wherever_edge.oip.yielding import let_others_run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wherever_contracts.wire.tensors import Buffer
    from wherever_edge.oip.health import Send
    from wherever_edge.oip.open_stream import House, StreamedCall
    from wherever_edge.oip.stream_work import Workers


class ThreadedStream(OpenStream):
    """Reads calls, has them worked on, and writes their answers as they come.

    Args:
        messages: what the client sends; grpcio reads on when the next one is asked for.
        context: the stream, as grpcio has it.
        send: sends a message, and waits until it is under way; None ends the stream.
        house: where it is open.
        workers: have calls answered.
    """

    def __init__(
        self,
        messages: Iterator[bytes],
        context: grpc.ServicerContext,
        send: Send,
        house: House,
        workers: Workers,
    ) -> None:
        super().__init__(context.invocation_metadata(), house)
        self._messages = messages
        self._context = context
        self._send = send
        self._workers = workers
        self._reader = 0
        self._change = threading.Condition(self._lock)

    def start(self) -> None:
        """Read and write from now on, in threads of its own."""
        if not self._context.add_callback(self._gone):
            self._gone()
        for function in self._read, self._write:
            threading.Thread(target=function, name="wherever-stream", daemon=True).start()

    def answer(self, answers: Sequence[tuple[StreamedCall, Sequence[Buffer]]]) -> None:
        """Answer calls; who waits no more gets none."""
        super().answer(answers)
        let_others_run()

    def _write_on(self) -> None:
        with self._change:
            reader = (
                threading.get_ident() == self._reader and not self._writing and bool(self._outgoing)
            )
            self._writing = self._writing or reader
            if not reader:
                self._change.notify()
        if reader:
            self._write_out()

    def _read(self) -> None:
        self._reader = threading.get_ident()
        try:
            for data in self._messages:
                self._take(data)
                for room in self._house.rooms:
                    room.wait()
        except grpc.RpcError:  # the client is gone
            self._gone()
        except Exception as error:  # noqa: BLE001 (a thread of its own: nobody else would hear)
            code, words = ending_of(error)
            self._context.set_code(code)
            self._context.set_details(words)
        self._read_all()

    def _take(self, data: bytes) -> None:
        """Have the calls of a message worked on."""
        calls = self._calls_in(data)
        # a client who waits for one answer alone has it sooner without other threads
        if not (self.waits_for_one(calls) and self._workers.answer_here(calls[0])):
            self._workers.put(calls)

    def _write(self) -> None:
        while self._has_more():
            self._write_out()
        if self.alive:
            self._send(None)
        self._house.ended(self)

    def _write_out(self) -> None:
        """Send what there is, as the only one who does; gRPC takes one message at a time."""
        while batch := self._next_of_mine():
            if self.alive:
                self._send(joined(batch))
            self._let_go(batch)

    def _has_more(self) -> bool:
        """Wait for something to write, and be the one who does; False when nothing will come."""
        with self._change:
            self._change.wait_for(lambda: not self._writing and (self._outgoing or self._is_over()))
            self._writing = bool(self._outgoing)
            return self._writing

    def _next_of_mine(self) -> Sequence[tuple[int, Sequence[Buffer]]]:
        """What goes out next; nothing when somebody else may write from now on."""
        with self._change:
            batch = self._next_batch()
            if not batch:
                self._writing = False
                if self._is_over():
                    self._change.notify()
        return batch
