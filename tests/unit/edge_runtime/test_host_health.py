"""What is known of one host, and whether a call may be sent to it now."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherever_contracts.errors import (
    ClosedError,
    DeadlineError,
    OverloadedError,
    RefusedError,
    UnreachableError,
)
from wherever_edge.host_health.breaker import FIRST_PAUSE_S, LONGEST_PAUSE_S
from wherever_edge.host_health.forecast import Traffic, Work
from wherever_edge.host_health.health import (
    LAST_HOPE_PUSHBACK_S,
    LEAVE_S,
    LOAD_FRESH_S,
    LONGEST_PUSHBACK_S,
    OVERDUE_S,
    OVERDUE_TIMES,
    HostHealth,
)

WORK = Work("m", "large", 6000)
USUAL_S = 0.05
GONE = UnreachableError("no connection")


def pushback(seconds: float) -> OverloadedError:
    error = OverloadedError("no room")
    error.retry_after_s = seconds
    return error


def begin(health: HostHealth, now: float = 0.0, work: Work = WORK) -> int:
    assert health.admit(now) == ""
    return health.began(work, now)


def call(health: HostHealth, now: float, elapsed_s: float = USUAL_S, load=None) -> float:
    """One call that is answered; when that was."""
    ticket = begin(health, now)
    ended = now + elapsed_s
    traffic = Traffic(WORK, 100, elapsed_s, 0.001, 0.005, not health.connected)
    health.answered(ticket, traffic, ended, load)
    return ended


def known(calls: int = 30) -> tuple[HostHealth, float]:
    """A host that answered some calls, and the time."""
    health = HostHealth("cloud")
    now = 0.0
    for _ in range(calls):
        now = call(health, now) + 0.05
    return health, now


def patience_s(health: HostHealth, now: float) -> float:
    return max(OVERDUE_S, OVERDUE_TIMES * health.forecast(WORK, 0.99, now).latency_s)


# --- overdue calls ---


def test_while_a_call_is_overdue_nobody_follows_it_but_who_has_nobody_else_to_ask():
    health, now = known()
    begin(health, now)
    begin(health, now)
    late = now + patience_s(health, now)
    assert health.admit(late - 0.001) == ""
    health.released()
    assert "overdue" in health.admit(late + 0.001)
    assert health.facts(late + 0.001).doubtful
    assert health.probe_in_s(late + 0.001) == 0
    assert health.admit(late + 0.001, last_hope=True) == ""


def test_how_late_is_late_is_known_for_every_sort_of_call():
    health, now = known()
    sizes = [2**power for power in range(70)]
    for size in sizes:
        health.given_up(health.began(Work("m", "large", size), now), now)
    begin(health, now, Work("m", "large", 2**26))
    assert not health.suspect(now + patience_s(health, now) + 1)
    begin(health, now)
    assert health.suspect(now + patience_s(health, now) + 0.5)


def test_any_sign_of_life_gives_the_calls_on_the_way_more_time():
    health, now = known()
    first, other = begin(health, now), begin(health, now)
    late = now + patience_s(health, now) + 0.001
    assert health.suspect(late)
    health.failed(other, RefusedError("no"), late, 2.0)
    assert not health.suspect(late)
    assert health.probe_in_s(late) is None
    again = late + patience_s(health, now) + 0.2
    assert health.suspect(again)
    health.probed(True, 0.02, again)
    assert not health.suspect(again)
    health.answered(first, Traffic(WORK, 1, 1.0), again + 0.1)
    assert not health.suspect(again + 100)


def test_a_host_whose_way_was_cut_is_probed_before_it_is_asked_but_by_who_has_nobody_else():
    health, now = known()
    health.doubt("this device was offline")
    assert health.admit(now) == "this device was offline, and it is being probed"
    assert (health.connected, health.probe_in_s(now), health.facts(now).doubtful) == (
        False,
        0,
        True,
    )
    assert health.admit(now, last_hope=True) == ""
    health.released()
    health.probed(True, 0.02, now + 0.02)
    assert health.probe_in_s(now + 0.02) is None
    assert health.admit(now + 0.02) == ""


def test_a_host_whose_way_was_cut_and_that_does_not_answer_a_probe_is_shut_out():
    health, now = known()
    health.doubt("this device was offline")
    health.probed(False, 0.5, now + 0.5, error=GONE)
    assert health.breaker.state == "open"
    assert health.facts(now + 0.5).why == "no connection"


def test_a_host_with_an_overdue_call_that_does_not_answer_a_probe_is_shut_out():
    health, now = known()
    ticket = begin(health, now)
    late = now + patience_s(health, now) + 0.001
    assert health.suspect(late)
    # shorter than the breaker alone would take for proof
    health.probed(False, 0.001, late, error=DeadlineError("silence"), timeout_s=0.001)
    assert "silence" in health.admit(late)
    assert health.probe_in_s(late) == pytest.approx(FIRST_PAUSE_S)
    health.failed(ticket, DeadlineError("late"), late + 1, 2.0)
    assert health.breaker.state == "open"
    health.probed(False, 0.1, late + 1)
    health.probed(True, 0.02, late + 2)
    assert health.admit(late + 2) == ""
    assert "trying" in health.admit(late + 2)


def test_a_probe_that_fails_while_all_calls_are_answered_counts_as_a_call_does():
    health, now = known()
    health.probed(False, 0.01, now, error=DeadlineError("silence"), timeout_s=0.01)
    assert health.admit(now) == ""
    health.released()
    health.probed(False, 0.5, now)
    assert "a probe was not answered" in health.admit(now)
    health.probed(True, 0.5, now)
    health.probed(False, 0.5, now)
    assert health.breaker.state == "trial"


# --- calls that were given up ---


def test_a_call_given_up_early_says_nothing_against_the_host():
    health, now = known()
    for _ in range(20):
        health.given_up(begin(health, now), now + USUAL_S / 2)
    assert health.admit(now + 0.1) == ""
    assert health.conduct.standing(0.0, now).success == 1
    assert health.breaker.failures == 0


def test_one_given_up_when_nearly_all_would_have_been_answered_lets_a_probe_go_first():
    health, now = known()
    late = now + health.forecast(WORK, 0.99, now).latency_s + 0.001
    health.given_up(begin(health, now), late)
    assert "overdue" in health.admit(late)
    health.probed(True, 0.02, late + 0.02)
    assert health.admit(late + 0.02) == ""


def test_one_given_up_while_others_are_answered_does_not():
    health, now = known()
    ticket = begin(health, now)
    call(health, now)
    health.given_up(ticket, now + 10)
    assert health.admit(now + 10) == ""


def unanswered(health: HostHealth, now: float, elapsed_s: float, *, timed_out: bool) -> None:
    ticket = begin(health, now)
    if timed_out:
        health.failed(ticket, DeadlineError("late"), now + elapsed_s, elapsed_s)
    else:
        health.given_up(ticket, now + elapsed_s)


def spell_of_loss(health: HostHealth, now: float) -> float:
    """Answers that came very late, now and then; when they were over."""
    for number in range(60):
        now = call(health, now, 20 * USUAL_S if number % 4 == 0 else USUAL_S)
    return now


@pytest.mark.parametrize("timed_out", [False, True])
def test_two_in_a_row_that_outlast_the_usual_one_let_a_probe_go_first(timed_out):
    health, now = known()
    now = spell_of_loss(health, now)
    waited_s = 1.5 * USUAL_S
    assert waited_s < health.forecast(WORK, 0.9, now).latency_s
    unanswered(health, now, waited_s, timed_out=timed_out)
    assert not health.suspect(now + waited_s)
    unanswered(health, now + 0.1, waited_s, timed_out=timed_out)
    later = now + 0.1 + waited_s
    assert health.admit(later) == "2 calls in a row were not answered, and it is being probed"
    assert health.admit(later, last_hope=True) == ""
    health.released()
    health.probed(True, 0.02, later + 0.02)
    assert health.admit(later + 0.02) == ""
    unanswered(health, later + 0.03, waited_s, timed_out=False)
    assert not health.suspect(later + 0.03 + waited_s)


def test_a_sign_of_life_between_them_or_since_they_began_makes_them_none_in_a_row():
    health, now = known()
    now = spell_of_loss(health, now)
    waited_s = 1.5 * USUAL_S
    unanswered(health, now, waited_s, timed_out=False)
    health.probed(True, 0.02, now + 0.1)
    first, second, third = (begin(health, now + 0.2) for _ in range(3))
    health.given_up(first, now + 0.2 + waited_s)
    health.answered(second, Traffic(WORK, 100, waited_s), now + 0.2 + waited_s)
    health.given_up(third, now + 0.2 + 1.1 * waited_s)
    assert not health.suspect(now + 0.2 + 1.1 * waited_s)


def test_what_takes_longer_than_anybody_waits_for_is_not_forgotten():
    health, now = known()
    before = health.forecast(WORK, 0.99, now).latency_s
    for _ in range(5):
        now += 1
        ticket = begin(health, now)
        health.given_up(ticket, now + 20 * before)
        health.probed(True, 0.02, now + 20 * before)
    assert health.forecast(WORK, 0.99, now).latency_s > 2 * before


# --- pushback ---


def test_a_host_that_wants_to_be_left_alone_is_until_its_time_has_come():
    health, now = known()
    health.failed(begin(health, now), pushback(1.0), now, 2.0)
    assert "left alone for another 1 s" in health.admit(now)
    assert health.facts(now).pushed_back_s == 1
    assert health.admit(now + 0.5, last_hope=True) != ""
    assert health.admit(now + 1.0 - LAST_HOPE_PUSHBACK_S) != ""
    assert health.admit(now + 1.001 - LAST_HOPE_PUSHBACK_S, last_hope=True) == ""
    assert health.admit(now + 1.0) == ""


def test_never_again_is_said_of_one_call_and_a_very_long_time_is_cut():
    health, now = known()
    health.failed(begin(health, now), pushback(math.inf), now, 2.0)
    assert health.admit(now) == ""
    health.failed(health.began(WORK, now), pushback(1e9), now, 2.0)
    assert health.admit(now + LONGEST_PUSHBACK_S - 0.1) != ""
    assert health.admit(now + LONGEST_PUSHBACK_S) == ""


def test_a_shorter_pushback_does_not_end_a_longer_one():
    health, now = known()
    one, other = begin(health, now), begin(health, now)
    health.failed(one, pushback(2.0), now, 2.0)
    health.failed(other, pushback(0.1), now, 2.0)
    assert health.admit(now + 1) != ""


# --- as many as it answers well ---


def test_no_more_calls_than_it_answers_well_are_sent_but_the_last_hope_passes():
    health, now = known()
    limit = int(health.concurrency.limit)
    for _ in range(limit):
        begin(health, now)
    assert health.in_flight == limit
    assert f"{limit} calls are on the way" in health.admit(now)
    assert health.admit(now, last_hope=True) == ""


def test_no_room_and_no_answer_lower_how_many():
    health, now = known()
    before = health.concurrency.limit
    health.failed(begin(health, now), OverloadedError("full"), now, 2.0)
    after = health.concurrency.limit
    assert after < before
    health.failed(begin(health, now + 1), DeadlineError("late"), now + 2, 0.01)
    assert health.concurrency.limit < after


def test_a_leave_that_is_handed_back_or_never_used_takes_no_room():
    health, now = known()
    health.released()
    assert health.admit(now) == ""
    assert health.in_flight == 1
    health.released()
    assert health.in_flight == 0
    for _ in range(int(health.concurrency.limit)):
        assert health.admit(now) == ""
    assert health.admit(now + LEAVE_S) != ""
    assert health.admit(now + LEAVE_S + 0.001) == ""
    assert health.in_flight == 1


def test_a_trial_that_is_let_through_and_never_begun_leaves_room_for_another():
    health, now = known()
    health.failed(begin(health, now), GONE, now, 2.0)
    health.probed(True, 0.01, now)
    assert health.admit(now) == ""
    assert "trying" in health.admit(now + 1)
    assert health.admit(now + LEAVE_S + 1) == ""


# --- beside others ---


def test_a_host_that_is_left_out_says_why_and_takes_only_who_has_nobody_else():
    health, now = known()
    health.conduct.eject("it is slow", now, 0.0)
    assert "it is slow" in health.admit(now)
    assert "it is slow" in health.facts(now).why
    assert health.facts(now).ejected_s > 0
    assert health.admit(now, last_hope=True) == ""
    assert health.admit(health.conduct.until) == ""


def test_hosts_are_compared_by_the_same_work_once_they_are_known():
    assert HostHealth("cloud").standing(WORK, 0.0).latency_s == 0
    health, now = known()
    health.failed(begin(health, now), RefusedError("no"), now, 2.0)
    standing = health.standing(WORK, now)
    assert 0.5 * USUAL_S < standing.latency_s < 2 * USUAL_S
    assert 0.9 < standing.success < 1
    assert standing.calls > 20


def test_a_busy_host_and_one_that_says_it_is_crowded_are_a_greater_burden():
    health, now = known()
    idle = health.burden(WORK, now)
    assert idle == pytest.approx(health.forecast(WORK, 0.5, now).latency_s)
    begin(health, now)
    assert health.burden(WORK, now) == pytest.approx(2 * idle)
    assert health.burden(WORK, now, 0.5) == pytest.approx(1.0)
    now = call(health, now, load=3.0)
    assert health.facts(now).load == 3
    assert health.burden(WORK, now) > 5 * idle
    assert health.facts(now + LOAD_FRESH_S + 0.01).load is None


# --- the rest ---


def test_what_is_no_fault_of_the_hosts_changes_nothing():
    health, now = known()
    health.failed(begin(health, now), ClosedError("closed"), now, 2.0)
    health.failed(10**9, GONE, now, 2.0)
    health.given_up(10**9, now)
    facts = health.facts(now)
    assert (facts.state, facts.why, facts.in_flight) == ("closed", "", 0)
    assert facts.usual_s == pytest.approx(USUAL_S)
    assert facts.cost.samples > 1


def test_a_call_that_nobody_asked_leave_for_is_counted_too():
    health = HostHealth("cloud")
    ticket = health.began(WORK, 0.0)
    assert health.in_flight == 1
    health.answered(ticket, Traffic(WORK, 10, 0.1), 0.1)
    assert health.in_flight == 0


def test_a_connection_that_was_lost_is_made_anew_by_the_next_call():
    health, now = known()
    assert health.connected
    health.failed(begin(health, now), GONE, now, 2.0)
    assert not health.connected
    assert health.facts(now).why == "no connection"
    health.probed(True, 1.0, now)
    assert health.connected


def test_probes_of_a_quiet_host_keep_its_round_trip_fresh():
    health, now = known()
    assert health.quiet_s(now) == pytest.approx(0.05)
    ticket = begin(health, now)
    assert health.quiet_s(now + 100) == 0
    health.given_up(ticket, now)
    before = health.facts(now).cost.round_trip_p50_s
    for step in range(10):
        health.probed(True, 10 * USUAL_S, now + step)
    assert health.facts(now + 9).cost.round_trip_p50_s > before
    assert health.quiet_s(now + 9) == 0


def test_when_extra_attempts_are_scarce_a_host_is_probed_seldom_but_always_again():
    health = HostHealth("nearby")
    health.failed(begin(health), GONE, 0.0, 2.0)
    now = 0.0
    for _ in range(50):
        in_s = health.probe_in_s(now)
        assert in_s is not None
        assert in_s <= LONGEST_PAUSE_S + 1e-9
        now += in_s
        health.probed(False, 0.1, now + 0.1, sparing=True)
    assert health.breaker.pause_s == LONGEST_PAUSE_S
    # from the beginning of one probe to the beginning of the next
    assert health.breaker.probe_at == pytest.approx(now + LONGEST_PAUSE_S)


events = st.sampled_from(
    ["call", "answer", "late", "gone", "full", "refused", "given up", "well", "ill", "eject"]
)


@given(st.lists(st.tuples(events, st.floats(0, 3)), max_size=80))
def test_whatever_happens_a_host_that_is_well_again_is_asked_again(history):
    health = HostHealth("cloud")
    now = 0.0
    tickets: list[int] = []
    errors = {
        "late": DeadlineError("late"),
        "gone": GONE,
        "full": pushback(1.0),
        "refused": RefusedError("no"),
    }
    for event, gap in history:
        now += gap
        if event == "call" and not health.admit(now):
            tickets.append(health.began(WORK, now))
        elif event in ("well", "ill"):
            health.probed(event == "well", 0.02, now)
        elif event == "eject":
            health.conduct.eject("worse", now, 0.5)
        elif tickets and event == "answer":
            health.answered(tickets.pop(), Traffic(WORK, 10, 0.1), now, 0.5)
        elif tickets and event == "given up":
            health.given_up(tickets.pop(), now)
        elif tickets and event in errors:
            health.failed(tickets.pop(), errors[event], now, 2.0)
        assert health.in_flight == len(tickets)
    for ticket in tickets:
        health.given_up(ticket, now)
    now += 2 * LONGEST_PUSHBACK_S + 60
    health.probed(True, 0.02, now)
    assert health.admit(now) == ""
