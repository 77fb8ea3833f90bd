"""HTTP to one host by httpx: bounded in size and time, errors in our own words."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from wherever_contracts.errors import AttemptError, BadAnswerError, ClosedError, RefusedError
from wherever_contracts.wire.rest_bodies import JSON_SIZE_HEADER
from wherever_edge.oip.rest_status import failure_error

if TYPE_CHECKING:
    import httpx

    from wherever_contracts.wire.tensors import Buffer
    from wherever_edge.oip.allotted import Allotted
    from wherever_edge.oip.security import Trust, Way

# bodies go out in pieces of this size, so that a thin uplink cannot stretch a call's time
_PIECE_BYTES = 256 * 1024
# what a body may have beside the tensors
_SLACK_BYTES = 64 * 1024
# a little less than servers keep idle connections (the gateway: 30 s)
_KEEP_IDLE_S = 20.0


class Asked(NamedTuple):
    """What to ask of a server.

    Attributes:
        method: of HTTP.
        url: the server.
        path: behind it.
        pieces: the body, if any: its JSON, then the raw contents.
        size: the bytes of the body.
        with_key: whether the key goes along.
        headers: what else goes along.
    """

    method: str
    url: str
    path: str
    pieces: tuple[Buffer, ...] = ()
    size: int = 0
    with_key: bool = True
    headers: tuple[tuple[str, str], ...] = ()


class Reply(NamedTuple):
    """What came back, whatever its status."""

    status: int
    headers: Mapping[str, str]
    content: bytes


class RestLink:
    """A pool of connections to one host. Safe to use from many threads.

    Args:
        name: what to call the host.
        max_bytes: the largest body in either direction.
        way: whom to trust, the key to bring, and the proxy.
        connections: how many there may be at a time.

    Attributes:
        closed: True after `close`.
    """

    def __init__(self, name: str, *, max_bytes: int, way: Way, connections: int) -> None:
        self.closed = False
        self._name = name
        self._max_bytes = max_bytes
        self._way = way
        self._connections = connections
        self._lock = threading.Lock()
        self._client: httpx.Client | None = None

    def exchange(self, asked: Asked, limit_s: float | None, time: Allotted) -> Reply:
        """Send and receive, once more if the connection broke before there was an answer.

        Args:
            asked: what to ask.
            limit_s: how long one step of it may take, such as connecting; None for no limit.
            time: the time of the call.

        Raises:
            AttemptError: there is no answer.
            ClosedError: the link was closed.
        """
        import httpx  # noqa: PLC0415 (120 ms)

        broken = (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError)
        try:
            try:
                return self._roundtrip(asked, limit_s, time)
            except broken:  # an idle connection that the server gave up, or a server that stops
                return self._roundtrip(asked, limit_s, time)
        except AttemptError:
            raise
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError, RuntimeError) as error:
            timed_out = isinstance(error, httpx.TimeoutException)
            raise self.failure(error, asked, time, timed_out=timed_out) from error

    def failure(
        self, error: Exception, asked: Asked, time: Allotted, *, timed_out: bool
    ) -> AttemptError | ClosedError:
        """What it means that there is no answer, because of `error`."""
        if self.closed:
            return self.closed_error()
        return failure_error(
            error,
            host=asked.url,
            timed_out=timed_out,
            elapsed_s=time.elapsed_s,
            timeout_s=time.timeout_s,
        )

    def close(self) -> None:
        """Close the connections; calls that run end with an error."""
        with self._lock:
            self.closed = True
            client = self._client
        if client is not None:
            client.close()

    def closed_error(self) -> ClosedError:
        """The error of a call that comes too late."""
        return ClosedError(f"the connection to {self._name} was closed")

    def _roundtrip(self, asked: Asked, limit_s: float | None, time: Allotted) -> Reply:
        left_s = time.left_s(asked.url)
        if limit_s is None or (left_s is not None and left_s < limit_s):
            limit_s = left_s
        client = self._client or self._connect()
        name = self._way.trust.server_name
        request = client.build_request(
            asked.method,
            asked.url + asked.path,
            content=_pieces(asked, time) if asked.pieces else None,
            headers=self._headers(asked),
            timeout=limit_s,
            extensions={} if name is None else {"sni_hostname": name},
        )
        response = client.send(request, stream=True)
        try:
            return Reply(response.status_code, response.headers, self._body(response, asked, time))
        finally:
            response.close()

    def _headers(self, asked: Asked) -> dict[str, str]:
        headers: dict[str, str] = dict(asked.headers)
        if asked.with_key and self._way.authorization is not None:
            headers["authorization"] = self._way.authorization
        if asked.pieces:
            headers["content-type"] = "application/json"
            headers["content-length"] = str(asked.size)
        if len(asked.pieces) > 1:
            headers["content-type"] = "application/octet-stream"
            headers[JSON_SIZE_HEADER] = str(len(asked.pieces[0]))
        return headers

    def _body(self, response: httpx.Response, asked: Asked, time: Allotted) -> bytes:
        if response.headers.get("content-encoding", "identity") != "identity":
            raise BadAnswerError(f"{asked.url} answered in a content-encoding nobody asked for")
        chunks: list[bytes] = []
        size = int(response.headers.get("content-length", 0))
        self._refuse_too_much(size, asked)
        size = 0
        for chunk in response.iter_raw():
            time.left_s(asked.url)
            size += len(chunk)
            self._refuse_too_much(size, asked)
            chunks.append(chunk)
        return b"".join(chunks)

    def _refuse_too_much(self, size: int, asked: Asked) -> None:
        if size > self._max_bytes + _SLACK_BYTES:
            raise RefusedError(
                f"the answer of {asked.url} is larger than max_bytes ({self._max_bytes}); "
                "ask for less, or raise the limit on both sides"
            )

    def _connect(self) -> httpx.Client:
        import httpx  # noqa: PLC0415 (120 ms)

        with self._lock:
            if self.closed:
                raise self.closed_error()
            if self._client is None:
                way = self._way
                self._client = httpx.Client(
                    headers={"accept-encoding": "identity", "user-agent": "wherever"},
                    verify=_context(way.trust),
                    proxy=way.proxy if way.proxied else None,
                    trust_env=way.proxied and way.proxy is None,
                    limits=httpx.Limits(
                        max_connections=self._connections, keepalive_expiry=_KEEP_IDLE_S
                    ),
                )
            return self._client


def _context(trust: Trust) -> ssl.SSLContext:
    if trust.roots_pem is None:
        return ssl.create_default_context()
    context = ssl.create_default_context(cadata=trust.roots_pem.decode("ascii", "ignore"))
    # a certificate that is trusted itself need not be an authority's
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def _pieces(asked: Asked, time: Allotted) -> Iterator[bytes]:
    """The body in pieces, for as long as there is time."""
    if asked.size <= _PIECE_BYTES:
        yield b"".join(asked.pieces)
        return
    for piece in asked.pieces:
        view = memoryview(piece)
        for start in range(0, len(view), _PIECE_BYTES):
            time.left_s(asked.url)
            yield bytes(view[start : start + _PIECE_BYTES])
