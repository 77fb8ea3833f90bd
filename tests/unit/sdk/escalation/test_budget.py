"""What escalations may come to within an hour, and which calls it goes to."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherever._escalation.budget import BUCKET_S, HOUR_S, MEMORY, BudgetPacer, check_budget
from wherever._escalation.words import NOTHING_IS_SURE, Budget
from wherever_contracts.errors import InputError

CALL = Budget(calls=1)


@pytest.mark.parametrize(
    ("given_budget", "budget"),
    [
        (None, None),
        ({"calls": 600}, Budget(calls=600)),
        ({"bytes": 20e6, "cost": 1.5}, Budget(bytes=20e6, cost=1.5)),
        ({"calls": 600, "bytes": None}, Budget(calls=600)),
        (Budget(cost=0.5), Budget(cost=0.5)),
    ],
)
def test_a_budget_is_given_by_name_or_not_at_all(given_budget, budget):
    assert check_budget(given_budget) == budget


@pytest.mark.parametrize(
    ("given_budget", "found"),
    [
        ({"call": 600}, "'call'"),
        ({}, "nothing"),
        (Budget(), "nothing"),
        ({"calls": None}, "nothing"),
        ({"calls": 0}, "calls=0"),
        ({"bytes": -1}, "bytes=-1"),
        ({"cost": math.nan}, "cost=nan"),
        ({"cost": math.inf}, "cost=inf"),
        ({"calls": True}, "calls=True"),
        ({"calls": "600"}, "calls='600'"),
        (600, "600"),
    ],
)
def test_a_budget_that_says_nothing_sensible_is_refused(given_budget, found):
    with pytest.raises(InputError, match="calls, bytes or cost per hour") as refused:
        check_budget(given_budget)
    assert (refused.value.field, refused.value.kind) == ("budget", "argument")
    assert refused.value.found == found


def test_a_spent_budget_says_when_there_is_some_again():
    pacer = BudgetPacer(Budget(calls=2))
    for now in (100.0, 1000.0):
        assert pacer.affordable(now, CALL) == ""
        pacer.spent(now, CALL)
    said = pacer.affordable(3686.0, CALL)
    assert said == "the budget of 2 calls an hour is spent until 14 s from now"
    assert pacer.affordable(3700.0, CALL) == ""
    assert pacer.affordable(3700.0, Budget(calls=2)).endswith("until 900 s from now")


def test_every_limit_that_is_set_counts_and_no_other():
    pacer = BudgetPacer(Budget(bytes=1000, cost=1.5))
    pacer.spent(0.0, Budget(calls=50, bytes=600, cost=0.1))
    assert pacer.affordable(0.0, Budget(calls=50, bytes=400, cost=1.4)) == ""
    assert "1,000 bytes an hour is spent" in pacer.affordable(0.0, Budget(bytes=401))
    assert "1.5 (cost) an hour is spent" in pacer.affordable(0.0, Budget(cost=1.45))


def test_a_call_that_no_hour_has_room_for_is_told_apart_from_one_that_must_wait():
    pacer = BudgetPacer(Budget(bytes=20e6))
    said = pacer.affordable(0.0, Budget(calls=1, bytes=30e6))
    assert said == "a call that needs 3e+07 is more than the budget of 20,000,000 bytes an hour"


def test_what_turns_out_larger_than_expected_is_made_up_for():
    pacer = BudgetPacer(Budget(bytes=1000))
    pacer.spent(0.0, Budget(calls=1, bytes=900))
    pacer.spent(5.0, Budget(bytes=900))
    assert pacer.affordable(3599.0, Budget(calls=1, bytes=0)).startswith("the budget of")
    assert pacer.affordable(3605.0, Budget(calls=1, bytes=1000)) == ""


uses = st.builds(Budget, calls=st.integers(1, 3), bytes=st.integers(0, 400), cost=st.floats(0, 0.5))
waits = st.one_of(st.just(0.0), st.floats(0, 20), st.floats(0, 2000))


@given(
    st.builds(
        Budget,
        calls=st.none() | st.integers(1, 20),
        bytes=st.integers(1, 2000),
        cost=st.none() | st.floats(0.01, 5),
    ),
    st.lists(st.tuples(waits, uses), max_size=120),
)
def test_no_hour_has_more_than_the_budget_whatever_is_asked(budget, calls):
    pacer, now, made = BudgetPacer(budget), 0.0, []
    for wait, use in calls:
        now += wait
        if not pacer.affordable(now, use):
            pacer.spent(now, use)
            made.append((now, use))
    for index, limit in enumerate(budget):
        for end, _ in made:
            hour = [use[index] for at, use in made if at <= end and end - at < HOUR_S]
            assert limit is None or sum(hour) <= limit * (1 + 1e-9)


@given(st.lists(st.tuples(waits, uses), min_size=1, max_size=60))
def test_what_fits_fits_at_the_latest_one_bucket_after_the_hour_has_room(calls):
    budget = Budget(calls=4)
    pacer, now, made = BudgetPacer(budget), 0.0, []
    for wait, use in calls:
        now += wait
        if not pacer.affordable(now, use):
            pacer.spent(now, use)
            made.append((now, use.calls))
            continue
        last = [calls for at, calls in made if now - at < HOUR_S + BUCKET_S]
        assert sum(last) + use.calls > budget.calls


def test_a_clock_that_goes_back_gives_nothing_back():
    pacer = BudgetPacer(Budget(calls=1))
    pacer.spent(5000.0, CALL)
    assert pacer.affordable(100.0, CALL).endswith("3600 s from now")
    pacer.seen(0.5, 5000.0)
    pacer.seen(0.5, 100.0)
    assert pacer.threshold(100.0) is not None


def test_nothing_is_said_of_the_pace_before_a_call_was_seen():
    assert BudgetPacer(Budget(calls=600)).threshold(0.0) is None


def test_few_calls_may_all_go_further():
    pacer = BudgetPacer(Budget(calls=600))
    for index in range(100):
        pacer.seen(0.99, index * 60.0)
    assert pacer.threshold(6000.0) == NOTHING_IS_SURE


@pytest.mark.parametrize("budget", [Budget(bytes=1e6), Budget(cost=1.0)])
def test_what_a_call_takes_of_the_bytes_is_learned_from_the_first_one(budget):
    pacer = BudgetPacer(budget)
    use = Budget(calls=1, bytes=1e4, cost=0.01)
    pacer.seen(0.5, 0.0)
    assert pacer.threshold(0.0) == NOTHING_IS_SURE
    for second in range(3600):
        pacer.seen(second % 100 / 100, float(second))
        if second % 100 == 0:
            pacer.spent(second, use)
    # 100 such calls are the hour's, of 3,600
    assert 0.015 <= pacer.threshold(3600.0) <= 0.06


def spend(pacer, times, confidences, use=CALL):
    """Let calls take their course; which of them went further."""
    went = np.zeros(len(times), dtype=bool)
    for index, (now, confidence) in enumerate(zip(times, confidences, strict=True)):
        pacer.seen(float(confidence), now)
        if confidence < pacer.threshold(now) and not pacer.affordable(now, use):
            pacer.spent(now, use)
            went[index] = True
    return went


@pytest.mark.parametrize("per_hour", [100, 600, 1500])
@pytest.mark.parametrize("shape", [(5, 1), (1, 1), (0.5, 0.5)])
def test_a_steady_stream_spends_the_budget_on_its_least_sure_calls(per_hour, shape):
    times = np.arange(0, 3 * HOUR_S, 1.0)
    confidences = np.random.default_rng(7).beta(*shape, len(times))
    went = spend(BudgetPacer(Budget(calls=per_hour)), times.tolist(), confidences)
    for hour in range(3):
        within = slice(hour * 3600, (hour + 1) * 3600)
        assert 0.9 * per_hour <= went[within].sum() <= per_hour
        # the share of them that are among the least sure that the budget could have gone to
        best = np.quantile(confidences, per_hour / 3600)
        assert np.mean(confidences[within][went[within]] <= best) >= 0.8


def test_calls_that_are_all_as_unsure_spend_the_budget_too():
    times = np.arange(0, 2 * HOUR_S, 1.0)
    went = spend(BudgetPacer(Budget(calls=360)), times.tolist(), np.full(len(times), 0.7))
    assert went[:3600].sum() >= 324
    assert went[3600:].sum() >= 324
    assert went[:600].sum() <= 180, "and not at once"


def test_calls_of_two_kinds_spend_the_budget_on_the_less_sure_kind():
    times = np.arange(0, 2 * HOUR_S, 1.0)
    confidences = np.where(np.random.default_rng(3).random(len(times)) < 0.04, 0.2, 0.9)
    went = spend(BudgetPacer(Budget(calls=360)), times.tolist(), confidences)
    assert went[confidences == 0.2].mean() >= 0.95
    assert went.sum() >= 0.9 * 720


def test_a_burst_leaves_some_of_the_budget_for_what_comes_after_it():
    calm = np.arange(0, HOUR_S, 10.0)
    burst = HOUR_S + np.arange(0, 10, 0.01)
    after = HOUR_S + 10 + np.arange(0, 1800, 10.0)
    times = np.concatenate([calm, burst, after])
    confidences = np.random.default_rng(5).random(len(times))
    went = spend(BudgetPacer(Budget(calls=400)), times.tolist(), confidences)
    rest = slice(len(calm) + len(burst), None)
    assert went[: len(calm)].mean() >= 0.95, "there was enough for all"
    assert went[rest].sum() >= 20
    assert confidences[rest][went[rest]].mean() < 0.3


def test_with_a_clock_that_stands_still_only_a_part_is_spent():
    confidences = np.random.default_rng(1).random(20_000)
    pacer = BudgetPacer(Budget(calls=600))
    went = spend(pacer, [100.0] * len(confidences), confidences)
    assert 0 < went.sum() <= 200
    assert pacer.threshold(100.0) < 0.01


def test_a_new_camera_with_surer_calls_is_followed():
    times = np.arange(0, 4 * HOUR_S, 1.0)
    confidences = np.random.default_rng(9).random(len(times)) * 0.5
    confidences[len(times) // 2 :] += 0.5
    went = spend(BudgetPacer(Budget(calls=600)), times.tolist(), confidences)
    assert went[-3600:].sum() >= 540


@given(
    st.lists(
        st.tuples(st.floats(0, 100), st.sampled_from([0.0, 0.5, 1.0]), st.booleans()), max_size=200
    )
)
def test_a_threshold_is_always_a_number_that_confidences_can_be_held_against(calls):
    pacer, now = BudgetPacer(Budget(calls=3, bytes=100)), 0.0
    for wait, confidence, is_spent in calls:
        now += wait
        pacer.seen(confidence, now)
        if is_spent:
            pacer.spent(now, Budget(calls=1, bytes=30))
        assert 0.0 <= pacer.threshold(now) <= NOTHING_IS_SURE


def test_its_memory_does_not_grow_with_the_calls():
    pacer = BudgetPacer(Budget(calls=1e9))
    for index in range(3 * MEMORY):
        pacer.seen(index % 97 / 97, index * 5.0)
        pacer.spent(index * 5.0, CALL)
    assert len(pacer._seen._ordered) == len(pacer._seen._latest) == MEMORY
    assert len(pacer._hour._buckets) <= HOUR_S / BUCKET_S + 1
