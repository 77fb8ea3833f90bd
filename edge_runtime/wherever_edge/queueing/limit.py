"""How many calls may be inside while more come than can be answered, from what was measured. Pure.

As many calls are inside as come out in the time that each of them is there (Little, 1961). So the
time that a call is inside is kept short by a bound on how many there are: the calls that came out
a second, times the seconds that one may take. As long as nobody is refused, the bound is the
owner's alone: many callers who wait for each other's answers are no overload.
"""

from __future__ import annotations

import math

# a call may be inside for so many times as long as a run of one row takes, or for so long
_TIMES = 2.5
_LEAST_INSIDE_S = 0.01
# what came out is looked at after so long and so many
_WINDOW_S = 0.1
_CALLS = 8
# how long a limit holds after the last refusal
_HOLDS_S = 1.0
# while calls are refused, as many wait as run at least
_LEAST_TIMES_RUNS = 2
# how much of what was measured of the line's pace is forgotten with each turn
_FORGETTING = 0.95


class Limit:
    """Learns from calls that come out, and bounds those inside while others are refused.

    Times are on one clock, in seconds. Not safe for threads.

    Attributes:
        level: calls that may be inside while calls are refused; None before that is known.
        turned_away: calls that were refused of late, less those that were answered since: about
            how many will come again.
    """

    __slots__ = ("_began", "_calls", "_refused_at", "level", "turned_away")

    def __init__(self) -> None:
        self.level: int | None = None
        self.turned_away: int = 0
        self._refused_at = -math.inf
        self.busy(-math.inf)

    def room(self, now: float, runs: int, max_waiting: int) -> int:
        """Calls that may be inside now.

        Args:
            now: the time.
            runs: how many run at a time.
            max_waiting: how many may wait at most.
        """
        most = runs + max_waiting
        if self.level is None:
            return most
        if now - self._refused_at > _HOLDS_S:
            self.level = None
            return most
        return min(most, max(self.level, _LEAST_TIMES_RUNS * runs))

    def busy(self, now: float) -> None:
        """Somebody came in where nobody was: what comes out is counted from now on."""
        self._began = now
        self._calls = 0

    def answered(self, now: float, run_s: float) -> None:
        """A call came out with an answer.

        Args:
            now: the time.
            run_s: what a run of the engine usually takes for one row.
        """
        self._calls += 1
        if self.turned_away:
            self.turned_away -= 1
        if self._calls >= _CALLS and now - self._began >= _WINDOW_S:
            self._look(now, run_s)

    def refused(self, now: float, run_s: float) -> None:
        """A call found no room; the arguments are those of `answered`."""
        if now - self._refused_at > _HOLDS_S:
            self.turned_away = 0
        self.turned_away += 1
        self._refused_at = now
        if self.level is None and self._calls >= _CALLS:
            self._look(now, run_s)

    def _look(self, now: float, run_s: float) -> None:
        """Set the level by the calls since the window began."""
        took_s = now - self._began
        if self._refused_at >= self._began and took_s > 0:
            may_take_s = max(_LEAST_INSIDE_S, _TIMES * run_s)
            self.level = math.ceil(self._calls / took_s * may_take_s)
        self.busy(now)


class Pace:
    """How fast a line moves while somebody stands in it. Not safe for threads."""

    __slots__ = ("_last", "_left", "_moved_s")

    def __init__(self) -> None:
        self._last: float | None = None
        self._moved_s = 0.0
        self._left = 0.0

    def begins(self) -> None:
        """Somebody comes to a line that was empty: the time before says nothing."""
        self._last = None

    def moved(self, now: float, calls: int) -> None:
        """So many calls left the line together for the engine."""
        if self._last is not None:
            self._moved_s = _FORGETTING * self._moved_s + now - self._last
            self._left = _FORGETTING * self._left + calls
        self._last = now

    def expected_s(self, ahead: float) -> float | None:
        """How long somebody with so many before it waits; None while nothing is known."""
        return ahead * self._moved_s / self._left if self._left else None
