"""How soon a reference that is no help is found, and how rarely one that is: simulated.

    python benchmarks/escalation/truths.py

Of the calls 30 % are unsure, where the variant is right on 60 %; of the others on 95 %. `useful`:
the reference is right on 5 points more of the unsure ones, which is the least use that counts, and
no class is worse. `noise`: nothing about the unsure ones can be known, and the two agree on 70 %
of them. `specialist`: of one in ten classes the reference is right on 70 % only.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

if __name__ == "__main__":  # as a script it has its own folder in the path, not the one above
    sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np

from wherever_contracts.tensors import Array
from wherever_edge.certification.reference import WORTH, TruthWatch, examine

SIZES = (500, 2_000, 10_000)
TRIALS = 200
WATCHED = 100
UNSURE = 0.3
CLASSES = 10
AGREEING = 0.7
SITUATIONS = ("useful", "noise", "specialist")


@dataclass(frozen=True)
class Alarmed:
    """The shares of trials with an alarm of each kind, by pairs of calibration or by feedback."""

    situation: str
    by: str
    calls: int
    trials: int
    noise: float
    specialist: float


def examined(situation: str, calls: int, trials: int = TRIALS) -> Alarmed:
    """Calibrations of so many pairs."""
    kinds = [
        {alarm.kind for alarm in examine(*drawn(situation, calls, seed), UNSURE)}
        for seed in range(trials)
    ]
    return _counted(situation, "calibration", calls, kinds)


def watched(situation: str, calls: int, trials: int = WATCHED) -> Alarmed:
    """Truths of so many calls, one after the other."""
    kinds: list[set[str]] = []
    for seed in range(trials):
        confidence, right, against, category = drawn(situation, calls, seed)
        watch = TruthWatch(UNSURE)
        told = (right.tolist(), against.tolist(), category.tolist(), confidence.tolist())
        for each in zip(*told, strict=True):
            watch.judged(*each)
        kinds.append({alarm.kind for alarm in watch.alarms()})
    return _counted(situation, "feedback", calls, kinds)


def drawn(situation: str, calls: int, seed: int) -> tuple[Array, Array, Array, Array]:
    """Confidence, whether the variant and the reference are right, and what was answered."""
    rng = np.random.default_rng(seed)
    confidence, category = rng.random(calls), rng.integers(0, CLASSES, calls)
    unsure = confidence < UNSURE
    right = rng.random(calls) < np.where(unsure, 0.6, 0.95)
    sure_of = np.where(unsure, 0.6 + WORTH, 0.97)
    if situation == "specialist":
        sure_of = np.where(category == 0, 0.7, sure_of)
    against = rng.random(calls) < sure_of
    if situation == "noise":
        same = rng.random(calls) < AGREEING
        against = np.where(unsure, np.where(same, right, rng.random(calls) < 0.6), against)
    return confidence, right.astype(float), against.astype(float), category


def _counted(situation: str, by: str, calls: int, kinds: list[set[str]]) -> Alarmed:
    noise, specialist = (
        sum(kind in each for each in kinds) / len(kinds) for kind in ("noise", "specialist")
    )
    return Alarmed(situation, by, calls, len(kinds), noise, specialist)


def main() -> None:
    """Measure every situation with every number of calls."""
    print("| reference | truths by | calls | trials | noise | specialist |\n|" + "---|" * 6)
    for situation in SITUATIONS:
        for measured in (examined, watched):
            for calls in SIZES:
                row = measured(situation, calls)
                print(
                    f"| {row.situation} | {row.by} | {row.calls} | {row.trials} "
                    f"| {row.noise:.1%} | {row.specialist:.1%} |"
                )


if __name__ == "__main__":
    main()
