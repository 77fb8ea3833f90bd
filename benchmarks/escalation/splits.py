"""Thresholds from samples of pairs, and whether they keep a level over the whole population. Pure.

Two ways to split what pairs there are:

- drawn: pairs are drawn from the pool with replacement, and the pool is the population. A draw is
  what the bound is about, independent pairs of one distribution, and the true mean loss of every
  threshold is known exactly: the pool's. Here a promise of 95 % can be counted.
- halves: one random half certifies, the other judges. No pair serves twice, but the judge has
  noise of its own (with 300 pairs at 2 %, a standard error of 0.8 %), and what one half lacks of
  errors the other has too many of. So it is said how many halves are within the level, and how
  many are not above it by more than such a half may be by chance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np

from escalation.miners import Curve
from escalation.pairs_of import Pool
from wherever._escalation.words import NOTHING_IS_SURE
from wherever_contracts.tensors import Array
from wherever_edge.certification.bounds import binomial_tail
from wherever_edge.certification.calibrated import Evidence, certify

CHANCE = 0.05
"""How likely a half at the level is to be counted as above it."""

Rule: TypeAlias = Callable[[Evidence, float], float]
"""The threshold that a sample of pairs sets for a level."""


class Population(NamedTuple):
    """What thresholds come to over some pairs, the surest first.

    Attributes:
        confidence: in descending order, float64 [n].
        risk: the mean loss when the first so many answers are given, float64 [n + 1].
    """

    confidence: Array
    risk: Array

    def risk_at(self, threshold: float) -> float:
        """The mean loss, where what is below the threshold has none."""
        return float(self.risk[self._given(threshold)])

    def escalated_at(self, threshold: float) -> float:
        """The share of answers below the threshold."""
        return 1 - self._given(threshold) / self.confidence.size

    def least(self, level: float) -> float:
        """The smallest threshold whose mean loss is at most the level."""
        # equal confidences are given together, so the first of the next group tells
        last = np.append(self.confidence[1:] < self.confidence[:-1], [True])
        within = np.flatnonzero(last & (self.risk[1:] <= level + 1e-12))
        return float(self.confidence[within[-1]]) if within.size else NOTHING_IS_SURE

    def _given(self, threshold: float) -> int:
        return int(np.searchsorted(-self.confidence, -threshold, side="right"))


class Drawn(NamedTuple):
    """What a rule came to over draws from a population.

    Attributes:
        held: the share of draws whose threshold keeps the level over the population.
        certified: the share of draws that let any answer be given.
        thresholds: of each draw, float64 [draws].
        escalated: mean share of calls that are taken further.
        risk: mean of the mean losses over the population.
    """

    held: float
    certified: float
    thresholds: Array
    escalated: float
    risk: float


class Halves(NamedTuple):
    """What a rule came to over random halves.

    Attributes:
        within: the share of splits whose other half has a mean loss of at most the level.
        not_above: the share whose other half has no more than it may have by chance.
        escalated: mean share of the other half that is taken further.
    """

    within: float
    not_above: float
    escalated: float


class Elsewhere(NamedTuple):
    """What a threshold comes to over a group that gave it no pair.

    Attributes:
        group: the group.
        n: its pairs.
        risk: their mean loss.
        escalated: the share of them that is taken further.
    """

    group: str
    n: int
    risk: float
    escalated: float


def population_of(confidence: Array, loss: Array) -> Population:
    """Order pairs by confidence.

    Args:
        confidence: [n].
        loss: 0 to 1, [n].
    """
    order = np.argsort(-confidence, kind="stable")
    risk = np.concatenate([[0.0], np.cumsum(loss[order], dtype=np.float64)]) / loss.size
    return Population(confidence[order].astype(np.float64), risk)


def certified(error: float, *, whole: bool) -> Rule:
    """Ours: with a probability of at least 1 - error, the level holds.

    Args:
        error: how likely it may not.
        whole: whether losses are 0 or 1, as those of labels.
    """
    return lambda evidence, level: certify(evidence, level, error, whole=whole).threshold


def conformal(evidence: Evidence, level: float) -> float:
    """Conformal risk control (Angelopoulos et al. 2024): the level holds on average over samples.

    The smallest threshold with (sum of losses + 1) / (n + 1) <= level.
    """
    n = evidence.loss.size
    return plug_in(evidence, ((n + 1) * level - 1) / n)


def plug_in(evidence: Evidence, level: float) -> float:
    """Take the sample for the population."""
    return population_of(evidence.confidence, evidence.loss).least(level)


def drawn(pool: Pool, rule: Rule, level: float, n: int, samples: Sequence[Array]) -> Drawn:
    """Apply a rule to draws with replacement.

    Args:
        pool: the population.
        rule: sets the threshold.
        level: that the mean loss must keep.
        n: pairs of each draw: the first of the sample.
        samples: positions in the pool.
    """
    everything = population_of(pool.confidence, pool.loss)
    thresholds = np.array([rule(pool.chosen(rows[:n]), level) for rows in samples])
    risks = np.array([everything.risk_at(each) for each in thresholds])
    escalated = np.array([everything.escalated_at(each) for each in thresholds])
    return Drawn(
        float((risks <= level + 1e-12).mean()),
        float((escalated < 1).mean()),
        thresholds,
        float(escalated.mean()),
        float(risks.mean()),
    )


def halves(pool: Pool, rule: Rule, level: float, orders: Sequence[Array]) -> Halves:
    """Apply a rule to one half of each order, and judge it by the other.

    Args:
        pool: all pairs, [n].
        rule: sets the threshold.
        level: that the mean loss must keep.
        orders: permutations of n.
    """
    judged = [_judged(pool, rule, level, order) for order in orders]
    risk, escalated, chance = (np.array(column) for column in zip(*judged, strict=True))
    return Halves(
        float((risk <= level + 1e-12).mean()), float((chance >= CHANCE).mean()), escalated.mean()
    )


def elsewhere(pool: Pool, rule: Rule, level: float) -> list[Elsewhere]:
    """Judge each group by the threshold that all others set. Such pairs are not what calls will be.

    Args:
        pool: pairs of several groups.
        rule: sets the threshold.
        level: that the mean loss should keep.
    """
    found: list[Elsewhere] = []
    for group in np.unique(pool.group):
        own = pool.group == group
        threshold = rule(pool.chosen(~own), level)
        judge = population_of(pool.confidence[own], pool.loss[own])
        risk, escalated = judge.risk_at(threshold), judge.escalated_at(threshold)
        found.append(Elsewhere(str(group), int(own.sum()), risk, escalated))
    return found


def escalated_at_equal_risk(pool: Pool, thresholds: Array, curve: Curve) -> tuple[float, float]:
    """What a miner escalates where, for each threshold, it is set to the same mean loss.

    The setting is chosen knowing the population: the one that escalates least of those that lose
    no more than the threshold does.

    Returns:
        The mean share escalated, where everything is when no setting loses so little; and the
        share of thresholds for which none does.
    """
    everything = population_of(pool.confidence, pool.loss)
    shares = np.array([curve.at_risk(everything.risk_at(each)) for each in thresholds])
    return float(np.nan_to_num(shares, nan=1.0).mean()), float(np.isnan(shares).mean())


def _judged(pool: Pool, rule: Rule, level: float, order: Array) -> tuple[float, float, float]:
    middle = order.size // 2
    threshold = rule(pool.chosen(order[:middle]), level)
    other = pool.chosen(order[middle:])
    judge = population_of(other.confidence, other.loss)
    risk = judge.risk_at(threshold)
    return risk, judge.escalated_at(threshold), _chance(risk, other.loss.size, level)


def _chance(risk: float, n: int, level: float) -> float:
    """How likely n pairs at the level are to lose at least so much, were the losses 0 and 1."""
    lost = int(np.ceil(risk * n - 1e-9))
    return 1 - binomial_tail(lost - 1, n, level) if lost else 1.0
