"""When a host is shut out, and how it comes back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherever_contracts.errors import (
    AttemptError,
    BadAnswerError,
    DeadlineError,
    OverloadedError,
    RefusedError,
    RemoteError,
    UnreachableError,
)
from wherever_edge.host_health.breaker import (
    FAILURES_IN_A_ROW,
    FIRST_PAUSE_S,
    LONGEST_PAUSE_S,
    SLOW_S,
    TELLING_S,
    Breaker,
)

GONE = UnreachableError("no connection")
LATE = DeadlineError("nothing within 2 s")


def opened(now=0.0) -> Breaker:
    breaker = Breaker()
    breaker.failed(GONE, now, 2.0)
    return breaker


@pytest.mark.parametrize("failure", [GONE, LATE], ids=["unreachable", "deadline"])
def test_one_lost_connection_or_one_timeout_shuts_the_host_out(failure):
    breaker = Breaker()
    assert breaker.admit() == ""
    breaker.failed(failure, 0.0, 2.0)
    assert str(failure) in breaker.admit()


@pytest.mark.parametrize("failure", [RemoteError("x"), BadAnswerError("x"), OverloadedError("x")])
def test_slow_failures_shut_it_out_only_when_they_come_in_a_row(failure):
    breaker = Breaker()
    for _ in range(FAILURES_IN_A_ROW - 1):
        breaker.failed(failure, 0.0, 2.0, SLOW_S)
    assert breaker.state == "closed"
    breaker.answered(0.01)
    for _ in range(FAILURES_IN_A_ROW):
        assert breaker.state == "closed"
        breaker.failed(failure, 0.0, 2.0, SLOW_S)
    assert breaker.state == "open"


@pytest.mark.parametrize("failure", [RefusedError("x"), RemoteError("x"), BadAnswerError("x")])
def test_a_quick_answer_says_nothing_against_the_host_whatever_it_is(failure):
    breaker = Breaker()
    for _ in range(10 * FAILURES_IN_A_ROW):
        breaker.failed(failure, 0.0, 2.0, SLOW_S / 2)
    assert breaker.admit() == ""


def test_a_timeout_too_short_for_any_answer_is_no_proof_by_itself():
    breaker = Breaker()
    breaker.failed(LATE, 0.0, timeout_s=TELLING_S / 2)
    assert breaker.state == "closed"


def test_a_timeout_shorter_than_a_few_round_trips_is_no_proof_by_itself():
    breaker = Breaker()
    breaker.answered(0.1)
    breaker.failed(LATE, 0.0, timeout_s=0.05)
    assert breaker.state == "closed"
    breaker.failed(LATE, 0.0, timeout_s=1.0)
    assert breaker.state == "open"


def test_it_is_probed_only_after_a_pause_and_comes_back_by_one_trial_call():
    breaker = opened(now=10.0)
    assert (breaker.state, breaker.probe_at) == ("open", 10.0 + FIRST_PAUSE_S)
    breaker.probed(healthy=True, now=10.3)
    assert breaker.state == "trial"
    assert breaker.admit() == ""
    assert "another call is trying it" in breaker.admit()
    breaker.answered(0.01)
    assert breaker.admit() == breaker.admit() == ""


def test_failing_probes_pause_longer_and_longer_up_to_a_limit():
    breaker = opened()
    pauses = []
    now = 0.0
    for _ in range(6):
        pauses.append(breaker.probe_at - now)
        now = breaker.probe_at
        breaker.probed(healthy=False, now=now)
    doubling = [min(FIRST_PAUSE_S * 2**n, LONGEST_PAUSE_S) for n in range(6)]
    assert pauses == pytest.approx(doubling)


def test_a_host_that_passes_probes_but_fails_calls_is_tried_less_and_less():
    breaker = opened()
    now = 0.0
    gaps = []
    for _ in range(4):
        now = breaker.probe_at
        breaker.probed(healthy=True, now=now)
        assert breaker.admit() == ""
        breaker.failed(RemoteError("still broken"), now, 2.0, SLOW_S)
        assert breaker.state == "open"
        gaps.append(breaker.probe_at - now)
    doubling = [min(FIRST_PAUSE_S * 2**n, LONGEST_PAUSE_S) for n in range(1, 5)]
    assert gaps == pytest.approx(doubling)


def test_a_trial_that_is_given_up_leaves_room_for_the_next():
    breaker = opened()
    breaker.probed(healthy=True, now=1.0)
    assert breaker.admit() == ""
    breaker.released()
    assert breaker.admit() == ""


def test_a_refused_trial_shows_that_the_host_is_back():
    breaker = opened()
    breaker.probed(healthy=True, now=1.0)
    assert breaker.admit() == ""
    breaker.failed(RefusedError("no"), 1.0, 2.0)
    assert breaker.admit() == breaker.admit() == ""


def test_on_trial_a_call_that_has_nobody_else_to_ask_passes_too():
    breaker = opened()
    breaker.probed(healthy=True, now=1.0)
    assert breaker.admit() == ""
    assert breaker.admit(last_hope=True) == ""
    assert breaker.admit() != ""


def test_a_late_answer_of_a_call_sent_before_the_outage_closes_it():
    breaker = opened()
    breaker.answered(0.5)
    assert breaker.admit() == ""


def test_a_probe_that_ends_after_the_host_is_back_changes_nothing():
    breaker = Breaker()
    breaker.probed(healthy=False, now=1.0)
    assert breaker.state == "closed"


def test_the_usual_round_trip_follows_slowly():
    breaker = Breaker()
    breaker.answered(0.1)
    assert breaker.usual_s == 0.1
    breaker.answered(0.2)
    assert breaker.usual_s == pytest.approx(0.12)


events = st.sampled_from(["good", "gone", "late", "broken", "refused", "probe ok", "probe bad"])


@given(st.lists(events, max_size=60))
def test_an_outage_never_costs_more_than_one_call_between_two_signs_of_life(history):
    breaker = Breaker()
    now = 0.0
    slow_since_life = 0
    errors: dict[str, AttemptError] = {
        "gone": GONE,
        "late": LATE,
        "broken": RemoteError("x"),
        "refused": RefusedError("x"),
    }
    for event in history:
        now += 0.1
        if event.startswith("probe"):
            healthy = event == "probe ok"
            breaker.probed(healthy=healthy, now=now)
            slow_since_life = 0 if healthy else slow_since_life
        elif breaker.admit() == "":
            if event == "good":
                breaker.answered(0.01)
                slow_since_life = 0
            else:
                breaker.failed(errors[event], now, 2.0)
                slow_since_life += event == "late"
        assert slow_since_life <= 1
