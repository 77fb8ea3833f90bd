"""When calls are found to differ from the calibration's, and how rarely when they do not."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherever._escalation import shift
from wherever._escalation.shift import EVERY_CALLS, FEWEST_CALLS, LIFE_CALLS, MOST_PAIRS, ShiftWatch

CLASSES = 10


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def confidences(rng, count, sure=6.0):
    return rng.beta(sure, 1, count)


def watch_of(pairs, categories=None, seed=1, **options):
    return ShiftWatch(pairs, categories, random.Random(seed).random, **options)


def call_that_shows(watch, calls):
    """The number of the call at which something was found, and what; 0 and "": none."""
    for number, (confidence, category) in enumerate(calls, 1):
        if why := watch.seen(float(confidence), int(category)):
            return number, why
    return 0, ""


def of_confidence(values):
    return [(value, 0) for value in values]


def test_calls_that_are_much_less_sure_are_found_within_fifty_with_figures(rng):
    watch = watch_of(confidences(rng, 300))
    number, why = call_that_shows(watch, of_confidence(confidences(rng, 500, sure=1.5)))
    assert 0 < number <= 50
    assert why.startswith("confidences are lower than in calibration: ")
    assert f"of the last {number} calls are below" in why
    assert "of 300 pairs (median" in why


def test_one_input_that_is_tried_a_few_times_is_no_shift_and_many_times_is_one(rng):
    pairs = confidences(rng, 300)
    same = of_confidence([pairs.max()] * 500)
    number, why = call_that_shows(watch_of(pairs), same)
    assert number == FEWEST_CALLS
    assert why


def test_calls_that_are_surer_are_found_as_well(rng):
    number, why = call_that_shows(
        watch_of(confidences(rng, 300)), of_confidence(confidences(rng, 500, sure=20))
    )
    assert 0 < number <= 200
    assert why.startswith("confidences are higher than in calibration: ")


def test_a_change_amid_the_calls_is_found(rng):
    calls = np.concatenate([confidences(rng, 700), confidences(rng, 500, sure=2)])
    number, _ = call_that_shows(watch_of(confidences(rng, 300)), of_confidence(calls))
    assert 700 < number <= 800


def test_a_class_that_is_answered_more_often_is_found_and_named(rng):
    watch = watch_of(confidences(rng, 300), rng.integers(0, CLASSES, 300))
    kinds = np.where(rng.random(500) < 0.5, 3, rng.integers(0, CLASSES, 500))
    number, why = call_that_shows(watch, zip(confidences(rng, 500), kinds, strict=True))
    assert 0 < number <= 200
    assert why.startswith("answers are others than in calibration: ")
    assert f"of the last {number} calls have class 3, against" in why


def test_images_in_which_nothing_is_found_any_more_are_named_so(rng):
    watch = watch_of(np.full(300, 0.5), rng.integers(-1, 2, 300))
    _, why = call_that_shows(watch, [(0.5, -1)] * 500)
    assert "100% of the last" in why
    assert "calls have no detection, against" in why


def test_of_two_findings_at_one_call_the_one_of_confidences_is_told(rng):
    watch = watch_of(np.linspace(0.5, 1, 300), np.arange(300.0) % 2, error=0.9)
    _, why = call_that_shows(watch, [(0.0, -1)] * 100)
    assert why.startswith("confidences are lower")


def test_what_was_found_is_said_once_and_kept_and_nothing_is_watched_after_it(rng):
    watch = watch_of(confidences(rng, 300))
    assert watch.watching
    _, why = call_that_shows(watch, of_confidence(np.zeros(100)))
    calls = watch.calls
    assert watch.found == why
    assert not watch.watching
    assert watch.seen(0.0, 0) == ""
    assert watch.calls == calls


def test_categories_count_for_nothing_where_those_of_the_calibration_are_unknown(rng):
    watch = watch_of(confidences(rng, 300))
    kinds = [7] * 400
    assert call_that_shows(watch, zip(confidences(rng, 400), kinds, strict=True)) == (0, "")


@pytest.mark.parametrize("categories", [None, np.zeros(0)])
def test_without_pairs_nothing_is_watched(categories):
    watch = watch_of(np.zeros(0), categories)
    assert call_that_shows(watch, [(0.0, 1)] * 100) == (0, "")
    assert (watch.watching, watch.calls, watch.found) == (False, 0, "")


@pytest.mark.parametrize("values", ["smooth", "tied", "all equal"])
def test_calls_like_the_calibration_are_found_to_differ_no_more_often_than_allowed(rng, values):
    error, streams = 0.2, 60
    found = 0
    for seed in range(streams):
        drawn = confidences(rng, 100 + EVERY_CALLS)
        if values == "tied":
            drawn = np.round(drawn, 1)
        elif values == "all equal":
            drawn = np.ones_like(drawn)
        kinds = rng.integers(0, 3, drawn.size)
        watch = watch_of(drawn[:100], kinds[:100], seed, error=error)
        found += call_that_shows(watch, zip(drawn[100:], kinds[100:], strict=True))[0] > 0
    # twice the standard deviation of the count above the count allowed
    assert found <= streams * error + 2 * math.sqrt(streams * error * (1 - error))


def test_a_confidence_kept_as_float32_equals_that_of_a_call(rng):
    pairs = rng.choice([0.7, 0.8, 0.9], 300)
    calls = of_confidence(rng.choice([0.7, 0.8, 0.9], EVERY_CALLS))
    kept, given = watch_of(pairs.astype(np.float32)), watch_of(pairs)
    assert call_that_shows(kept, calls) == call_that_shows(given, calls) == (0, "")
    assert [line.gain for line in kept._watches[0]] == [line.gain for line in given._watches[0]]


def test_no_bet_is_better_than_fair():
    pays = np.array(shift._PAYS)
    assert pays.mean(axis=0) == pytest.approx(np.ones(pays.shape[1]))
    assert pays.min() > 0


def test_a_small_shift_is_found_by_a_look_more_often_than_by_a_gambler(rng):
    found = []
    for seed in range(20):
        watch = watch_of(rng.integers(0, CLASSES, 300), seed=seed)
        kinds = np.where(rng.random(500) < 0.22, 3, rng.integers(0, CLASSES, 500))
        found.append(call_that_shows(watch, of_confidence(kinds))[0])
    looks = [number for number in found if number in shift.LOOKS]
    assert len(looks) > len([number for number in found if number]) / 2


@given(st.data())
def test_the_chance_of_a_part_is_the_hypergeometric_one(data):
    pool = data.draw(st.integers(1, 40))
    part, drawn = (data.draw(st.integers(0, pool)) for _ in range(2))
    hit = data.draw(st.integers(max(0, part + drawn - pool), min(part, drawn)))
    ways = [
        math.comb(part, each) * math.comb(pool - part, drawn - each)
        for each in range(hit, min(part, drawn) + 1)
    ]
    exact = sum(ways) / math.comb(pool, drawn)
    assert shift._at_least(hit, pool, part, drawn) == pytest.approx(exact)


@given(st.lists(st.integers(0, 3), min_size=1), st.lists(st.integers(0, 3), min_size=1))
def test_a_look_at_any_pairs_and_calls_gives_a_chance(known, calls):
    arrays = (np.array(sorted(each), float) for each in (known, calls))
    assert shift._chance_of(*arrays) > 0


def test_a_look_sees_too_many_as_well_as_too_few():
    few, many = np.repeat([0.0, 1.0], [300, 100]), np.repeat([0.0, 1.0], [100, 300])
    chances = shift._chance_of(few, many), shift._chance_of(many, few)
    assert chances[0] == pytest.approx(chances[1], rel=1e-6)
    assert max(chances) < 1e-30


@given(
    st.lists(st.floats(0, 1), min_size=1),
    st.lists(st.floats(0, 1), max_size=50),
    st.floats(0, 1, exclude_max=True),
)
def test_the_money_of_a_line_stays_whole_whatever_is_seen(known, values, chance):
    line = shift._Line(sorted(known))
    for value in values:
        line.seen(value, chance)
    assert math.isfinite(line.gain)
    assert sum(line._weights) == pytest.approx(1)
    assert line.calls == sorted(values)


def test_the_last_rank_of_all_falls_into_the_last_cell():
    line = shift._Line([0.0])
    line.seen(1.0, math.nextafter(1, 0))
    assert line._bins[-1] == shift._BEFORE + 1


def test_at_most_two_watches_are_alive_and_none_longer_than_its_life():
    watch = watch_of(np.ones(20), np.ones(20))
    for _ in range(3 * LIFE_CALLS):
        watch.seen(1.0, 1)
        assert len(watch._watches) <= 2
        assert all(len(line.calls) <= LIFE_CALLS for each in watch._watches for line in each)
    assert watch.calls == 3 * LIFE_CALLS


def test_of_very_many_pairs_a_part_is_taken_from_all_over():
    pairs = np.linspace(0, 1, 2 * MOST_PAIRS + 1)
    known = watch_of(pairs)._kinds[0]
    assert len(known) <= MOST_PAIRS
    assert (known[0], known[-1]) == (0.0, pytest.approx(1, abs=0.001))


def test_the_same_draws_give_the_same_finding(rng):
    pairs, calls = confidences(rng, 200), of_confidence(confidences(rng, 500, sure=2))
    assert call_that_shows(watch_of(pairs), calls) == call_that_shows(watch_of(pairs), calls)
