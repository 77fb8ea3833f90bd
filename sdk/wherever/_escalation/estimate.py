"""How often a variant agrees with its reference, as live calls show it without a label. Pure.

Answers are compared where both are there: on calls that were escalated, and on audits. Each loss
counts 1 / probability times, so that those that nobody looked at are stood for (Horvitz &
Thompson, JASA 47, 1952). The interval holds at every moment at once, so it may be looked at after
each call: it is what a bet against any mean outside of it has refuted (the hedged capital of
Waudby-Smith & Ramdas, "Estimating means of bounded random variables by betting", JRSSB 86, 2024;
with weights: Waudby-Smith, Wu, Ramdas, Karampatziakis & Mineiro, "Anytime-valid off-policy
inference for contextual bandits", 2022).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from wherever._escalation.refreshing import check_pair
from wherever._escalation.words import AUDIT_SHARE, Pair
from wherever_edge.certification.bounds import check_count, check_share

_ERROR = 0.05
_STAKES = np.geomspace(1.0, 1 / 512, 10)
_HALVINGS = 30
# two bets, each of a capital that is divided among stakes
_GOAL = math.log(2 * _STAKES.size / _ERROR)
# losses are kept as counts of steps of their logarithm, so that they take the same room for ever
_STEPS_PER_OCTAVE = 64


class Estimated(NamedTuple):
    """An estimate, the ends of its 95 % interval, and what it rests on.

    Attributes:
        value: the share of calls on which the answers agree; 1.0 before the first.
        low: the lower end.
        high: the upper end.
        calls: calls that were settled.
        pairs: how many of them the reference was asked of.
    """

    value: float
    low: float
    high: float
    calls: int
    pairs: int


class AgreementEstimate:
    """The share of calls on which the variant agrees with the reference."""

    def __init__(self, audit_share: float = AUDIT_SHARE) -> None:
        """Start without evidence.

        Args:
            audit_share: see `audits`.

        Raises:
            ValueError: for an `audit_share` outside of (0, 1].
        """
        self._alone = _MeanLoss()
        self._given = _MeanLoss()
        self._calls = 0
        self._pairs = 0
        self._share = 1.0
        self.audits(audit_share)

    def audits(self, share: float) -> None:
        """From the next call on the reference is asked of any with at least this probability.

        The higher it is the narrower the interval becomes; 1.0 while everything is escalated.

        Raises:
            ValueError: for a share outside of (0, 1].
        """
        if share != 1.0:
            check_share("share", share)
        self._share = share

    def passed(self, calls: int) -> None:
        """So many calls were settled of which the reference was not asked.

        Raises:
            ValueError: for a negative number.
        """
        check_count(calls)
        self._calls += calls
        self._alone.nothing(calls, self._share)
        self._given.nothing(calls, self._share)

    def paired(self, pair: Pair, given: bool) -> None:  # noqa: FBT001 (what the pair is of)
        """A call was settled of which the reference was asked.

        Args:
            pair: what came of it.
            given: whether the answer given was the variant's, and not the reference's.

        Raises:
            ValueError: for a loss outside of [0, 1] or a probability outside of (0, 1].
        """
        check_pair(pair)
        self._calls += 1
        self._pairs += 1
        share = min(self._share, pair.probability)
        self._alone.loss(pair.loss / pair.probability, share)
        self._given.loss(given * pair.loss / pair.probability, share)

    def facts(self) -> Estimated:
        """The share of calls on which the variant's own answer is the reference's."""
        return Estimated(*self._alone.agreement(), self._calls, self._pairs)

    def given(self) -> Estimated:
        """The share of calls whose answer that was given is the reference's."""
        return Estimated(*self._given.agreement(), self._calls, self._pairs)


class _MeanLoss:
    """A mean of losses of which each counts 1 / probability times."""

    def __init__(self) -> None:
        self._sum = 0.0
        # by the least probability of a call, and of losses by their step too
        self._none: Counter[float] = Counter()
        self._some: Counter[tuple[float, int]] = Counter()

    def nothing(self, calls: int, share: float) -> None:
        self._none[share] += calls

    def loss(self, loss: float, share: float) -> None:
        self._sum += loss
        if loss:
            self._some[share, math.ceil(_STEPS_PER_OCTAVE * math.log2(loss))] += 1
        else:
            self._none[share] += 1

    def agreement(self) -> tuple[float, float, float]:
        """The mean of 1 - loss, and the ends of its interval."""
        calls = self._none.total() + self._some.total()
        mean = min(1.0, float(self._sum) / calls) if calls else 0.0
        high = _first(lambda mean: self._against_more(mean) >= _GOAL)
        low = 1.0 - _first(lambda agreement: self._against_less(1.0 - agreement) >= _GOAL)
        return 1.0 - mean, 1.0 - max(mean, high), 1.0 - min(mean, low)

    def _against_more(self, mean: float) -> float:
        """The log capital of bets that the mean is less; it grows with `mean`."""
        capital = np.zeros(_STAKES.size)
        for share, calls in self._none.items():
            capital += calls * np.log1p(_STAKES * share * mean)
        for (share, step), calls in self._some.items():
            most = min(2.0 ** (step / _STEPS_PER_OCTAVE), 1.0 / share)
            capital += calls * np.log1p(_STAKES * share * (mean - most))
        return float(np.logaddexp.reduce(capital))

    def _against_less(self, mean: float) -> float:
        """The log capital of bets that the mean is more; it falls with `mean`."""
        capital = self._none.total() * np.log1p(-_STAKES * mean)
        for (_, step), calls in self._some.items():
            least = 2.0 ** ((step - 1) / _STEPS_PER_OCTAVE)
            capital += calls * np.log1p(_STAKES * (least - mean))
        return float(np.logaddexp.reduce(capital))


def _first(refuted: Callable[[float], bool]) -> float:
    """Where in (0, 1) a condition that stays true becomes so; 1.0: nowhere."""
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if refuted(middle) else (middle, high)
    return high
