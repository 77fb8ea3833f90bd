"""The routes of the protocol's model repository and statistics extensions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from wherever_contracts.wire.json_fields import Field
from wherever_contracts.wire.repository import IndexEntry, ModelStatistics, statistics_fields
from wherever_gateway.rest.replies import bytes_reply, json_reply

if TYPE_CHECKING:
    from wherever_edge.oip.admission import Caller
    from wherever_gateway.rest.caller import HttpCaller
    from wherever_gateway.rest.reception import Handle, Reception


class Repository(Protocol):
    """What there is to do with a server's models; see `wherever_gateway.model_repository`."""

    def index(self, caller: Caller, *, ready: bool = False) -> Sequence[IndexEntry]:
        """Every version of every model that the caller may see; or those alone that are ready."""
        ...

    def load(self, caller: Caller, model: str) -> None:
        """Answer calls for a model from now on."""
        ...

    def unload(self, caller: Caller, model: str) -> None:
        """Answer no more calls for a model."""
        ...

    def statistics(
        self, caller: Caller, model: str = "", version: str = ""
    ) -> Sequence[ModelStatistics]:
        """What was asked of a model, or of all."""
        ...


class RepositoryRoutes:
    """Lists, loads and unloads models, and tells how they are used.

    Args:
        reception: receives the requests.
        repository: the models; it decides who may do what.
    """

    def __init__(self, reception: Reception, repository: Repository) -> None:
        self._reception = reception
        self._repository = repository

    def routes(self) -> list[Route]:
        """The routes; for before those of single models, one of which might be named "stats"."""
        route = self._reception.route
        one = "/v2/repository/models/{model}"
        load = self._change(self._repository.load, ())
        unload = self._change(self._repository.unload, ("unload_dependents",))
        return [
            route("/v2/repository/index", self._index, method="POST"),
            route(f"{one}/load", load, method="POST", need="admin"),
            route(f"{one}/unload", unload, method="POST", need="admin"),
            route("/v2/models/stats", self._statistics, need="admin"),
            route("/v2/models/{model}/stats", self._statistics, need="admin"),
            route("/v2/models/{model}/versions/{version}/stats", self._statistics, need="admin"),
        ]

    async def _index(self, request: Request) -> Response:
        def work(body: bytes, caller: HttpCaller) -> Response:
            found = self._repository.index(caller, ready=_only_ready(body))
            return json_reply([entry._asdict() for entry in found])

        return await self._reception.reply_to_body(request, work)

    def _change(self, change: Callable[[Caller, str], None], known: tuple[str, ...]) -> Handle:
        async def handle(request: Request) -> Response:
            def work(body: bytes, caller: HttpCaller) -> Response:
                _refuse_parameters(body, known)
                change(caller, request.path_params["model"])
                return bytes_reply(b"{}")

            return await self._reception.reply_to_body(request, work)

        return handle

    async def _statistics(self, request: Request) -> Response:
        def work(_body: bytes, caller: HttpCaller) -> Response:
            named = request.path_params.get("model", ""), request.path_params.get("version", "")
            found = self._repository.statistics(caller, *named)
            return json_reply({"model_stats": [statistics_fields(each) for each in found]})

        return await self._reception.reply_to_body(request, work)


def _only_ready(body: bytes) -> bool:
    """Whether an index of what is ready alone is asked for; an empty body asks for all."""
    return bool(body) and _object(body).member("ready").flag(default=False)


def _refuse_parameters(body: bytes, known: tuple[str, ...]) -> None:
    """Raise where a change says how it is to be made, which none here can be told."""
    parameters = _object(body).member("parameters") if body else Field("", None)
    for name in parameters.parameters():
        if name not in known:
            raise parameters.member(name).wrong("nothing: it is not supported here")


def _object(body: bytes) -> Field:
    root = Field.parse(body)
    if not isinstance(root.value, dict):
        raise root.wrong("an object")
    return root
