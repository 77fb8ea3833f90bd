"""Calls to one host over the protocol's REST form, with tensors in binary."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import CancelledError, Executor, Future
from typing import TYPE_CHECKING, TypeVar

from wherever_contracts.errors import (
    AttemptError,
    BadAnswerError,
    ClosedError,
    DeadlineError,
    RefusedError,
    UnreachableError,
)
from wherever_contracts.wire.framing import WireError
from wherever_contracts.wire.rest_bodies import JSON_SIZE_HEADER
from wherever_contracts.wire.rest_client import (
    RAW_EXTENSION,
    decode_error,
    decode_model_metadata,
    decode_response,
    decode_server_metadata,
    encode_request,
    model_path,
)
from wherever_edge.egress import guard
from wherever_edge.oip.deferred import DeferredCall
from wherever_edge.oip.rest_link import Asked, Reply, RestLink
from wherever_edge.oip.rest_status import status_error
from wherever_edge.oip.saying import EXTENSION
from wherever_edge.oip.status import CODE_KEY, PUSHBACK_KEY

if TYPE_CHECKING:
    from wherever_contracts.places import Place
    from wherever_contracts.wire.metadata import ModelMetadata, ServerMetadata
    from wherever_contracts.wire.tensors import InferRequest, InferResponse
    from wherever_edge.oip.allotted import Allotted
    from wherever_edge.oip.endpoints import Endpoint
    from wherever_edge.oip.security import Way

T = TypeVar("T")


class RestConnection:
    """What `RemoteHost` does when the host is reached over REST; its methods are described there.

    Args:
        endpoint: where the server listens; `find` finds out at which port.
        max_bytes: the largest body in either direction.
        way: whom to trust, the key to bring, and the proxy.
        place: the server's distance; a call that may not travel so far is not sent.
        executor: whose threads carry calls out, so that those who wait keep their time exactly.
        threads: how many it has.
        heard: told after every call whether the host was reached.

    Attributes:
        url: where the server is.
    """

    pings = False

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        max_bytes: int,
        way: Way,
        place: Place,
        executor: Executor,
        threads: int,
        heard: Callable[[bool], None],
    ) -> None:
        self.url = endpoint.url(endpoint.rest_ports[0])
        self._raw = True
        self._endpoint = endpoint
        self._place: Place = place
        self._max_bytes = max_bytes
        self._executor = executor
        self._heard = heard
        self._link = RestLink(endpoint.name, max_bytes=max_bytes, way=way, connections=threads)

    def find(self, port: int, limit_s: float, time: Allotted) -> None:
        """Use this port from now on, if a server of the protocol answers there.

        Nothing is sent but the question what is there, and the key only over TLS.

        Args:
            port: the port.
            limit_s: how long the question may take.
            time: the time of the call that it is asked for.

        Raises:
            AttemptError: no such server answers there.
            ClosedError: the connection was closed.
        """
        url = self._endpoint.url(port)
        asked = Asked("GET", url, "/v2", with_key=self._endpoint.tls)
        reply = self._ask(asked, time, limit_s)
        # whoever sends a code of ours is one of ours, also when it wants a key
        if CODE_KEY not in reply.headers:
            try:
                said = decode_server_metadata(self._content(asked, reply, time))
                self._raw = RAW_EXTENSION in said.extensions or EXTENSION in said.extensions
            except WireError as error:
                words = f"{url} answers, but not as a server of the Open Inference Protocol"
                raise UnreachableError(f"{words} ({error})") from error
        self.url = url

    def infer(self, request: InferRequest, time: Allotted) -> InferResponse:
        """Send a call and wait for its answer."""
        asked = self._asked(request, time)
        return self._response(asked, self._ask(asked, time), time)

    def start(self, request: InferRequest, time: Allotted) -> DeferredCall:
        """Send a call without waiting."""
        asked = self._asked(request, time)

        def carry_out() -> InferResponse:
            return self._response(asked, self._exchange(asked, time), time)

        try:
            return DeferredCall(self._executor, carry_out)
        except RuntimeError as error:  # it takes no more
            raise self._link.closed_error() from error

    def is_well(self, time: Allotted) -> bool:
        """Whether the server says that it serves."""
        return self._ask(Asked("GET", self.url, "/v2/health/ready"), time).status == 200

    def server_metadata(self, time: Allotted) -> ServerMetadata:
        """What the server says about itself."""
        return self._read(decode_server_metadata, "/v2", time)

    def model_metadata(self, model: str, version: str, time: Allotted) -> ModelMetadata:
        """What the server says about a model."""
        return self._read(decode_model_metadata, model_path(model, version), time)

    def model_ready(self, model: str, version: str, time: Allotted) -> bool:
        """Whether the server says that it answers calls for a model."""
        asked = Asked("GET", self.url, f"{model_path(model, version)}/ready")
        reply = self._ask(asked, time)
        if reply.status in (400, 404, 503):
            return False
        self._content(asked, reply, time)
        return True

    def close(self) -> None:
        """Close the connections; calls that run end with an error."""
        self._link.close()

    def _asked(self, request: InferRequest, time: Allotted) -> Asked:
        guard.check(request.boundary, self._place, self.url)
        try:
            body = encode_request(request, time.left_s(self.url), raw=self._raw)
        except WireError as error:
            raise RefusedError(f"{self.url} cannot be sent this call: {error}") from error
        if body.size > self._max_bytes:
            raise RefusedError(
                f"the call to {self.url} has {body.size} bytes and the limit is "
                f"{self._max_bytes}; send less, or raise the limit on both sides"
            )
        path = f"{model_path(request.model, request.version)}/infer"
        pieces = (body.document, *body.contents)
        return Asked("POST", self.url, path, pieces, body.size, headers=request.headers)

    def _ask(self, asked: Asked, time: Allotted, limit_s: float | None = None) -> Reply:
        """Ask, and wait no longer than there is time, whatever becomes of the thread that asks."""
        left_s = time.left_s(asked.url)
        limits = [limit for limit in (left_s, limit_s) if limit is not None]
        limit_s = min(limits, default=None)
        try:
            future: Future[Reply] = self._executor.submit(self._exchange, asked, time, limit_s)
        except RuntimeError as error:  # it takes no more
            raise self._link.closed_error() from error
        try:
            return future.result(limit_s)
        except CancelledError as error:  # it was shut down before the call's turn came
            raise self._link.closed_error() from error
        except TimeoutError as error:
            if isinstance(error, DeadlineError):
                raise
            future.cancel()
            raise self._link.failure(error, asked, time, timed_out=True) from error

    def _exchange(self, asked: Asked, time: Allotted, limit_s: float | None = None) -> Reply:
        try:
            reply = self._link.exchange(asked, limit_s, time)
        except UnreachableError:
            self._heard(False)  # noqa: FBT003 (a callback takes its argument by position)
            raise
        self._heard(True)  # noqa: FBT003 (a callback takes its argument by position)
        return reply

    def _response(self, asked: Asked, reply: Reply, time: Allotted) -> InferResponse:
        content = self._content(asked, reply, time)
        size = reply.headers.get(JSON_SIZE_HEADER)
        try:
            return decode_response(content, None if size is None else int(size))
        except ValueError as error:  # WireErrors too
            raise BadAnswerError(f"{asked.url} answered with {error}") from error

    def _read(self, decode: Callable[[bytes], T], path: str, time: Allotted) -> T:
        asked = Asked("GET", self.url, path)
        reply = self._ask(asked, time)
        try:
            return decode(self._content(asked, reply, time))
        except WireError as error:
            raise BadAnswerError(f"{asked.url} answered with {error}") from error

    def _content(self, asked: Asked, reply: Reply, time: Allotted) -> bytes:
        """The body of an answer that is none of an error."""
        if reply.status == 200:
            return reply.content
        error: AttemptError | ClosedError = status_error(
            reply.status,
            host=asked.url,
            details=decode_error(reply.content),
            code=reply.headers.get(CODE_KEY, ""),
            retry_after=reply.headers.get("retry-after", ""),
            pushback=reply.headers.get(PUSHBACK_KEY),
            elapsed_s=time.elapsed_s,
            timeout_s=time.timeout_s,
        )
        if isinstance(error, UnreachableError):
            self._heard(False)  # noqa: FBT003 (a callback takes its argument by position)
        raise error
