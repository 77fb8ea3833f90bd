"""What is known of a variant, in words and as data."""

from __future__ import annotations

import json

from wherever._escalation.facts import Facts, FeedbackFacts, Interval
from wherever._escalation.words import NOTHING_IS_SURE

KNOWN = Facts(
    "people",
    "2.1.0",
    "small",
    "max_disagreement 0.02 at 95 %",
    0.8125,
    "412 pairs of calibration",
    calls=1000,
    escalated=120,
    audits=44,
    pairs=164,
    agreement=Interval(0.9912, 0.98, 0.9967),
    alone=Interval(0.91, 0.88, 0.94),
    feedback=FeedbackFacts(40, 38.0, 0.83, 0.99),
    accuracy=Interval(0.95, 0.9, 0.98),
    alarms=("shift: p = 0.001",),
    unkept=3,
)


def test_everything_known_is_said_in_lines():
    feedback = "95 % (83 % to 99 %) right in the 40 calls with feedback"
    assert KNOWN.lines() == [
        "people 2.1.0, small",
        "max_disagreement 0.02 at 95 %: given from confidence 0.812 on (412 pairs of calibration)",
        "1000 calls, 120 escalated (12 %), 44 audits",
        "answers are the reference's in 99.12 % (98 % to 99.67 %)",
        "the variant alone agrees in 91 % (88 % to 94 %)",
        f"feedback: {feedback}, which may not be like the rest",
        "right between 90 % and 98 %, if calls are like what the reference was measured on",
        "not kept in 3 calls, answered all the same (degraded)",
        "alarm: shift: p = 0.001",
    ]


def test_what_is_not_known_is_not_said():
    assert Facts("people", "1.0.0", "small", calls=1).lines() == [
        "people 1.0.0, small",
        "1 call, 0 escalated (0 %), 0 audits",
    ]
    assert Facts("people", "1.0.0", "small").lines()[1:] == [
        "no answer was compared with the reference's yet"
    ]


def test_a_threshold_that_nothing_reaches_is_said_in_words():
    facts = Facts("m", "1.0.0", "v", "", NOTHING_IS_SURE, "60 pairs, 149 are needed")
    assert facts.lines()[1] == "everything escalates (60 pairs, 149 are needed)"
    assert facts._replace(why="").lines()[1] == "everything escalates"


def test_facts_are_plain_data():
    data = json.loads(json.dumps(KNOWN.to_dict()))
    assert data["agreement"] == {"value": 0.9912, "low": 0.98, "high": 0.9967}
    assert data["feedback"]["n"] == 40
    assert Facts("m", "1.0.0", "v").to_dict()["agreement"] is None
