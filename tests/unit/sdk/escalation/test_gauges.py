"""What is known of variants, as numbers for a monitor."""

from __future__ import annotations

from wherever._escalation.facts import Facts, FeedbackFacts, Interval
from wherever._escalation.gauges import gauges_of

ABOUT = 'model="m",version="1.0.0",variant="v"'


def test_without_events_there_are_counts_alone():
    assert gauges_of([Facts("m", "1.0.0", "v")]) == {
        f"wherever_evidence_{what}{{{ABOUT}}}": 0.0
        for what in ("alarms", "audited_calls", "calls", "escalated_calls", "feedback_calls")
    }


def test_everything_known_is_a_gauge():
    known = Facts(
        "m",
        "1.0.0",
        "v",
        'at most "2 %"',
        0.8,
        calls=10,
        escalated=2,
        audits=1,
        pairs=3,
        agreement=Interval(0.9, 0.8, 0.95),
        feedback=FeedbackFacts(4, 3.0, 0.3, 0.9),
        accuracy=Interval(0.97, 0.9, 1.0),
        alarms=("shift: p = 0.001",),
        unkept=5,
    )
    gauges = gauges_of([known, known._replace(version="2.0.0", agreement=None)])
    assert list(gauges) == sorted(gauges)
    assert gauges[f"wherever_evidence_escalated_calls{{{ABOUT}}}"] == 2.0
    assert gauges[f'wherever_agreement_ratio{{{ABOUT},end="low"}}'] == 0.8
    assert gauges[f'wherever_feedback_right_ratio{{{ABOUT},end="value"}}'] == 0.75
    assert gauges[f'wherever_accuracy_ratio{{{ABOUT},end="high"}}'] == 1.0
    assert f'wherever_accuracy_ratio{{{ABOUT},end="value"}}' not in gauges
    assert gauges[rf'wherever_promise_threshold{{{ABOUT},aim="at most \"2 %\""}}'] == 0.8
    assert gauges[rf'wherever_promise_unkept_calls{{{ABOUT},aim="at most \"2 %\""}}'] == 5.0
    assert f'wherever_variant_agreement_ratio{{{ABOUT},end="low"}}' not in gauges
    assert 'wherever_agreement_ratio{model="m",version="2.0.0",variant="v",end="low"}' not in gauges
