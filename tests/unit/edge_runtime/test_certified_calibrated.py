"""The threshold that calibration pairs certify: the lowest that may be, and never by luck alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherever_edge.certification.bounds import binomial_tail, most_errors
from wherever_edge.certification.calibrated import Evidence, certify
from wherever_edge.certification.words import NOTHING_IS_SURE

pairs = st.lists(st.tuples(st.integers(0, 20).map(lambda c: c / 20), st.booleans()), max_size=50)


def evidence_of(rows):
    rows = list(rows)
    return Evidence(np.array([c for c, _ in rows]), np.array([float(x) for _, x in rows]))


def tried_one_by_one(evidence, level, error):
    """The lowest of the confidences down to which every count of errors passes the exact test."""
    n, lowest = evidence.loss.size, NOTHING_IS_SURE
    for threshold in sorted(set(evidence.confidence.tolist()), reverse=True):
        errors = int(evidence.loss[evidence.confidence >= threshold].sum())
        if binomial_tail(errors, n, level) > error:
            return lowest
        lowest = threshold
    return 0.0 if n else lowest


@given(pairs, st.floats(0.02, 0.5), st.floats(0.01, 0.5))
def test_the_threshold_is_the_one_found_by_trying_each_from_the_top(rows, level, error):
    evidence = evidence_of(rows)
    found = certify(evidence, level, error)
    assert found.threshold == tried_one_by_one(evidence, level, error)
    assert found.escalated == pytest.approx(
        np.mean(evidence.confidence < found.threshold) if rows else 1.0
    )
    assert bool(found.why) == (found.threshold == NOTHING_IS_SURE)
    assert found.n == len(rows)


@given(pairs, st.floats(0.02, 0.4), st.floats(0.01, 0.4), st.booleans())
def test_who_promises_less_escalates_no_more(rows, level, error, whole):
    evidence = evidence_of(rows)
    if not whole:
        evidence = Evidence(evidence.confidence, evidence.loss * 0.7)
    strict = certify(evidence, level, error, whole=whole)
    assert certify(evidence, 2 * level, error, whole=whole).threshold <= strict.threshold
    assert certify(evidence, level, 2 * error, whole=whole).threshold <= strict.threshold


@given(pairs, st.randoms(use_true_random=False), st.booleans())
def test_the_order_of_pairs_is_no_matter(rows, random, whole):
    shuffled = list(rows)
    random.shuffle(shuffled)
    found, again = (certify(evidence_of(r), 0.2, 0.1, whole=whole) for r in (rows, shuffled))
    assert found == again


def test_answers_of_one_confidence_are_given_together_or_not_at_all():
    confidence = np.repeat([0.9, 0.5], [200, 100])
    loss = np.zeros(300)
    loss[200:] = np.arange(100) % 4 == 0
    found = certify(Evidence(confidence, loss), 0.02, 0.05)
    assert found.threshold == 0.9
    assert found.escalated == pytest.approx(1 / 3)


def test_too_few_pairs_say_how_many_it_takes():
    found = certify(Evidence(np.ones(64), np.zeros(64)), 0.02, 0.05)
    assert (found.threshold, found.n, found.escalated) == (NOTHING_IS_SURE, 64, 1.0)
    assert found.needed == 149
    assert found.why == ("149 pairs are needed to promise 2 % even if none differs; there are 64")


@pytest.mark.parametrize("whole", [True, False, None])
def test_as_many_as_it_takes_without_a_difference_escalate_nothing(whole):
    needed = certify(Evidence(np.zeros(0), np.zeros(0)), 0.02, 0.05, whole=whole).needed
    enough = Evidence(np.full(needed, 0.3), np.zeros(needed))
    found = certify(enough, 0.02, 0.05, whole=whole)
    assert found == (0.0, needed, 0.0, needed, "")


def test_a_variant_that_is_as_sure_when_it_errs_escalates_everything():
    loss = (np.arange(600) % 10 == 0).astype(float)
    found = certify(Evidence(np.full(600, 0.99), loss), 0.02, 0.05)
    assert found.threshold == NOTHING_IS_SURE
    assert "highest (0.99, in 600 of 600 pairs)" in found.why


def test_losses_in_parts_let_more_be_given_than_if_each_were_whole():
    rng = np.random.default_rng(3)
    confidence = rng.random(3000)
    differs = rng.random(3000) < 0.4 * (1 - confidence) ** 2
    whole = certify(Evidence(confidence, differs.astype(float)), 0.02, 0.05)
    parts = certify(Evidence(confidence, differs * 0.2), 0.02, 0.05)
    assert parts.threshold < whole.threshold < 1.0


def test_more_pairs_come_closer_to_the_best_threshold():
    rng = np.random.default_rng(11)
    found = []
    for n in (300, 3000, 30_000):
        confidence = rng.random(n)
        loss = rng.random(n) < 0.3 * (1 - confidence) ** 2
        found.append(certify(Evidence(confidence, loss), 0.02, 0.05).threshold)
    # E[loss; confidence >= t] = 0.1 * (1 - t)^3
    best = 1 - 0.2 ** (1 / 3)
    assert found == sorted(found, reverse=True)
    assert best < found[-1] < best + 0.05


@pytest.mark.parametrize("parts", [1.0, 0.5])
def test_the_promise_is_broken_no_more_often_than_the_error(parts):
    rng, level, error, n = np.random.default_rng(8), 0.1, 0.1, 300
    broken = 0
    for _ in range(600):
        confidence = rng.random(n)
        loss = (rng.random(n) < 0.5 / parts * (1 - confidence)) * parts
        threshold = certify(Evidence(confidence, loss), level, error, whole=parts == 1.0).threshold
        broken += 0.25 * max(0.0, 1 - threshold) ** 2 > level
    # 600 draws: three standard deviations above the error are 0.137
    assert broken / 600 <= 0.137


def test_the_exact_test_spends_the_error_that_it_may():
    rng, level, error, n = np.random.default_rng(9), 0.1, 0.1, 300
    at_level = rng.binomial(n, level, 20_000)
    spent = np.mean(at_level <= most_errors(n, level, error))
    assert 0.06 < spent <= 0.106


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Evidence(np.array([math.nan]), np.zeros(1)), "confidence is not a number"),
        (lambda: Evidence(np.ones(1), np.array([math.nan])), "nan"),
        (lambda: Evidence(np.ones(1), np.array([1.1])), "1.1"),
        (lambda: Evidence(np.ones(2), np.zeros(1)), r"\(1,\), \(2,\)"),
        (lambda: Evidence(np.ones(2), np.zeros(2), np.zeros(3)), r"\(2,\), \(3,\)"),
        (lambda: certify(Evidence(np.ones(2), np.zeros(2)), 0.0, 0.1), "level"),
        (lambda: certify(Evidence(np.ones(2), np.zeros(2)), 0.1, 1.0), "error"),
        (lambda: certify(Evidence(np.ones(1), np.array([0.5])), 0.1, 0.1, whole=True), "counted"),
    ],
)
def test_what_is_no_evidence_is_refused(make, said):
    with pytest.raises(ValueError, match=said):
        make()


def test_evidence_holds_numbers_of_double_precision_and_its_categories():
    evidence = Evidence(np.ones(2, np.float32), np.array([True, False]), np.array([3, 4]))
    assert evidence.confidence.dtype == evidence.loss.dtype == np.float64
    assert evidence.category is not None
    assert evidence.whole
