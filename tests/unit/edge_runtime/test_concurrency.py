"""How many calls may be on the way to one host."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherever_edge.host_health.concurrency import (
    FIRST,
    GAP_S,
    LEAST,
    MOST,
    MOST_KINDS,
    PAUSE_S,
    SLOW_LEAST,
    TOLERANCE,
    WINDOW_S,
    ConcurrencyLimit,
)


def busy(limit: ConcurrencyLimit, latency_s: float, now: float = 0.0, kind: object = "k") -> None:
    """An answer of a call that was one of as many as there may be."""
    limit.answered(kind, latency_s, int(limit.limit), now)


def test_it_doubles_in_a_round_trip_at_first_and_then_grows_by_one():
    limit = ConcurrencyLimit()
    for _ in range(int(FIRST)):
        busy(limit, 0.1)
    assert limit.limit == 2 * FIRST
    limit.backed_off(0.0)
    before = limit.limit
    for _ in range(int(before)):
        busy(limit, 0.1)
    assert limit.limit == pytest.approx(before + 1, abs=0.1)


def test_it_does_not_grow_while_it_is_not_what_holds_calls_back():
    limit = ConcurrencyLimit()
    for _ in range(100):
        limit.answered("k", 0.1, 1, 0.0)
    assert limit.limit == FIRST


def test_slower_answers_shrink_it_but_leave_room_for_a_batch():
    limit = ConcurrencyLimit()
    busy(limit, 0.1)
    before = limit.limit
    busy(limit, 4 * 0.1)
    assert SLOW_LEAST < limit.limit < before
    for _ in range(200):
        busy(limit, 10 * 0.1)
    assert limit.limit == SLOW_LEAST


def test_what_shrank_for_want_of_room_is_not_enlarged_by_slow_answers():
    limit = ConcurrencyLimit()
    busy(limit, 0.1)
    for step in range(10):
        limit.backed_off(float(step))
    few = limit.limit
    busy(limit, 10 * 0.1)
    assert limit.limit == few < SLOW_LEAST


def test_a_little_slower_shrinks_a_small_one_not_at_all():
    limit = ConcurrencyLimit(SLOW_LEAST + 1)
    busy(limit, 0.1)
    before = limit.limit
    busy(limit, 1.01 * TOLERANCE * 0.1)
    assert limit.limit == before


def test_what_a_network_does_anyway_shrinks_nothing():
    limit = ConcurrencyLimit()
    for _ in range(50):
        busy(limit, 0.1)
        busy(limit, TOLERANCE * 0.1)
        busy(limit, 0.001, kind="tiny")
        busy(limit, 0.001 + GAP_S, kind="tiny")
    assert limit.limit > FIRST


def test_latencies_of_different_sorts_of_calls_are_not_compared():
    limit = ConcurrencyLimit()
    for _ in range(20):
        busy(limit, 0.01, kind="small")
        busy(limit, 2.0, kind="large")
    assert limit.limit > FIRST


def test_a_refusal_and_a_timeout_shrink_it_once_for_all_calls_of_the_moment():
    limit = ConcurrencyLimit()
    for _ in range(10):
        limit.backed_off(1.0)
    once = limit.limit
    assert 0.5 * FIRST < once < FIRST
    limit.backed_off(1.0 + PAUSE_S)
    assert limit.limit < once
    for step in range(100):
        limit.backed_off(2.0 + step)
    assert limit.limit == LEAST


def test_the_best_latency_is_forgotten_after_two_windows():
    limit = ConcurrencyLimit()
    busy(limit, 0.01)
    busy(limit, 0.5, WINDOW_S)  # the first window is still remembered
    slower = limit.limit
    assert slower < FIRST + 1
    busy(limit, 0.5, 2 * WINDOW_S)
    for _ in range(10):
        busy(limit, 0.5, 2 * WINDOW_S)
    assert limit.limit > slower


def test_it_has_a_most_and_remembers_so_many_sorts_of_calls_alone():
    limit = ConcurrencyLimit()
    for number in range(10 * MOST_KINDS):
        busy(limit, 0.1, kind=number)
    assert limit.limit == MOST
    assert len(limit._best) == MOST_KINDS


events = st.tuples(
    st.sampled_from(["fast", "slow", "refused"]), st.integers(0, 64), st.floats(0, 100)
)


@given(st.lists(events, max_size=200))
def test_at_least_one_call_is_always_let_through(history):
    limit = ConcurrencyLimit()
    now = 0.0
    for kind, in_flight, gap in history:
        now += gap
        if kind == "refused":
            limit.backed_off(now)
        else:
            limit.answered("k", 0.01 if kind == "fast" else 5.0, in_flight, now)
        assert LEAST <= limit.limit <= MOST
