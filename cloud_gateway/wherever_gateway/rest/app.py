"""The REST front as an application: the same answers as over gRPC, and typed calls."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Protocol

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from wherever_edge.oip.service import InferenceService
from wherever_gateway.rest.entrance import RestEntrance
from wherever_gateway.rest.intake import Intake
from wherever_gateway.rest.models import Models, no_others
from wherever_gateway.rest.openapi import Offer
from wherever_gateway.rest.pages import PageRoutes
from wherever_gateway.rest.protocol import REPOSITORY_EXTENSIONS, ProtocolRoutes
from wherever_gateway.rest.reception import Handle, Reception
from wherever_gateway.rest.replies import http_error, json_reply
from wherever_gateway.rest.repository import Repository, RepositoryRoutes
from wherever_gateway.rest.typed import TypedRoutes


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
        max_bytes: the largest body, also after it was decompressed.
        stall_s: how long a body may stand still before it is given up.
        entrance: decides who may make a request.
        admin: what administrators may do, if anything.
        repository: lists, loads and unloads models, if anything does.
        others: the names of the models that other servers answer for.

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
        admin: Admin | None = None,
        repository: Repository | None = None,
        others: Callable[[], Collection[str]] = no_others,
    ) -> None:
        intake = Intake(max_bytes, stall_s)
        reception = Reception(service, entrance, intake)
        models = Models(service, others)
        offer = Offer(entrance.keyed, entrance.needed, repository is not None)
        extensions = REPOSITORY_EXTENSIONS if repository else ()
        routes = [
            *(_admin_routes(reception, admin) if admin else []),
            *(RepositoryRoutes(reception, repository).routes() if repository else []),
            *ProtocolRoutes(reception, ready, extensions).routes(),
            *TypedRoutes(reception, models).routes(),
            *PageRoutes(reception, models, offer).routes(),
        ]
        # they are tried in turn: what is asked most often comes first
        routes.sort(key=lambda route: not route.path.endswith(("/infer", ":predict")))
        self._reception = reception
        handlers: dict[Any, Any] = {HTTPException: http_error}
        self.asgi = Starlette(routes=routes, exception_handlers=handlers)
        self.asgi.router.redirect_slashes = False

    def close(self) -> bool:
        """Begin no more work; True when none was left."""
        return self._reception.close()


def _admin_routes(reception: Reception, admin: Admin) -> list[Route]:
    def told(ask: Callable[[], dict[str, Any]]) -> Handle:
        async def handle(request: Request) -> Response:
            return await reception.reply(request, lambda: json_reply(ask()))

        return handle

    return [
        reception.route("/v1/admin/status", told(admin.status), need="admin"),
        reception.route("/v1/admin/reload", told(admin.reload), method="POST", need="admin"),
    ]
