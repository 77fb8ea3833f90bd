"""How much was used in the last so many seconds. Pure.

The moving window of the library `limits`: an amount counts until the window is over that began with
it, so that no window of that length, wherever it begins, holds more than the limit. The library's
own keeps one entry for each unit (a gigabyte an hour is a list of 10^9); here what comes within
1/256 of the window counts as come together, with the last of it: 257 entries at most, and a limit
that is kept all the same.
"""

from __future__ import annotations

import math
from collections import deque

_GRAINS = 256
_SOONEST_S = 0.001  # that much later than the first moment with room, so that rounding hurts nobody


class _Span:
    """What came within a grain of time."""

    __slots__ = ("amount", "first_s", "last_s")

    def __init__(self, at_s: float, amount: int) -> None:
        self.first_s = self.last_s = at_s
        self.amount = amount


class MovingWindow:
    """What was used of one limit. Times are seconds on one clock that only grows.

    Args:
        every_s: how long the window is.
    """

    __slots__ = ("_every_s", "_grain_s", "_spans", "_used")

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._grain_s = every_s / _GRAINS
        self._spans: deque[_Span] = deque()
        self._used = 0

    def used(self, now_s: float) -> int:
        """What counts now."""
        spans, begin_s = self._spans, now_s - self._every_s
        while spans and spans[0].last_s < begin_s:
            self._used -= spans.popleft().amount
        return self._used

    def begun_s(self, now_s: float) -> float:
        """When the oldest of what counts came; now when nothing does."""
        self.used(now_s)
        return self._spans[0].first_s if self._spans else now_s

    def use(self, now_s: float, amount: int) -> None:
        """Count an amount, whether there is room or not."""
        self._used += amount
        last = self._spans[-1] if self._spans else None
        if last is not None and now_s - last.first_s <= self._grain_s:
            last.amount += amount
            last.last_s = now_s
        else:
            self._spans.append(_Span(now_s, amount))

    def take(self, now_s: float, limit: int, amount: int) -> bool:
        """Count an amount if there is room for it now."""
        if self.used(now_s) + amount > limit:
            return False
        self.use(now_s, amount)
        return True

    def take_back(self, amount: int) -> None:
        """Count no more what was used last."""
        self._used -= amount
        self._spans[-1].amount -= amount

    def wait_s(self, now_s: float, limit: int, amount: int) -> float:
        """Seconds until there is room for an amount; 0 now, infinity never."""
        excess = self.used(now_s) + amount - limit
        if excess <= 0:
            return 0.0
        for span in self._spans:
            excess -= span.amount
            if excess <= 0:
                return span.last_s + self._every_s - now_s + _SOONEST_S
        return math.inf
