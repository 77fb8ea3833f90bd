"""The simulated cascades know what is true of a threshold, and the table says what was found."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[4] / "benchmarks"
if str(BENCHMARKS) not in sys.path:
    sys.path.append(str(BENCHMARKS))

from escalation.simulated import (  # noqa: E402 (found through the path above)
    Population,
    online,
    populations,
    report,
    splits,
)

from wherever._escalation.words import NOTHING_IS_SURE  # noqa: E402 (below what it follows)

FOUR = Population("four", np.array([0.9, 0.9, 0.5, 0.1]), np.array([0.0, 0.0, 1.0, 0.0]), True)


@pytest.mark.parametrize(
    ("threshold", "risk", "escalated"),
    [(NOTHING_IS_SURE, 0.0, 1.0), (0.9, 0.0, 0.5), (0.5, 0.25, 0.25), (0.0, 0.25, 0.0)],
)
def test_what_is_true_of_a_threshold(threshold, risk, escalated):
    assert FOUR.risk(threshold) == risk
    assert FOUR.escalated(threshold) == escalated


def test_the_oracle_takes_the_lowest_threshold_that_keeps_the_level():
    assert FOUR.oracle(0.1) == 0.9
    assert FOUR.oracle(0.3) == 0.0
    assert FOUR._replace(loss=np.array([0.0, 1.0, 0.0, 0.0])).oracle(0.1) == NOTHING_IS_SURE


def test_a_few_splits_and_runs_keep_the_level_and_are_told():
    cascade = next(populations())
    found, live = splits(cascade, 20_000, count=10), online(cascade, 600, runs=2)
    assert found.kept >= 0.9
    assert 1.0 <= found.ratio <= 1.1
    assert live.oracle < live.escalated_at_end < 0.6
    told = report([found], [live])
    assert "| steep | 7.9% | 20000 |" in told
    assert "| steep | 600 | 2 |" in told
