"""A promise about one variant's answers: its threshold, and what is found against it."""

from __future__ import annotations

import random

import numpy as np
import pytest

from wherever._escalation import assurance as module
from wherever._escalation.assurance import Assurance
from wherever._escalation.events import Alarmed, Judged, Paired, Stood
from wherever._escalation.words import NOTHING_IS_SURE, Aim, Bar
from wherever_edge.certification.calibrated import Evidence


def evidence_of(n=2000, *, share=0.05, seed=1):
    """Pairs whose answers differ only where the confidence is low."""
    chance = np.random.default_rng(seed)
    confidence = chance.random(n)
    loss = (confidence < 2 * share) & (chance.random(n) < 0.5)
    return Evidence(confidence, loss.astype(float), np.zeros(n))


def made(evidence=None, *, aim=None, truth=None, seed=3):
    return Assurance(
        aim or Aim(max_disagreement=0.02),
        evidence,
        truth,
        whole=True,
        audit_share=0.05,
        chance=random.Random(seed).random,
    )


def pair(confidence=0.5, loss=0.0, *, given=False, calls=0):
    probability = 0.05 if given else 1.0
    return Paired(calls, confidence, loss, probability, 0, 0.0, given)


def certified(assurance, pairs=800):
    for _ in range(pairs):
        assurance.told(pair())
    return assurance


def test_the_calibration_sets_the_threshold():
    assurance = made(evidence_of())
    bar = assurance.bar()
    assert 0.0 < bar.threshold < 0.12
    assert (bar.why, bar.promised, assurance.gives) == ("at most 2 % may differ", True, True)
    assert assurance.aim_in_words == "at most 2 % may differ, 0.95 sure"
    assert assurance.why == ""


def test_a_call_can_ask_for_more_than_the_promise_needs():
    aim = Aim(max_disagreement=0.02, min_confidence=0.7)
    assert made(evidence_of(), aim=aim).bar() == Bar(0.7, "min_confidence", promised=True)


def test_too_few_pairs_take_everything_further_and_the_reason_says_how_many_are_needed():
    assurance = made(evidence_of(100))
    bar = assurance.bar()
    assert bar.why == f"at most 2 % may differ, and {assurance.why}"
    assert (bar.threshold, bar.promised, assurance.gives) == (NOTHING_IS_SURE, True, False)
    assert "pairs are needed to promise 2 % even if none differs; there are 100" in bar.why


def test_without_pairs_calls_themselves_certify_a_threshold():
    assurance = made()
    assert "no pairs are known of this variant" in assurance.bar().why
    assert certified(assurance).gives
    assert assurance.bar().why == "at most 2 % may differ"


def test_what_an_earlier_process_learned_is_known():
    earlier, later = made(), made()
    stood = Stood("", 0.5, "", 0, 0.0)
    for event in [*[pair(), stood] * 800, pair(0.9, given=True, calls=3)]:
        earlier.told(event)
        later.remembered(event)
    assert later.bar() == earlier.bar()
    assert later.gives


def test_calls_of_which_the_reference_could_not_be_asked_break_no_promise_and_lower_no_threshold():
    assurance = made(evidence_of())
    before = assurance.bar()
    for _ in range(400):
        assert assurance.told(pair(0.0, 1.0)._replace(known=False)) is None
    assert assurance.bar() == before
    learning = made()
    for _ in range(400):
        learning.told(pair(0.9, 1.0)._replace(known=False))
        learning.told(pair(0.9))
    assert learning.bar().threshold > 0.9


def test_answers_that_differ_more_than_promised_raise_an_alarm_after_which_nothing_is_given():
    assurance = made(evidence_of())
    found = None
    for _ in range(400):
        found = assurance.told(pair(0.99, 1.0, given=True, calls=19))
        if found is not None:
            break
    assert found is not None
    assert found.kind == "broken"
    assert "of the answers differ, and at most 2 % may differ" in found.why
    assert assurance.gives, "the alarm counts once it is told"
    assurance.told(Alarmed(found.kind, found.why, 0.0))
    assert assurance.bar().why.endswith(found.why)
    assert assurance.why == "since the alarm: broken"
    assert not assurance.gives


def test_what_an_earlier_process_saw_break_breaks_nothing_now():
    assurance = made(evidence_of())
    for _ in range(400):
        assurance.remembered(pair(0.99, 1.0, given=True, calls=19))
    assert assurance.told(pair(0.99, 0.0, given=True, calls=19)) is None


def test_a_shift_is_found_and_calls_are_then_compared_with_those_after_it():
    assurance = made(evidence_of())
    chance = random.Random(4)
    alarm = next(filter(None, (assurance.seen(0.2 * chance.random(), 0) for _ in range(500))))
    assert alarm.kind == "shift"
    assurance.told(Alarmed(alarm.kind, alarm.why, 0.0))
    assert alarm.why in assurance.bar().why
    for _ in range(800):
        assert assurance.seen(0.2 * chance.random(), 0) is None
        assurance.told(pair(0.1))
    assert assurance.gives
    assert assurance.bar().why == "at most 2 % may differ"
    # what was a shift is usual now, and what was usual is a shift
    assert not any(assurance.seen(0.2 * chance.random(), 0) for _ in range(300))
    assert any(assurance.seen(0.9 + 0.1 * chance.random(), 0) for _ in range(500))


def test_calls_after_an_alarm_are_remembered_up_to_a_bound(monkeypatch):
    monkeypatch.setattr(module, "_MOST_SEEN", 150)
    assurance = made()
    for _ in range(200):
        assert assurance.seen(0.5, 0) is None
    certified(assurance)
    assert any(assurance.seen(0.9, 0) for _ in range(500))


def test_few_calls_are_nothing_to_compare_others_with():
    assurance = certified(made())
    assert not any(assurance.seen(chance, 0) for chance in (0.1, 0.9) * 200)


def test_truths_of_the_calibration_speak_against_a_reference_that_is_no_better():
    evidence = evidence_of(4000, share=0.2)
    wrong = (evidence.confidence > 0.5).astype(float)
    assert not made(evidence).found
    alarms = made(evidence, truth=(wrong, wrong)).found
    assert "noise" in {alarm.kind for alarm in alarms}


def test_truths_that_come_later_do_so_once():
    assurance = made(evidence_of())
    found = []
    for number in range(2000):
        judged = Judged(f"{number}", 1.0, 0.0, 0.99, 5, 0.0)
        found += [alarm for alarm in [assurance.told(judged)] if alarm is not None]
    assert [alarm.kind for alarm in found] == ["specialist"]
    assert assurance.gives, "the promise is about the reference, whatever that is worth"


@pytest.mark.parametrize("unknown", ["right", "right_reference", "confidence", "category"])
def test_truths_of_which_half_is_unknown_are_left_out(unknown):
    assurance = made(evidence_of())
    judged = Judged("1", 1.0, 0.0, 0.99, 5, 0.0)._replace(**{unknown: None})
    assert not any(assurance.told(judged) for _ in range(2000))


def test_an_alarm_that_takes_nothing_from_the_promise_changes_nothing():
    assurance = made(evidence_of())
    before = assurance.bar()
    assurance.told(Alarmed("specialist", "of class 3", 0.0))
    assert assurance.bar() == before
