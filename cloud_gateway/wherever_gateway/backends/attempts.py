"""How long a replica is waited for, and whether another is asked after it. Pure."""

from __future__ import annotations

import math
from typing import NamedTuple

from wherever_contracts.errors import (
    AttemptError,
    ClosedError,
    DeadlineError,
    UntrustedPeerError,
    WhereverError,
)
from wherever_edge.host_health.forecast import Forecast

# Another replica is asked when one took so many times as long as 99 % of such calls, and at least
# this: so a frozen one costs its calls no more.
PATIENCE_TIMES = 3.0
LEAST_PATIENCE_S = 0.25
# So many recent calls make a forecast worth acting on.
SURE = 3.0
# A call that is expected to end sooner is not worth the thread that could give it up.
QUICK_S = 0.1
# All servers were there so lately that one is waited for, and so long at most.
LULL_S = 3.0
LONGEST_LULL_S = 1.0
# What is kept back for the other replica, of a call whose replica is not known well.
_RESERVED = 0.5


class Attempt(NamedTuple):
    """How a replica is asked.

    Attributes:
        timeout_s: how long it is waited for.
        patient: it is waited for to the end of the call; else another is asked after it.
        watched: whether it is looked meanwhile if the caller is still there; that costs as much
            as a small model does.
    """

    timeout_s: float
    patient: bool
    watched: bool


def attempt(latest: Forecast, left_s: float, *, again: bool) -> Attempt:
    """How to ask a replica.

    Args:
        latest: by when 99 % of such calls are answered there.
        left_s: what is left of the call's time.
        again: whether there may be a second attempt.
    """
    sure = latest.samples >= SURE
    watched = not sure or latest.latency_s >= QUICK_S
    if not again:
        return Attempt(left_s, patient=True, watched=True)
    patience_s = max(LEAST_PATIENCE_S, PATIENCE_TIMES * latest.latency_s)
    if not sure:
        patience_s = max(patience_s, _RESERVED * left_s)
    if patience_s >= left_s:
        return Attempt(left_s, patient=True, watched=watched)
    return Attempt(patience_s, patient=False, watched=watched)


def waits_s(heard_s: float, left_s: float) -> float:
    """How long a call waits for a server to come back when all are shut out; 0: not at all.

    A server that starts anew takes a moment, in which no other may be there. Of those that are
    away for longer a call is told at once.

    Args:
        heard_s: for how long nothing was heard of any of them.
        left_s: what is left of the call's time.
    """
    return min(LONGEST_LULL_S, left_s / 2) if heard_s < LULL_S else 0.0


def is_worth_another(error: WhereverError) -> bool:
    """Whether another replica may answer a call that failed with `error` at one.

    A call is sent again only where the same call may succeed, and where its server did not forbid
    it (gRFC A6, pushback below 0). Inference changes nothing, so that a call whose answer was lost
    may run twice.
    """
    if isinstance(error, UntrustedPeerError | ClosedError):
        return True  # nothing was sent to it
    if not isinstance(error, AttemptError) or isinstance(error, DeadlineError):
        return False
    return error.retryable and error.retry_after_s != math.inf
