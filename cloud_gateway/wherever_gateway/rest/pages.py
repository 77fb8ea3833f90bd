"""The OpenAPI document, and a page to read it and try it, from this server alone."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from wherever_contracts.errors import missing_extra
from wherever_edge.oip.saying import server_metadata
from wherever_gateway.rest.openapi import document
from wherever_gateway.rest.replies import bytes_reply, json_reply

if TYPE_CHECKING:
    from wherever_gateway.rest.models import Models
    from wherever_gateway.rest.openapi import Offer
    from wherever_gateway.rest.reception import Reception

# what may be fetched below /docs/, and what it is; the first two are our own
_OWN = {"page.js": "text/javascript", "page.css": "text/css"}
_BUNDLED = {
    "swagger-ui.css": "text/css",
    "swagger-ui-bundle.js": "text/javascript",
    "favicon-32x32.png": "image/png",
}

# nothing from elsewhere, nothing inline, no framing (Content Security Policy Level 3)
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_GUARDED = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}


class PageRoutes:
    """Serves the document and the page.

    Args:
        reception: receives the requests.
        models: describes the models.
        offer: what this server offers beside its models.
    """

    def __init__(self, reception: Reception, models: Models, offer: Offer) -> None:
        self._reception = reception
        self._models = models
        self._offer = offer

    def routes(self) -> list[Route]:
        """The routes; the page and its document are there for everybody, without models."""
        route = self._reception.route
        return [
            route("/openapi.json", self._document, need="nothing"),
            route("/docs", self._page, need="nothing"),
            route("/docs/{name}", self._part, need="nothing"),
        ]

    async def _document(self, request: Request) -> Response:
        stranger = self._reception.stranger(request)
        if not stranger:
            self._reception.check(request)

        def work() -> Response:
            seen = self._models.list(
                lambda name: not stranger and self._reception.sees(request, name)
            )
            told = document(server_metadata().version, seen, self._offer)
            return json_reply(told, headers={"cache-control": "no-cache"})

        return await self._reception.reply(request, work)

    async def _page(self, request: Request) -> Response:
        return await self._reception.reply(
            request, lambda: bytes_reply(_own("page.html"), headers=_GUARDED, kind="text/html")
        )

    async def _part(self, request: Request) -> Response:
        name = request.path_params["name"]
        kind = _OWN.get(name) or _BUNDLED.get(name)
        if kind is None:
            raise HTTPException(404, "Not Found")

        def work() -> Response:
            content = _own(name) if name in _OWN else _bundled(name)
            return bytes_reply(content, headers=_GUARDED, kind=kind)

        return await self._reception.reply(request, work)


@cache
def _own(name: str) -> bytes:
    return (files("wherever_gateway.rest") / "page" / name).read_bytes()


@cache
def _bundled(name: str) -> bytes:
    try:
        import swagger_ui_bundle  # noqa: PLC0415 (an extra)  # pyright: ignore[reportMissingTypeStubs]
    except ImportError as error:
        raise missing_extra("the page /docs", "gateway") from error
    content: bytes = (swagger_ui_bundle.swagger_ui_path / name).read_bytes()
    return content
