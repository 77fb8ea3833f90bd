"""One stream of calls that a client holds open."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, TypeAlias

import grpc

from wherever_contracts.errors import NotAllowedError
from wherever_contracts.wire.framing import WireError
from wherever_contracts.wire.messages import decode_request
from wherever_contracts.wire.streaming import decode_calls, goaway_part
from wherever_edge.oip.calling import header_in
from wherever_edge.oip.yielding import let_others_run

if TYPE_CHECKING:
    from wherever_contracts.wire.streaming import Call, Headers
    from wherever_contracts.wire.tensors import Buffer, InferRequest
    from wherever_edge.oip.health import Send
    from wherever_edge.oip.keys import KeyInfo
    from wherever_edge.oip.stream_room import Room
    from wherever_edge.oip.stream_work import Workers

_LOG = logging.getLogger(__name__)

# what goes out, and how many bytes that are
_Sized: TypeAlias = "tuple[int, Sequence[Buffer]]"

# Answers go out together up to this size, which is within what every client takes beside the
# largest message that it is set to.
_MESSAGE_BYTES = 60 * 1024


class StreamedCall:
    """One call of a stream, and its client; see `wherever_edge.oip.admission.Caller`.

    Attributes:
        stream: where the answer goes.
        number: what the answer is known by there.
        request: what is asked.
        cancelled: whether the client has given it up.
    """

    __slots__ = (
        "_deadline",
        "_headers",
        "cancelled",
        "key",
        "n_bytes",
        "number",
        "request",
        "stream",
    )

    def __init__(
        self, stream: OpenStream, call: Call, request: InferRequest, key: KeyInfo | None
    ) -> None:
        self.stream: OpenStream = stream
        self.number: int = call.number
        self.request: InferRequest = request
        self.key: KeyInfo | None = key
        self.n_bytes: int = call.end - call.start
        self.cancelled: bool = False
        self._headers: Headers = call.headers
        left_s = call.timeout_s
        self._deadline: float | None = None if left_s is None else perf_counter() + left_s

    @property
    def caller(self) -> StreamedCall:
        """Who asks."""
        return self

    def time_remaining(self) -> float | None:
        """Seconds until the call's deadline, None when it has none."""
        return None if self._deadline is None else max(0.0, self._deadline - perf_counter())

    def is_active(self) -> bool:
        """False once the client has given the call up, or is gone."""
        return self.stream.alive and not self.cancelled

    def header(self, name: str) -> str | None:
        """What came with the call under this name, or with its stream."""
        for known, value in self._headers:
            if known == name:
                return value
        return self.stream.header(name)


class OpenStream:
    """Reads calls, has them worked on, and writes their answers as they come.

    Args:
        messages: what the client sends; grpcio reads on when the next one is asked for.
        context: the stream, as grpcio has it.
        send: sends a message, and waits until it is under way; None ends the stream.
        rooms: bounds of what is held; while one is full, nothing is read.
        identify: the key in an `authorization` header.
        workers: have calls answered.
        error: what a call is answered with that ended with an error.
        ended: told once, when all is over.

    Attributes:
        alive: False once the client is gone.
    """

    def __init__(
        self,
        messages: Iterator[bytes],
        context: grpc.ServicerContext,
        send: Send,
        *,
        rooms: Sequence[Room],
        identify: Callable[[str | None], KeyInfo | None],
        workers: Workers,
        error: Callable[[int, Exception], bytes],
        ended: Callable[[OpenStream], None],
    ) -> None:
        self.alive = True
        self._messages = messages
        self._context = context
        self._send = send
        self._rooms = rooms
        self._identify = identify
        self._workers = workers
        self._error = error
        self._ended = ended
        self._headers = context.invocation_metadata()
        self._running: dict[int, StreamedCall] = {}
        self._outgoing: deque[_Sized] = deque()
        self._reading = True
        self._writing = False
        self._reader = 0
        self._change = threading.Condition()

    def start(self) -> None:
        """Read and write from now on, in threads of its own."""
        if not self._context.add_callback(self._gone):
            self._gone()
        for function in self._read, self._write:
            threading.Thread(target=function, name="wherever-stream", daemon=True).start()

    def header(self, name: str) -> str | None:
        """What the stream was opened with under this name."""
        return header_in(self._headers, name)

    def say_goaway(self) -> None:
        """Tell the client to begin its calls elsewhere."""
        self._put([(goaway_part(),)])

    def answer(self, answers: Sequence[tuple[StreamedCall, Sequence[Buffer]]]) -> None:
        """Answer calls; who waits no more gets none."""
        wanted = [parts for call, parts in answers if not call.cancelled]
        with self._change:
            for call, _ in answers:
                self._running.pop(call.number, None)
        self._hold(-len(answers), -sum(call.n_bytes for call, _ in answers))
        self._put(wanted)
        let_others_run()

    def _put(self, messages: Sequence[Sequence[Buffer]]) -> None:
        """Have something written, while there is somebody to read it."""
        sized = [(sum(map(len, parts)), parts) for parts in messages]
        self._hold(len(sized), sum([size for size, _ in sized]))
        with self._change:
            self._outgoing.extend(sized)
            reader = threading.get_ident() == self._reader and not self._writing
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
                for room in self._rooms:
                    room.wait()
        except WireError as error:
            self._context.set_code(grpc.StatusCode.INVALID_ARGUMENT)
            self._context.set_details(str(error))
        except grpc.RpcError:  # the client is gone
            self._gone()
        except Exception as error:  # noqa: BLE001 (a thread of its own: nobody else would hear)
            _LOG.exception("a stream of calls failed")
            self._context.set_code(grpc.StatusCode.INTERNAL)
            self._context.set_details(type(error).__name__)
        with self._change:
            self._reading = False
            self._change.notify()

    def _take(self, data: bytes) -> None:
        """Have the calls of a message worked on, and refuse those that cannot be."""
        calls: list[StreamedCall] = []
        n_bytes = 0
        try:
            key, refusal = self._identify(self.header("authorization")), None
        except NotAllowedError as error:
            key, refusal = None, error
        for call in decode_calls(data):
            if call.cancel:
                self._cancel(call.number)
                continue
            try:
                if refusal is not None:
                    raise refusal
                calls.append(self._begun(data, call, key))
                n_bytes += calls[-1].n_bytes
            except (NotAllowedError, WireError) as error:
                self._put([(self._error(call.number, error),)])
        self._hold(len(calls), n_bytes)
        # a client who waits for one answer alone has it sooner without other threads
        alone = len(calls) == 1 and len(self._running) == 1
        if not (alone and self._workers.answer_here(calls[0])):
            self._workers.put(calls)

    def _begun(self, data: bytes, call: Call, key: KeyInfo | None) -> StreamedCall:
        if call.number in self._running:
            raise WireError(f"two calls with the number {call.number} at a time")
        begun = StreamedCall(self, call, decode_request(data, call.start, call.end), key)
        self._running[call.number] = begun
        return begun

    def _cancel(self, number: int) -> None:
        call = self._running.get(number)
        if call is not None:
            call.cancelled = True

    def _gone(self) -> None:
        with self._change:
            self.alive = False
            self._change.notify()

    def _hold(self, calls: int, n_bytes: int) -> None:
        for room in self._rooms:
            room.add(calls, n_bytes)

    def _write(self) -> None:
        while self._has_more():
            self._write_out()
        if self.alive:
            self._send(None)
        self._ended(self)

    def _write_out(self) -> None:
        """Send what there is, as the only one who does; gRPC takes one message at a time."""
        while batch := self._next_batch():
            if self.alive:
                self._send(b"".join([part for _, parts in batch for part in parts]))
            self._hold(-len(batch), -sum([size for size, _ in batch]))

    def _has_more(self) -> bool:
        """Wait for something to write, and be the one who does; False when nothing will come."""
        with self._change:
            self._change.wait_for(lambda: not self._writing and (self._outgoing or self._is_over()))
            self._writing = bool(self._outgoing)
            return self._writing

    def _next_batch(self) -> list[_Sized]:
        """What goes out in one message; nothing when somebody else may write from now on."""
        batch: list[_Sized] = []
        n_bytes = 0
        with self._change:
            while self._outgoing:
                n_bytes += self._outgoing[0][0]
                if batch and n_bytes > _MESSAGE_BYTES:
                    break
                batch.append(self._outgoing.popleft())
            if not batch:
                self._writing = False
                if self._is_over():
                    self._change.notify()
        return batch

    def _is_over(self) -> bool:
        return not self._running and not (self._reading and self.alive)
