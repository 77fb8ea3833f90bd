"""What is believed of the parts of a time of which only the sum is seen.

A call's time is a round trip, bytes over a rate, an engine's run. Each part is believed as the
log of an amount, with a variance that grows while nothing is seen. A sum that was seen moves each
part by its share of the doubt: an extended Kalman filter (R. Kalman, 1960) that keeps the
variances alone. So a call of 2 KB teaches the round trip, one of 5 MB the rate, and a part that
is known well is left as it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

_SMALLEST = 1e-12
_LARGEST = 1e6
# One call that stalled for seconds must not make a known host look a hundred times slower: what
# lies so many standard deviations off moves it no further.
_FARTHEST = 2.5


class Drift(NamedTuple):
    """How an amount may change. Variances are of its natural log: 0.01 is about 10 %.

    Attributes:
        per_s: what a second adds to the variance.
        per_look: what each observation adds, so that many in a second do not make it deaf.
        most: the largest variance: that of a guess.
        back_s: time without an observation in which it returns half the way to the usual.
        usual: the share of a fully trusted observation that the usual follows.
    """

    per_s: float
    per_look: float
    most: float
    back_s: float
    usual: float = 0.02


class Belief:
    """An amount (seconds, or seconds per byte) that is learned from sums in which it takes part.

    Attributes:
        variance: of the log of the amount.
        known: whether it was ever more than a guess.
    """

    __slots__ = ("_at", "_drift", "_log", "_usual", "known", "variance")

    def __init__(self, guess: float, drift: Drift) -> None:
        self._log = self._usual = _log(guess)
        self._drift = drift
        self._at = math.inf
        self.variance = drift.most
        self.known = False

    def amount(self, now: float) -> float:
        """The amount that is expected at `now`."""
        return math.exp(self._log_at(now))

    def look(self, now: float) -> float:
        """The amount expected at `now`, after what the time since the last look has changed."""
        drift = self._drift
        self._log = self._log_at(now)
        grown = self.variance + drift.per_s * max(0.0, now - self._at) + drift.per_look
        self.variance = min(drift.most, grown)
        self._at = now
        return math.exp(self._log)

    def move(self, by: float, surer: float) -> None:
        """Add `by` to the log of the amount, and take the share `surer` off its variance."""
        self._log = _log(math.exp(self._log + by))
        self._usual += (self._log - self._usual) * self._drift.usual * surer
        self.variance *= 1.0 - surer
        self.known = self.known or self.variance < self._drift.most / 2.0

    def _log_at(self, now: float) -> float:
        idle_s = max(0.0, now - self._at)
        return self._usual + (self._log - self._usual) * math.exp2(-idle_s / self._drift.back_s)


Part = tuple[Belief, float]
"""A belief, and how often its amount enters a sum (times, bytes, rows)."""


def learn(parts: Sequence[Part], seen: float, noise: float, now: float) -> None:
    """Learn that the sum of `parts` was `seen`.

    Args:
        parts: what the sum consists of; one at least enters it.
        seen: the sum.
        noise: the variance of the log of one such sum around what is true.
        now: when it was seen.
    """
    amounts = [belief.look(now) * factor for belief, factor in parts]
    expected = sum(amounts)
    shares = [amount / expected for amount in amounts]
    doubts = [belief.variance * share for (belief, _), share in zip(parts, shares, strict=True)]
    doubt = noise + sum(map(float.__mul__, doubts, shares))
    farthest = _FARTHEST * math.sqrt(doubt)
    surprise = min(farthest, max(-farthest, _log(seen) - _log(expected)))
    for (belief, _), share, part in zip(parts, shares, doubts, strict=True):
        gain = part / doubt
        belief.move(gain * surprise, gain * share)


def _log(amount: float) -> float:
    return math.log(min(_LARGEST, max(_SMALLEST, amount)))
