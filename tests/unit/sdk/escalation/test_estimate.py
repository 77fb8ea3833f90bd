"""How often a variant agrees with its reference: right on average, and the interval holds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherever._escalation.estimate import AgreementEstimate
from wherever._escalation.words import Pair

pairs_ = st.lists(
    st.tuples(st.floats(0.0, 1.0), st.sampled_from([1.0, 0.5, 0.05, 0.01]), st.booleans()),
    max_size=25,
)


def test_before_the_first_call_everything_is_possible():
    assert AgreementEstimate().facts() == (1.0, 0.0, 1.0, 0, 0)


def test_an_audit_stands_for_those_that_nobody_saw():
    estimate = AgreementEstimate()
    estimate.passed(97)
    estimate.paired(Pair(0.9, 1.0, 0.2), given=True)
    estimate.paired(Pair(0.9, 0.0, 0.2), given=True)
    estimate.paired(Pair(0.1, 1.0), given=False)
    facts, given_facts = estimate.facts(), estimate.given()
    assert facts.value == pytest.approx(0.94)
    assert given_facts.value == pytest.approx(0.95)
    assert facts[3:] == given_facts[3:] == (100, 3)


@given(pairs_, st.integers(0, 100))
def test_the_interval_is_around_the_estimate_and_within_what_can_be(pairs, passed):
    estimate = AgreementEstimate()
    estimate.passed(passed)
    for loss, probability, was_given in pairs:
        estimate.paired(Pair(0.5, loss, probability), was_given)
    for found in (estimate.facts(), estimate.given()):
        assert 0.0 <= found.low <= found.value <= found.high <= 1.0


def test_calls_without_a_difference_approach_full_agreement():
    estimate = AgreementEstimate()
    estimate.audits(1.0)
    for _ in range(1000):
        estimate.paired(Pair(0.5, 0.0), given=False)
    assert estimate.facts().value == 1.0
    assert 0.99 < estimate.facts().low < 0.995


def test_calls_that_always_differ_approach_none():
    estimate = AgreementEstimate(1.0)
    for _ in range(1000):
        estimate.paired(Pair(0.5, 1.0), given=False)
    assert estimate.facts().value == 0.0
    assert estimate.facts().high < 0.03
    assert estimate.given().low > 0.99


def test_the_interval_holds_at_every_look_in_nearly_every_run():
    missed = 0
    for seed in range(20):
        rng, estimate = np.random.default_rng(seed), AgreementEstimate(0.1)
        held = True
        for number in range(1, 1501):
            loss, surely = float(rng.random() < 0.1), rng.random()
            if surely < 0.3:
                estimate.paired(Pair(surely, loss), given=False)
            elif rng.random() < 0.1:
                estimate.paired(Pair(surely, loss, 0.1), given=True)
            else:
                estimate.passed(1)
            if number % 300 == 0:
                facts, of_given = estimate.facts(), estimate.given()
                held &= facts.low <= 0.9 <= facts.high and of_given.low <= 0.93 <= of_given.high
        missed += not held
    assert missed <= 1


def test_the_interval_narrows_with_calls_and_with_more_audits():
    widths = []
    for share, count in ((0.05, 5000), (0.05, 50_000), (0.5, 50_000)):
        estimate = AgreementEstimate(share)
        rng = np.random.default_rng(6)
        pairs = rng.binomial(count, share)
        estimate.passed(count - pairs)
        for loss in rng.random(pairs) < 0.05:
            estimate.paired(Pair(0.5, float(loss), share), given=True)
        widths.append(estimate.facts().high - estimate.facts().low)
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] < 0.02


def test_losses_of_any_size_take_no_more_room_than_their_steps():
    estimate = AgreementEstimate()
    for number in range(1, 5000):
        estimate.paired(Pair(0.5, number / 5000, 0.05 + number / 10_000), given=True)
    assert len(estimate._alone._some) < 1500


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda: AgreementEstimate(0.0), "share"),
        (lambda: AgreementEstimate().audits(math.nan), "found nan"),
        (lambda: AgreementEstimate().passed(-1), "-1"),
        (lambda: AgreementEstimate().paired(Pair(0.5, math.nan), given=True), "found nan"),
        (lambda: AgreementEstimate().paired(Pair(0.5, 0.5, 0.0), given=True), "found 0.0"),
    ],
)
def test_what_cannot_be_is_refused(ask, said):
    with pytest.raises(ValueError, match=said):
        ask()
