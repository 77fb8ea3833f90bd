"""What the caller of a backend is told when it has no answer, and what the log says. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from wherever_contracts.errors import (
    AttemptError,
    ClosedError,
    DeadlineError,
    InputError,
    ModelNotFoundError,
    NotAllowedError,
    OverloadedError,
    RefusedError,
    RemoteError,
    UnreachableError,
    WhereverError,
)
from wherever_edge.host_health.health import HealthFacts
from wherever_gateway.backends import wording

NOT_FOUND = ("NOT_FOUND", "404")
_WRONG_INPUT = ("INVALID_ARGUMENT", "OUT_OF_RANGE", "400", "422")
# a caller that is told to come again waits so long at least
_LEAST_RETRY_S = 0.01


class Shut(NamedTuple):
    """A replica that no call could be sent to.

    Attributes:
        name: the replica's, which is its address.
        why: why not, for the log.
        facts: what is known of it.
    """

    name: str
    why: str
    facts: HealthFacts

    @property
    def is_busy(self) -> bool:
        """It is there, and has no room."""
        facts = self.facts
        full = facts.state == "closed" and facts.in_flight >= facts.limit
        return full or facts.pushed_back_s > 0

    @property
    def free_in_s(self) -> float:
        """When it may have room."""
        return max(_LEAST_RETRY_S, self.facts.pushed_back_s, self.facts.usual_s)


class Tried(NamedTuple):
    """A replica that was asked, and what it answered; the name is its address."""

    name: str
    error: WhereverError


def nobody(
    backend: str, model: str, tried: Sequence[Tried], shut: Sequence[Shut], lacking: Sequence[str]
) -> WhereverError:
    """The error of a call for which no replica is left to ask.

    Args:
        backend: the backend's name.
        model: what the caller calls the model.
        tried: the replicas that were asked, in their order.
        shut: those that could not be.
        lacking: those that do not have the model.
    """
    if tried and not _unanswered(tried[-1].error):
        return told(backend, model, tried[-1])
    busy_s = [each.free_in_s for each in shut if each.is_busy]
    busy_s += [_free_in_s(each.error) for each in tried if isinstance(each.error, OverloadedError)]
    if busy_s:
        error = OverloadedError(
            f"the backend {backend!r} has no room for the call now "
            f"({_listed(tried, shut, lacking)}); try again a little later"
        )
        error.retry_after_s = min(busy_s)
        return error
    if lacking and not tried and not shut:
        return ModelNotFoundError(
            f"no server of the backend {backend!r} has the model {model!r} ready now; load it "
            "there, or leave it out of the backend's models"
        )
    return UnreachableError(
        f"no server of the backend {backend!r} can answer {model!r} now "
        f"({_listed(tried, shut, lacking)}); the gateway's log says which servers"
    )


def told(backend: str, model: str, tried: Tried) -> WhereverError:
    """What the caller is told of an error that a replica, or the way to it, ended its call with.

    What the replica said of the call passes in its words, without addresses; what concerns this
    gateway's own key there is none of the caller's key.
    """
    error, said = tried.error, wording.reason(tried.error, tried.name)
    if isinstance(error, NotAllowedError):
        return RemoteError(
            f"the backend {backend!r} does not let this gateway ask for {model!r}; who runs the "
            "gateway has to give it another key (api_key_file)"
        )
    if isinstance(error, RefusedError):
        if error.status in NOT_FOUND:
            return ModelNotFoundError(f"the backend {backend!r} has no model {model!r} ({said})")
        if error.status in _WRONG_INPUT:
            return InputError("", f"what {model!r} takes at the backend {backend!r}", said)
    because = f" ({said})" if said else ""
    return _like(error, f"a server of the backend {backend!r} {wording.happened(error)}{because}")


def is_the_callers(error: WhereverError) -> bool:
    """Whether an error is about the call alone, so that the operator has nothing to do."""
    return isinstance(error, RefusedError) and not isinstance(error, NotAllowedError)


def logged(tried: Sequence[Tried], shut: Sequence[Shut], lacking: Sequence[str]) -> str:
    """The same for the operator's log: which servers, where they are, and why."""
    parts = [str(each.error) for each in tried]
    parts += [f"{each.name} was not asked: {each.why}" for each in shut]
    parts += [f"{name} does not have the model ready" for name in lacking]
    return "; ".join(parts) or "the call's time was over before a server had answered"


def given_up(backend: str) -> DeadlineError:
    """The error of a call that nobody waits for any more."""
    return DeadlineError(
        f"nobody waits for the answer any more; the call to the backend {backend!r} was given up"
    )


def out_of_time(backend: str, tried: Sequence[Tried]) -> DeadlineError:
    """The error of a call that has no time left to ask another replica."""
    before = f" ({_listed(tried, (), ())})" if tried else ""
    return DeadlineError(
        f"the backend {backend!r} did not answer in time{before}; give the call more time"
    )


def crowded(backend: str, inside: int, retry_after_s: float) -> OverloadedError:
    """The error of a call that found as many others on their way as there may be."""
    error = OverloadedError(
        f"{inside} calls are on their way to the backend {backend!r}, and no more of this "
        "caller's may join them now; try again a little later"
    )
    error.retry_after_s = min(max(_LEAST_RETRY_S, retry_after_s), 1.0)
    return error


def _unanswered(error: WhereverError) -> bool:
    """Whether nothing but its absence is known of a replica's answer."""
    if isinstance(error, OverloadedError):
        return error.retry_after_s != math.inf
    return isinstance(error, UnreachableError)


def _free_in_s(error: OverloadedError) -> float:
    """When a server that refused may have room."""
    return max(_LEAST_RETRY_S, error.retry_after_s or 0.0)


def _listed(tried: Sequence[Tried], shut: Sequence[Shut], lacking: Sequence[str]) -> str:
    parts = [wording.happened(each.error) for each in tried]
    parts += [wording.kept_away(each.facts) for each in shut]
    parts += ["did not have the model ready" for _ in lacking]
    return wording.listed(parts)


def _like(error: WhereverError, words: str) -> WhereverError:
    """An error of the same kind in other words."""
    if not isinstance(error, AttemptError):
        return UnreachableError(words) if isinstance(error, ClosedError) else RemoteError(words)
    alike = type(error)(words)
    alike.retry_after_s, alike.status = error.retry_after_s, error.status
    return alike
