"""Parts learned from sums: which part a surprise goes to, how it drifts, and where it stops."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherever_edge.host_health.belief import Belief, Drift, learn

STEADY = Drift(per_s=0.0, per_look=0.001, most=1.5, back_s=1e9)
RETURNING = Drift(per_s=0.01, per_look=0.02, most=1.5, back_s=10.0)


def test_small_and_large_sums_together_tell_the_fixed_part_from_the_rate():
    trip, per_byte = Belief(0.06, STEADY), Belief(1e-6, STEADY)
    for number in range(200):
        size = (2e3, 6e5)[number % 2]
        learn([(trip, 1.0), (per_byte, size)], 0.02 + size / 4e6, 0.01, float(number))
    assert trip.amount(200.0) == pytest.approx(0.02, rel=0.05)
    assert per_byte.amount(200.0) == pytest.approx(1 / 4e6, rel=0.05)


def test_a_part_that_does_not_enter_the_sum_is_left_as_it_is():
    trip, unused = Belief(0.06, STEADY), Belief(1e-6, STEADY)
    learn([(trip, 1.0), (unused, 0.0)], 0.1, 0.01, 0.0)
    assert trip.amount(0.0) > 0.08
    assert unused.amount(0.0) == pytest.approx(1e-6)


def test_a_surprise_goes_to_the_part_that_is_known_less():
    known, guessed = Belief(1.0, STEADY), Belief(1.0, STEADY)
    for _ in range(50):
        learn([(known, 1.0)], 1.0, 0.01, 0.0)
    learn([(known, 1.0), (guessed, 1.0)], 4.0, 0.01, 0.0)
    assert known.amount(0.0) < 1.05
    assert guessed.amount(0.0) > 2.0


def test_each_observation_makes_surer_and_time_makes_less_sure_up_to_a_guess():
    belief = Belief(1.0, RETURNING)
    learn([(belief, 1.0)], 1.0, 0.1, 0.0)
    assert belief.variance < 0.2
    belief.look(20.0)
    assert 0.2 < belief.variance < 0.5
    belief.look(1e6)
    assert belief.variance == 1.5


def test_an_idle_amount_returns_half_the_way_to_the_usual():
    belief = Belief(1.0, RETURNING)
    for _ in range(20):
        learn([(belief, 1.0)], 16.0, 0.1, 0.0)
    there = belief.amount(0.0)
    assert there == pytest.approx(16.0, rel=0.1)
    halfway = belief.amount(10.0)
    assert 1.0 < belief.amount(1e5) < halfway < there


def test_one_stall_moves_what_is_known_little_and_a_guess_far():
    known, guess = Belief(0.05, RETURNING), Belief(0.05, RETURNING)
    assert not guess.known
    for second in range(50):
        learn([(known, 1.0)], 0.05, 0.1, second / 5)
    assert known.known
    for belief in (known, guess):
        learn([(belief, 1.0)], 60.0, 0.1, 10.2)
    assert 0.05 < known.amount(10.2) < 0.1
    assert guess.amount(10.2) > 0.5


def test_a_clock_that_jumps_back_changes_nothing_by_itself():
    belief = Belief(1.0, RETURNING)
    learn([(belief, 1.0)], 2.0, 0.1, 1e6)
    assert belief.amount(0.0) == belief.amount(1e6)
    learn([(belief, 1.0)], 2.0, 0.1, 5.0)
    assert belief.amount(5.0) == pytest.approx(2.0, rel=0.3)


@given(
    st.lists(
        st.tuples(
            st.floats(0.0, 1e12),
            st.floats(0.0, 1e10),
            st.floats(-1e9, 1e9),
        ),
        max_size=60,
    )
)
def test_amounts_stay_positive_and_finite_whatever_is_seen(seen):
    trip, per_byte = Belief(0.06, RETURNING), Belief(1e-6, RETURNING)
    for total, size, now in seen:
        learn([(trip, 1.0), (per_byte, size)], total, 0.1, now)
        for belief in (trip, per_byte):
            assert 1e-12 <= belief.amount(now) <= 1.001e6
            assert 0.0 < belief.variance <= 1.5
