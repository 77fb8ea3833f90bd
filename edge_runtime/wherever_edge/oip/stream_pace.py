"""Whether calls of one model that wait together are answered together, or each in a thread.

Nothing here knows a clock or a lock.
"""

from __future__ import annotations

# A call of less is over before another thread has begun with the next.
_BRIEF_S = 100e-6
# Of calls that take longer, the first would wait too long for the last.
_LONG_S = 2e-3
# what is learned of a model is given up slowly: another version may take longer
_FORGETS = 0.05
# so often it is tried anew whether answering them together is worth it
_TRIED_EVERY = 256


class Pace:
    """What one model's calls were seen to take.

    Args:
        at_once: calls that can be worked on at the same time, one to a core.
    """

    __slots__ = ("_alone_s", "_at_once", "_together_s", "_turns")

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._alone_s: float | None = None
        self._together_s: float | None = None
        self._turns = 0

    @property
    def known(self) -> bool:
        """Whether any call has ended; until then, the first one is not joined by others."""
        return self._alone_s is not None or self._together_s is not None

    @property
    def together(self) -> bool:
        """Whether one thread answers all that wait, and does better than a thread for each."""
        alone_s, together_s = self._alone_s, self._together_s
        if together_s is None or alone_s is None:
            return min(together_s or _LONG_S, alone_s or _LONG_S) < _LONG_S
        if min(alone_s, together_s) <= _BRIEF_S or self._turns % _TRIED_EVERY == 0:
            return together_s <= _LONG_S
        return alone_s <= _LONG_S and together_s * self._at_once <= alone_s

    def learn(self, calls: int, elapsed_s: float) -> None:
        """So many calls took so long, by one thread."""
        self._turns += 1
        each_s = elapsed_s / calls
        if calls == 1:
            self._alone_s = _nearer(self._alone_s, each_s)
        else:
            self._together_s = _nearer(self._together_s, each_s)


def _nearer(known_s: float | None, seen_s: float) -> float:
    """The least time seen, which is forgotten slowly."""
    if known_s is None or seen_s < known_s:
        return seen_s
    return known_s + _FORGETS * (seen_s - known_s)
