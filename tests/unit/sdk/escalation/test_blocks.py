"""Calls become evidence together or not at all."""

from __future__ import annotations

import numpy as np

from wherever._escalation import blocks
from wherever._escalation.blocks import Block
from wherever._escalation.events import Paired, Passed

ESCALATED = Paired(0, 0.3, 1.0, 1.0, 4, 10.0)
AUDITED = Paired(0, 0.9, 0.0, 0.05, 2, 11.0, given=True)


def block_of(passed=0, escalated=()):
    made = Block()
    for _ in range(passed):
        made.passed()
    for pair in escalated:
        made.escalated(pair)
    return made


def test_an_audit_settles_the_calls_before_it():
    events = block_of(7, [ESCALATED]).settled(AUDITED)
    assert events == (ESCALATED, AUDITED._replace(calls=7))


def test_a_call_that_could_not_be_escalated_spoils_its_block():
    block = block_of(7, [ESCALATED])
    block.failed()
    assert block.settled(AUDITED) == ()
    assert block.ended(12.0) == ()


def test_at_the_end_what_is_left_counts_where_the_reference_was_to_be_had():
    assert block_of(7, [ESCALATED]).ended(12.0) == (ESCALATED, Passed(7, 12.0))
    assert block_of(0, [ESCALATED]).ended(12.0) == (ESCALATED,)
    assert block_of(7).ended(12.0) == ()


def test_a_block_that_grows_without_an_audit_is_left_out(monkeypatch):
    monkeypatch.setattr(blocks, "_MOST_PAIRS", 3)
    assert block_of(0, [ESCALATED] * 3).settled(AUDITED)
    assert block_of(0, [ESCALATED] * 4).settled(AUDITED) == ()


def test_audits_that_fail_now_and_then_leave_the_estimate_where_it_is():
    """Were a failed audit to count as one that found nothing, the risk would seem lower."""
    chance = np.random.default_rng(5)
    loss = calls = 0.0
    for _ in range(400):
        block, drawn = Block(), False
        while not drawn:
            differs, drawn = chance.random() < 0.1, chance.random() < 0.05
            if not drawn:
                block.passed()
        if chance.random() < 0.5:
            continue  # the audit fails
        for event in block.settled(AUDITED._replace(loss=float(differs))):
            loss += event.loss / event.probability
            calls += event.calls + 1
    assert abs(loss / calls - 0.1) < 0.05
