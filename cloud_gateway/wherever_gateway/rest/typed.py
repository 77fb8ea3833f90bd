"""Typed calls: a model's own fields in JSON, in a form or as the bare body, and its value out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from wherever_contracts.errors import RemoteError
from wherever_contracts.wire.asked import IDEMPOTENCY_KEY
from wherever_contracts.wire.framing import WireError
from wherever_contracts.wire.rest_typed import (
    Given,
    encode_answer,
    field_of_text,
    fields_of,
    only_input,
    read_call,
)
from wherever_gateway.rest.forms import read_form
from wherever_gateway.rest.openapi import RAW_KINDS
from wherever_gateway.rest.protocol import IDEMPOTENCY_HEADER
from wherever_gateway.rest.replies import bytes_reply, json_reply

if TYPE_CHECKING:
    from wherever_contracts.manifest import Signature
    from wherever_gateway.rest.caller import HttpCaller
    from wherever_gateway.rest.models import Models
    from wherever_gateway.rest.reception import Reception

_PREDICT = ":predict"


class TypedRoutes:
    """Lists the models, and answers calls in their own types.

    Args:
        reception: receives the requests.
        models: describes the models.
    """

    def __init__(self, reception: Reception, models: Models) -> None:
        self._reception = reception
        self._models = models

    def routes(self) -> list[Route]:
        """The routes."""
        route = self._reception.route
        return [
            route("/v1/models", self._list),
            route(f"/v1/models/{{model}}{_PREDICT}", self._predict, method="POST"),
            route(
                f"/v1/models/{{model}}/versions/{{version}}{_PREDICT}",
                self._predict,
                method="POST",
            ),
            route("/v1/models/{model}", self._one),
        ]

    async def _list(self, request: Request) -> Response:
        def work() -> Response:
            found = self._models.list(lambda name: self._reception.sees(request, name))
            return json_reply({"models": [each.to_dict() for each in found]})

        return await self._reception.reply(request, work)

    async def _one(self, request: Request) -> Response:
        if request.path_params["model"].endswith(_PREDICT):  # of the route above, by POST
            raise HTTPException(405, "Method Not Allowed", {"allow": "POST"})
        named = self._reception.named(request)
        return await self._reception.reply(
            request, lambda: json_reply(self._models.get(*named).to_dict())
        )

    async def _predict(self, request: Request) -> Response:
        named = self._reception.named(request)

        def work(body: bytes, caller: HttpCaller) -> Response:
            return self._answer(request, named, body, caller)

        return await self._reception.reply_to_body(request, work)

    def _answer(
        self, request: Request, named: tuple[str, str], body: bytes, caller: HttpCaller
    ) -> Response:
        signature = self._models.signature(*named)
        given = {**_of_body(request, signature, body)}
        for name, text in request.query_params.multi_items():
            if name in given:
                raise WireError(f"field {name[:60]!r}: expected once, found twice")
            given[name] = field_of_text(name, text)
        call = read_call(*named, signature, given)
        key = request.headers.get(IDEMPOTENCY_HEADER)
        if key is not None:
            call.request.parameters[IDEMPOTENCY_KEY] = key
        caller.timeout_s = call.timeout_s
        response = self._reception.service.infer(call.request, caller)
        try:
            return bytes_reply(encode_answer(signature, response))
        except (KeyError, ValueError) as error:
            words = f"the answer of {named[0]!r} does not fit its signature ({error!r})"
            raise RemoteError(words) from error


def _of_body(request: Request, signature: Signature, body: bytes) -> Mapping[str, Given]:
    """The fields that a body has, by what it says it is.

    Raises:
        HTTPException: it says it is something that the model does not take (415).
        WireError: it is not what it says it is.
    """
    said = request.headers.get("content-type", "application/json")
    kind = said.partition(";")[0].strip().lower()
    if kind == "application/json":
        return fields_of(body)
    if kind == "multipart/form-data":
        return _of_form(said, body)
    only = only_input(signature, [each for each in RAW_KINDS if _is_raw(each, kind)])
    if only:
        return {only: body}
    raise HTTPException(
        415, f"the body's content-type {kind[:80]!r} is not taken here; send {_taken(signature)}"
    )


def _of_form(said: str, body: bytes) -> dict[str, Given]:
    given: dict[str, Given] = {}
    for part in read_form(said, body):
        if part.name in given:
            raise WireError(f"field {part.name[:60]!r}: expected once, found twice")
        given[part.name] = part.data
    return given


def _is_raw(input_kind: str, content_type: str) -> bool:
    """Whether a body of this type can be an input of this kind as it is."""
    family = content_type.partition("/")[0]
    return any(
        each in (content_type, f"{family}/*") for each in RAW_KINDS[input_kind] if content_type
    )


def _taken(signature: Signature) -> str:
    kinds = ["application/json", "multipart/form-data"]
    for kind, types in RAW_KINDS.items():
        if only_input(signature, [kind]):
            kinds += types
    return ", ".join(kinds)
