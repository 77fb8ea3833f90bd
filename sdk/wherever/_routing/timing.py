"""When things are due within a call: the device's backup, a hedge, a retry, the end of patience."""

from __future__ import annotations

from math import isinf

from wherever_contracts.errors import DeadlineError, UnreachableError, WhereverError
from wherever_edge.host_health.forecast import Forecast

# What is kept back from the deadline: gRPC's timers were seen to end a call up to 4 ms late.
MARGIN_S = 0.01

# A device whose usual answer takes less goes first whatever others promise.
QUICK_S = 0.05
# A host that goes first without need has this share of the device's time as a head start; that
# bounds what is lost when it is slow.
_HEAD_START = 0.1
# So many recent calls make a forecast worth acting on.
SURE = 3.0
# Without a deadline an escalation is waited for so many times as long as nearly all of them take.
PATIENCE = 4.0
LEAST_PATIENCE_S = 0.2

USUAL, LATE, LATEST = 0.5, 0.95, 0.99
EARLY = 0.1

_RETRY_AFTER_S = 0.025
# no answer comes sooner: who is expected to take less was not measured
_UNKNOWN_S = 1e-5


def backup_at(
    now: float, deadline: float | None, device: Forecast, remote: Forecast, timeout_s: float
) -> float:
    """When the device has to begin to answer in time, should the remote host not.

    With a deadline that is just early enough for it; without one, early enough for an answer when
    nearly every remote one has come ("hedge after the 95th percentile": Dean and Barroso, The Tail
    at Scale, CACM 2013). A host of which little is known has half of the time that it may take: it
    may have to be connected to, and to load the model.

    Args:
        now: when the remote attempt begins.
        deadline: when an answer is wanted; None: no deadline.
        device: how long the device takes at worst.
        remote: how long the remote host takes at worst.
        timeout_s: how long the attempt may take.
    """
    if deadline is None:
        least_s = timeout_s / 2 if remote.samples < SURE else 0.0
        return now + max(0.0, least_s, remote.latency_s - device.latency_s)
    left_s = deadline - MARGIN_S - now
    needed_s = device.latency_s if device.latency_s > _UNKNOWN_S else left_s / 2
    return now + max(0.0, left_s - needed_s)


def rival_at(now: float, device: Forecast, remote: Forecast, *, saving: bool) -> float:
    """When a device that let a faster host go first begins all the same, without a deadline.

    Args:
        now: when the remote attempt begins.
        device: how long the device takes at worst.
        remote: how long the remote host takes at worst.
        saving: the device saves power: it begins when nearly every remote answer would have come.
    """
    return now + (remote.latency_s if saving else _HEAD_START * device.latency_s)


def patience_s(late: Forecast, timeout_s: float) -> float:
    """How long an escalation may take when the call has no deadline and an answer is in hand."""
    if late.samples < SURE:
        return timeout_s
    return min(timeout_s, max(PATIENCE * late.latency_s, LEAST_PATIENCE_S))


def retry_in_s(error: WhereverError, chance: float) -> float | None:
    """After how long the same host is worth another try; None: not at all.

    A host that says when to come again is taken at its word (gRFC A6, pushback). One that was slow
    or not reached is probed first.
    """
    if not error.retryable or isinstance(error, DeadlineError | UnreachableError):
        return None
    said_s: float | None = getattr(error, "retry_after_s", None)
    if said_s is None:
        return _RETRY_AFTER_S * (1.0 + 2.0 * chance)
    return None if isinf(said_s) else max(0.0, said_s)
