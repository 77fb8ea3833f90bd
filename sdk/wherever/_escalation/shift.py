"""Whether calls are like those of the calibration, told while they come. Pure.

Were they alike, the rank of a call among the calibration's pairs and the calls before it would be
as good as drawn from a hat: ranks made uniform on [0, 1], each independent of those before (Vovk,
Gammerman & Shafer, "Algorithmic Learning in a Random World", theorem 8.1). So a gambler who bets
on ranks at fair odds wins `n` times the stake with a probability of at most `1 / n`, ever (Ville),
and one who does win has found that calls are not alike: a conformal test martingale (Vovk et al.,
"Retrain or not retrain: conformal test martingales for change-point detection", 2021). One gambler
bets on how sure the answers are, one on which answers are given.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Sequence
from operator import mul

import numpy as np

from wherever_contracts.tensors import Array

LIFE_CALLS = 1000
"""Calls that a watch lasts."""

EVERY_CALLS = 500
"""A new watch, which has not got used to anything yet, begins this often."""

ERROR = 0.01
"""The most that calls like the calibration's may set off a finding, in any `EVERY_CALLS` calls."""

MOST_PAIRS = 10_000
"""Calls are held against no more pairs than these; of more, every second, third ... is taken."""

NO_DETECTION = -1

# As many watches are alive at some time within EVERY_CALLS calls in a row.
_TOUCHING = LIFE_CALLS // EVERY_CALLS + 1

# What was equal stays so, though calibrations keep float32 and calls have float64.
_DIGITS = 6

_CELLS = 64
_POWERS = (0.5, 0.75, 1.6)
_BINS = 8
# Each bin begins as if this many ranks had been in it: a bettor that trusts few ranks loses less.
_BEFORE = 8
_SWITCH = 0.002


def _densities() -> tuple[tuple[float, ...], ...]:
    """What bets on low and on high ranks pay, in each of the cells of [0, 1]: means k x^(k-1)."""
    edges = np.linspace(0, 1, _CELLS + 1)
    low = [_CELLS * np.diff(edges**power) for power in _POWERS]
    cells = np.stack([*low, *(pays[::-1] for pays in low)], axis=1)
    return tuple(tuple(pays) for pays in cells.tolist())


_PAYS = _densities()


class ShiftWatch:
    """Says when calls are not like those of the calibration.

    What is bounded: while calls are exchangeable with the calibration's pairs, the probability of
    a finding within any 500 calls in a row is at most `error`, over the draws of both. A new watch
    begins at every 500th call and lasts 1,000, so that at most three touch such calls; each may
    err with a third of `error`, halved where categories are watched as well. Calls that depend on
    each other, as the frames of one scene do, are not exchangeable with pairs of many scenes: that
    they are found to differ is no error of the kind that is bounded.

    A call costs a few microseconds, and no more after many calls. Memory is bounded: up to 10,000
    pairs, and 1,500 calls.
    """

    __slots__ = ("_chance", "_kinds", "_limit", "_watches", "calls", "found")

    def __init__(
        self,
        confidences: Array,
        categories: Array | None,
        chance: Callable[[], float],
        *,
        error: float = ERROR,
    ) -> None:
        """Begin to watch.

        Args:
            confidences: [n] of the calibration's pairs; without any nothing is watched.
            categories: [n] what was answered to them: the class, or the class of the surest
                detection, -1 for none; None: it is not known, and not watched.
            chance: draws from [0, 1) uniformly, such as `random.Random(seed).random`.
            error: in (0, 1).
        """
        thinned = slice(None, None, max(1, -(-len(confidences) // MOST_PAIRS)))
        given = [confidences] if categories is None else [confidences, categories]
        kinds = [kind[thinned].tolist() for kind in given if len(confidences)]
        self._kinds = [sorted(round(value, _DIGITS) for value in kind) for kind in kinds]
        self._limit = math.log(_TOUCHING * max(1, len(self._kinds)) / error)
        self._chance = chance
        self._watches: list[list[_Line]] = []
        self.calls = 0
        self.found = ""

    @property
    def watching(self) -> bool:
        """Whether there is anything to find yet: there are pairs, and nothing was found."""
        return bool(self._kinds) and not self.found

    def seen(self, confidence: float, category: int) -> str:
        """Take note of a call.

        Args:
            confidence: of its answer.
            category: of its answer; of no account where the calibration's are not known.

        Returns:
            What was found, with figures, at the one call that shows it; else "". `found` keeps it,
            and after it nothing is watched any more: the calibration does not fit these calls.
        """
        if not self.watching:
            return ""
        if self.calls % EVERY_CALLS == 0:
            self._begin()
        self.calls += 1
        for watch in self._watches:
            for line, value in zip(watch, (round(confidence, _DIGITS), category), strict=False):
                line.seen(value, self._chance())
                if line.gain >= self._limit:
                    tell = _confidences if line is watch[0] else _categories
                    self.found = self.found or tell(np.array(line.known), np.array(line.calls))
        return self.found

    def _begin(self) -> None:
        lasting = LIFE_CALLS // EVERY_CALLS - 1
        self._watches = [*self._watches[-lasting:], [_Line(known) for known in self._kinds]]


class _Line:
    """A gambler who bets on the ranks of numbers, one of each call.

    Attributes:
        known: the calibration's numbers, sorted; shared, and never changed.
        calls: those of the calls, sorted.
        gain: the logarithm of what one unit of money has become.
    """

    __slots__ = ("_bins", "_weights", "calls", "gain", "known")

    def __init__(self, known: Sequence[float]) -> None:
        self.known = known
        self.calls: list[float] = []
        self.gain = 0.0
        self._bins = [_BEFORE] * _BINS
        self._weights = [1 / _BETS] * _BETS

    def seen(self, value: float, chance: float) -> None:
        """Bet on the rank of a number; `chance` decides among equal ones."""
        known, calls = self.known, self.calls
        below = bisect_left(known, value) + bisect_left(calls, value)
        equal = bisect_right(known, value) + bisect_right(calls, value) - below + 1
        self._bet((below + chance * equal) / (len(known) + len(calls) + 1))
        insort(calls, value)

    def _bet(self, rank: float) -> None:
        """Money is on several bets at once; a small share of it goes evenly back to all of them.

        So a bet that lost for long, while calls were like the calibration's, can still win (fixed
        share: Herbster & Warmuth, "Tracking the best expert", 1998).
        """
        cell = min(int(rank * _CELLS), _CELLS - 1)
        place = cell * _BINS // _CELLS
        learned = self._bins[place] * _BINS / (_BEFORE * _BINS + len(self.calls))
        won = list(map(mul, self._weights, (*_PAYS[cell], learned)))
        factor = sum(won)
        kept = (1 - _SWITCH) / factor
        self._weights = [kept * money + _SWITCH / _BETS for money in won]
        self.gain += math.log(factor)
        self._bins[place] += 1


_BETS = len(_PAYS[0]) + 1


def _confidences(known: Array, calls: Array) -> str:
    """Where the shares below a confidence differ most: its value, and both shares."""
    values = np.unique(np.concatenate([known, calls]))
    was, now = (np.searchsorted(each, values) / len(each) for each in (known, calls))
    most = int(np.argmax(np.abs(now - was)))
    word = "lower" if now[most] > was[most] else "higher"
    return (
        f"confidences are {word} than in calibration: {now[most]:.0%} of the last {len(calls)} "
        f"calls are below {values[most]:.3g}, against {was[most]:.0%} of {len(known)} pairs "
        f"(median {np.median(calls):.3g} against {np.median(known):.3g})"
    )


def _categories(known: Array, calls: Array) -> str:
    """The category whose share differs most, and both shares."""
    values = np.unique(np.concatenate([known, calls]))
    was, now = (np.mean(each == values[:, None], axis=1) for each in (known, calls))
    most = int(np.argmax(np.abs(now - was)))
    named = int(values[most])
    answer = "no detection" if named == NO_DETECTION else f"class {named}"
    return (
        f"answers are others than in calibration: {now[most]:.0%} of the last {len(calls)} calls "
        f"have {answer}, against {was[most]:.0%} of {len(known)} pairs"
    )
