"""How many calls may be on the way to one host at a time. Pure.

The limit grows while answers come about as fast as the best of late, and shrinks when they slow
down, because then the calls wait for each other somewhere: the gradient of latency, as in Netflix's
concurrency-limits (Gradient2: limit x gradient + room for a queue), and TCP's way with loss for
calls that found no room or no answer (additive increase, multiplicative decrease).
"""

from __future__ import annotations

import math
from typing import NamedTuple

LEAST = 1.0
FIRST = 32.0
# Slow answers alone do not lower it further: the rows of a batch wait for each other at any host,
# and are better late than not asked about. A host without room for them says so.
SLOW_LEAST = 16.0
MOST = 256.0

# An answer that takes so many times as long as the best of its kind, or so much longer, is as good
# as ever: networks differ as much from one moment to the next.
TOLERANCE = 3.0
GAP_S = 0.005
# The most that one slow answer can say.
STEEPEST = 0.5
# How much of the way to a lower limit is gone at once.
SMOOTHING = 0.2
# What is left of the limit when the host had no room, or did not answer.
BACK_OFF = 0.7
# All calls of one moment find the same trouble; it counts once.
PAUSE_S = 0.1
# For so long, and up to twice that, the best latency of a kind of call is remembered.
WINDOW_S = 30.0
MOST_KINDS = 64


class _Best(NamedTuple):
    """The best latency of this window and of the one before."""

    since: float
    now_s: float
    before_s: float


class ConcurrencyLimit:
    """The limit for one host.

    Attributes:
        limit: so many calls may be on the way, as a fraction.
    """

    __slots__ = ("_best", "_careful_until", "_starting", "limit")

    def __init__(self, first: float = FIRST) -> None:
        self.limit = first
        self._starting = True
        self._careful_until = -math.inf
        self._best: dict[object, _Best] = {}

    def answered(self, kind: object, latency_s: float, in_flight: int, now: float) -> None:
        """A call was answered.

        Args:
            kind: what sort of call: latencies are compared within one sort alone.
            latency_s: how long it took.
            in_flight: how many calls were on the way, it included.
            now: the time.
        """
        best_s = self._note(kind, latency_s, now)
        if latency_s > max(TOLERANCE * best_s, best_s + GAP_S):
            gradient = max(STEEPEST, TOLERANCE * best_s / latency_s)
            lower = self.limit * gradient + math.sqrt(self.limit)
            self._starting = False
            if self.limit > SLOW_LEAST and lower < self.limit:
                self.limit = max(SLOW_LEAST, self.limit + SMOOTHING * (lower - self.limit))
        elif 2 * in_flight >= self.limit:  # or the limit was not what held it back
            # at first by one for each answer, so it doubles each round trip; then by one for each
            self.limit = min(MOST, self.limit + (1.0 if self._starting else 1.0 / self.limit))

    def backed_off(self, now: float) -> None:
        """The host had no room for a call, or did not answer it in time."""
        if now < self._careful_until:
            return
        self._careful_until = now + PAUSE_S
        self._starting = False
        self.limit = max(LEAST, BACK_OFF * self.limit)

    def _note(self, kind: object, latency_s: float, now: float) -> float:
        """The best latency of late for this sort of call, this one included."""
        best = self._best.get(kind)
        if best is None:
            if len(self._best) >= MOST_KINDS:
                del self._best[next(iter(self._best))]
            best = _Best(now, latency_s, math.inf)
        elif now - best.since >= WINDOW_S:
            best = _Best(now, latency_s, best.now_s)
        elif latency_s < best.now_s:
            best = best._replace(now_s=latency_s)
        else:
            return min(best.now_s, best.before_s)
        self._best[kind] = best
        return min(best.now_s, best.before_s)
