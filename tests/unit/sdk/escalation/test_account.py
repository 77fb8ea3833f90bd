"""The fold over events: what status says of a variant."""

from __future__ import annotations

import pytest

from wherever._escalation.account import Account
from wherever._escalation.events import Alarmed, Judged, Paired, Stood
from wherever._escalation.facts import Facts, Interval
from wherever._escalation.words import NOTHING_IS_SURE

AT = 1_700_000_000.0
AUDIT = Paired(9, 0.9, 0.0, 0.1, 3, AT, given=True)
ESCALATION = Paired(0, 0.4, 1.0, 1.0, 3, AT)


@pytest.fixture
def account() -> Account:
    return Account("digits", "1.0.0", "small")


def test_nothing_is_known_of_a_variant_without_events(account):
    assert account.promises() == (Facts("digits", "1.0.0", "small"),)


def test_calls_escalations_and_audits_are_counted_apart(account):
    account.passed(80)
    account.add(AUDIT)
    account.add(ESCALATION)
    account.add(ESCALATION)
    facts = account.facts()
    assert (facts.calls, facts.escalated, facts.audits, facts.pairs) == (92, 2, 1, 3)


def test_an_escalated_call_gives_the_references_answer_whatever_the_variant_said(account):
    account.audits(0.1)
    for _ in range(50):
        account.add(ESCALATION)
        account.add(AUDIT)
    facts = account.facts()
    assert facts.agreement.value == 1.0
    assert facts.alone.value == pytest.approx(1 - 50 / 550)
    assert facts.alone.low < facts.alone.value < facts.alone.high


def test_calls_of_which_the_reference_could_not_be_asked_say_nothing_of_agreement(account):
    account.audits(0.1)
    for _ in range(50):
        account.add(AUDIT)
    before = account.facts()
    for _ in range(50):
        account.add(ESCALATION._replace(known=False))
    assert account.facts() == before
    account.add(ESCALATION._replace(calls=7, known=False))
    assert account.facts().calls == before.calls + 7


def test_the_last_word_on_a_call_is_the_one_that_counts(account):
    right = Judged("a-1", 1.0, None, 0.9, 3, AT)
    for event in (right, right, right._replace(id="a-2"), right._replace(right=0.0)):
        account.add(event)
    feedback = account.facts().feedback
    assert (feedback.n, feedback.right) == (2, 1.0)
    account.add(right._replace(right=None))
    assert account.facts().feedback.n == 1


def test_feedback_is_about_the_answer_that_was_given(account):
    account.add(Judged("a-1", 0.0, 1.0, 0.4, 3, AT, escalated=True))
    assert account.facts().feedback.right == 1.0


def test_accuracy_is_bounded_where_the_references_is_known():
    account = Account("digits", "1.0.0", "small", Interval(0.95, 0.94, 0.96))
    assert account.facts().accuracy is None
    account.add(Stood("at most 2 %", NOTHING_IS_SURE, "no pairs", 0, AT))
    for _ in range(200):
        account.add(ESCALATION)
    accuracy = account.facts().accuracy
    assert 0.9 < accuracy.low < 0.94
    assert accuracy.value == 0.95
    assert 0.96 < accuracy.high <= 1


def test_while_everything_escalates_few_pairs_say_much(account):
    other = Account("digits", "1.0.0", "small")
    other.add(Stood("at most 2 %", NOTHING_IS_SURE, "no pairs", 0, AT))
    for _ in range(100):
        account.add(ESCALATION._replace(loss=0.0))
        other.add(ESCALATION._replace(loss=0.0))
    assert other.facts().alone.low > 0.9 > account.facts().alone.low
    # a promise that gives answers brings audits, which are few
    other.add(Stood("at most 5 %", 0.5, "", 0, AT))
    before = other.facts().alone.low
    other.add(AUDIT._replace(calls=0))
    assert other.facts().alone.low == pytest.approx(before, abs=0.01)


def test_each_promise_stands_as_was_said_last_and_its_failures_add_up(account):
    account.add(Stood("at most 2 %", 2.0, "too few pairs", 3, AT))
    account.add(Stood("at most 5 %", 0.6, "", 0, AT))
    account.add(Stood("at most 2 %", 0.8, "", 4, AT))
    five, two = account.promises()
    assert (two.aim, two.threshold, two.why, two.unkept) == ("at most 2 %", 0.8, "", 7)
    assert (five.aim, five.threshold, five.unkept) == ("at most 5 %", 0.6, 0)


def test_promises_are_the_newest_ones(account):
    for number in range(12):
        account.add(Stood(f"at most {number} %", 0.5, "", 0, AT))
    assert [facts.aim for facts in account.promises()] == [f"at most {n} %" for n in range(4, 12)]


def test_alarms_are_the_newest_ones_each_once(account):
    for number in (*range(12), 6):
        account.add(Alarmed("shift", f"{number}", AT))
    assert account.facts().alarms == tuple(f"shift: {n}" for n in (4, 5, 7, 8, 9, 10, 11, 6))
