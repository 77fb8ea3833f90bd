"""The bench for promises counts right: Sedna's miners by hand, populations by brute force."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"
if str(BENCHMARKS) not in sys.path:
    sys.path.append(str(BENCHMARKS))

from escalation import miners, splits  # noqa: E402 (found through the path above)
from escalation.pairs_of import Pool  # noqa: E402

BOXES = [np.array([0.9, 0.5]), np.array([0.4, 0.3, 0.2]), np.array([]), np.array([0.6])]
tenths = st.integers(0, 10).map(lambda n: n / 10)
pairs = st.lists(st.tuples(tenths, tenths), min_size=1, max_size=30)


def columns(rows):
    return (np.array(column) for column in zip(*rows, strict=True))


def test_threshold_asks_for_the_mean_score_and_never_without_a_box():
    assert miners.threshold_hard(BOXES).tolist() == [False, True, False, False]
    assert miners.threshold_hard(BOXES, 0.71).tolist() == [True, True, False, True]


def test_image_box_thresholds_ask_for_the_share_of_low_scores():
    assert miners.ibt_hard(BOXES).tolist() == [True, True, False, False]
    assert miners.ibt_hard(BOXES, box=0.5, image=0.4).tolist() == [False, True, False, False]
    assert miners.ibt_hard(BOXES, box=0.6, image=0.0).tolist() == [False, True, False, True]


def test_cross_entropy_asks_for_how_uneven_the_scores_are():
    scores = [np.array([1.0, 0.0]), np.array([0.5, 0.5]), np.array([]), np.array([0.5])]
    assert miners.certainty(scores).tolist() == pytest.approx([1.0, 0.0, math.inf, 0.5])
    assert miners.cross_entropy_hard(scores).tolist() == [False, True, False, False]


def pool_with(confidence, loss, group):
    return Pool("", "", confidence, loss, group * 0, (), detects=False, group=group)


@given(pairs)
def test_a_swept_miner_is_the_miner_at_every_threshold(rows):
    score, loss = columns(rows)
    boxes = [np.array([each]) for each in score]
    curve = miners.swept(boxes, boxes, loss)["Threshold"]
    for threshold in (*score, np.nextafter(score.max(), 2)):
        hard = miners.threshold_hard(boxes, threshold)
        assert curve.at_risk(float(np.where(hard, 0, loss).mean())) <= hard.mean() + 1e-12


def test_what_no_setting_keeps_is_out_of_reach():
    curve = miners.swept(BOXES, BOXES, np.ones(4))["IBT"]
    assert curve.at_risk(0.25) == 0.75
    assert math.isnan(curve.at_risk(0.2))  # the image without a box is never escalated


@given(pairs, tenths)
def test_a_population_knows_what_every_threshold_loses_and_escalates(rows, threshold):
    confidence, loss = columns(rows)
    population = splits.population_of(confidence, loss)
    given_ones = confidence >= threshold
    assert population.risk_at(threshold) == pytest.approx(np.where(given_ones, loss, 0).mean())
    assert population.escalated_at(threshold) == pytest.approx(1 - given_ones.mean())


@given(pairs, tenths)
def test_the_oracle_has_the_smallest_threshold_that_keeps_the_level(rows, level):
    confidence, loss = columns(rows)
    population = splits.population_of(confidence, loss)
    least = population.least(level)
    assert population.risk_at(least) <= level + 1e-9
    assert all(population.risk_at(each) > level for each in confidence if each < least)


def test_a_half_is_above_a_level_when_chance_hardly_makes_it_so():
    n = 200
    ranks = np.arange(n, dtype=float)
    pool = pool_with(ranks / n, (ranks % 2 == 0).astype(float), ranks * 0)
    order = [np.random.default_rng(0).permutation(n)]
    everything = splits.halves(pool, lambda _, __: 0.0, 0.3, order)
    nothing = splits.halves(pool, lambda _, __: 2.0, 0.3, order)
    assert everything == (0.0, 0.0, 0.0)
    assert nothing == (1.0, 1.0, 1.0)


def test_a_group_is_judged_by_what_the_others_set():
    confidence, loss = np.array([0.2, 0.8, 0.5]), np.array([0.0, 1.0, 0.25])
    pool = pool_with(confidence, loss, np.array([0, 0, 1]))
    found = splits.elsewhere(pool, lambda evidence, _: evidence.confidence.max(), 0.1)
    assert found == [("0", 2, 0.5, 0.5), ("1", 1, 0.0, 1.0)]
