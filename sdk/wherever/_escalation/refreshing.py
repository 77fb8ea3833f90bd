"""Thresholds that live calls certify, and the alarm when a promise is broken. Pure.

Calls come one at a time, and whether to act is asked after each; so both tests bet. A capital of 1
is staked on what is to be shown, at odds that do not pay on average where it is not so: then the
capital ever reaches 1 / error with probability `error` at most (Ville, "Etude critique de la notion
de collectif", 1939; Waudby-Smith & Ramdas, "Estimating means of bounded random variables by
betting", JRSSB 86, 2024). The reference is asked of each call with a known probability. A loss that
is seen counts 1 / probability times, one that is not seen 0, so that the mean over all calls is the
risk (as in Waudby-Smith, Wu, Ramdas, Karampatziakis & Mineiro, "Anytime-valid off-policy inference
for contextual bandits", 2022).

A stake is fixed before a call. It may depend on earlier calls, not on this one's confidence.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from wherever._escalation.words import AUDIT_SHARE, NOTHING_IS_SURE, Pair
from wherever_edge.certification.bounds import check_count, check_share, fewest_pairs

if TYPE_CHECKING:
    from wherever_contracts.tensors import Array

# The first threshold waits for so many times the fewest pairs (see `Refresher`).
_WARM_UP = 5
_GRID_SIZE = 128
# confidences of a softmax crowd towards 1: evenly spaced in logits, each step 0.125
_LOGITS = np.linspace(12.0, -3.875, _GRID_SIZE)
# shares of the highest stake, among which the capital is divided: the best one depends on mean and
# variance, which nobody knows
_STAKES = np.geomspace(1.0, 1 / 64, 7)
# stakes on a risk above the level; the best one is about (risk - level) / variance
_DOUBTS = np.geomspace(1.0, 1 / 256, 9)


class Refresher:
    """The lowest threshold of a grid whose risk is at most a level, as live calls show it.

    The risk of a threshold is the loss of the answers that are given, in the mean over all calls.
    Thresholds are certified from the highest down, each by a capital of its own: as risk only
    falls when a threshold rises, the probability that ever one is certified whose risk is above
    the level is that of the first such, `error` at most. What is certified stays so.

    Where nothing is certified to begin with, every call is asked of the reference, and none is
    given before there are five times the pairs that could certify a threshold: what the first one
    lacks takes audits a long time.

    A call of which the reference was asked less likely than that was made under another threshold,
    or with fewer audits. Stakes were too high then: what such calls showed is forgotten.
    """

    def __init__(
        self,
        level: float,
        error: float,
        grid: Sequence[float],
        certified: float = NOTHING_IS_SURE,
        *,
        audit_share: float = AUDIT_SHARE,
    ) -> None:
        """Start without evidence.

        Args:
            level: the most that risk may be; in (0, 1).
            error: how likely ever a threshold may be certified whose risk is above that.
            grid: the thresholds; whatever their order.
            certified: a threshold that is certified already, at an error of its own.
            audit_share: the least probability with which the reference is asked of a call while
                there is a threshold; without one it is asked of every call.

        Raises:
            ValueError: for numbers outside of (0, 1), or a threshold that is not a number.
        """
        for name, share in (("level", level), ("error", error), ("audit_share", audit_share)):
            check_share(name, share)
        if any(map(math.isnan, (certified, *grid))):
            raise ValueError("a threshold is not a number")
        self.threshold = certified
        """Answers of at least this confidence may be given."""
        self.calls = 0
        """Calls that were settled."""
        self.pairs = 0
        """How many of them the reference was asked of."""
        self._level = level
        self._goal = math.log(_STAKES.size / error)
        self._share = audit_share
        self._grid = np.array(sorted({t for t in grid if t < certified}, reverse=True))
        first = certified >= NOTHING_IS_SURE
        self._warm_up = _WARM_UP * fewest_pairs(level, error) if first else 0
        self._known = self._unseen = 0
        self._begin()

    def passed(self, calls: int) -> None:
        """So many calls were settled of which the reference was not asked.

        Raises:
            ValueError: for a negative number.
        """
        check_count(calls)
        self.calls += calls
        self._unseen += calls
        if calls and self.threshold >= NOTHING_IS_SURE:
            self._begin()

    def paired(self, pair: Pair) -> None:
        """A call was settled of which the reference was asked.

        Raises:
            ValueError: for a loss outside of [0, 1], a probability outside of (0, 1], or a
                confidence that is not a number.
        """
        check_pair(pair)
        self.calls += 1
        self.pairs += 1
        if pair.probability < self._least:
            self._begin()
            return
        self._known += 1
        self._won += (self._unseen + 1) * self._gain
        self._unseen = 0
        if pair.loss:
            left = 1.0 + self._stakes * (self._level - pair.loss / pair.probability)
            self._lost[self._grid <= pair.confidence] += np.log(left) - self._gain
        if self._known >= self._warm_up:
            self._certify()

    def _begin(self) -> None:
        """Begin with a new capital."""
        # its logarithm by stake, had nothing been lost; and what each threshold lost of it
        self._won = np.zeros(_STAKES.size)
        self._lost = np.zeros((self._grid.size, _STAKES.size))
        self._known = self._unseen = 0
        self._stake()

    def _stake(self) -> None:
        """Set what is staked on the next call: the most is what a single loss may cost."""
        self._least = 1.0 if self.threshold >= NOTHING_IS_SURE else self._share
        self._stakes = self._least * _STAKES
        self._gain = np.log1p(self._stakes * self._level)

    def _certify(self) -> None:
        count = 0
        for lost in self._lost:
            if np.logaddexp.reduce(self._won + lost) < self._goal:
                break
            count += 1
        if count:
            self.threshold = float(self._grid[count - 1])
            self._grid, self._lost = self._grid[count:], self._lost[count:]
            self._stake()


class BrokenTest:
    """Whether the answers given differ more often than promised; a false alarm ever is unlikely.

    Capital is lost as long as the promise is kept; what a long good time took would delay the
    alarm afterwards. So after each pair part of a reserve is staked anew: the n-th time what lies
    between 1 / log2(n + 1) and 1 / log2(n + 2). All of it together is the capital of 1.
    """

    def __init__(self, level: float, error: float) -> None:
        """Start without evidence.

        Args:
            level: the promised mean loss of the answers given, over all calls; in (0, 1).
            error: how likely an alarm may be, ever, though the promise is kept; in (0, 1).

        Raises:
            ValueError: for numbers outside of (0, 1).
        """
        check_share("level", level)
        check_share("error", error)
        self.broken = False
        """Whether the alarm was raised; it stays."""
        self.calls = 0
        """Calls that were settled."""
        self._level = level
        self._goal = 1.0 / error
        self._loss = 0.0
        self._pairs = 0
        self._capital = np.zeros(_DOUBTS.size)
        self._unseen = 0
        self._stake()

    @property
    def estimate(self) -> float:
        """The mean loss of the answers given, over all calls; 0.0 before the first."""
        return self._loss / self.calls if self.calls else 0.0

    def passed(self, calls: int) -> None:
        """So many calls were settled of which the reference was not asked.

        Raises:
            ValueError: for a negative number.
        """
        check_count(calls)
        self.calls += calls
        self._unseen += calls

    def paired(self, loss_given: float, probability: float) -> None:
        """A call was settled of which the reference was asked.

        Args:
            loss_given: the loss of the answer that was given; 0 where it was the reference's.
            probability: how likely it was, before, that the reference would be asked.

        Raises:
            ValueError: for a loss outside of [0, 1] or a probability outside of (0, 1].
        """
        check_pair(Pair(0.0, loss_given, probability))
        loss = loss_given / probability
        self.calls += 1
        self._loss += loss
        self._capital *= (1.0 - _DOUBTS * self._level) ** self._unseen
        self._capital *= 1.0 + _DOUBTS * (loss - self._level)
        self._unseen = 0
        self.broken = self.broken or bool(self._capital.sum() + self._reserve() >= self._goal)
        # capital without end would come to nan
        np.minimum(self._capital, self._goal, out=self._capital)
        self._stake()

    def _stake(self) -> None:
        before = self._reserve()
        self._pairs += 1
        self._capital += (before - self._reserve()) / _DOUBTS.size

    def _reserve(self) -> float:
        return 1.0 / math.log2(self._pairs + 2)


def grid_of(confidences: Array | None) -> tuple[float, ...]:
    """Thresholds to certify one after the other, from the highest down to 0.

    Args:
        confidences: of calls like those to come: as many calls lie between any two thresholds;
            None: not known, the thresholds are spaced as those of a softmax crowd.

    Raises:
        ValueError: when one is not a number.
    """
    if confidences is None or not len(confidences):
        return (1.0, *(1.0 / (1.0 + np.exp(-_LOGITS))).tolist(), 0.0)
    known = np.asarray(confidences, np.float64)
    if np.isnan(known).any():
        raise ValueError("a confidence is not a number")
    between = np.quantile(known, np.linspace(1.0, 0.0, _GRID_SIZE), method="higher")
    return tuple(sorted({*between.tolist(), 0.0}, reverse=True))


def check_pair(pair: Pair) -> None:
    """Raise ValueError for a loss, probability or confidence that cannot be one."""
    if not 0.0 <= pair.loss <= 1.0:
        raise ValueError(f"a loss is 0 to 1; found {pair.loss}")
    if not 0.0 < pair.probability <= 1.0:
        raise ValueError(f"a probability is above 0, and at most 1; found {pair.probability}")
    if math.isnan(pair.confidence):
        raise ValueError("a confidence is not a number")
