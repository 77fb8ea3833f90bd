"""Asking the host that answered a call once more, by the variant that it answered with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from wherever._answers import answer_of
from wherever._escalation.words import NO_AIM
from wherever._replay.outcome import NotReplayableError
from wherever_contracts.errors import WhereverError

if TYPE_CHECKING:
    from wherever._client import Client
    from wherever._replay.opening import Opened
    from wherever._route import Route
    from wherever._routing.plan import Candidate
    from wherever_contracts.places import Place
    from wherever_contracts.receipts import Answer, Receipt

TIMEOUT_S = 30.0


def ask_again(
    client: Client,
    receipt: Receipt,
    opened: Opened,
    inputs: Mapping[str, Any],
    options: Mapping[str, float],
) -> Answer:
    """What the host of a call answers now, within the call's boundary.

    Args:
        client: knows the hosts.
        receipt: the call's.
        opened: the variant that answered.
        inputs: the checked inputs.
        options: the call's options, defaults included.

    Raises:
        NotReplayableError: the host is not known here, may not be sent this, or gives no answer.
    """
    package = opened.package
    named = f"{package.name}@{package.version}"
    places: tuple[Place, ...] = (receipt.place,)
    route = client.make_route(named, package, None, receipt.boundary, places, NO_AIM)
    candidate = _candidate(route, receipt)
    call = route.call(inputs, options)
    try:
        request = call.request(candidate, opened.variant.id)
        response = route.remotes[candidate.host].host.infer(request, TIMEOUT_S)
        answer = answer_of(response, route.outputs)
    except WhereverError as error:
        raise NotReplayableError("host", f"{receipt.host}: {error}") from None
    if answer.ran.variant_digest != receipt.ran.variant_digest:
        why = f"{receipt.host} answers by another variant now ({answer.ran.variant})"
        raise NotReplayableError("host", why)
    return answer


def _candidate(route: Route, receipt: Receipt) -> Candidate:
    for candidate in route.plan.attempts:
        if candidate.host == receipt.host and candidate.release == receipt.released:
            return candidate
    ruled_out = route.plan.ruled_out.get(receipt.host, "it is not among the hosts of this client")
    raise NotReplayableError("host", f"{receipt.host} may not be asked: {ruled_out}")
