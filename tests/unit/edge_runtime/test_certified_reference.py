"""When the reference is found to be no help, and how rarely when it is one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherever_edge.certification import reference
from wherever_edge.certification.reference import (
    WORTH,
    TruthWatch,
    examine,
)
from wherever_edge.certification.words import NOTHING_IS_SURE

CLASSES = 10
BAR = 0.5


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def drawn(rng, count, unsure_gain, specialist=()):
    """Confidence, whether both are right, and the class: half of the calls are unsure."""
    confidence, category = rng.random(count), rng.integers(0, CLASSES, count)
    own = np.where(confidence < BAR, 0.6, 0.95)
    other = np.where(confidence < BAR, 0.6 + unsure_gain, 0.96)
    other = np.where(np.isin(category, specialist), 0.2, other)
    right, against = (rng.random(count) < share for share in (own, other))
    return confidence, right.astype(float), against.astype(float), category.astype(np.float32)


def kinds(alarms):
    return [alarm.kind for alarm in alarms]


def watched(watch, confidence, right, against, category):
    for call in zip(right, against, category.astype(int), confidence, strict=True):
        watch.judged(*call)
    return watch


def test_a_reference_that_is_of_use_raises_no_alarm(rng):
    pairs = drawn(rng, 4000, unsure_gain=0.3)
    assert examine(*pairs, BAR) == ()
    assert watched(TruthWatch(BAR), *pairs).alarms() == ()


def test_a_reference_that_knows_no_better_is_noise_and_the_figures_are_told(rng):
    confidence, right, against, category = drawn(rng, 20_000, unsure_gain=0.0)
    (alarm,) = examine(confidence, right, against, category, BAR)
    unsure = confidence < BAR
    better = int((against > right)[unsure].sum())
    assert alarm.kind == "noise"
    assert "confidence is below 0.5" in alarm.why
    assert f"better on {better} of {int(unsure.sum())} calls and worse on" in alarm.why


def test_answers_that_are_all_the_same_are_noise_as_soon_as_there_are_enough():
    for count, expected in ((148, []), (149, ["noise"])):
        same = np.ones(count)
        assert kinds(examine(same * 0.1, same, same, None, BAR)) == expected


def test_what_is_sure_is_no_noise():
    same = np.ones(5000)
    assert examine(same * 0.9, same, same, None, BAR) == ()


def test_a_class_that_the_reference_is_worse_at_is_found_and_named(rng):
    (alarm,) = examine(*drawn(rng, 4000, unsure_gain=0.3, specialist=[4]), BAR)
    assert alarm.kind == "specialist"
    assert "of class 4 it is better on" in alarm.why
    assert "class 5" not in alarm.why


def test_of_many_such_classes_three_are_named(rng):
    pairs = drawn(rng, 8000, unsure_gain=0.3, specialist=range(5))
    (alarm,) = (each for each in examine(*pairs, BAR) if each.kind == "specialist")
    assert alarm.why.count("of class ") == 3
    assert alarm.why.endswith("and of 2 other classes")


def test_without_categories_classes_are_not_told_apart(rng):
    confidence, right, against, _ = drawn(rng, 4000, unsure_gain=0.3, specialist=[4])
    assert examine(confidence, right, against, None, BAR) == ()


def test_classes_with_few_calls_take_no_share_of_the_error():
    right = np.ones(1009)
    against = np.concatenate([np.zeros(9), np.ones(1000)])
    category = np.concatenate([np.zeros(9), np.arange(1, 1001)])
    alarms = examine(np.ones(1009), right, against, category, BAR)
    assert kinds(alarms) == ["specialist"]


def test_without_truth_nothing_is_said():
    half = np.full(10, 0.5)
    assert examine(half, None, None, None, BAR) == ()
    assert examine(half, half, None, None, BAR) == ()


@pytest.mark.parametrize("gain", [WORTH, 0.2])
def test_pairs_of_a_useful_reference_raise_no_more_alarms_than_allowed(rng, gain):
    raised = sum(bool(examine(*drawn(rng, 600, gain), BAR, error=0.1)) for _ in range(300))
    assert raised <= 300 * 0.1


def test_a_watch_over_a_useful_reference_raises_no_more_alarms_than_allowed(rng):
    raised = sum(
        bool(watched(TruthWatch(BAR, error=0.1), *drawn(rng, 1000, WORTH)).alarms())
        for _ in range(60)
    )
    assert raised <= 60 * 0.1


def test_a_watch_finds_both_cases_and_keeps_what_it_found(rng):
    watch = watched(TruthWatch(BAR), *drawn(rng, 6000, 0.0, specialist=[2]))
    assert sorted(kinds(watch.alarms())) == ["noise", "specialist"]
    found = watch.alarms()
    assert watched(watch, *drawn(rng, 1000, 0.4)).alarms() == found
    assert watch.calls == 7000


def test_classes_beyond_the_most_are_not_watched(monkeypatch):
    monkeypatch.setattr(reference, "MOST_CLASSES", 2)
    watch = TruthWatch(0.0)
    for category in (0, 1, *[2] * 1000):
        watch.judged(1.0, 0.0, category, 0.9)
    assert watch.alarms() == ()
    assert len(watch._classes) == 2


@given(st.lists(st.sampled_from([-1, 0, 1])), st.sampled_from([0.0, WORTH]))
def test_bets_are_fair_where_the_gain_is_the_least_one(gains, least):
    bets = reference._Bets(least, odds=1e300)
    for gain in gains:
        bets.won(gain)
    before = sum(bets._money)
    after = []
    for gain in (1, -1):
        copy = reference._Bets(least, odds=1e300)
        copy._money = list(bets._money)
        copy.won(gain)
        after.append(sum(copy._money))
    better = (1 + least) / 2
    assert better * after[0] + (1 - better) * after[1] == pytest.approx(before)
    assert min(after) > 0


def test_an_alarm_names_classes_that_have_names_and_all_answers_where_none_is_sure():
    count = 600
    wrong = np.zeros(count, np.float32)
    pairs = np.zeros(count, np.float32), wrong + 1, wrong
    for category, name in ((1, "'dog'"), (-1, "-1"), (7, "7")):
        of_class = np.full(count, category, np.float32)
        noise, specialist = examine(*pairs, of_class, NOTHING_IS_SURE, names=["cat", "dog"])
        assert noise.why.startswith("the reference is better on 0 of 600 calls and worse on 600")
        assert f"of class {name} it is better on 0" in specialist.why
