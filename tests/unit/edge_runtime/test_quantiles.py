"""Quantiles that forget: how right they are, how soon they forget, and that nothing breaks them."""

from __future__ import annotations

import math
import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherever_edge.host_health.quantiles import LARGEST, SMALLEST, Quantiles

any_float = st.floats(allow_nan=True, allow_infinity=True)
times = st.floats(0.0, 1e9)


def test_nothing_seen_is_zero_and_no_samples():
    empty = Quantiles(10.0)
    assert empty.quantile(0.5) == 0.0
    assert empty.samples(5.0) == 0.0
    assert math.isinf(empty.idle_s(5.0))


@pytest.mark.parametrize("quantile", [0.05, 0.25, 0.5, 0.75, 0.95])
def test_a_quantile_is_right_within_five_percent_of_the_exact_one(quantile):
    rng = random.Random(4)
    values = [rng.lognormvariate(-3.0, 0.8) for _ in range(4000)]
    sketch = Quantiles(1e9, most=1e9)
    for value in values:
        sketch.add(value, 1.0)
    exact = sorted(values)[math.ceil(quantile * len(values)) - 1]
    assert sketch.quantile(quantile) == pytest.approx(exact, rel=0.05)


@given(st.floats(SMALLEST * 1.1, LARGEST * 0.9))
def test_one_value_is_every_quantile_within_five_percent(value):
    sketch = Quantiles(10.0)
    sketch.add(value, 0.0)
    assert sketch.quantile(0.0) == sketch.quantile(1.0) == pytest.approx(value, rel=0.05)


def test_a_busy_host_counts_the_most_samples_and_a_quiet_one_the_least():
    busy, quiet = Quantiles(60.0, most=48.0), Quantiles(60.0, least=16.0)
    for number in range(1000):
        busy.add(1.0, number * 0.001)
        quiet.add(1.0, number * 3600.0)
    assert busy.samples(1.0) == pytest.approx(49.0, rel=0.01)
    assert quiet.samples(999 * 3600.0) == pytest.approx(17.0, rel=0.01)


def test_between_them_samples_are_those_of_the_half_life():
    sketch = Quantiles(10.0, least=1.0, most=1000.0)
    for second in range(1000):
        sketch.add(1.0, float(second))
    lasting = 1.0 / (1.0 - 0.5**0.1)
    assert sketch.samples(999.0) == pytest.approx(lasting, rel=0.01)
    assert sketch.samples(1009.0) == pytest.approx(lasting / 2.0, rel=0.01)


def test_a_few_slow_values_are_enough_to_move_the_tail():
    sketch = Quantiles(60.0)
    for number in range(1000):
        sketch.add(0.05, number * 0.05)
    for number in range(3):
        sketch.add(0.5, 50.0 + number * 0.05)
    assert sketch.quantile(0.95) == pytest.approx(0.5, rel=0.05)
    assert sketch.quantile(0.5) == pytest.approx(0.05, rel=0.05)


def test_a_prior_is_a_guess_that_fades_and_is_not_a_sample():
    sketch = Quantiles(60.0, prior=[1.0] * 5)
    assert sketch.quantile(0.5) == pytest.approx(1.0, rel=0.05)
    assert sketch.samples(0.0) == 0.0
    for second in range(60):
        sketch.add(0.1, float(second))
    assert sketch.quantile(0.9) == pytest.approx(0.1, rel=0.05)


def test_values_of_little_weight_count_little():
    sketch = Quantiles(60.0)
    for second in range(20):
        sketch.add(0.1, float(second))
        sketch.add(9.0, float(second), weight=0.02)
    assert sketch.quantile(0.95) == pytest.approx(0.1, rel=0.05)
    assert sketch.quantile(0.999) == pytest.approx(9.0, rel=0.05)


def test_a_clock_that_jumps_back_ages_nothing_and_stops_nothing():
    sketch = Quantiles(10.0, most=1000.0)
    for number in range(20):
        sketch.add(0.1, 1e6 + number)
    before = sketch.samples(1e6 + 19)
    sketch.add(0.1, 5.0)
    assert sketch.samples(5.0) == pytest.approx(before + 1.0, rel=0.01)
    assert sketch.idle_s(3.0) == 0.0
    assert sketch.samples(15.0) == pytest.approx(sketch.samples(5.0) / 2.0)


def test_values_long_gone_leave_nothing_behind():
    rng = random.Random(2)
    sketch = Quantiles(10.0)
    for number in range(3000):
        sketch.add(rng.lognormvariate(0.0, 5.0), number * 0.01)
    for number in range(3000):
        sketch.add(0.05, 30.0 + number * 0.01)
    assert sketch.quantile(0.0) == sketch.quantile(1.0) == pytest.approx(0.05, rel=0.05)


@given(st.lists(st.tuples(any_float, times, st.floats(0.0, 1.0))), st.lists(st.floats(0.0, 1.0)))
def test_whatever_is_added_quantiles_are_finite_positive_and_in_order(added, asked):
    sketch = Quantiles(10.0)
    sketch.add(1.0, 0.0)
    for value, now, weight in added:
        sketch.add(value, now, weight)
    found = [sketch.quantile(quantile) for quantile in sorted(asked)]
    assert found == sorted(found)
    assert all(SMALLEST / 2 < value < 2 * LARGEST for value in found)
    assert 0.0 <= sketch.samples(1e9) <= sketch.samples(0.0) < math.inf


@given(st.integers(0, 2**32))
def test_the_median_of_steady_noise_is_near_the_true_one(seed):
    rng = random.Random(seed)
    sketch = Quantiles(60.0)
    for number in range(400):
        sketch.add(rng.lognormvariate(-3.0, 0.3), number * 0.2)
    assert sketch.quantile(0.5) == pytest.approx(math.exp(-3.0), rel=0.35)
    assert statistics.NormalDist(-3.0, 0.3).cdf(math.log(sketch.quantile(0.95))) > 0.75
