"""How a call that waited is sent: by the same hosts, breakers and guard as any other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from wherever._outbox.courier import Delivered, Send
from wherever._outbox.drain import Way, is_final
from wherever_contracts.errors import (
    BadAnswerError,
    RemoteError,
    UnreachableError,
    WhereverError,
)
from wherever_contracts.manifest import Signature
from wherever_contracts.places import PLACES, WITHIN
from wherever_contracts.receipts import Answer
from wherever_contracts.wire.asked import IDEMPOTENCY_KEY
from wherever_edge.host_health.forecast import Work

if TYPE_CHECKING:
    from wherever._outbox.entry import Entry, Letter
    from wherever._remotes import Remote
    from wherever_contracts.wire.tensors import InferRequest

# What fewer calls stand behind is not taken for known.
_TELLING_SAMPLES = 5.0


def send_to(remotes: Mapping[str, Remote], prepare: Callable[[], None]) -> Send:
    """What sends a call to the nearest of these hosts that may be asked and answers.

    Args:
        remotes: the boxes and gateways of a client.
        prepare: called first, to look for boxes.
    """

    def send(letter: Letter, timeout_s: float) -> Delivered:
        entry = letter.entry
        if "nearby" in entry.places:
            prepare()
        problems: list[WhereverError] = []
        signature = Signature.model_validate_json(letter.signature)
        outputs = tuple(each.spec() for each in signature.outputs)
        request = keyed(letter)
        size = sum(len(tensor.data) for tensor in request.inputs)
        work = Work(entry.model, entry.variant, size)
        for remote in _allowed(remotes, entry, request):
            why = remote.admit(last_hope=True)
            if why:
                problems.append(UnreachableError(f"{remote.name}: {why}"))
                continue
            outcome = remote.infer(request, outputs, timeout_s, work)
            if isinstance(outcome, Answer):
                outcome = restored(entry, outcome, signature)
                return Delivered(outcome, remote.place, remote.name, _way(remote))
            problems.append(outcome)
        raise worst(problems) if problems else UnreachableError(_nobody(entry))

    return send


def restored(entry: Entry, answer: Answer, signature: Signature) -> Answer:
    """An answer about what a release rule made, as one about what was given."""
    if not entry.placement:
        return answer
    from wherever_edge.egress.release import Placement, Released  # noqa: PLC0415 (seldom needed)

    return Released({}, Placement(*entry.placement)).restored(answer, signature)


def keyed(letter: Letter) -> InferRequest:
    """The request of a call with its idempotency key, the same in every try.

    Answering changes nothing, so a server may answer twice; it is the result that is recorded once.
    """
    request = letter.request
    return request._replace(parameters={**request.parameters, IDEMPOTENCY_KEY: letter.entry.id})


def worst(problems: Sequence[WhereverError]) -> WhereverError:
    """The one of several failures that decides what becomes of a call.

    It is final only when every host said so; and a host that failed at the call itself tells more
    than one that is not there.
    """
    passing = [error for error in problems if not is_final(error)]
    own = [error for error in passing if isinstance(error, RemoteError | BadAnswerError)]
    return (own or passing or problems)[0]


def _allowed(
    remotes: Mapping[str, Remote], entry: Entry, request: InferRequest
) -> Sequence[Remote]:
    within = set(WITHIN[request.boundary]) & set(entry.places)
    allowed = [remote for remote in remotes.values() if remote.place in within]
    return sorted(allowed, key=lambda remote: PLACES.index(remote.place))


def _nobody(entry: Entry) -> str:
    ways = {
        "nearby": "pair a box with 'wherever pair'",
        "cloud": "set a gateway with gateways=[...] or WHEREVER_GATEWAYS",
    }
    advice = ", or ".join(ways[place] for place in entry.places if place in ways)
    return f"there is no host that may be asked ({' or '.join(entry.places)}): {advice}"


def _way(remote: Remote) -> Way | None:
    cost = remote.health.cost
    known = cost.samples >= _TELLING_SAMPLES and cost.up_bytes_per_s > 0
    return Way(cost.round_trip_p50_s, cost.up_bytes_per_s) if known else None
