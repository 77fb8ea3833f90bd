"""Which host of a place does so much worse than the others that it is left out for a while. Pure.

In the spirit of gRFC A50 (outlier detection: at most a share of the hosts is ejected, for a time
that grows each time), for few hosts: each is compared with the median of the others, because a mean
and its deviation say little about three gateways. What fails altogether is the breaker's concern;
this is for the host that fails every third call, or answers three times as late.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

from wherever_contracts.durations import duration

# Less says too little about a host.
LEAST_CALLS = 5.0
# How far a success rate may stay below the others', and a latency above.
SUCCESS_GAP = 0.25
LATENCY_TIMES = 3.0
LATENCY_GAP_S = 0.05

BASE_S = 5.0
LONGEST_S = 60.0
# Hosts that were ejected together do not all come back together.
JITTER = 0.2
# Each such time without trouble, one ejection is forgotten.
REST_S = 30.0

_HALF_LIFE_S = 20.0


class Standing(NamedTuple):
    """How one host does.

    Attributes:
        success: the share of its calls that were answered.
        latency_s: how long the same work usually takes there; 0: not known.
        calls: how many calls stand behind it.
        ejected: whether it is left out already.
    """

    success: float
    latency_s: float
    calls: float
    ejected: bool = False


def outlier(standings: Sequence[Standing]) -> tuple[int, str] | None:
    """The position of a host to eject now, and why; None when there is none.

    At most half of the hosts are ejected at a time, and never the last one.
    """
    ejected = sum(each.ejected for each in standings)
    if ejected >= len(standings) // 2:
        return None
    judged = [
        (position, each)
        for position, each in enumerate(standings)
        if not each.ejected and each.calls >= LEAST_CALLS
    ]
    for position, each in judged:
        others = [other for at, other in judged if at != position]
        why = _worse(each, others) if others else ""
        if why:
            return position, why
    return None


def _worse(host: Standing, others: Sequence[Standing]) -> str:
    usual = median(other.success for other in others)
    if usual - host.success > SUCCESS_GAP:
        return f"it answered {host.success:.0%} of its calls, the others {usual:.0%}"
    known = [other.latency_s for other in others if other.latency_s]
    usual_s = median(known) if known else math.inf
    if host.latency_s > max(LATENCY_TIMES * usual_s, usual_s + LATENCY_GAP_S):
        return f"it takes {duration(host.latency_s)}, the others {duration(usual_s)}"
    return ""


class Conduct:
    """What one host's calls showed of late, and how often it was left out for it.

    Attributes:
        until: when it may be asked again.
        why: why it is left out.
    """

    __slots__ = ("_answered", "_at", "_calls", "_times", "until", "why")

    def __init__(self) -> None:
        self.until = -math.inf
        self.why = ""
        self._answered = 0.0
        self._calls = 0.0
        self._at = 0.0
        self._times = 0

    def note(self, now: float, *, answered: bool) -> None:
        """A call ended."""
        faded = 0.5 ** (max(0.0, now - self._at) / _HALF_LIFE_S)
        self._at = now
        self._calls = self._calls * faded + 1.0
        self._answered = self._answered * faded + answered

    def standing(self, latency_s: float, now: float) -> Standing:
        """How it does; `latency_s` is how long the work that is compared usually takes there."""
        faded = 0.5 ** (max(0.0, now - self._at) / _HALF_LIFE_S)
        success = self._answered / self._calls if self._calls else 1.0
        return Standing(success, latency_s, self._calls * faded, now < self.until)

    def eject(self, why: str, now: float, chance: float) -> None:
        """Leave it out for a while, longer each time; afterwards it is judged anew.

        Args:
            why: how it stood out.
            now: the time.
            chance: a random number in [0, 1).
        """
        if self._times:
            self._times = max(0, self._times - int((now - self.until) / REST_S))
        self._times += 1
        self.why = why
        self.until = now + min(LONGEST_S, BASE_S * self._times) * (1.0 + JITTER * chance)
        self._answered = self._calls = 0.0
