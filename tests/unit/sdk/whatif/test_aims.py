"""What answers are measured by has a source, and it is said."""

from __future__ import annotations

import random

import numpy as np
import pytest

from wherever._escalation.events import Paired
from wherever._escalation.words import NOTHING_IS_SURE, Bar
from wherever._whatif.aims import Known, measure_of
from wherever._whatif.facts import Facts
from wherever._whatif.policy import Policy
from wherever_edge.certification.calibrated import Evidence

PROMISE = Policy(max_disagreement=0.1, min_confidence=0.2)


def measured(policy, known, records=()):
    return measure_of(policy, known, Facts(records), "m", random.Random(1).random)


def pairs(count=400):
    confidence = np.linspace(0.0, 1.0, count, dtype=np.float32)
    return Evidence(confidence, (confidence < 0.3).astype(np.float32))


def event(number, loss=0.0):
    return Paired(0, (number % 100) / 100, loss, 1.0, 0, float(number))


def test_the_policy_goes_before_the_package():
    measure = measured(Policy(min_confidence=0.7), Known(package=True, threshold=0.5))
    assert (measure.bar, measure.source) == (Bar(0.7), "the policy says it")


@pytest.mark.parametrize(("threshold", "bar"), [(0.5, Bar(0.5)), (None, None)])
def test_the_package_says_it_where_the_policy_does_not(threshold, bar):
    assert measured(Policy(), Known(package=True, threshold=threshold)).bar == bar


def test_without_the_package_the_calls_taken_further_tell(record, here, there):
    calls = [
        record(1.0, here(0.4), there()),
        record(2.0, here(0.6), there()),
        record(3.0, there(), here(0.9)),
        record(4.0, here(None), there()),
        record(5.0, here(0.95)),
        record(6.0, here(0.99), there(), model="other"),
        record(7.0, there(0.1, "unreachable"), here(0.97)),
    ]
    measure = measured(Policy(), Known(package=False), calls[:2] + calls[3:6])
    assert measure.bar == Bar(0.6)
    assert "taken further" in measure.source


def test_without_the_package_and_such_calls_nothing_is_asked(record, here, there):
    calls = [record(1.0, there(), there(0.2)), record(2.0, here(0.5))]
    assert measured(Policy(), Known(package=False), calls).bar is None


def test_a_promise_rests_on_the_pairs_of_the_package():
    measure = measured(PROMISE, Known(package=True, evidence=pairs(), whole=True))
    assert measure.bar is not None
    assert 0.2 < measure.bar.threshold < 0.35
    assert measure.bar.promised
    assert measure.source == "400 pairs of the package"


def test_without_pairs_everything_is_taken_further():
    measure = measured(PROMISE, Known(package=False))
    assert measure.bar is not None
    assert measure.bar.threshold >= NOTHING_IS_SURE
    assert "no pairs" in measure.source


def test_what_calls_have_shown_counts_as_well():
    events = [event(number) for number in range(1500)]
    measure = measured(PROMISE, Known(package=False, events=events))
    assert measure.source == "1500 pairs of calls on this device"
    assert measure.bar is not None
    assert measure.bar.threshold < NOTHING_IS_SURE
    both = measured(PROMISE, Known(True, None, pairs(), whole=True, events=events[:3]))
    assert both.source == "400 pairs of the package and 3 pairs of calls on this device"
