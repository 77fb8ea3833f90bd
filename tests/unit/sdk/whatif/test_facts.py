"""What records say is read so that nothing is known twice, or of another call."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from wherever._escalation.words import NO_AIM, Aim
from wherever._whatif.endings import happened
from wherever._whatif.facts import Facts, up_bytes_of
from wherever._whatif.policy import Policy
from wherever_contracts.errors import UnreachableError
from wherever_contracts.receipts import Expected
from wherever_edge.host_health.breaker import Breaker


def test_calls_are_put_in_the_order_of_time(record, here):
    facts = Facts([record(5.0, here()), record(2.0, here(0.3))])
    assert [facts.at(number) for number in (0, 1)] == [0.0, 3.0]
    assert Facts([]).receipts == ()


def test_what_most_calls_asked_of_escalation_is_told_from_the_others(record, here):
    asked = [
        replace(record(at, here()), aim=Aim(level)) for at, level in enumerate((0.1, 0.2, 0.2))
    ]
    facts = Facts(asked)
    assert (facts.aim, facts.others) == (Aim(0.2), 1)
    assert (Facts([]).aim, Facts([]).others) == (NO_AIM, 0)


def test_a_model_knows_its_hosts_variant_and_reference(record, here, there):
    expected = {"gateway": Expected(0.1, 0.2, 900, 1.0), "box": Expected(0.1, 0.2, 900, 0.0)}
    facts = Facts([record(1.0, here(), there(), expected=expected), record(2.0, here())])
    model = facts.models["m"]
    assert [(each.host, each.place) for each in model.hosts] == [
        ("device", "device"),
        ("gateway", "cloud"),
    ]
    assert (model.variant, model.reference, model.unasked) == ("small", "large", ("box",))
    assert [len(model.evidence[host]) for host in ("device", "gateway")] == [2, 1]


def test_a_kept_answer_says_nothing_of_a_host(record, here, there):
    facts = Facts([record(1.0, there(0.0), cache="hit"), record(2.0, here())])
    assert [each.host for each in facts.models["m"].hosts] == ["device"]


def test_what_an_attempt_says_is_kept(record, there, here):
    facts = Facts([record(1.0, here(0.4), there(0.2), engine_s=0.05, queue_s=0.01)])
    model = facts.models["m"]
    asked, own = model.evidence["gateway"].own(0), model.evidence["device"].own(0)
    assert (asked.up_bytes, asked.down_bytes, asked.expected_s) == (1000, 40, 0.1)
    assert (asked.queue_s, asked.compute_s, asked.variant) == (0.01, 0.05, "large")
    assert (own.queue_s, own.confidence, own.expected_s) == (0.0, 0.4, 0.0)


def test_an_attempt_without_a_variant_has_that_of_the_answer_if_it_gave_it(record, here, there):
    facts = Facts([record(1.0, here(variant=""), there(variant=""))])
    evidence = facts.models["m"].evidence
    assert evidence["device"].own(0).variant == ""
    assert evidence["gateway"].own(0).variant == ""  # the receipt says none either


def test_bytes_that_were_not_counted_are_those_expected(record, here, there):
    receipt = record(1.0, here(), there(up_bytes=0)).receipt
    assert [up_bytes_of(receipt, each) for each in receipt.attempts] == [0, 1000]
    assert up_bytes_of(record(1.0, there(up_bytes=0), expected={}).receipt, there(up_bytes=0)) == 0


def test_a_host_that_was_known_to_be_down_fails_as_it_did(record, here, there):
    breaker = Breaker()
    breaker.failed(UnreachableError("gateway: gone"), 0.0, 1.0, 0.3)
    why = {"gateway": breaker.admit()}
    calls = [
        record(1.0, there(0.3, "unreachable"), here()),
        record(2.0, here(), alternatives=why),
        record(3.0, here(), alternatives={"gateway": "mode 'x' does not use it"}),
    ]
    evidence = Facts(calls).models["m"].evidence["gateway"]
    found = evidence.own(1)
    assert (found.error, found.elapsed_s, found.shut) == ("unreachable", 0.3, True)
    assert evidence.own(2) is None
    assert evidence.round_trip_s(1.2) is None


def test_a_host_that_was_expected_to_be_too_slow_takes_what_was_expected(
    record, here, there, why_too_slow
):
    calls = [
        record(1.0, here(), there(0.1)),
        record(2.0, here(), alternatives={"gateway": why_too_slow}),
    ]
    found = Facts(calls).models["m"].evidence["gateway"].own(1)
    assert (found.elapsed_s, found.answers) == (0.1, True)
    silent = [
        calls[0],
        record(2.0, here(), alternatives=calls[1].receipt.alternatives, expected={}),
    ]
    assert Facts(silent).models["m"].evidence["gateway"].own(1) is None


def test_an_attempt_is_wanted_with_what_is_known_of_the_call(record, here, there):
    facts = Facts([record(1.0, here(), there()), record(2.0, there(up_bytes=7), expected={})])
    assert facts.wanted(0, "gateway").expected_s == 0.1
    assert facts.wanted(1, "gateway").up_bytes == 7
    assert facts.wanted(1, "gateway").expected_s == 0.0


def test_a_call_takes_more_than_its_attempts_as_calls_that_went_the_same_way(record, here, there):
    calls = [
        record(1.0, here(elapsed_s=0.01), total_s=0.012),
        record(2.0, here(elapsed_s=0.01), there(0.1), total_s=0.115),
        record(3.0, there(0.1), total_s=0.107),
        record(4.0, there(0.1, "unreachable"), here(elapsed_s=0.01), total_s=0.5),
    ]
    facts = Facts(calls)
    assert facts.overhead_s(0, ("device",)) == pytest.approx(0.002)
    assert facts.overhead_s(0, ("device", "cloud")) == pytest.approx(0.005)
    assert facts.overhead_s(0, ("nearby", "cloud")) == pytest.approx(0.007)
    assert facts.overhead_s(0, ("nearby",)) == pytest.approx(0.002)
    assert facts.overhead_s(3, ("device",)) == 0.0
    assert facts.overhead_s(0, ()) == pytest.approx(0.002)


def test_a_process_that_waits_for_its_answers_is_told_from_one_that_does_not(record, here):
    waits = [record(at, here(), id=f"a-{at:.0f}") for at in (1.0, 2.0, 3.0)]
    beside = [record(at, here(), id=f"b-{at}", total_s=5.0) for at in (1.0, 2.0)]
    assert Facts([*waits, *beside]).one_by_one == {"a"}


def test_the_device_is_as_sure_of_the_same_input(record, here, there):
    calls = [
        record(1.0, here(0.3), digest="x"),
        record(2.0, there(), digest="x"),
        record(3.0, there(), digest="y"),
        record(4.0, there(), digest="x", model="other"),
        record(5.0, here(0.9), digest="x"),
    ]
    facts = Facts(calls)
    assert [facts.same_input(number) for number in range(5)] == [None, 0, None, None, None]


def test_a_probe_is_answered_by_what_is_known_best(record, here, there):
    calls = [record(at, there(), here()) for at in (1.0, 2.0)]
    calls += [record(1.5, there(0.1, "unreachable"), here(), model="other")]
    assert Facts(calls).round_trip_s("gateway", 0.5) == pytest.approx(0.1)


def test_what_happened_is_added_up(record, here, there):
    policy = Policy(cost_per_call=1.0)
    escalated = happened(record(1.0, here(), there(), deadline_s=0.05).receipt, policy)
    assert (escalated.remote_calls, escalated.up_bytes, escalated.down_bytes) == (1, 1000, 40)
    assert (escalated.cost, escalated.escalated, escalated.late) == (1.0, True, True)
    kept = happened(record(1.0, there(), cache="hit").receipt, policy)
    assert (kept.remote_calls, kept.cost, kept.escalated, kept.late) == (0, 0, False, False)
    beaten = happened(record(1.0, there(math.inf, "given_up"), here()).receipt, policy)
    assert (beaten.remote_calls, beaten.escalated, beaten.place) == (1, False, "device")
