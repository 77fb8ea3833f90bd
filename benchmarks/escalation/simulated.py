"""Simulated cascades: is the promise kept, and what does it cost beside a threshold that knew all?

Each population is a pool of pairs, of which the true risk of any threshold is known. Calibration
pairs are drawn from it with replacement. The oracle's threshold is the lowest with a true risk of
at most the level.

    python benchmarks/escalation/simulated.py
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

if __name__ == "__main__":
    sys.path.append(str(Path(__file__).parents[1]))

from wherever._escalation.refreshing import Refresher, grid_of
from wherever._escalation.words import AUDIT_SHARE, NOTHING_IS_SURE, Pair
from wherever_edge.certification.calibrated import Evidence, certify

LEVEL = 0.02
# of the allowed 5 % calibration may spend four fifths; live calls have the rest, or all of it
ERROR = 0.04
LIVE_ERROR = 0.01
ALL_ERROR = 0.05
SPLITS = 200
SIZES = (150, 600, 2000, 20_000)
CALLS = 20_000
# a run takes a fifth of a second, so that not every cascade is run
ONLINE = ("steep", "weak", "losses in parts")
POOL = 100_000


class Population(NamedTuple):
    """Pairs, the surest first; and of each what is true of its confidence as a threshold."""

    name: str
    confidence: np.ndarray
    loss: np.ndarray
    whole: bool

    @property
    def base(self) -> float:
        """How often the two differ."""
        return float(self.loss.mean())

    def given(self, threshold: float) -> int:
        """Pairs of at least that confidence."""
        return int(np.searchsorted(-self.confidence, -threshold, side="right"))

    def risk(self, threshold: float) -> float:
        """The mean loss of the answers given."""
        return float(self.loss[: self.given(threshold)].sum() / self.loss.size)

    def escalated(self, threshold: float) -> float:
        return 1.0 - self.given(threshold) / self.loss.size

    def oracle(self, level: float = LEVEL) -> float:
        """The lowest threshold with a risk of at most the level."""
        sure = int(np.searchsorted(np.cumsum(self.loss), level * self.loss.size, side="right"))
        if sure == self.loss.size:
            return 0.0
        at = int(np.searchsorted(-self.confidence, -self.confidence[sure], side="left"))
        return float(self.confidence[at - 1]) if at else NOTHING_IS_SURE


class Splits(NamedTuple):
    """What came of one population at one number of calibration pairs."""

    population: str
    base: float
    pairs: int
    kept: float
    certified: float
    escalated: float
    oracle: float

    @property
    def ratio(self) -> float:
        return self.escalated / self.oracle


class Online(NamedTuple):
    """What came of runs of live calls, begun with so many calibration pairs."""

    population: str
    pairs: int
    runs: int
    ever_broken: float
    calls_until_certified: float
    escalated_at_end: float
    escalated_of_all: float
    oracle: float


def populations(seed: int = 7) -> Iterator[Population]:
    """Cascades that differ in 5 to 10 % of calls, in several ways how confidence tells so."""
    shapes = {
        "steep": lambda doubt: 0.40 * doubt**4,
        "gentle": lambda doubt: 0.20 * doubt**1.5,
        "weak": lambda doubt: 0.03 + 0.06 * doubt,
        "sure but wrong": lambda doubt: 0.008 + 0.35 * doubt**4,
        "worst in the middle": lambda doubt: 0.25 * np.exp(-(((doubt - 0.7) / 0.15) ** 2)),
    }
    for number, (name, shape) in enumerate(shapes.items()):
        yield _population(name, shape, seed + number)
    tied = _population("coarse confidence", shapes["steep"], seed)
    yield tied._replace(confidence=np.round(tied.confidence * 200) / 200)
    parts = _population("losses in parts", lambda doubt: 0.8 * doubt**3, seed)
    share = np.random.default_rng(seed).beta(1.0, 2.0, POOL)
    yield parts._replace(loss=parts.loss * share, whole=False)


def splits(population: Population, pairs: int, *, count: int = SPLITS, seed: int = 1) -> Splits:
    """Certify a threshold from drawn pairs, again and again."""
    rng = np.random.default_rng(seed)
    oracle = population.escalated(population.oracle())
    risks, escalated = np.zeros(count), np.zeros(count)
    for number in range(count):
        drawn = rng.integers(0, population.loss.size, pairs)
        evidence = Evidence(population.confidence[drawn], population.loss[drawn])
        threshold = certify(evidence, LEVEL, ERROR, whole=population.whole).threshold
        risks[number] = population.risk(threshold)
        escalated[number] = population.escalated(threshold)
    return Splits(
        population.name,
        population.base,
        pairs,
        kept=float(np.mean(risks <= LEVEL)),
        certified=float(np.mean(escalated < 1.0)),
        escalated=float(escalated.mean()),
        oracle=oracle,
    )


def online(population: Population, pairs: int = 0, *, runs: int = SPLITS, seed: int = 2) -> Online:
    """Begin with so many calibration pairs, and let live calls certify thresholds."""
    draws = [np.random.default_rng([seed, number]) for number in range(runs)]
    found = [_run(population, _begin(population, pairs, rng), rng) for rng in draws]
    broken, first, end, escalated = zip(*found, strict=True)
    return Online(
        population.name,
        pairs,
        runs,
        ever_broken=float(np.mean(broken)),
        calls_until_certified=float(np.median(first)),
        escalated_at_end=float(np.mean(end)),
        escalated_of_all=float(np.mean(escalated)),
        oracle=population.escalated(population.oracle()),
    )


def _begin(population: Population, pairs: int, rng: np.random.Generator) -> Refresher:
    if not pairs:
        return Refresher(LEVEL, ALL_ERROR, grid_of(None))
    drawn = rng.integers(0, population.loss.size, pairs)
    evidence = Evidence(population.confidence[drawn], population.loss[drawn])
    threshold = certify(evidence, LEVEL, ERROR, whole=population.whole).threshold
    return Refresher(LEVEL, LIVE_ERROR, grid_of(evidence.confidence), threshold)


def _run(
    population: Population, refresher: Refresher, rng: np.random.Generator
) -> tuple[bool, int, float, float]:
    """Whether ever the promise broke, the calls until a threshold, escalations then and of all."""
    drawn = rng.integers(0, population.loss.size, CALLS)
    confidence, loss = population.confidence[drawn], population.loss[drawn]
    audited = rng.random(CALLS) < AUDIT_SHARE
    at, escalated = 0, 0
    broken = population.risk(refresher.threshold) > LEVEL
    first = 0 if refresher.threshold < NOTHING_IS_SURE else CALLS
    while at < CALLS:
        threshold = refresher.threshold
        # all that passes unseen until the next pair is settled at once
        seen = (confidence[at : at + 200] < threshold) | audited[at : at + 200]
        unseen = int(np.argmax(seen)) if seen.any() else seen.size
        refresher.passed(unseen)
        at += unseen
        if at >= CALLS or unseen == seen.size:
            continue
        below = bool(confidence[at] < threshold)
        probability = 1.0 if below else AUDIT_SHARE
        refresher.paired(Pair(float(confidence[at]), float(loss[at]), probability))
        escalated += below
        at += 1
        if refresher.threshold != threshold:
            first = min(first, at)
            broken = broken or population.risk(refresher.threshold) > LEVEL
    end = population.escalated(refresher.threshold)
    return broken, first, end, escalated / CALLS


def _population(name: str, shape: Any, seed: int) -> Population:
    """Confidences crowd towards 1, as those of classifiers do; `shape` maps doubt to loss."""
    rng = np.random.default_rng(seed)
    doubt = np.sort(rng.random(POOL))
    differs = rng.random(POOL) < shape(doubt)
    return Population(name, 1.0 - 0.7 * doubt**3, differs.astype(np.float64), whole=True)


def report(found: Sequence[Splits], live: Sequence[Online]) -> str:
    """Both as Markdown tables."""
    lines = [
        f"Level {LEVEL:.0%}, {SPLITS} splits; escalations in the mean over splits.",
        "",
        "| cascade | base | pairs | kept in | certified in | escalated | oracle | ratio |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {s.population} | {s.base:.1%} | {s.pairs} | {s.kept:.1%} | {s.certified:.1%} "
        f"| {s.escalated:.1%} | {s.oracle:.1%} | {s.ratio:.3f} |"
        for s in found
    ]
    lines += [
        "",
        f"{CALLS} live calls, audits {AUDIT_SHARE:.0%}.",
        "",
        "| cascade | pairs | runs | broken | certified after | escalated then | in all | oracle |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {o.population} | {o.pairs} | {o.runs} | {o.ever_broken:.1%} "
        f"| {o.calls_until_certified:.0f} | {o.escalated_at_end:.1%} "
        f"| {o.escalated_of_all:.1%} | {o.oracle:.1%} |"
        for o in live
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure, and print the tables."""
    cascades = list(populations())
    found = [splits(cascade, pairs) for cascade in cascades for pairs in SIZES]
    live = [
        online(cascade, pairs)
        for cascade in cascades
        if cascade.name in ONLINE
        for pairs in (0, 600)
    ]
    print(report(found, live))


if __name__ == "__main__":
    main()
