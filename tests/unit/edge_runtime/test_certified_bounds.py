"""Bounds of means: they agree with exact sums, are valid, and refuse what is no loss."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherever_edge.certification.bounds import (
    binomial_tail,
    clopper_pearson,
    fewest_pairs,
    mean_p_value,
    most_errors,
    running_p_values,
)

shares = st.floats(0.001, 0.999)
losses_ = st.lists(st.floats(0.0, 1.0), max_size=30).map(np.array)


def exact_tail(k, n, p):
    p = Fraction(p)
    return float(sum(math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k + 1)))


@given(st.integers(0, 60), st.integers(0, 60), shares)
def test_a_tail_is_the_sum_of_its_terms(k, n, p):
    assert binomial_tail(k, n, p) == pytest.approx(exact_tail(min(k, n), n, p), rel=1e-11)


@pytest.mark.parametrize(
    ("k", "n", "p", "tail"),
    [
        (-1, 5, 0.5, 0.0),
        (5, 5, 0.5, 1.0),
        (0, 0, 0.5, 1.0),
        (2, 5, 0.0, 1.0),
        (2, 5, 1.0, 0.0),
        (5, 5, 1.0, 1.0),
    ],
)
def test_tails_at_the_ends(k, n, p, tail):
    assert binomial_tail(k, n, p) == tail


def test_a_tail_of_a_million_neither_overflows_nor_vanishes():
    assert binomial_tail(20_000, 10**6, 0.02) == pytest.approx(0.5, abs=0.01)
    assert binomial_tail(0, 10**6, 1e-6) == pytest.approx(math.exp(-1.0), rel=1e-5)
    assert binomial_tail(0, 10**6, 0.5) == 0.0


@given(st.integers(0, 80), st.integers(1, 80), st.floats(0.001, 0.5))
def test_a_share_at_the_upper_end_is_just_as_likely_as_the_error(k, n, error):
    high = clopper_pearson(min(k, n), n, error)
    assert min(k, n) / n <= high <= 1.0
    if k < n:
        assert binomial_tail(k, n, high) == pytest.approx(error, rel=1e-6)


def test_an_interval_of_clopper_and_pearson_is_the_published_one():
    # 1934, table for a confidence of 0.95 on both sides: 3 of 20 are 3.2 % to 37.9 %
    assert clopper_pearson(3, 20, 0.025) == pytest.approx(0.379, abs=5e-4)
    assert clopper_pearson(0, 10, 0.05) == pytest.approx(1 - 0.05**0.1)


def test_an_upper_end_grows_with_hits_and_shrinks_with_calls():
    ends = [clopper_pearson(k, 50, 0.05) for k in range(51)]
    assert ends == sorted(ends)
    assert ends[-1] == 1.0
    assert clopper_pearson(0, 0, 0.05) == 1.0
    assert clopper_pearson(5, 500, 0.05) < clopper_pearson(5, 50, 0.05)


@given(st.integers(0, 400), st.floats(0.01, 0.6), st.floats(0.001, 0.5))
def test_the_most_errors_are_certified_and_one_more_is_not(n, level, error):
    most = most_errors(n, level, error)
    assert -1 <= most < max(n, 1)
    assert binomial_tail(most, n, level) <= error
    assert binomial_tail(most + 1, n, level) > error


def test_two_percent_at_95_percent_take_149_pairs_without_an_error():
    assert most_errors(148, 0.02, 0.05) == -1
    assert most_errors(149, 0.02, 0.05) == 0
    assert fewest_pairs(0.02, 0.05) == 149


@given(st.floats(0.001, 0.9), st.floats(1e-6, 0.9), st.booleans())
def test_the_fewest_pairs_certify_and_one_less_does_not(level, error, whole):
    n = fewest_pairs(level, error, whole=whole)

    def p_value(pairs):
        none = np.zeros(pairs)
        return binomial_tail(0, pairs, level) if whole else mean_p_value(none, pairs, level)

    assert p_value(n) <= error
    assert p_value(n - 1) > error


@given(losses_, shares, st.integers(0, 50))
def test_a_p_value_is_the_same_in_any_order_and_with_zeros_left_out(losses, level, more):
    n = losses.size + more
    p = mean_p_value(losses, n, level)
    assert 0.0 <= p <= 1.0
    assert mean_p_value(losses[::-1], n, level) == pytest.approx(p)
    assert mean_p_value(losses[losses > 0], n, level) == pytest.approx(p)


@given(losses_, shares)
def test_p_values_never_fall_as_losses_are_added(losses, level):
    running = running_p_values(losses, losses.size, level)
    assert running.shape == (losses.size + 1,)
    assert np.all(np.diff(running) >= -1e-12)
    assert running[-1] == pytest.approx(mean_p_value(losses, losses.size, level))


def test_of_no_calls_nothing_is_refuted():
    assert mean_p_value(np.zeros(0), 0, 0.02) == 1.0
    assert most_errors(0, 0.02, 0.05) == -1


@pytest.mark.parametrize("shape", [(0.4, 1.0), (1.0, 2.0), (2.0, 2.0)])
def test_a_mean_at_the_level_is_refuted_no_more_often_than_the_error(shape):
    rng, level, error = np.random.default_rng(5), 0.1, 0.05
    mean = shape[0] / sum(shape)
    drawn = (rng.random((1000, 400)) < level / mean) * rng.beta(*shape, (1000, 400))
    refuted = [mean_p_value(losses, 400, level) <= error for losses in drawn]
    # 1,000 draws: three standard deviations above the error are 0.071
    assert np.mean(refuted) <= 0.071


def test_small_parts_refute_what_as_many_whole_losses_do_not():
    losses = np.full(120, 0.1)
    assert mean_p_value(losses, 1000, 0.02) < 0.05
    assert binomial_tail(12, 1000, 0.02) > 0.03
    assert mean_p_value(losses[:50], 1000, 0.02) < binomial_tail(5, 1000, 0.02) * 1000


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda: binomial_tail(0, -1, 0.5), "found -1"),
        (lambda: binomial_tail(0, 1, 1.5), "found 1.5"),
        (lambda: binomial_tail(0, 1, math.nan), "found nan"),
        (lambda: clopper_pearson(0, 1, 0.0), "error lies between 0 and 1"),
        (lambda: clopper_pearson(2, 1, 0.1), "found 2"),
        (lambda: clopper_pearson(-1, 1, 0.1), "found -1"),
        (lambda: most_errors(1, 1.0, 0.1), "level lies between 0 and 1"),
        (lambda: most_errors(1, 0.1, math.nan), "found nan"),
        (lambda: most_errors(-1, 0.1, 0.1), "found -1"),
        (lambda: fewest_pairs(0.0, 0.1), "found 0.0"),
        (lambda: fewest_pairs(0.1, 1.0), "found 1.0"),
        (lambda: mean_p_value(np.array([math.nan]), 1, 0.1), "nan"),
        (lambda: mean_p_value(np.array([0.5, 1.5]), 2, 0.1), "1.5"),
        (lambda: mean_p_value(np.array([-0.1]), 1, 0.1), "-0.1"),
        (lambda: mean_p_value(np.zeros((2, 2)), 9, 0.1), r"\(2, 2\)"),
        (lambda: mean_p_value(np.zeros(3), 2, 0.1), "3 losses of 2 calls"),
        (lambda: mean_p_value(np.zeros(3), 3, 0.0), "level"),
    ],
)
def test_what_cannot_be_is_refused(ask, said):
    with pytest.raises(ValueError, match=said):
        ask()
