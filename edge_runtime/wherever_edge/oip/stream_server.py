"""Streams of calls (`wherever.Calls/Stream`) on the server's side; see docs/stream.md."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeAlias, cast

import grpc

from wherever_contracts.errors import OverloadedError
from wherever_contracts.wire.messages import encode_response
from wherever_contracts.wire.streaming import (
    CALLS_SERVICE,
    STREAM_METHOD,
    error_part,
    response_parts,
)
from wherever_edge.oip.completion import possible
from wherever_edge.oip.direct_stream import DirectStreams
from wherever_edge.oip.open_stream import House, OpenStream, StreamedCall
from wherever_edge.oip.stream_room import Room
from wherever_edge.oip.stream_work import Workers
from wherever_edge.oip.threaded_stream import ThreadedStream

if TYPE_CHECKING:
    from wherever_contracts.wire.tensors import Buffer
    from wherever_edge.oip.completion import Status
    from wherever_edge.oip.health import Send
    from wherever_edge.oip.keys import KeyInfo
    from wherever_edge.oip.service import InferenceService
    from wherever_edge.oip.stream_work import Asked, Outcome

Handler: TypeAlias = "grpc.GenericRpcHandler"
# a string, because grpcio's class is generic in its stubs alone
Method: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"

MOST_STREAMS = 256

# held for one stream, and for all: calls, and times the largest message
_ONE_CALLS, _ONE_MESSAGES = 1024, 2
_ALL_CALLS, _ALL_MESSAGES = 16_384, 8


class Ending(NamedTuple):
    """How a call ended that did not go well: what gRPC's status and trailing metadata have."""

    status: str
    details: str
    code: str
    pushback_ms: int | None = None


class Rules(NamedTuple):
    """What holds for streams as for single calls.

    Attributes:
        identify: the key in an `authorization` header; raises NotAllowedError where none counts.
        ending: what a client is told of an error.
        refuse: ends a stream of grpcio's own way with an error before it begins.
        status: what the client of a stream that comes directly is told of such an error.
        max_bytes: the largest message in either direction.
    """

    identify: Callable[[str | None], KeyInfo | None]
    ending: Callable[[Exception], Ending]
    refuse: Callable[[grpc.ServicerContext, Exception], NoReturn]
    status: Callable[[Exception], Status]
    max_bytes: int


class Streams:
    """Answers streams of calls as the service answers single ones.

    They come straight from gRPC's completion queue where this release of grpcio is one of those
    that were tried. Else each has two threads of its own, one that reads and one that writes. Of
    the threads that answer single calls they take none.

    Args:
        service: answers the calls.
        rules: what holds for them.
        threads: calls of one model and key that are worked on at a time.
        most: streams at a time; one more is refused.

    Attributes:
        workers: who answers the calls.
    """

    def __init__(
        self,
        service: InferenceService,
        rules: Rules,
        *,
        threads: int,
        most: int = MOST_STREAMS,
    ) -> None:
        self._rules = rules
        self._most = most
        self._room = Room(_ALL_CALLS, _ALL_MESSAGES * rules.max_bytes)
        self._threads = threads
        self.workers = Workers(service.infer_many, service.together, self._answered, most=threads)
        self._lock = threading.Lock()
        self._open: set[OpenStream] = set()
        self._draining = False

    def handler(self) -> Handler:
        """The service, as grpcio takes it; what comes directly, it does not see."""
        method: Method = grpc.stream_stream_rpc_method_handler(NonBlocking(self._begin))
        return grpc.method_handlers_generic_handler(
            CALLS_SERVICE, {STREAM_METHOD.rpartition("/")[2]: method}
        )

    def direct(self, server: grpc.Server) -> DirectStreams | None:
        """What takes the streams of a server that is to start; None where grpcio has to."""
        if not possible(server):
            return None
        return DirectStreams(server, STREAM_METHOD, self, self._rules.status, self._threads)

    def check(self, authorization: str | None) -> None:
        """Refuse a stream that is opened with this header; raises NotAllowedError."""
        self._rules.identify(authorization)

    def admit(self, make: Callable[[House], OpenStream]) -> OpenStream:
        """Count a stream among those that are open.

        Raises:
            OverloadedError: there are too many, or the server stops.
        """
        rooms = Room(_ONE_CALLS, _ONE_MESSAGES * self._rules.max_bytes), self._room
        stream = make(House(rooms, self._rules.identify, self._error, self._ended))
        with self._lock:
            if self._draining or len(self._open) >= self._most:
                words = f"{self._most} streams are the most that are served; send single calls"
                raise OverloadedError(words)
            self._open.add(stream)
        return stream

    def drain(self) -> None:
        """Tell every client to begin its calls elsewhere; those that were begun are answered."""
        with self._lock:
            self._draining = True
            streams = list(self._open)
        for stream in streams:
            stream.say_goaway()

    def close(self) -> None:
        """Begin no more calls."""
        self.workers.close()

    def _begin(self, messages: Iterator[bytes], context: grpc.ServicerContext, send: Send) -> None:
        try:
            stream = self.admit(
                lambda house: ThreadedStream(messages, context, send, house, self.workers)
            )
        except OverloadedError as error:
            self._rules.refuse(context, error)
        stream.start()

    def _ended(self, stream: OpenStream) -> None:
        with self._lock:
            self._open.discard(stream)

    def _answered(self, calls: Sequence[Asked], outcomes: Sequence[Outcome]) -> None:
        """Hand every stream the answers to its calls."""
        given: dict[OpenStream, list[tuple[StreamedCall, Sequence[Buffer]]]] = {}
        for each, outcome in zip(calls, outcomes, strict=True):
            call = cast("StreamedCall", each)
            given.setdefault(call.stream, []).append((call, self._parts(call.number, outcome)))
        for stream, answers in given.items():
            stream.answer(answers)

    def _parts(self, number: int, outcome: Outcome) -> Sequence[Buffer]:
        if isinstance(outcome, Exception):
            return (self._error(number, outcome),)
        try:
            response = encode_response(outcome)
        except Exception as error:  # noqa: BLE001 (each call of several has its own)
            return (self._error(number, error),)
        most = self._rules.max_bytes
        if len(response) > most:
            # as gRPC puts it where a single call's answer is too large
            details = f"Sent message larger than max ({len(response)} vs. {most})"
            return (error_part(number, "RESOURCE_EXHAUSTED", details, ""),)
        return response_parts(number, response)

    def _error(self, number: int, error: Exception) -> bytes:
        return error_part(number, *self._rules.ending(error))


class NonBlocking:
    """Makes grpcio hand over a function that sends, instead of keeping a thread for a stream."""

    experimental_non_blocking = True

    def __init__(self, function: Callable[[Any, grpc.ServicerContext, Send], None]) -> None:
        self._function = function

    def __call__(self, messages: Any, context: grpc.ServicerContext, send: Send) -> None:
        self._function(messages, context, send)
