"""The protocol's REST form as an application: the same answers as over gRPC."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncGenerator, Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any, Protocol, TypeAlias, TypeVar

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from wherever_contracts.errors import (
    ClosedError,
    InputError,
    NotAllowedError,
    OverloadedError,
    WhereverError,
)
from wherever_contracts.wire import rest_bodies
from wherever_contracts.wire.framing import WireError
from wherever_contracts.wire.rest_bodies import JSON_SIZE_HEADER
from wherever_edge.oip.keys import KeyInfo
from wherever_edge.oip.saying import server_metadata
from wherever_edge.oip.service import InferenceService
from wherever_edge.oip.status import CODE_KEY, PUSHBACK_KEY, code_of
from wherever_gateway.rest.entrance import Need, RestEntrance
from wherever_gateway.rest.status import status_of

_LOG = logging.getLogger(__name__)

BINARY_EXTENSION = "binary_tensor_data"

# bodies that are received or worked on take at most so many times the largest one
_BODIES = 8
# threads for metadata and readiness, when every other one waits for its turn
_SPARE_THREADS = 8
_MAX_WORDS = 1000
_MAX_DIGITS = 18
_UNEXPECTED = "an unexpected error; the server's log says more"

T = TypeVar("T")
Answer: TypeAlias = Callable[[Request], Awaitable[Response]]


class Admin(Protocol):
    """What administrators may do, each as plain data for JSON."""

    def status(self) -> dict[str, Any]:
        """What is served, and how busy it is."""
        ...

    def reload(self) -> dict[str, Any]:
        """Look for packages again, and serve what is there now."""
        ...


class RestApp:
    """Answers HTTP from a service.

    Bodies are received by the event loop, so that slow senders keep no thread; they are read and
    answered by threads, of which there are as many as the service's queue lets in.

    Args:
        service: answers the calls; its queue bounds those of every front together.
        ready: whether calls are taken.
        max_bytes: the largest body.
        stall_s: how long a body may stand still before it is given up.
        entrance: decides who may make a request.
        admin: what administrators may do, if anything.

    Attributes:
        asgi: the application.
    """

    def __init__(
        self,
        service: InferenceService,
        ready: Callable[[], bool],
        *,
        max_bytes: int,
        stall_s: float,
        entrance: RestEntrance,
        admin: Admin | None,
    ) -> None:
        self._entrance = entrance
        self._admin = admin
        self._service = service
        self._ready = ready
        self._intake = _Intake(max_bytes, stall_s)
        self._threads = service.queue.places + _SPARE_THREADS
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="wherever-rest")
        self._working: set[Future[Any]] = set()
        handlers: dict[Any, Any] = {HTTPException: _http_error}
        self.asgi = Starlette(routes=self._routes(), exception_handlers=handlers)
        self.asgi.router.redirect_slashes = False

    def close(self) -> bool:
        """Begin no more work; True when none was left."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        return not self._working

    def _routes(self) -> list[Route]:
        routes = [
            self._route("/v2", self._metadata),
            self._route("/v2/health/live", self._live, need="nothing"),
            self._route("/v2/health/ready", self._server_ready, need="nothing"),
            *self._admin_routes(),
        ]
        for path in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
            routes += [
                self._route(path, self._model_metadata),
                self._route(f"{path}/ready", self._model_ready),
                self._route(f"{path}/infer", self._infer, method="POST"),
            ]
        return routes

    def _admin_routes(self) -> list[Route]:
        if self._admin is None:
            return []
        status, reload = self._told(self._admin.status), self._told(self._admin.reload)
        return [
            self._route("/v1/admin/status", status, need="admin"),
            self._route("/v1/admin/reload", reload, method="POST", need="admin"),
        ]

    def _told(self, ask: Callable[[], dict[str, Any]]) -> Answer:
        async def answer(_request: Request) -> Response:
            return _json(await self._in_thread(ask))

        return answer

    def _route(
        self, path: str, answer: Answer, *, method: str = "GET", need: Need = "use"
    ) -> Route:
        """A route whose errors become answers; HTTP's own are left to the application."""

        async def guarded(request: Request) -> Response:
            try:
                self._entrance.check(request, need)
                return await answer(request)
            except HTTPException:
                raise
            except ClientDisconnect:
                return Response(status_code=400)  # nobody reads it
            except asyncio.CancelledError:
                return self._failed(ClosedError("the server stopped before the call had ended"))
            except Exception as error:  # noqa: BLE001 (the boundary: no error ends the server)
                return self._failed(error)

        return Route(path, guarded, methods=[method])

    async def _metadata(self, _request: Request) -> Response:
        known = server_metadata()
        return _json({**known._asdict(), "extensions": [*known.extensions, BINARY_EXTENSION]})

    async def _live(self, _request: Request) -> Response:
        return _json({"live": True})

    async def _server_ready(self, _request: Request) -> Response:
        return _readiness({}, ready=self._ready())

    async def _model_metadata(self, request: Request) -> Response:
        named = _named(request)
        found = await self._in_thread(lambda: self._service.model_metadata(*named))
        return _response(rest_bodies.encode_metadata(found))

    async def _model_ready(self, request: Request) -> Response:
        named = _named(request)
        ready = await self._in_thread(lambda: self._service.model_ready(*named))
        if not ready:
            # one that is not known is not found
            await self._in_thread(lambda: self._service.model_metadata(*named))
        return _readiness({"name": named[0]}, ready=ready and self._ready())

    async def _infer(self, request: Request) -> Response:
        async with self._intake.body(request) as body:
            caller = _HttpCaller(request, self._entrance.known(request), len(body))
            watching = asyncio.create_task(caller.watch(request))
            try:
                return await self._in_thread(lambda: self._answer(request, body, caller))
            finally:
                watching.cancel()

    def _answer(self, request: Request, body: bytes, caller: _HttpCaller) -> Response:
        asked = rest_bodies.decode_request(*_named(request), body, _json_size(request))
        caller.timeout_s = asked.timeout_s
        try:
            response = self._service.infer(asked.request, caller)
        except InputError as error:
            raise rest_bodies.with_hint(error, asked.request) from error
        content, json_size = rest_bodies.encode_response(response, asked)
        if json_size == len(content):
            return _response(content)
        headers = {JSON_SIZE_HEADER: str(json_size)}
        return Response(content, headers=headers, media_type="application/octet-stream")

    async def _in_thread(self, work: Callable[[], T]) -> T:
        if len(self._working) >= self._threads:
            raise OverloadedError(f"{self._threads} requests are at work or waiting already")
        future = self._pool.submit(work)
        self._working.add(future)
        future.add_done_callback(self._working.discard)
        return await asyncio.wrap_future(future)

    def _failed(self, error: BaseException) -> Response:
        status = status_of(error)
        expected = isinstance(error, WhereverError | WireError)
        words = str(error) if expected else _UNEXPECTED
        if status == 500:
            _LOG.error("a call failed", exc_info=error)
        headers = {CODE_KEY: code_of(error)}
        if isinstance(error, OverloadedError):
            wait_s = self._service.retry_after_s(error)
            headers["retry-after"] = f"{math.ceil(wait_s)}"
            headers[PUSHBACK_KEY] = f"{wait_s * 1000:.0f}"  # HTTP's own header has no fractions
        if isinstance(error, NotAllowedError):
            headers["www-authenticate"] = "Bearer"
        return _json({"error": words[:_MAX_WORDS]}, status, headers)


class _Intake:
    """Receives bodies, within bounds for each and for all of them together."""

    def __init__(self, max_bytes: int, stall_s: float) -> None:
        self._max_bytes = max_bytes
        self._stall_s = stall_s
        self._held = 0

    @asynccontextmanager
    async def body(self, request: Request) -> AsyncGenerator[bytes]:
        """The body, which counts among those that are held until the block ends."""
        self._refuse_at_once(request)
        chunks: list[bytes] = []
        size = 0
        try:
            async for chunk in self._chunks(request):
                size += len(chunk)
                self._held += len(chunk)
                self._refuse_too_much(size)
                chunks.append(chunk)
            yield b"".join(chunks)
        finally:
            self._held -= size

    async def _chunks(self, request: Request) -> AsyncGenerator[bytes]:
        more = True
        while more:
            try:
                async with asyncio.timeout(self._stall_s):
                    message = await request.receive()
            except TimeoutError as error:
                words = f"nothing of the body came for {self._stall_s:g} s"
                raise HTTPException(408, words, {"connection": "close"}) from error
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            more = message.get("more_body", False)
            yield message.get("body", b"")

    def _refuse_at_once(self, request: Request) -> None:
        coding = request.headers.get("content-encoding", "identity")
        if coding != "identity":
            raise HTTPException(415, f"bodies are not taken in content-encoding {coding!r}")
        self._refuse_too_much(int(request.headers.get("content-length", 0)))

    def _refuse_too_much(self, size: int) -> None:
        if size > self._max_bytes:
            raise HTTPException(413, f"the body has more than {self._max_bytes} bytes")
        if self._held > _BODIES * self._max_bytes:
            raise OverloadedError("the bodies of other requests fill the memory meant for them")


class _HttpCaller:
    """The client of one request; see `wherever_edge.oip.admission.Caller`."""

    def __init__(self, request: Request, key: KeyInfo | None, n_bytes: int) -> None:
        self._headers = request.headers
        self.key = key
        self.n_bytes = n_bytes
        self._arrived = monotonic()
        self._active = True
        self.timeout_s: float | None = None

    async def watch(self, request: Request) -> None:
        """Wait until the client is gone; for after its body has come."""
        while (await request.receive())["type"] != "http.disconnect":
            pass
        self._active = False

    def time_remaining(self) -> float | None:
        """Seconds of the request's timeout that are left, None when it has none."""
        return None if self.timeout_s is None else self._arrived + self.timeout_s - monotonic()

    def is_active(self) -> bool:
        """False once the client has closed the connection."""
        return self._active

    def header(self, name: str) -> str | None:
        """The request's header of this name."""
        return self._headers.get(name)


def _named(request: Request) -> tuple[str, str]:
    return request.path_params["model"], request.path_params.get("version", "")


def _json_size(request: Request) -> int | None:
    given = request.headers.get(JSON_SIZE_HEADER)
    if given is None:
        return None
    if not (given.isascii() and given.isdigit() and len(given) <= _MAX_DIGITS):
        found = f"{given[:_MAX_DIGITS]!r}"
        raise WireError(f"header {JSON_SIZE_HEADER}: expected a number of bytes, found {found}")
    return int(given)


def _readiness(said: dict[str, Any], *, ready: bool) -> Response:
    return _json({**said, "ready": ready}, 200 if ready else 503)


def _json(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return _response(rest_bodies.encode_json(value), status, headers)


def _response(content: bytes, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(content, status, headers, media_type="application/json")


async def _http_error(request: Request, error: HTTPException) -> Response:
    words = f"{request.method} {request.url.path}: {error.detail}"
    return _json({"error": words[:_MAX_WORDS]}, error.status_code, dict(error.headers or {}))
