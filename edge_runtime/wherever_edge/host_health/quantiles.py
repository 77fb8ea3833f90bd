"""Quantiles of a stream of positive values that forgets, in constant time and memory per value.

Values are counted in buckets whose bounds grow by a constant factor, so any quantile is right
within 5 % (C. Masson and others, "DDSketch", VLDB 2019, section 2). To forget, old counts are not
touched: each new value counts for more than the one before (G. Cormode and others, "Forward
Decay", ICDE 2009), and all are scaled down before they grow too large.
"""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Iterable

SMALLEST = 1e-6
LARGEST = 1e6
# The middle of a bucket is within (1.1 - 1) / (1.1 + 1) = 4.8 % of all that is in it.
_GROWTH = 1.1
_BUCKETS_PER_E = 1.0 / math.log(_GROWTH)
_MIDDLE = 2.0 / (1.0 + _GROWTH)
_LARGEST_UNIT = 1e6
_FORGOTTEN = 1e-3


class Quantiles:
    """The recent distribution of a positive value.

    A value counts half as much when `half_life_s` have passed. However few or many come in that
    time, about the `least` newest always count, and never more than about the `most` newest: the
    one keeps the tail of a quiet host, the other lets a busy one react.
    """

    __slots__ = (
        "_ageing",
        "_at",
        "_buckets",
        "_keys",
        "_largest_step",
        "_seen",
        "_smallest_step",
        "_total",
        "_unit",
    )

    def __init__(
        self,
        half_life_s: float,
        *,
        least: float = 16.0,
        most: float = 48.0,
        prior: Iterable[float] = (),
    ) -> None:
        """Start from the values of `prior`, which fade as others do but are not samples."""
        self._ageing = math.log(2.0) / half_life_s
        # Weights that grow by a factor f sum up to f / (f - 1) of the newest.
        self._smallest_step = math.log1p(1.0 / most)
        self._largest_step = math.log1p(1.0 / least)
        self._unit = 1.0
        self._at = -math.inf
        self._buckets: dict[int, float] = {}
        self._keys: list[int] = []
        self._total = 0.0
        self._seen = 0.0
        for value in prior:
            self._count(value, 1.0)

    def add(self, value: float, now: float, weight: float = 1.0) -> None:
        """Count `value`, which was seen at `now`, as `weight` (0 to 1) of a sample.

        What is no number, or outside `SMALLEST` to `LARGEST`, counts as the nearest that is
        inside. A clock that jumped back ages nothing.
        """
        step = (now - self._at) * self._ageing
        self._at = now
        if step < self._smallest_step * weight:
            step = self._smallest_step * weight
        elif step > self._largest_step * weight:
            step = self._largest_step * weight
        self._unit *= math.exp(step)
        if self._unit > _LARGEST_UNIT:
            self._rescale()
        weight *= self._unit
        self._seen += weight
        self._count(value, weight)

    def quantile(self, quantile: float) -> float:
        """The value that a share of `quantile` (0 to 1) of the recent ones do not exceed.

        0 when there is none.
        """
        if not self._keys:
            return 0.0
        above = (1.0 - quantile) * self._total
        buckets = self._buckets
        # Tails are asked for most: from the top, few buckets are passed.
        for key in reversed(self._keys):
            above -= buckets[key]
            if above < 0.0:
                return _value(key)
        return _value(self._keys[0])

    def samples(self, now: float) -> float:
        """How many values stand behind a quantile, each counting less as it ages."""
        return self._seen / self._unit * math.exp(-self.idle_s(now) * self._ageing)

    def idle_s(self, now: float) -> float:
        """How long ago the last value was added; infinite when none was."""
        return max(0.0, now - self._at)

    def _count(self, value: float, weight: float) -> None:
        key = _key(value)
        known = self._buckets.get(key)
        if known is None:
            insort(self._keys, key)
            known = 0.0
        self._buckets[key] = known + weight
        self._total += weight

    def _rescale(self) -> None:
        counts = {key: count / self._unit for key, count in self._buckets.items()}
        self._buckets = {key: count for key, count in counts.items() if count > _FORGOTTEN}
        self._keys = sorted(self._buckets)
        self._total = sum(self._buckets.values())
        self._seen = min(self._seen / self._unit, self._total)
        self._unit = 1.0


def _key(value: float) -> int:
    if not SMALLEST < value < LARGEST:
        value = min(LARGEST, max(SMALLEST, value))
    return math.floor(math.log(value) * _BUCKETS_PER_E)


def _value(key: int) -> float:
    return math.exp((key + 1) / _BUCKETS_PER_E) * _MIDDLE
