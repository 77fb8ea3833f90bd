"""Calls become evidence together or not at all."""

from __future__ import annotations

import numpy as np
import pytest

from wherever._escalation import blocks
from wherever._escalation.blocks import Block
from wherever._escalation.events import Paired

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
    assert events == (ESCALATED._replace(calls=7), AUDITED)
    assert block_of(7).settled(AUDITED) == (AUDITED._replace(calls=7),)


def test_an_escalated_call_that_was_drawn_settles_them_as_well():
    assert block_of(7, [ESCALATED, ESCALATED]).settled() == (
        ESCALATED._replace(calls=7),
        ESCALATED,
    )


def test_a_call_that_could_not_be_escalated_counts_as_one_whose_answers_may_differ():
    block = block_of()
    block.failed(ESCALATED._replace(loss=0.0))
    assert block.settled() == (ESCALATED._replace(loss=1.0, known=False),)


def test_a_block_that_grows_without_end_is_left_out(monkeypatch):
    monkeypatch.setattr(blocks, "_MOST_PAIRS", 3)
    assert block_of(0, [ESCALATED] * 3).settled(AUDITED)
    assert block_of(0, [ESCALATED] * 5).settled(AUDITED) == ()


@pytest.mark.parametrize("calls_of_a_process", [1, 20, 4000])
def test_what_is_settled_is_like_what_is_not_and_never_better(calls_of_a_process):
    """Half of the audits fail; a fifth of the calls are unsure, and those differ in half."""
    chance = np.random.default_rng(5)
    calls = unsure = lost = 0.0
    for _ in range(40_000 // calls_of_a_process):
        block = Block()
        for _ in range(calls_of_a_process):
            drawn, sure = chance.random() < 0.05, chance.random() < 0.8
            if not sure:
                block.escalated(ESCALATED._replace(loss=float(chance.random() < 0.5)))
            elif not drawn:
                block.passed()
            if drawn:
                comes = chance.random() < 0.5
                audit = AUDITED._replace(loss=float(chance.random() < 0.1)) if sure else None
                for event in block.settled(audit) if comes else ():
                    calls += event.calls + 1
                    unsure += event.probability == 1.0
                    lost += event.loss / event.probability
                block = Block()
    assert unsure / calls == pytest.approx(0.2, abs=0.06)
    risk = 0.2 * 0.5 + 0.8 * 0.1
    assert lost / calls > 0.8 * risk
    assert lost / calls < 1.2 * risk or calls_of_a_process < 1000
