"""Which host is left out because the others do much better."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherever_edge.host_health.ejection import (
    BASE_S,
    JITTER,
    LEAST_CALLS,
    LONGEST_S,
    REST_S,
    Conduct,
    Standing,
    outlier,
)

GOOD = Standing(1.0, 0.05, 100)
FAILING = Standing(0.5, 0.05, 100)
SLOW = Standing(1.0, 0.3, 100)
OUT = Standing(1.0, 0.05, 100, ejected=True)


@pytest.mark.parametrize(("worse", "word"), [(FAILING, "50%"), (SLOW, "300 ms")])
def test_one_that_fails_more_or_answers_later_than_the_others_stands_out(worse, word):
    position, why = outlier([GOOD, worse, GOOD])
    assert position == 1
    assert word in why


@pytest.mark.parametrize(
    "standings",
    [
        [],
        [FAILING],
        [GOOD, GOOD],
        [FAILING, FAILING],
        [SLOW, SLOW, SLOW],
        [GOOD, FAILING._replace(calls=LEAST_CALLS - 1)],
        [GOOD, Standing(0.8, 0.05, 100)],
        [GOOD, Standing(1.0, 0.09, 100)],
        [GOOD._replace(latency_s=0.001), Standing(1.0, 0.04, 100)],
        [GOOD._replace(latency_s=0.0), SLOW],
        [OUT, FAILING],
        [OUT, FAILING, GOOD],
    ],
    ids=range(12),
)
def test_nobody_is_left_out(standings):
    assert outlier(standings) is None


@given(
    st.lists(
        st.builds(Standing, st.floats(0, 1), st.floats(0, 10), st.floats(0, 50), st.booleans()),
        max_size=8,
    )
)
def test_at_most_half_are_left_out_and_never_the_last(standings):
    while (found := outlier(standings)) is not None:
        position, _ = found
        assert not standings[position].ejected
        standings[position] = standings[position]._replace(ejected=True)
        out = sum(each.ejected for each in standings)
        assert out <= len(standings) / 2
        assert out < len(standings)


def test_what_was_long_ago_counts_less():
    conduct = Conduct()
    for _ in range(20):
        conduct.note(0.0, answered=False)
    assert conduct.standing(0.1, 0.0) == Standing(0.0, 0.1, 20)
    assert conduct.standing(0.1, 200.0).calls < 1
    conduct.note(100.0, answered=True)
    assert conduct.standing(0.1, 100.0).success > 0.5


def test_a_host_nobody_asked_has_failed_nobody():
    assert Conduct().standing(0.0, 5.0) == Standing(1.0, 0.0, 0.0)


def test_it_is_left_out_longer_each_time_and_judged_anew_afterwards():
    conduct = Conduct()
    now = 0.0
    times = []
    for _ in range(20):
        conduct.note(now, answered=False)
        conduct.eject("worse", now, 0.0)
        assert conduct.standing(0.0, now).ejected
        times.append(conduct.until - now)
        now = conduct.until
        assert conduct.standing(0.0, now) == Standing(1.0, 0.0, 0.0)
    assert times[:3] == pytest.approx([BASE_S, 2 * BASE_S, 3 * BASE_S])
    assert times[-1] == LONGEST_S
    now += 18 * REST_S
    conduct.eject("worse", now, 0.0)
    assert conduct.until - now == pytest.approx(3 * BASE_S)


def test_two_that_are_left_out_together_come_back_apart():
    one, other = Conduct(), Conduct()
    one.eject("worse", 0.0, 0.0)
    other.eject("worse", 0.0, 0.5)
    assert other.until == pytest.approx(one.until * (1 + JITTER / 2))
