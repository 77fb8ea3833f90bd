"""Calls to one host: messages out and in, deadlines, and what a failure means."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import TypeVar

import grpc

from wherever_contracts.errors import (
    AttemptError,
    BadAnswerError,
    ClosedError,
    DeadlineError,
    RefusedError,
)
from wherever_contracts.wire import metadata
from wherever_contracts.wire.messages import WireError, decode_response, encode_request
from wherever_contracts.wire.tensors import InferRequest, InferResponse
from wherever_edge.oip.endpoints import Endpoint
from wherever_edge.oip.link import (
    HEALTH_CHECK,
    INFER,
    MODEL_METADATA,
    SERVER_METADATA,
    SERVER_READY,
    Link,
)
from wherever_edge.oip.links import Links
from wherever_edge.oip.security import Way
from wherever_edge.oip.status import CODE_KEY, PING_KEY, attempt_error

T = TypeVar("T")

# with these words, and UNAVAILABLE, newer gRPC servers end the calls that outlast their drain
_GIVEN_UP = "Cancelling all calls"


class Connection:
    """What `RemoteHost` does once it is used; its methods are described there.

    Args:
        endpoint: where the server listens.
        max_bytes: the largest message in either direction.
        way: whom to trust, the key to bring, and the proxy.
    """

    def __init__(self, endpoint: Endpoint, *, max_bytes: int, way: Way) -> None:
        self.name = endpoint.name
        self.links = Links(endpoint, max_bytes=max_bytes, way=way)
        self._max_bytes = max_bytes

    def infer(self, request: InferRequest, timeout_s: float | None) -> InferResponse:
        """Send a call and wait for its answer."""
        return self.answer(self.exchange(INFER, self.encoded(request), timeout_s))

    def is_well(self, timeout_s: float | None) -> bool:
        """Whether the server says that it serves; later calls connect anew if it says nothing."""
        link = self.links.enter()
        link.leave()
        try:
            return self._is_well(timeout_s)
        except DeadlineError:
            self.links.renew(link)
            raise

    def server_metadata(self, timeout_s: float | None) -> metadata.ServerMetadata:
        """What the server says about itself."""
        reply = self.exchange(SERVER_METADATA, b"", timeout_s)
        return self._read(metadata.decode_server_metadata, reply)

    def model_metadata(
        self, model: str, version: str, timeout_s: float | None
    ) -> metadata.ModelMetadata:
        """What the server says about a model."""
        name = metadata.ModelName(model, version)
        asked = metadata.encode_model_name("ModelMetadataRequest", name)
        reply = self.exchange(MODEL_METADATA, asked, timeout_s)
        return self._read(metadata.decode_model_metadata, reply)

    def exchange(self, method: str, data: bytes, timeout_s: float | None) -> bytes:
        """Send bytes and wait for bytes, once more if the server breaks the call off."""
        started = monotonic()
        retried = False
        while True:
            left = self.time_left(started, timeout_s)
            link = self.links.enter()
            try:
                return link.unary(method)(data, left, link.metadata)
            except grpc.RpcError as error:
                assert isinstance(error, grpc.Call)  # noqa: S101 (grpcio raises no others here)
                if retried or not self.broken_off(error):
                    raise self.failure(error, link, started, timeout_s) from error
                retried = True
            except ValueError as error:  # the channel was closed in between
                raise self.links.closed_error() from error
            finally:
                link.leave()

    def encoded(self, request: InferRequest) -> bytes:
        """The bytes of a request.

        Raises:
            RefusedError: they are too many, or a name or parameter cannot be sent.
        """
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

    def answer(self, reply: bytes) -> InferResponse:
        """The response in a reply.

        Raises:
            BadAnswerError: there is none.
        """
        response = self._read(decode_response, reply)
        if PING_KEY in response.parameters:
            self.links.allow_pings()
        return response

    def time_left(self, started: float, timeout_s: float | None) -> float | None:
        """What is left of `timeout_s` since `started`.

        Raises:
            DeadlineError: nothing is.
        """
        if timeout_s is None:
            return None
        left = started + timeout_s - monotonic()
        if left <= 0:
            raise DeadlineError(f"no time was left to ask {self.name} ({timeout_s:.3g} s in all)")
        return left

    def broken_off(self, error: grpc.Call) -> bool:
        """True when the server cancelled the call: it stops, and another may take its place."""
        cancelled = error.code().name == "CANCELLED" or error.details() == _GIVEN_UP
        return cancelled and not self.links.closed

    def failure(
        self, error: grpc.Call, link: Link, started: float, timeout_s: float | None
    ) -> AttemptError | ClosedError:
        """What it means that a call on `link` ended with `error`."""
        status = error.code().name
        if self.links.closed and status == "CANCELLED":
            return self.links.closed_error()
        details = error.details() or ""
        if status == "UNAVAILABLE" and "resol" in details:
            # gRPC would look the name up again only after a pause that grows to two minutes
            self.links.renew(link)
        trailing = dict(error.trailing_metadata() or ())
        return attempt_error(
            status,
            host=self.name,
            details=details,
            code=str(trailing.get(CODE_KEY, "")),
            elapsed_s=monotonic() - started,
            timeout_s=timeout_s,
        )

    def _is_well(self, timeout_s: float | None) -> bool:
        try:
            reply = self.exchange(HEALTH_CHECK, metadata.encode_health_request(), timeout_s)
        except RefusedError:
            reply = self.exchange(SERVER_READY, b"", timeout_s)
            return self._read(metadata.decode_ready, reply)
        return self._read(metadata.decode_health, reply) == metadata.SERVING

    def _read(self, decode: Callable[[bytes], T], reply: bytes) -> T:
        try:
            return decode(reply)
        except WireError as error:
            raise BadAnswerError(f"{self.name} answered with {error}") from error
