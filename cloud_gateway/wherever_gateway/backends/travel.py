"""What of a call travels on to a backend, and what of its answer comes back. Pure.

Inputs and outputs pass as they are: nothing here looks into a tensor. The caller's key is no part
of a request, and so cannot travel.

Of the parameters,

- what only servers of ours understand (`signature`, `priority`) goes to those alone;
- an idempotency key has done its work here, where it belongs to one tenant; behind this gateway
  the keys of all tenants would be one tenant's;
- `variant` says which model is to answer; a server that does not know what that is would answer
  with another one, so it is not asked;
- a sequence (Triton's stateful models) belongs to one replica and one tenant; it is not begun.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from wherever_contracts.errors import ForbiddenError, RefusedError
from wherever_contracts.places import WITHIN
from wherever_contracts.urgency import CALM
from wherever_contracts.wire.asked import (
    IDEMPOTENCY_KEY,
    PRIORITY_KEY,
    SIGNATURE_KEY,
    VARIANT_KEY,
)
from wherever_contracts.wire.said import (
    CONFIDENCE_KEY,
    ENGINE_KEY,
    LOAD_KEY,
    QUEUE_KEY,
    RAN_KEY,
    ROWS_KEY,
    SUBSTITUTED_KEY,
)
from wherever_edge.oip.admission import Served
from wherever_edge.tending.host import Shown

if TYPE_CHECKING:
    from wherever_contracts.places import Boundary, Place, Priority
    from wherever_contracts.wire.tensors import InferRequest, InferResponse, Parameters

SEQUENCE_KEY = "sequence_id"
# said by servers of ours and understood by them alone
_OURS = frozenset({SIGNATURE_KEY, VARIANT_KEY, PRIORITY_KEY})
_NEVER = frozenset({IDEMPOTENCY_KEY, SEQUENCE_KEY, "sequence_start", "sequence_end"})

# of what a server of ours says with an answer, that which is about the answer; the rest is about
# the connection to it
_OUR_MARK = "wherever_"
_ABOUT_THE_ANSWER = frozenset(
    {RAN_KEY, CONFIDENCE_KEY, ENGINE_KEY, QUEUE_KEY, ROWS_KEY, SUBSTITUTED_KEY}
)


def refuse_beyond(boundary: Boundary, place: Place, backend: str) -> None:
    """Let no call past its boundary.

    Args:
        boundary: how far the call's data may travel.
        place: the backend's distance.
        backend: the backend's name.

    Raises:
        ForbiddenError: the backend lies beyond.
    """
    if place not in WITHIN.get(boundary, ()):
        raise ForbiddenError(
            f"the backend {backend!r} stands at {place!r}, beyond the boundary {boundary!r} of "
            "this API key; nothing was sent; ask for a model that is served nearer"
        )


def needs_kin(parameters: Parameters) -> bool:
    """Whether it has to be known if the backend is a server of ours, before this is sent."""
    return not _OURS.isdisjoint(parameters)


def outbound(
    request: InferRequest,
    model: str,
    *,
    boundary: Boundary,
    priority: Priority,
    kin: bool,
    headers: tuple[tuple[str, str], ...] = (),
) -> InferRequest:
    """The request as it travels on.

    Args:
        request: the caller's.
        model: what the model is called there.
        boundary: how far the call may travel.
        priority: how urgent the call is, which may be less than it says.
        kin: whether the backend is a server of ours.
        headers: go along.

    Raises:
        RefusedError: the backend could not do what it asks for.
    """
    parameters = request.parameters
    if parameters.get(SEQUENCE_KEY):
        raise RefusedError(
            f"{request.model!r} is answered behind this gateway, where calls of a sequence could "
            "reach different servers; send each call on its own, or ask that server directly"
        )
    if parameters.get(VARIANT_KEY) and not kin:
        raise RefusedError(
            f"{request.model!r} is answered by a server that knows no variants, so not by "
            f"{parameters[VARIANT_KEY]!r}; ask without naming one"
        )
    return request._replace(
        model=model,
        boundary=boundary,
        headers=headers,
        parameters=_passed(parameters, priority, kin=kin),
    )


def inbound(response: InferResponse, request: InferRequest) -> InferResponse:
    """The answer as the caller gets it: to the call that it sent, about the model it named."""
    parameters = response.parameters
    said = {
        key: value
        for key, value in parameters.items()
        if not key.startswith(_OUR_MARK) or key in _ABOUT_THE_ANSWER
    }
    return response._replace(model=request.model, id=request.id, parameters=said)


def shown(response: InferResponse) -> Shown:
    """What an answer shows of the host that gave it."""
    parameters = response.parameters
    load = _number(parameters, LOAD_KEY, -1.0)
    return Shown(
        sum([len(tensor.data) for tensor in response.outputs]),
        _number(parameters, QUEUE_KEY),
        _number(parameters, ENGINE_KEY),
        load if load >= 0 else None,
    )


def served(response: InferResponse, backend: str) -> Served:
    """What there is to count of an answer that is passed on."""
    parameters = response.parameters
    rows = parameters.get(ROWS_KEY)
    return Served(
        response.model,
        response.version,
        _variant(str(parameters.get(RAN_KEY, ""))),
        _number(parameters, QUEUE_KEY),
        _number(parameters, ENGINE_KEY),
        rows if type(rows) is int and rows > 0 else 1,
        backend,
    )


def up_bytes(request: InferRequest) -> int:
    """How much travels to a backend."""
    return sum([len(tensor.data) for tensor in request.inputs])


def _passed(parameters: Parameters, priority: Priority, *, kin: bool) -> Parameters:
    dropped = _NEVER if kin else _NEVER | _ours_among(parameters)
    passed = {key: value for key, value in parameters.items() if key not in dropped}
    if kin:
        passed.pop(PRIORITY_KEY, None)
        if priority != CALM.priority:
            passed[PRIORITY_KEY] = priority
    return passed


def _ours_among(parameters: Parameters) -> frozenset[str]:
    """Those of ours; a priority that is a number is another server's."""
    foreign = not isinstance(parameters.get(PRIORITY_KEY, ""), str)
    return _OURS - {PRIORITY_KEY} if foreign else _OURS


def _number(parameters: Parameters, key: str, default: float = 0.0) -> float:
    value = parameters.get(key)
    return float(value) if isinstance(value, int | float) else default


@lru_cache(maxsize=256)
def _variant(ran: str) -> str:
    """Which variant ran, as a server of ours says it; "" from others."""
    try:
        said: Any = json.loads(ran) if ran else {}
        return str(said.get("variant", ""))
    except (ValueError, AttributeError, RecursionError):
        return ""
