"""What a host would have taken comes from what it took, near in time and for like sizes."""

from __future__ import annotations

import math
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherever._whatif.evidence import Evidence, Took


def took(call, elapsed_s, at=None, **more):
    return Took(call, float(call) if at is None else at, elapsed_s, **more)


def evenly(count):
    return [(number * 0.6180339887) % 1.0 for number in range(1, count + 1)]


def test_what_was_asked_is_known():
    evidence = Evidence([took(2, 0.2), took(1, 0.1), took(1, 0.15)])
    assert [evidence.own(1, number).elapsed_s for number in (0, 1)] == [0.1, 0.15]
    assert evidence.own(1, 2) is None
    assert evidence.own(3) is None
    assert len(evidence) == 3


def test_between_two_calls_the_nearer_is_the_likelier():
    evidence = Evidence([took(0, 1.0), took(10, 2.0)])
    drawn = [evidence.near(took(1, 0.0, at=2.0), chance).elapsed_s for chance in evenly(1000)]
    assert drawn.count(2.0) == pytest.approx(200, abs=5)


def test_before_the_first_and_after_the_last_it_is_as_then():
    evidence = Evidence([took(5, 1.0), took(6, 2.0)])
    assert evidence.near(took(0, 0.0), 0.9).elapsed_s == 1.0
    assert evidence.near(took(9, 0.0), 0.1).elapsed_s == 2.0


def test_calls_at_one_moment_are_equally_likely():
    evidence = Evidence([took(1, 1.0), took(2, 2.0, at=1.0)])
    found = {evidence.near(took(3, 0.0, at=at), 0.4).elapsed_s for at in (1.0, 1.1)}
    assert found <= {1.0, 2.0}


def test_one_of_like_size_goes_before_a_nearer_one():
    evidence = Evidence([took(1, 0.1, up_bytes=1000), took(2, 9.0, up_bytes=64_000)])
    assert evidence.near(took(3, 0.0, up_bytes=1100), 0.5).elapsed_s == 0.1


def test_it_is_moved_by_what_was_expected_but_not_without_end():
    evidence = Evidence([took(1, 0.1, expected_s=0.1)])
    assert evidence.near(took(2, 0.0, expected_s=0.2), 0.5).elapsed_s == pytest.approx(0.1 * 2**0.5)
    assert evidence.near(took(2, 0.0, expected_s=9.0), 0.5).elapsed_s == pytest.approx(0.1 * 3**0.5)
    assert evidence.near(took(2, 0.0), 0.5).elapsed_s == 0.1


def test_a_failure_is_not_moved_and_stays_one():
    evidence = Evidence([took(1, 0.3, expected_s=0.1, error="unreachable")])
    found = evidence.near(took(2, 0.0, expected_s=0.2, up_bytes=7), 0.5)
    assert (found.error, found.elapsed_s, found.up_bytes) == ("unreachable", 0.3, 7)


def test_one_that_was_given_up_takes_as_long_as_the_nearest_that_took_longer():
    evidence = Evidence(
        [took(1, 0.5), took(2, 0.1, censored=True), took(3, 0.05), took(4, 0.3, up_bytes=9)]
    )
    found = evidence.own(2)
    assert (found.elapsed_s, found.at, found.call, found.beyond) == (0.5, 2.0, 2, False)


def test_one_that_nobody_outlasted_takes_somewhat_longer_and_that_is_said():
    evidence = Evidence([took(1, 0.05), took(2, 0.1, censored=True, error="deadline")])
    found = evidence.own(2)
    assert found.elapsed_s == pytest.approx(0.125)
    assert found.beyond
    assert found.answers


def test_one_that_an_outage_followed_never_comes():
    shut = took(3, 0.1, error="deadline", shut=True)
    evidence = Evidence([took(2, 0.1, censored=True, error="deadline"), shut])
    assert evidence.own(2).elapsed_s == math.inf


def test_a_probe_is_answered_when_the_nearest_call_was_and_as_soon_as_the_quickest():
    quick = took(1, 0.1, queue_s=0.02, compute_s=0.03)
    evidence = Evidence([quick, took(2, 0.3), took(5, 0.1, error="unreachable")])
    assert evidence.round_trip_s(0.0) == pytest.approx(0.05)
    assert evidence.round_trip_s(3.4) == pytest.approx(0.05)
    assert evidence.round_trip_s(3.6) is None
    assert evidence.round_trip_s(9.0) is None


@given(st.lists(st.floats(0.01, 5.0), min_size=2, max_size=30), st.integers(0, 99))
def test_a_time_is_always_one_of_those_that_were_seen(times, at):
    evidence = Evidence([took(call, elapsed_s) for call, elapsed_s in enumerate(times)])
    assert evidence.near(took(at, 0.0, at=at / 3), 0.5).elapsed_s in times


def test_the_mean_comes_out_right_where_calls_were_seen_at_times_only():
    truth = [0.1 + 0.05 * math.sin(at / 40) + 0.3 * (at % 17 == 0) for at in range(3000)]
    evidence = Evidence([took(at, truth[at]) for at in range(0, 3000, 5)])
    drawn = [
        evidence.near(took(at, 0.0), chance).elapsed_s
        for at, chance in zip(range(3000), evenly(3000), strict=True)
    ]
    assert fmean(drawn) == pytest.approx(fmean(truth), rel=0.02)
    p95, found = sorted(truth)[2850], sorted(drawn)[2850]
    assert found == pytest.approx(p95, rel=0.05)
