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
from wherever_edge.oip.open_stream import OpenStream, StreamedCall
from wherever_edge.oip.stream_room import Room
from wherever_edge.oip.stream_work import Workers

if TYPE_CHECKING:
    from wherever_contracts.wire.tensors import Buffer
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
        refuse: ends a stream with an error before it begins.
        max_bytes: the largest message in either direction.
    """

    identify: Callable[[str | None], KeyInfo | None]
    ending: Callable[[Exception], Ending]
    refuse: Callable[[grpc.ServicerContext, Exception], NoReturn]
    max_bytes: int


class Streams:
    """Answers streams of calls as the service answers single ones.

    Each stream has two threads of its own, one that reads and one that writes, and takes none of
    those that answer single calls.

    Args:
        service: answers the calls.
        rules: what holds for them.
        threads: calls of one model and key that are worked on at a time.
        most: streams at a time; one more is refused.
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
        self._workers = Workers(service.infer_many, service.together, self._answered, most=threads)
        self._lock = threading.Lock()
        self._open: set[OpenStream] = set()
        self._draining = False

    def handler(self) -> Handler:
        """The service, as grpcio takes it."""
        method: Method = grpc.stream_stream_rpc_method_handler(NonBlocking(self._begin))
        return grpc.method_handlers_generic_handler(
            CALLS_SERVICE, {STREAM_METHOD.rpartition("/")[2]: method}
        )

    def drain(self) -> None:
        """Tell every client to begin its calls elsewhere; those that were begun are answered."""
        with self._lock:
            self._draining = True
            streams = list(self._open)
        for stream in streams:
            stream.say_goaway()

    def close(self) -> None:
        """Begin no more calls."""
        self._workers.close()

    def _begin(self, messages: Iterator[bytes], context: grpc.ServicerContext, send: Send) -> None:
        stream = OpenStream(
            messages,
            context,
            send,
            rooms=(Room(_ONE_CALLS, _ONE_MESSAGES * self._rules.max_bytes), self._room),
            identify=self._rules.identify,
            workers=self._workers,
            error=self._error,
            ended=self._ended,
        )
        with self._lock:
            refused = self._draining or len(self._open) >= self._most
            if not refused:
                self._open.add(stream)
        if refused:
            words = f"{self._most} streams are the most that are served; send single calls"
            self._rules.refuse(context, OverloadedError(words))
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
