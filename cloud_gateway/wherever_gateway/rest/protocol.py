"""The routes of the Open Inference Protocol v2: health, metadata and inference."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from wherever_contracts.errors import InputError
from wherever_contracts.wire import rest_bodies
from wherever_contracts.wire.asked import IDEMPOTENCY_KEY
from wherever_contracts.wire.framing import WireError
from wherever_contracts.wire.rest_bodies import JSON_SIZE_HEADER
from wherever_edge.oip.saying import server_metadata
from wherever_gateway.rest.replies import BINARY, bytes_reply, json_reply, readiness

if TYPE_CHECKING:
    from wherever_gateway.rest.caller import HttpCaller
    from wherever_gateway.rest.reception import Reception

BINARY_EXTENSION = "binary_tensor_data"
REPOSITORY_EXTENSIONS = ("model_repository", "statistics")
IDEMPOTENCY_HEADER = "idempotency-key"

_MAX_DIGITS = 18


class ProtocolRoutes:
    """Answers as over gRPC.

    Args:
        reception: receives the requests.
        ready: whether calls are taken.
        extensions: what else of the protocol this front serves.
    """

    def __init__(
        self, reception: Reception, ready: Callable[[], bool], extensions: tuple[str, ...] = ()
    ) -> None:
        self._reception = reception
        self._service = reception.service
        self._ready = ready
        self._extensions = (BINARY_EXTENSION, *extensions)

    def routes(self) -> list[Route]:
        """The routes."""
        route = self._reception.route
        routes = [
            route("/v2", self._metadata),
            route("/v2/health/live", self._live, need="nothing"),
            route("/v2/health/ready", self._server_ready, need="nothing"),
        ]
        for path in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
            routes += [
                route(path, self._model_metadata),
                route(f"{path}/ready", self._model_ready),
                route(f"{path}/infer", self._infer, method="POST"),
            ]
        return routes

    async def _metadata(self, _request: Request) -> Response:
        known = server_metadata()
        return json_reply({**known._asdict(), "extensions": [*known.extensions, *self._extensions]})

    async def _live(self, _request: Request) -> Response:
        return json_reply({"live": True})

    async def _server_ready(self, _request: Request) -> Response:
        return readiness({}, ready=self._ready())

    async def _model_metadata(self, request: Request) -> Response:
        named = self._reception.named(request)

        def work() -> Response:
            return bytes_reply(rest_bodies.encode_metadata(self._service.model_metadata(*named)))

        return await self._reception.reply(request, work)

    async def _model_ready(self, request: Request) -> Response:
        named = self._reception.named(request)

        def work() -> Response:
            ready = self._service.model_ready(*named)
            if not ready:
                self._service.model_metadata(*named)  # one that is not known is not found
            return readiness({"name": named[0]}, ready=ready and self._ready())

        return await self._reception.reply(request, work)

    async def _infer(self, request: Request) -> Response:
        def work(body: bytes, caller: HttpCaller) -> Response:
            return self._answer(request, body, caller)

        return await self._reception.reply_to_body(request, work)

    def _answer(self, request: Request, body: bytes, caller: HttpCaller) -> Response:
        model, version = request.path_params["model"], request.path_params.get("version", "")
        asked = rest_bodies.decode_request(model, version, body, _json_size(request))
        key = request.headers.get(IDEMPOTENCY_HEADER)
        if key is not None:
            asked.request.parameters.setdefault(IDEMPOTENCY_KEY, key)
        caller.timeout_s = asked.timeout_s
        try:
            response = self._service.infer(asked.request, caller)
        except InputError as error:
            raise rest_bodies.with_hint(error, asked.request) from error
        content, json_size = rest_bodies.encode_response(response, asked)
        if json_size == len(content):
            return bytes_reply(content)
        return bytes_reply(content, headers={JSON_SIZE_HEADER: str(json_size)}, kind=BINARY)


def _json_size(request: Request) -> int | None:
    given = request.headers.get(JSON_SIZE_HEADER)
    if given is None:
        return None
    if not (given.isascii() and given.isdigit() and len(given) <= _MAX_DIGITS):
        found = f"{given[:_MAX_DIGITS]!r}"
        raise WireError(f"header {JSON_SIZE_HEADER}: expected a number of bytes, found {found}")
    return int(given)
