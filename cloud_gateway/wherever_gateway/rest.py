"""The protocol's REST front: the same answers as over gRPC, for whatever speaks HTTP."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeAlias, TypeVar

import anyio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from wherever_contracts.errors import OverloadedError, WhereverError
from wherever_contracts.wire.messages import WireError
from wherever_edge.oip.server import InferenceServer
from wherever_edge.oip.service import server_metadata
from wherever_edge.oip.status import CODE_KEY, code_of, status_of
from wherever_gateway.rest_messages import read_request, write_response

_LOG = logging.getLogger(__name__)

BINARY_EXTENSION = "binary_tensor_data"
JSON_BYTES_HEADER = "Inference-Header-Content-Length"

_DIGITS = 18

# gRPC status -> HTTP status
HTTP_STATUS = {
    "INVALID_ARGUMENT": 400,
    "NOT_FOUND": 404,
    "FAILED_PRECONDITION": 409,
    "RESOURCE_EXHAUSTED": 429,
    "INTERNAL": 500,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}

T = TypeVar("T")

Answer: TypeAlias = Callable[[Request], Awaitable[Response]]


def rest_app(server: InferenceServer, *, max_bytes: int) -> Starlette:
    """The application that answers HTTP from the service behind a gRPC server.

    Args:
        server: its gate bounds the calls of both fronts together.
        max_bytes: the largest body that is read.
    """
    front = _Front(server, max_bytes)
    routes = [
        _route("/v2", front.metadata),
        _route("/v2/health/live", front.live),
        _route("/v2/health/ready", front.ready),
    ]
    for path in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
        routes += [
            _route(path, front.model_metadata),
            _route(f"{path}/ready", front.model_ready),
            _route(f"{path}/infer", front.infer, method="POST"),
        ]
    handlers: dict[Any, Any] = {HTTPException: _http_error}
    return Starlette(routes=routes, exception_handlers=handlers)


class _Front:
    def __init__(self, server: InferenceServer, max_bytes: int) -> None:
        self._server = server
        self._service = server.service
        self._max_bytes = max_bytes
        # enough for the gate to refuse what is too much, and for what never reaches it
        gate = server.gate
        self._threads = anyio.CapacityLimiter(gate.workers + gate.max_waiting + 8)

    async def metadata(self, _request: Request) -> Response:
        known = server_metadata()
        extensions = [*known.extensions, BINARY_EXTENSION]
        return JSONResponse({**known._asdict(), "extensions": extensions})

    async def live(self, _request: Request) -> Response:
        return JSONResponse({"live": True})

    async def ready(self, _request: Request) -> Response:
        return _ready({}, ready=self._server.ready)

    async def model_metadata(self, request: Request) -> Response:
        model, version = _named(request)
        found = await self._in_thread(self._service.model_metadata, model, version)
        tensors = {
            kind: [
                {**entry._asdict(), "shape": list(entry.shape)} for entry in getattr(found, kind)
            ]
            for kind in ("inputs", "outputs")
        }
        return JSONResponse({**found._asdict(), **tensors})

    async def model_ready(self, request: Request) -> Response:
        model, version = _named(request)
        ready = await self._in_thread(self._service.model_ready, model, version)
        return _ready({"name": model}, ready=ready and self._server.ready)

    async def infer(self, request: Request) -> Response:
        body = await self._body(request)
        size = _json_bytes(request)
        caller = _HttpCaller()
        watching = asyncio.create_task(caller.watch(request))
        try:
            return await self._in_thread(self._infer, request, body, size, caller)
        finally:
            watching.cancel()

    def _infer(
        self, request: Request, body: bytes, size: int | None, caller: _HttpCaller
    ) -> Response:
        asked, raw_outputs = read_request(body, size, *_named(request))
        response = self._service.infer(asked, caller)
        content, json_bytes = write_response(response, raw_outputs)
        if json_bytes == len(content):
            return Response(content, media_type="application/json")
        headers = {JSON_BYTES_HEADER: str(json_bytes)}
        return Response(content, headers=headers, media_type="application/octet-stream")

    async def _body(self, request: Request) -> bytes:
        if request.headers.get("content-encoding", "identity") != "identity":
            raise HTTPException(415, "bodies are taken as they are, without a content-encoding")
        limit = self._max_bytes
        chunks: list[bytes] = []
        total = 0
        async for chunk in request.stream():
            total += len(chunk)
            if total > limit:
                raise HTTPException(413, f"the body has more than {limit} bytes, the limit here")
            chunks.append(chunk)
        return b"".join(chunks)

    async def _in_thread(self, function: Callable[..., T], *args: object) -> T:
        return await anyio.to_thread.run_sync(partial(function, *args), limiter=self._threads)


class _HttpCaller:
    """The client of one request; HTTP states no deadline, but it may go away."""

    def __init__(self) -> None:
        self._active = True

    async def watch(self, request: Request) -> None:
        """Wait until the client is gone; only for after the body was read."""
        while (await request.receive())["type"] != "http.disconnect":
            pass
        self._active = False

    def time_remaining(self) -> float | None:
        return None

    def is_active(self) -> bool:
        return self._active


def _route(path: str, answer: Answer, *, method: str = "GET") -> Route:
    async def guarded(request: Request) -> Response:
        try:
            return await answer(request)
        except HTTPException:
            raise
        except ClientDisconnect:
            return Response(status_code=499)
        except Exception as error:  # noqa: BLE001 (the named boundary: no error ends the server)
            return _error(error)

    return Route(path, guarded, methods=[method])


def _named(request: Request) -> tuple[str, str]:
    return request.path_params["model"], request.path_params.get("version", "")


def _json_bytes(request: Request) -> int | None:
    size = request.headers.get(JSON_BYTES_HEADER)
    if size is None:
        return None
    if not size.isdecimal() or len(size) > _DIGITS:
        raise HTTPException(400, f"{JSON_BYTES_HEADER} is a number of bytes, not {size[:80]!r}")
    return int(size)


def _ready(said: dict[str, Any], *, ready: bool) -> Response:
    return JSONResponse({**said, "ready": ready}, status_code=200 if ready else 503)


def _error(error: Exception) -> Response:
    status = status_of(error)
    if status == "INTERNAL":
        _LOG.error("a call failed", exc_info=error)
    expected = isinstance(error, WhereverError | WireError)
    words = str(error) if expected else "an unexpected error; the server's log says more"
    headers = {CODE_KEY: code_of(error)}
    if isinstance(error, OverloadedError):
        headers["Retry-After"] = "1"
    return JSONResponse({"error": words}, HTTP_STATUS[status], headers)


async def _http_error(_request: Request, error: HTTPException) -> Response:
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)
