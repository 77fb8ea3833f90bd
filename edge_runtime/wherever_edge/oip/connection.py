"""Calls to one host: messages out and in, deadlines, and what a failure means."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import grpc

from wherever_contracts.errors import (
    AttemptError,
    BadAnswerError,
    ClosedError,
    DeadlineError,
    RefusedError,
    UnreachableError,
)
from wherever_contracts.wire import metadata
from wherever_contracts.wire.messages import WireError, decode_response, encode_request
from wherever_contracts.wire.tensors import InferRequest, InferResponse
from wherever_edge.egress import guard
from wherever_edge.oip.allotted import Allotted
from wherever_edge.oip.endpoints import Endpoint
from wherever_edge.oip.link import (
    HEALTH_CHECK,
    INFER,
    MODEL_METADATA,
    MODEL_READY,
    SERVER_METADATA,
    SERVER_READY,
    Link,
)
from wherever_edge.oip.links import Links
from wherever_edge.oip.security import Way
from wherever_edge.oip.status import (
    CODE_KEY,
    PING_KEY,
    PUSHBACK_KEY,
    STREAM_KEY,
    attempt_error,
)
from wherever_edge.oip.stream_client import Streaming, infer_streamed

if TYPE_CHECKING:
    from wherever_contracts.places import Place
    from wherever_edge.oip.calls import RemoteCall
    from wherever_edge.oip.link import Metadata

T = TypeVar("T")

# with these words, and UNAVAILABLE, newer gRPC servers end the calls that outlast their drain
_GIVEN_UP = "Cancelling all calls"


class Connection:
    """What `RemoteHost` does once it is used; its methods are described there.

    Args:
        endpoint: where the server listens.
        max_bytes: the largest message in either direction.
        way: whom to trust, the key to bring, and the proxy.
        place: the server's distance; a call that may not travel so far is not sent.
    """

    def __init__(self, endpoint: Endpoint, *, max_bytes: int, way: Way, place: Place) -> None:
        self.name = endpoint.name
        self._place: Place = place
        self.links = Links(endpoint, max_bytes=max_bytes, way=way)
        self.streaming = Streaming()
        self._max_bytes = max_bytes

    def infer(self, request: InferRequest, time: Allotted) -> InferResponse:
        """Send a call and wait for its answer."""
        data, headers = self.encoded(request), request.headers
        streamed = infer_streamed(self, data, time, headers) if self.streaming.offered else None
        if isinstance(streamed, InferResponse):
            return streamed
        broken_off = streamed is not None
        return self.answer(self.exchange(INFER, data, time, headers, retried=broken_off))

    def start(self, request: InferRequest, time: Allotted) -> RemoteCall:
        """Send a call without waiting."""
        from wherever_edge.oip.calls import RemoteCall  # noqa: PLC0415 (which imports this module)

        return RemoteCall(self, self.encoded(request), time, request.headers)

    def find(self, limit_s: float, time: Allotted) -> None:
        """Make sure that a server of gRPC answers, whatever it says.

        Args:
            limit_s: how long it may take.
            time: the time of the call that it is asked for.

        Raises:
            UnreachableError: none does.
            DeadlineError: none did in time.
            ClosedError: the connection was closed.
        """
        link = self.links.enter()
        try:
            link.unary(HEALTH_CHECK)(b"", limit_s)
        except grpc.RpcError as error:
            assert isinstance(error, grpc.Call)  # noqa: S101 (grpcio raises no others here)
            failure = self.failure(error, link, time)
            if isinstance(failure, UnreachableError | DeadlineError | ClosedError):
                raise failure from error
        except ValueError as error:  # the channel was closed in between
            raise self.links.closed_error() from error
        finally:
            link.leave()

    def renew(self) -> None:
        """Let later calls connect anew; those that run go on."""
        self.links.retire()

    def seek(self) -> None:
        """Connect anew beside the connection there is; see `Links.seek`."""
        self.links.seek()

    def close(self) -> None:
        """Close the connection; calls that run end with an error."""
        self.links.close()

    @property
    def pings(self) -> bool:
        """Whether the server allows pings."""
        return self.links.pings

    def is_well(self, time: Allotted) -> bool:
        """Whether the server says that it serves.

        When it is not reached, it is looked for over new connections in what is left of the time.
        One that is so far away that it cannot say so in time is well once one of them was answered.
        """
        try:
            return self._is_well(time)
        except (UnreachableError, DeadlineError):
            self.links.seek()
            if not self.links.finds(0.0 if time.over else time.left_s(self.name)):
                raise
        try:
            return self._is_well(time)
        except DeadlineError:
            return True

    def server_metadata(self, time: Allotted) -> metadata.ServerMetadata:
        """What the server says about itself."""
        reply = self.exchange(SERVER_METADATA, b"", time)
        return self._read(metadata.decode_server_metadata, reply)

    def model_metadata(self, model: str, version: str, time: Allotted) -> metadata.ModelMetadata:
        """What the server says about a model."""
        name = metadata.ModelName(model, version)
        asked = metadata.encode_model_name("ModelMetadataRequest", name)
        reply = self.exchange(MODEL_METADATA, asked, time)
        return self._read(metadata.decode_model_metadata, reply)

    def model_ready(self, model: str, version: str, time: Allotted) -> bool:
        """Whether the server says that it answers calls for a model."""
        name = metadata.ModelName(model, version)
        asked = metadata.encode_model_name("ModelReadyRequest", name)
        try:
            reply = self.exchange(MODEL_READY, asked, time)
        except RefusedError as error:
            if error.status == "NOT_FOUND":
                return False
            raise
        return self._read(metadata.decode_ready, reply)

    def exchange(
        self,
        method: str,
        data: bytes,
        time: Allotted,
        headers: Metadata = (),
        *,
        retried: bool = False,
    ) -> bytes:
        """Send bytes and wait for bytes, once more if the server breaks the call off."""
        while True:
            left = time.left_s(self.name)
            link = self.links.enter()
            try:
                return link.unary(method)(data, left, link.along(headers))
            except grpc.RpcError as error:
                assert isinstance(error, grpc.Call)  # noqa: S101 (grpcio raises no others here)
                if retried or not self.broken_off(error):
                    raise self.failure(error, link, time) from error
                retried = True
            except ValueError as error:  # the channel was closed in between
                raise self.links.closed_error() from error
            finally:
                link.leave()

    def encoded(self, request: InferRequest) -> bytes:
        """The bytes of a request.

        Raises:
            BlockedError: the call may not travel to this server.
            RefusedError: they are too many, or a name or parameter cannot be sent.
        """
        guard.check(request.boundary, self._place, self.name)
        try:
            data = encode_request(request)
        except WireError as error:
            raise RefusedError(f"{self.name} cannot be sent this call: {error}") from error
        if len(data) > self._max_bytes:
            raise RefusedError(
                f"the call to {self.name} has {len(data)} bytes and the limit is "
                f"{self._max_bytes}; send less, or raise the limit on both sides"
            )
        return data

    def answer(self, reply: bytes, start: int = 0, end: int | None = None) -> InferResponse:
        """The response in a reply, from `start` to `end`.

        Raises:
            BadAnswerError: there is none.
        """
        response = self._read(lambda data: decode_response(data, start, end), reply)
        self.links.heard()
        if PING_KEY in response.parameters:
            self.links.allow_pings()
        if STREAM_KEY in response.parameters:
            self.streaming.offered = True
        return response

    def broken_off(self, error: grpc.Call) -> bool:
        """True when the server cancelled the call: it stops, and another may take its place."""
        cancelled = error.code().name == "CANCELLED" or error.details() == _GIVEN_UP
        return cancelled and not self.links.closed

    def failure(self, error: grpc.Call, link: Link, time: Allotted) -> AttemptError | ClosedError:
        """What it means that a call on `link` ended with `error`."""
        status = error.code().name
        if self.links.closed and status == "CANCELLED":
            return self.links.closed_error()
        details = error.details() or ""
        if status == "UNAVAILABLE" and "resol" in details:
            # gRPC would look the name up again only after a pause that grows to two minutes
            self.links.renew(link)
        trailing = dict(error.trailing_metadata() or ())
        pushback = trailing.get(PUSHBACK_KEY)
        said = None if pushback is None else str(pushback)
        return self.ended(time, status, details, str(trailing.get(CODE_KEY, "")), said)

    def ended(
        self,
        time: Allotted,
        status: str,
        details: str,
        code: str = "",
        pushback: str | None = None,
    ) -> AttemptError:
        """What it means that a call ended with this status; see `attempt_error`."""
        return attempt_error(
            status,
            host=self.name,
            details=details,
            code=code,
            elapsed_s=time.elapsed_s,
            timeout_s=time.timeout_s,
            pushback=pushback,
        )

    def _is_well(self, time: Allotted) -> bool:
        try:
            reply = self._ask(HEALTH_CHECK, metadata.encode_health_request(), time)
        except RefusedError:
            reply = self.exchange(SERVER_READY, b"", time)
            return self._read(metadata.decode_ready, reply)
        self.links.heard()
        return self._read(metadata.decode_health, reply) == metadata.SERVING

    def _ask(self, method: str, data: bytes, time: Allotted) -> bytes:
        """Send a question; again, over a connection that reaches the host while this one does not.

        The one in use may be waiting for packets that a cut swallowed.
        """
        left_s = time.left_s(self.name)
        link = self.links.enter()
        try:
            question = link.unary(method).future(data, left_s, link.metadata)
            with self.links.until_found(question.cancel):
                return question.result()
        except grpc.FutureCancelledError:
            return self.exchange(method, data, time)
        except grpc.RpcError as error:
            assert isinstance(error, grpc.Call)  # noqa: S101 (grpcio raises no others here)
            if self.broken_off(error):
                return self.exchange(method, data, time)
            raise self.failure(error, link, time) from error
        except ValueError as error:  # the channel was closed in between
            raise self.links.closed_error() from error
        finally:
            link.leave()

    def _read(self, decode: Callable[[bytes], T], reply: bytes) -> T:
        try:
            return decode(reply)
        except WireError as error:
            raise BadAnswerError(f"{self.name} answered with {error}") from error
