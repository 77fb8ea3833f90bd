"""One stream of calls that a client holds open."""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import grpc

from wherever_contracts.errors import NotAllowedError
from wherever_contracts.wire.framing import WireError
from wherever_contracts.wire.messages import decode_request
from wherever_contracts.wire.streaming import decode_calls, goaway_part
from wherever_edge.oip.calling import header_in

if TYPE_CHECKING:
    from wherever_contracts.wire.streaming import Call, Headers
    from wherever_contracts.wire.tensors import Buffer, InferRequest
    from wherever_edge.oip.keys import KeyInfo
    from wherever_edge.oip.stream_room import Room

_LOG = logging.getLogger(__name__)

# as gRPC hands them over
Metadata: TypeAlias = Iterable[tuple[str, str | bytes]]

# what goes out, and how many bytes that are
Sized: TypeAlias = "tuple[int, Sequence[Buffer]]"

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


class House(NamedTuple):
    """What a stream needs of the server that it is open at.

    Attributes:
        rooms: bounds of what is held; while one is full, nothing is read.
        identify: the key in an `authorization` header; raises NotAllowedError where none counts.
        error: what a call is answered with that ended with an error.
        ended: told once, when all is over.
    """

    rooms: Sequence[Room]
    identify: Callable[[str | None], KeyInfo | None]
    error: Callable[[int, Exception], bytes]
    ended: Callable[[OpenStream], None]


class OpenStream(ABC):
    """The calls of a stream that run, and what is to be written; how is up to who inherits.

    Args:
        metadata: what it was opened with.
        house: where it is open.

    Attributes:
        alive: False once the client is gone.
    """

    def __init__(self, metadata: Metadata, house: House) -> None:
        self.alive = True
        self._headers = metadata
        self._house = house
        self._running: dict[int, StreamedCall] = {}
        self._outgoing: deque[Sized] = deque()
        self._reading = True
        self._writing = False
        self._lock = threading.Lock()

    @abstractmethod
    def start(self) -> None:
        """Read and write from now on."""

    @abstractmethod
    def _write_on(self) -> None:
        """There may be something to write, or nothing left to wait for."""

    def header(self, name: str) -> str | None:
        """What the stream was opened with under this name."""
        return header_in(self._headers, name)

    def say_goaway(self) -> None:
        """Tell the client to begin its calls elsewhere."""
        self._put([(goaway_part(),)])

    def answer(self, answers: Sequence[tuple[StreamedCall, Sequence[Buffer]]]) -> None:
        """Answer calls; who waits no more gets none."""
        wanted = [parts for call, parts in answers if not call.cancelled]
        self._put(wanted, [call for call, _ in answers])

    def waits_for_one(self, calls: Sequence[StreamedCall]) -> bool:
        """Whether its client has these under way alone, and they are but one."""
        return len(calls) == 1 and len(self._running) == 1

    def _calls_in(self, data: bytes) -> list[StreamedCall]:
        """The calls of a message that run from now on; those that cannot are refused.

        Raises:
            WireError: the bytes are no such message.
        """
        calls: list[StreamedCall] = []
        n_bytes = 0
        try:
            key, refusal = self._house.identify(self.header("authorization")), None
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
                self._put([(self._house.error(call.number, error),)])
        self._hold(len(calls), n_bytes)
        return calls

    def _gone(self) -> None:
        """The client is gone: nobody waits for its calls."""
        self.alive = False
        self._write_on()

    def _read_all(self) -> None:
        """Nothing will be read any more."""
        self._reading = False
        self._write_on()

    def _hold(self, calls: int, n_bytes: int) -> None:
        for room in self._house.rooms:
            room.add(calls, n_bytes)

    def _next_batch(self) -> list[Sized]:
        """What goes out in one message; with the lock held."""
        batch: list[Sized] = []
        n_bytes = 0
        while self._outgoing:
            n_bytes += self._outgoing[0][0]
            if batch and n_bytes > _MESSAGE_BYTES:
                break
            batch.append(self._outgoing.popleft())
        return batch

    def _let_go(self, batch: Sequence[Sized]) -> None:
        """What was written takes no room any more."""
        self._hold(-len(batch), -sum([size for size, _ in batch]))

    def _is_over(self) -> bool:
        """Whether nothing more will be put."""
        return not self._running and not (self._reading and self.alive)

    def _put(
        self, messages: Sequence[Sequence[Buffer]], answered: Sequence[StreamedCall] = ()
    ) -> None:
        """Have something written, while there is somebody to read it."""
        sized = [(sum(map(len, parts)), parts) for parts in messages]
        added = sum([size for size, _ in sized]) - sum([call.n_bytes for call in answered])
        self._hold(len(sized) - len(answered), added)
        with self._lock:
            for call in answered:
                self._running.pop(call.number, None)
            self._outgoing.extend(sized)
        self._write_on()

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


def joined(batch: Iterable[Sized]) -> bytes:
    """The message that a batch goes out in."""
    return b"".join([part for _, parts in batch for part in parts])


def ending_of(error: Exception) -> tuple[grpc.StatusCode, str]:
    """What a stream is ended with that could not be read on, and the words to it."""
    if isinstance(error, WireError):
        return grpc.StatusCode.INVALID_ARGUMENT, str(error)
    _LOG.error("a stream of calls failed", exc_info=error)
    return grpc.StatusCode.INTERNAL, type(error).__name__
