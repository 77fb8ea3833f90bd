"""Simulated cascades: promises are kept in nearly all splits, at little more than it takes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
if str(BENCHMARKS) not in sys.path:
    sys.path.append(str(BENCHMARKS))

from escalation.simulated import online, populations, report, splits  # noqa: E402 (as above)

pytestmark = pytest.mark.full


def test_the_level_is_kept_in_93_percent_of_splits_for_a_tenth_more_than_the_oracle_escalates():
    cascades = list(populations())
    found = [splits(cascade, 20_000) for cascade in cascades]
    print(report(found, ()))
    assert all(0.05 <= cascade.base <= 0.10 for cascade in cascades if cascade.whole)
    assert [one for one in found if one.kept < 0.93 or one.ratio > 1.10] == []


def test_fewer_pairs_cost_escalations_and_no_promises():
    cascade = next(populations())
    found = [splits(cascade, pairs) for pairs in (150, 600, 2000)]
    print(report(found, ()))
    assert all(one.kept >= 0.93 for one in found)
    escalated = [one.escalated for one in found]
    assert escalated == sorted(escalated, reverse=True)
    assert escalated[0] == 1.0


@pytest.mark.parametrize("pairs", [0, 600])
def test_live_calls_lower_the_threshold_and_the_level_is_hardly_ever_passed(pairs):
    cascade = next(populations())
    found = online(cascade, pairs, runs=25)
    print(report((), (found,)))
    assert found.ever_broken <= 0.05
    assert found.escalated_at_end < 0.45
    assert found.calls_until_certified < 1000
