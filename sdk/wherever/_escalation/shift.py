"""Whether calls are like those of the calibration, told while they come. Pure.

Were they alike, the rank of a call among the calibration's pairs and the calls before it would be
as good as drawn from a hat: ranks made uniform on [0, 1], each independent of those before (Vovk,
Gammerman & Shafer, "Algorithmic Learning in a Random World", theorem 8.1). So a gambler who bets
on ranks at fair odds wins `n` times the stake with a probability of at most `1 / n`, ever (Ville),
and one who does win has found that calls are not alike: a conformal test martingale (Vovk et al.,
"Retrain or not retrain: conformal test martingales for change-point detection", 2021). One gambler
bets on how sure the answers are, one on which answers are given.

Gamblers find large shifts soon, and are slow at small ones. So at a few set times there is a look
at all calls of a watch as well: of those that are alike as many are in any part of the pool of
pairs and calls as drawing them from it blindly would give (hypergeometric, which is exact).
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
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

FEWEST_CALLS = 30
"""Before so many calls of a watch nothing is told: fewer may be one input that is tried again."""

LOOKS = (125, 250, 500, 1000)
"""The calls of a watch after which there is a look at all of them."""

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

_TENTHS = np.arange(1, 10) / 10
_COMMONEST = 10


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
    err with a third of `error`, halved where categories are watched as well; half of that is the
    gambler's, and an eighth each look's. Calls that depend on each other, as the frames of one
    scene do, are not exchangeable with pairs of many scenes: that they are found to differ is no
    error of the kind that is bounded.

    A call costs some microseconds, and no more after many calls; a look, of which there are eight
    in 500 calls at most, some tenths of a millisecond. Memory is bounded: up to 10,000 pairs, and
    1,500 calls.
    """

    __slots__ = ("_chance", "_kinds", "_odds", "_unlikely", "_watches", "calls", "found")

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
        each = error / _TOUCHING / len(given)
        self._odds = math.log(2 / each)
        self._unlikely = each / 2 / len(LOOKS)
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
                if line.differs(self._odds, self._unlikely):
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
        before, place = bisect_left(known, value), bisect_left(calls, value)
        below = before + place
        equal = bisect_right(known, value, before) + bisect_right(calls, value, place) - below + 1
        self._bet((below + chance * equal) / (len(known) + len(calls) + 1))
        calls.insert(place, value)

    def differs(self, odds: float, chance: float) -> bool:
        """Whether the gain has come to `odds`, or calls at a look are as unlikely as `chance`."""
        if len(self.calls) < FEWEST_CALLS:
            return False
        if self.gain >= odds:
            return True
        if len(self.calls) not in LOOKS:
            return False
        return _chance_of(np.array(self.known), np.array(self.calls)) <= chance

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


def _chance_of(known: Array, calls: Array) -> float:
    """How likely calls are so unlike the pairs in one of a few parts of the pool of both.

    The parts are what is up to each tenth of the pool, and its commonest values. The part in which
    calls are the least alike is put to the test, with the error divided among all.
    """
    pool = np.sort(np.concatenate([known, calls]))
    values, counts = np.unique(pool, return_counts=True)
    ends = pool[(_TENTHS * pool.size).astype(int)]
    common = values[np.argsort(-counts, kind="stable")[:_COMMONEST]]
    of_pool, of_calls = (_counted(each, ends, common) for each in (pool, calls))
    share = of_pool / pool.size
    expected = calls.size * share
    spread = np.sqrt(expected * (1 - share) * known.size / pool.size)
    away = (of_calls - expected) / np.maximum(spread, 1e-9)
    most = int(np.argmax(np.abs(away)))
    part, hit = int(of_pool[most]), int(of_calls[most])
    if away[most] < 0:  # so few in the part is as many outside of it
        part, hit = pool.size - part, calls.size - hit
    return 2 * away.size * _at_least(hit, pool.size, part, calls.size)


def _counted(numbers: Array, ends: Array, common: Array) -> Array:
    """How many of sorted numbers are up to each of the ends, and are each of the common values."""
    until, after = (np.searchsorted(numbers, each, "right") for each in (ends, common))
    return np.concatenate([until, after - np.searchsorted(numbers, common)])


def _at_least(hit: int, pool: int, part: int, drawn: int) -> float:
    """The chance that so many, or more, of those `drawn` from a pool are of a part of it."""
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, pool + 1)))])
    inside = np.arange(hit, min(part, drawn) + 1)
    ways = logs[part] - logs[inside] - logs[part - inside]
    rest = pool - part
    ways += logs[rest] - logs[drawn - inside] - logs[rest - drawn + inside]
    return float(np.exp(ways - logs[pool] + logs[drawn] + logs[pool - drawn]).sum())


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
