"""Thresholds that live calls certify, and the alarm when answers differ more than promised."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherever._escalation.refreshing import BrokenTest, Refresher, grid_of
from wherever._escalation.words import NOTHING_IS_SURE, Pair

GRID = tuple(step / 10 for step in range(10, -1, -1))
# five times the 29 pairs that could certify 10 % at 95 %
WARM_UP = 145
confidences = st.integers(0, 10).map(lambda c: c / 10)
# a call: its confidence, loss, and whether it is audited when it is given
calls_ = st.lists(
    st.tuples(confidences, st.sampled_from([0.0, 0.0, 0.0, 0.4, 1.0]), st.booleans()), max_size=40
)


def drive(refresher, calls, audit_share=0.5):
    """Let a threshold decide what is asked of the reference, as it does of live calls."""
    seen = [refresher.threshold]
    for confidence, loss, audited in calls:
        if confidence < refresher.threshold:
            refresher.paired(Pair(confidence, loss))
        elif audited:
            refresher.paired(Pair(confidence, loss, audit_share))
        else:
            refresher.passed(1)
        seen.append(refresher.threshold)
    return seen


def simulated(rng, count, audit_share=0.1):
    """Calls that differ in 40 % at confidence 0, and never at 1: the risk of t is (1 - t)^2 / 5."""
    confidence = rng.random(count)
    loss = rng.random(count) < 0.4 * (1 - confidence)
    return zip(
        confidence.tolist(),
        loss.astype(float).tolist(),
        (rng.random(count) < audit_share).tolist(),
        strict=True,
    )


def test_without_a_difference_the_whole_grid_is_certified_once_there_are_enough_pairs():
    refresher = Refresher(0.1, 0.05, GRID)
    for _ in range(WARM_UP - 1):
        refresher.paired(Pair(0.2, 0.0))
    assert refresher.threshold == NOTHING_IS_SURE
    refresher.paired(Pair(0.2, 0.0))
    assert refresher.threshold == 0.0
    assert (refresher.calls, refresher.pairs) == (WARM_UP, WARM_UP)


def test_a_threshold_above_the_errors_is_certified_and_none_below_them():
    refresher = Refresher(0.1, 0.05, GRID)
    for number in range(2000):
        refresher.paired(Pair(0.3, 1.0) if number % 4 == 0 else Pair(0.8, 0.0))
    assert refresher.threshold == 0.4


def test_what_is_certified_already_is_where_it_begins():
    refresher = Refresher(0.1, 0.05, GRID, certified=0.65)
    assert refresher.threshold == 0.65
    for number in range(100):
        refresher.paired(Pair(0.9, 1.0 if number % 2 else 0.0, 0.05))
    assert refresher.threshold == 0.65


def test_calls_that_pass_unseen_count_and_lower_the_threshold_at_the_next_pair():
    refresher = Refresher(0.1, 0.05, GRID, certified=0.65)
    refresher.passed(10_000)
    assert (refresher.threshold, refresher.calls, refresher.pairs) == (0.65, 10_000, 0)
    refresher.paired(Pair(0.9, 0.0, 0.05))
    assert refresher.threshold == 0.0
    assert (refresher.calls, refresher.pairs) == (10_001, 1)


def test_with_nothing_left_of_the_grid_calls_are_only_counted():
    refresher = Refresher(0.1, 0.05, GRID, certified=0.0)
    refresher.paired(Pair(0.0, 1.0, 0.05))
    refresher.passed(4)
    assert (refresher.threshold, refresher.calls) == (0.0, 5)


@pytest.mark.parametrize("unlike", [Pair(0.5, 0.0, 0.5), None])
def test_without_a_threshold_a_call_that_need_not_be_asked_voids_what_was_known(unlike):
    refresher = Refresher(0.1, 0.05, GRID)
    for _ in range(WARM_UP - 1):
        refresher.paired(Pair(0.2, 0.0))
    refresher.passed(1) if unlike is None else refresher.paired(unlike)
    for _ in range(WARM_UP - 1):
        refresher.paired(Pair(0.2, 0.0))
    assert refresher.threshold == NOTHING_IS_SURE
    refresher.paired(Pair(0.2, 0.0))
    assert refresher.threshold == 0.0
    assert refresher.calls == 2 * WARM_UP


def test_audits_that_were_fewer_than_they_are_now_certify_nothing():
    refresher = Refresher(0.1, 0.05, GRID, certified=0.65, audit_share=0.05)
    refresher.passed(10_000)
    refresher.paired(Pair(0.9, 0.0, 0.01))
    assert refresher.threshold == 0.65
    refresher.passed(10_000)
    refresher.paired(Pair(0.9, 0.0, 0.05))
    assert refresher.threshold == 0.0


def test_no_call_passes_where_none_is_given_and_none_is_no_reason_to_forget():
    refresher = Refresher(0.1, 0.05, GRID)
    for _ in range(WARM_UP):
        refresher.passed(0)
        refresher.paired(Pair(0.2, 0.0))
    assert refresher.threshold == 0.0


@given(calls_, st.floats(0.05, 0.6), st.floats(0.05, 0.6))
def test_a_threshold_is_of_the_grid_and_only_falls(calls, level, error):
    seen = drive(Refresher(level, error, GRID, audit_share=0.5), calls)
    assert set(seen) <= {NOTHING_IS_SURE, *GRID}
    assert seen == sorted(seen, reverse=True)


@given(calls_, st.integers(0, 200))
def test_it_is_the_same_whether_calls_pass_one_by_one_or_at_once(calls, passed):
    at_once, one_by_one = (Refresher(0.3, 0.3, GRID, certified=0.8) for _ in range(2))
    at_once.passed(passed)
    for _ in range(passed):
        one_by_one.passed(1)
    assert drive(at_once, calls) == drive(one_by_one, calls)
    assert at_once.calls == one_by_one.calls


@given(calls_, confidences)
def test_a_difference_more_never_lowers_the_threshold(calls, confidence):
    without, with_it = (Refresher(0.3, 0.3, GRID) for _ in range(2))
    without.paired(Pair(confidence, 0.0))
    with_it.paired(Pair(confidence, 1.0))
    for surely, loss, _ in calls:
        without.paired(Pair(surely, loss))
        with_it.paired(Pair(surely, loss))
    assert with_it.threshold >= without.threshold


def test_live_calls_come_close_to_the_best_threshold_and_hardly_ever_pass_it():
    level, error, best = 0.05, 0.2, 0.5
    ends, broken = [], 0
    for seed in range(20):
        refresher = Refresher(level, error, grid_of(np.linspace(0, 1, 200)), audit_share=0.1)
        drive(refresher, simulated(np.random.default_rng(seed), 3000), 0.1)
        ends.append(refresher.threshold)
        broken += refresher.threshold < best
    assert best < np.median(ends) < 0.72
    assert broken / 20 <= error


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Refresher(0.0, 0.1, GRID), "level"),
        (lambda: Refresher(0.1, 1.0, GRID), "error"),
        (lambda: Refresher(0.1, 0.1, GRID, audit_share=0.0), "audit_share"),
        (lambda: Refresher(0.1, 0.1, GRID, certified=math.nan), "threshold is not"),
        (lambda: Refresher(0.1, 0.1, (0.5, math.nan)), "not a number"),
        (lambda: Refresher(0.1, 0.1, GRID).passed(-1), "-1"),
        (lambda: Refresher(0.1, 0.1, GRID).paired(Pair(math.nan, 0.0)), "confidence"),
        (lambda: Refresher(0.1, 0.1, GRID).paired(Pair(0.5, math.nan)), "found nan"),
        (lambda: Refresher(0.1, 0.1, GRID).paired(Pair(0.5, 1.5)), "found 1.5"),
        (lambda: Refresher(0.1, 0.1, GRID).paired(Pair(0.5, 0.0, 0.0)), "found 0.0"),
        (lambda: Refresher(0.1, 0.1, GRID).paired(Pair(0.5, 0.0, math.nan)), "found nan"),
        (lambda: BrokenTest(1.0, 0.1), "level"),
        (lambda: BrokenTest(0.1, 0.0), "error"),
        (lambda: BrokenTest(0.1, 0.1).passed(-2), "-2"),
        (lambda: BrokenTest(0.1, 0.1).paired(2.0, 1.0), "found 2.0"),
        (lambda: BrokenTest(0.1, 0.1).paired(1.0, 1.1), "found 1.1"),
        (lambda: grid_of(np.array([0.5, math.nan])), "not a number"),
    ],
)
def test_what_cannot_be_is_refused(make, said):
    with pytest.raises(ValueError, match=said):
        make()


def audited(test, rng, count, risk, share=0.1):
    """Calls of which a share is audited; after how many of them the alarm came, or 0."""
    for number in range(1, count + 1):
        if rng.random() < share:
            test.paired(float(rng.random() < risk), share)
        else:
            test.passed(1)
        if test.broken:
            return number
    return 0


def test_a_promise_that_is_kept_raises_no_alarm_more_often_than_the_error():
    alarms = sum(
        bool(audited(BrokenTest(0.1, 0.1), np.random.default_rng(seed), 1000, 0.1))
        for seed in range(50)
    )
    assert alarms <= 5


def test_a_promise_that_is_broken_raises_the_alarm():
    found = [
        audited(BrokenTest(0.02, 0.01), np.random.default_rng(seed), 4000, 0.1)
        for seed in range(20)
    ]
    assert all(found)


def test_a_long_good_time_hardly_delays_the_alarm():
    fresh, old = BrokenTest(0.02, 0.01), BrokenTest(0.02, 0.01)
    assert not audited(old, np.random.default_rng(1), 20_000, 0.002)
    after = audited(old, np.random.default_rng(2), 4000, 0.15)
    assert 0 < audited(fresh, np.random.default_rng(2), 4000, 0.15) <= after < 2000


def test_the_alarm_stays_and_capital_has_an_end():
    test = BrokenTest(0.02, 0.01)
    for _ in range(3000):
        test.paired(1.0, 0.001)
    assert test.broken
    test.passed(100_000)
    test.paired(0.0, 1.0)
    assert test.broken


def test_the_estimate_counts_a_loss_for_those_that_nobody_saw():
    test = BrokenTest(0.02, 0.01)
    assert test.estimate == 0.0
    test.passed(98)
    test.paired(0.5, 0.25)
    test.paired(0.0, 1.0)
    assert test.calls == 100
    assert test.estimate == pytest.approx(0.02)


def test_of_unknown_confidences_the_grid_is_finest_next_to_one():
    grid = grid_of(None)
    assert (grid[0], grid[-1]) == (1.0, 0.0)
    assert list(grid) == sorted(set(grid), reverse=True)
    assert sum(t > 0.99 for t in grid) > 30
    assert grid_of(np.zeros(0)) == grid


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=150))
def test_of_known_confidences_the_grid_falls_from_the_highest_to_zero(known):
    grid = grid_of(np.array(known, np.float32))
    assert grid[0] == max(np.array(known, np.float32))
    assert grid[-1] == 0.0
    assert list(grid) == sorted(set(grid), reverse=True)
    assert len(grid) <= 129


def test_as_many_calls_lie_between_any_two_thresholds():
    known = np.random.default_rng(4).random(12_800) ** 0.1
    between = -np.diff(np.searchsorted(np.sort(known), grid_of(known)[:-1]))
    assert between.min() >= 95
    assert between.max() <= 105
