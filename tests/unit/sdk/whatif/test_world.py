"""Recorded calls made again: the same policy gives the same calls, another what it asks for."""

from __future__ import annotations

import random

import pytest

from wherever._escalation.words import Bar, Budget
from wherever._whatif.asking import error_of
from wherever._whatif.endings import happened
from wherever._whatif.facts import Facts
from wherever._whatif.policy import Policy
from wherever._whatif.world import WhatIf
from wherever_contracts.errors import AttemptError, EngineError, UnreachableError

LONG = 40


def what_if(records, policy=None, threshold=0.5, promised=False):
    bar = None if threshold is None else Bar(threshold, promised=promised)
    asked = WhatIf(Facts(records), policy or Policy(), lambda *_: bar, random.Random(1).random)
    return asked.run()


@pytest.fixture
def cascade(record, here, there):
    """Calls of which every fourth is unsure and was taken further."""

    def made(count=LONG, every=4, **more):
        return [
            record(
                1.0 + at,
                *((here(0.3), there(0.1 + at / 1e3)) if at % every == 0 else (here(0.8),)),
                **more,
            )
            for at in range(count)
        ]

    return made


def test_under_the_same_policy_everything_is_as_it_was(cascade):
    records = cascade()
    ends = what_if(records)
    assert not any(each.estimated for each in ends)
    for end, record in zip(ends, records, strict=True):
        really = happened(record.receipt, Policy())
        assert end.elapsed_s == pytest.approx(really.elapsed_s)
        assert end._replace(elapsed_s=0.0) == really._replace(elapsed_s=0.0)


def test_a_higher_threshold_takes_more_calls_further_as_those_beside_them_went(cascade):
    ends = what_if(cascade(), threshold=0.9)
    assert all(each.escalated for each in ends)
    assert sum(each.estimated for each in ends) == LONG * 3 // 4
    assert all(0.1 < each.elapsed_s < 0.2 for each in ends)
    assert sum(each.up_bytes for each in ends) == 1000 * LONG


def test_a_lower_threshold_takes_fewer_further_and_all_is_known(cascade):
    ends = what_if(cascade(), threshold=0.1)
    assert not any(each.escalated or each.estimated for each in ends)
    assert all(each.elapsed_s == pytest.approx(0.011) for each in ends)


def test_without_a_measure_nothing_is_taken_further(cascade):
    assert not any(each.remote_calls for each in what_if(cascade(), threshold=None))


def test_on_the_device_alone_nothing_is_sent(cascade):
    ends = what_if(cascade(), Policy(mode="only_on_device"), threshold=None)
    assert {each.place for each in ends} == {"device"}
    assert not any(each.remote_calls for each in ends)


def test_places_and_boundary_narrow_it(cascade):
    for policy in (Policy(places=("device",)), Policy(boundary="device")):
        assert {each.place for each in what_if(cascade(), policy)} == {"device"}


def test_where_the_device_was_not_asked_its_confidence_is_drawn_and_that_is_said(
    record, here, there
):
    records = [record(1.0, here(0.9)), record(2.0, there()), record(3.0, here(0.9), there())]
    ends = what_if(records, Policy(mode="auto"), threshold=0.5)
    assert [each.guessed for each in ends] == [False, True, False]
    assert ends[1].place == "device"


def test_of_the_same_input_the_device_is_as_sure_as_it_was(record, here, there):
    records = [
        record(1.0, here(0.2), there(), digest="x"),
        record(2.0, here(0.9), digest="y"),
        record(3.0, there(), digest="x"),
    ]
    ends = what_if(records, threshold=0.5)
    assert ends[2].escalated
    assert [each.guessed for each in ends] == [False, False, False]
    assert ends[2].estimated


def test_an_outage_stays_where_it_was(record, here, there):
    down = [
        record(10.0 + at, here(0.3), there(0.05, "unreachable"), degraded=True) for at in range(9)
    ]
    well = [record(at, here(0.3), there()) for at in (1.0, 2.0, 30.0, 31.0)]
    between = [record(14.5, here(0.3), there(0.05, "unreachable"))]
    ends = what_if([*well, *down, *between], Policy(mode="prefer_in_cloud"))
    places = [each.place for each in ends]
    assert places[:2] == places[-2:] == ["cloud", "cloud"]
    assert set(places[2:-2]) == {"device"}


def test_a_failure_where_nobody_else_may_be_asked_is_one(record, here, there):
    records = [record(1.0, there(0.05, "unreachable"), here()), record(2.0, here(), there())]
    ends = what_if(records, Policy(mode="only_in_cloud"))
    assert ends[0].place == ""
    assert not ends[0].degraded


def test_a_deadline_that_is_too_short_for_a_host_cuts_it_off(cascade):
    ends = what_if(cascade(), Policy(deadline_s=0.08), threshold=0.9)
    assert {each.place for each in ends} == {"device"}
    assert all(each.elapsed_s < 0.08 and not each.late for each in ends)
    assert {each.deadline_s for each in ends} == {0.08}


def test_a_deadline_can_be_taken_away(cascade):
    ends = what_if(cascade(deadline_s=0.05), Policy(deadline_s=float("inf")))
    assert {each.deadline_s for each in ends} == {None}


def test_a_recorded_deadline_holds_where_the_policy_says_none(cascade):
    assert {each.deadline_s for each in what_if(cascade(deadline_s=9.0))} == {9.0}


def test_what_would_take_longer_than_any_is_a_guess_and_said(record, here, there):
    records = [record(1.0, here(0.3), there(0.1, "deadline"), deadline_s=0.12)]
    ends = what_if(records, Policy(deadline_s=2.0))
    assert ends[0].beyond
    assert ends[0].elapsed_s == pytest.approx(0.01 + 0.125, abs=0.01)


def test_kept_answers_are_kept(record, here, there):
    records = [record(1.0, here()), record(2.0, there(0.0), cache="hit", total_s=0.002)]
    ends = what_if(records, Policy(mode="only_on_device"))
    assert (ends[1].place, ends[1].elapsed_s, ends[1].remote_calls) == ("cloud", 0.002, 0)


def test_a_caller_that_waits_for_its_answers_makes_no_call_before_one_has_ended(
    record, here, there
):
    records = [record(1.0 + 0.05 * at, here(0.9, 0.01)) for at in range(20)]
    records += [record(9.0, here(0.3), there(0.5))]
    ends = what_if(records, Policy(mode="only_in_cloud", remote_timeout_s=1.0))
    assert len(ends) == 21
    assert all(each.elapsed_s < 0.6 for each in ends)


def test_callers_beside_each_other_do_not_wait(record, here):
    records = [record(1.0, here(0.9, 5.0), id=f"p-{number}") for number in range(3)]
    assert [each.elapsed_s for each in what_if(records)] == pytest.approx([5.001] * 3)


def test_a_host_that_never_answers_is_given_up_for_the_device(record, here, there):
    shut = {"gateway": "it failed a moment ago and is being probed (x)"}
    records = [
        record(1.0, there(0.1, "deadline"), here()),
        record(1.3, here(), alternatives=shut),
        record(1.6, here(), alternatives=shut),
    ]
    ends = what_if(records, Policy(mode="prefer_in_cloud"))
    assert {each.place for each in ends} == {"device"}


def test_the_device_beats_a_host_that_is_too_slow(record, here, there):
    records = [record(at, there(0.02), here(0.9)) for at in range(1, 6)]
    records += [record(at, there(1.5), here(0.9), deadline_s=3.0) for at in range(6, 12)]
    ends = what_if(records, Policy(mode="prefer_in_cloud", deadline_s=0.3))
    assert {each.place for each in ends[6:]} == {"device"}
    assert all(each.remote_calls <= 1 for each in ends)


def test_audits_are_counted_in_the_mean_and_nobody_waits_for_them(cascade):
    policy = Policy(max_disagreement=0.02, audit_share=0.1, cost_per_call=1.0)
    plain = what_if(cascade(), Policy(cost_per_call=1.0))
    ends = what_if(cascade(), policy, promised=True)
    assert sum(each.remote_calls for each in ends) == pytest.approx(LONG / 4 + 0.1 * LONG * 3 / 4)
    assert sum(each.cost for each in ends) == pytest.approx(LONG / 4 + 0.1 * LONG * 3 / 4)
    assert [each.elapsed_s for each in ends] == [each.elapsed_s for each in plain]


def test_where_nobody_can_be_asked_nothing_is_audited_and_a_promise_is_not_kept(cascade):
    policy = Policy(max_disagreement=0.02, places=("device",))
    ends = what_if(cascade(), policy, promised=True)
    assert sum(each.degraded for each in ends) == LONG // 4
    assert not any(each.remote_calls for each in ends)


def test_a_budget_is_never_exceeded_and_goes_to_the_least_sure(record, here, there):
    records = [
        record(float(at), here(0.1 + 0.8 * (at % 100) / 100), there()) for at in range(1, 1800)
    ]
    ends = what_if(records, Policy(budget=Budget(calls=60)), threshold=0.95)
    used = sum(each.remote_calls for each in ends)
    assert 20 <= used <= 60
    sure = [records[number].receipt.attempts[0].confidence for number in range(len(ends))]
    taken = [sure[number] for number, each in enumerate(ends) if each.escalated]
    assert sum(taken) / len(taken) < 0.3


def test_a_host_that_must_not_be_asked_takes_nothing_of_a_budget(record, here, there):
    records = [record(0.1 * at, here(0.3), there(0.01, "unreachable")) for at in range(1, 20)]
    ends = what_if(records, Policy(budget=Budget(calls=1000)), threshold=0.9)
    assert 0 < sum(each.remote_calls for each in ends) < 19


def test_an_error_is_of_the_kind_that_it_was():
    assert type(error_of("unreachable", "h")) is UnreachableError
    assert type(error_of("engine", "h")) is EngineError
    assert type(error_of("of another version", "h")) is AttemptError
