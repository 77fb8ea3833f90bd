"""Whether the reference is worth asking: two of the cases in which a threshold cannot help. Pure.

Deferring by confidence falls short where labels are noisy (the variant is unsure of what the
reference knows no better) and where the reference is a specialist (it is better at some classes
and worse at others): Jitkrittum et al., "When Does Confidence-Based Cascade Deferral Suffice?",
2023, arXiv 2307.02764. Both show only where it is known which answers are right.

An answer of the reference is better than the variant's where it is right and the variant's is not,
or more nearly so. What is asked is on how many more calls it is better than on how many worse.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from wherever_contracts.tensors import Array
from wherever_edge.certification.bounds import binomial_tail, clopper_pearson
from wherever_edge.certification.words import Alarm

ERROR = 0.01
"""The most that alarms may be false, by probability, all together."""

WORTH = 0.05
"""The share of unsure answers that escalations make better, less that of those made worse, is at
least this; else they are no use."""

MOST_CLASSES = 10_000
"""Classes that come after so many others are not watched; it bounds what a watch remembers."""

# Parts of its money that a gambler stakes; which is best depends on how often answers differ.
_STAKES = (0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 0.95)
_NAMED = 3


def examine(
    confidence: Array,
    right: Array | None,
    right_against: Array | None,
    category: Array | None,
    threshold: float,
    *,
    error: float = ERROR,
    names: Sequence[str] = (),
) -> tuple[Alarm, ...]:
    """What pairs of which the truth is known show against the reference; the tests are exact.

    Args:
        confidence: [n] of the variant.
        right: [n] how far its answers are right, 0 to 1; None: it is not known, nothing is said.
        right_against: [n] how far the reference's are.
        category: [n] the variant's answers; None: classes are not told apart.
        threshold: what is less sure is taken further.
        error: the most that there may be a false alarm, by probability. False is "noise" when
            escalations are of use (see `WORTH`), and "specialist" when in each class the reference
            is better as often as it is worse.
        names: of the classes, for the words of an alarm.

    Returns:
        At most one alarm of each kind.
    """
    if right is None or right_against is None:
        return ()
    gains = np.sign(right_against - right)
    unsure = _Tally.of(gains[np.asarray(confidence) < threshold])
    noise = (_noise(unsure, threshold),) if unsure.useless(error / 2) else ()
    if category is None:
        return noise
    classes = {int(kind): _Tally.of(gains[category == kind]) for kind in np.unique(category)}
    return (*noise, *_specialist(_at_which_worse(classes, error / 2), names))


class TruthWatch:
    """What truths that come one at a time show against the reference.

    Gamblers bet on its being no better, at odds that are fair if it is: they win `n` times their
    stake with a probability of at most `1 / n`, however often one looks (Ville). So while calls are
    drawn alike, the probability that an alarm is ever false is at most `error`; what is false is
    as in `examine`. Of half the error the k-th class that comes has a share of 1 / (k (k + 1)).

    Attributes:
        threshold: what is less sure is unsure; it may change between calls.
        calls: how many were judged.
    """

    def __init__(self, threshold: float, *, error: float = ERROR) -> None:
        self.threshold = threshold
        self.calls = 0
        self._odds = 2 / error
        self._unsure = _Bets(WORTH, self._odds)
        self._classes: dict[int, _Bets] = {}
        self._alarms: dict[str, Alarm] = {}

    def judged(self, right: float, right_against: float, category: int, confidence: float) -> None:
        """Take note of a call of which both answers are known, and now the truth.

        Args:
            right: how far the variant's answer is right, 0 to 1.
            right_against: how far the reference's is.
            category: the variant's answer.
            confidence: the variant's.
        """
        self.calls += 1
        gain = int(right_against > right) - int(right_against < right)
        if confidence < self.threshold and self._unsure.won(gain):
            self._keep(_noise(self._unsure.tally, self.threshold))
        rank = len(self._classes) + 1
        if category not in self._classes and rank <= MOST_CLASSES:
            self._classes[category] = _Bets(0.0, self._odds * rank * (rank + 1))
        bets = self._classes.get(category)
        if bets is not None and bets.won(gain):
            self._keep(*_specialist({category: bets.tally}))

    def alarms(self) -> tuple[Alarm, ...]:
        """Those that came so far, with the figures of the call that first showed each."""
        return tuple(self._alarms.values())

    def _keep(self, alarm: Alarm) -> None:
        self._alarms.setdefault(alarm.kind, alarm)


class _Tally(NamedTuple):
    """How many calls there were, and on how many the reference was better or worse."""

    calls: int
    better: int
    worse: int

    @classmethod
    def of(cls, gains: Array) -> _Tally:
        """Of gains: 1 where the reference is better, -1 where it is worse, else 0."""
        return cls(gains.size, int((gains > 0).sum()), int((gains < 0).sum()))

    @property
    def differing(self) -> int:
        return self.better + self.worse

    def with_one(self, gain: int) -> _Tally:
        return _Tally(self.calls + 1, self.better + (gain > 0), self.worse + (gain < 0))

    def useless(self, error: float) -> bool:
        """Whether it is refuted that the reference is of use, by a test that errs so rarely.

        A tenth of the error bounds how often one of the two is better at all; given that, being of
        use sets how many of those the reference has at least.
        """
        differ = clopper_pearson(self.differing, self.calls, error / 10)
        if differ < WORTH:
            return True
        share = (1 + WORTH / differ) / 2
        return binomial_tail(self.better, self.differing, share) <= 0.9 * error

    def worse_by_signs(self) -> float:
        """The probability of so few better ones, were each as likely better as worse."""
        return binomial_tail(self.better, self.differing, 0.5)

    def __str__(self) -> str:
        return f"better on {self.better} of {self.calls} calls and worse on {self.worse}"


class _Bets:
    """Gamblers who bet that the gain is on average less than `least`, until their money is `odds`.

    Attributes:
        tally: of the gains so far.
    """

    __slots__ = ("_least", "_money", "_odds", "tally")

    def __init__(self, least: float, odds: float) -> None:
        self._least = least
        self._odds = odds
        self._money = [1 / len(_STAKES)] * len(_STAKES)
        self.tally = _Tally(0, 0, 0)

    def won(self, gain: int) -> bool:
        """Bet on one gain, and say whether all of the money together has come to the odds."""
        short = self._least - gain
        self._money = [
            money * (1 + stake * short) for money, stake in zip(self._money, _STAKES, strict=True)
        ]
        self.tally = self.tally.with_one(gain)
        return math.fsum(self._money) >= self._odds


def _at_which_worse(classes: Mapping[int, _Tally], error: float) -> dict[int, _Tally]:
    """Classes at which the reference is worse, by sign tests that err with `error` together.

    A class of which too few answers differ cannot pass its test, and takes no share of the error
    (Tarone, "A modified Bonferroni method for discrete data", 1990).
    """
    least = [0.5**tally.differing for tally in classes.values()]
    tests = next(k for k in range(1, len(least) + 2) if sum(p <= error / k for p in least) <= k)
    return {
        kind: tally for kind, tally in classes.items() if tally.worse_by_signs() <= error / tests
    }


def _noise(unsure: _Tally, threshold: float) -> Alarm:
    below = threshold <= 1  # else every answer is
    where = f"where the variant's confidence is below {threshold:.3g} " if below else ""
    return Alarm(
        "noise",
        f"{where}the reference is {unsure}: of the answers {'there' if below else 'to them'}, "
        f"escalations make less than {WORTH:.0%} more right",
    )


def _specialist(classes: Mapping[int, _Tally], names: Sequence[str] = ()) -> list[Alarm]:
    """One alarm for all classes, which names those with the most calls."""
    if not classes:
        return []
    most = sorted(classes, key=lambda kind: -classes[kind].calls)[:_NAMED]
    named = "; ".join(f"of class {_name(kind, names)} it is {classes[kind]}" for kind in most)
    more = f"; and of {len(classes) - _NAMED} other classes" if len(classes) > _NAMED else ""
    return [Alarm("specialist", f"the reference is right less often: {named}{more}")]


def _name(kind: int, names: Sequence[str]) -> str:
    return repr(names[kind]) if 0 <= kind < len(names) else f"{kind}"
