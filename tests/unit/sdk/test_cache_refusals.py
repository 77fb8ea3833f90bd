"""Refusals are remembered for a while, for the host and the call that they were about."""

from __future__ import annotations

import pytest

from wherever._cache_refusals import MOST, REMEMBERED_S, Refusals
from wherever_contracts.errors import (
    DeadlineError,
    NotAllowedError,
    OverloadedError,
    RefusedError,
    UnreachableError,
)

CALL, OTHER = b"a" * 32, b"b" * 32
REFUSED = RefusedError("gateway: no model 'x'")


@pytest.fixture
def now():
    return [1000.0]


@pytest.fixture
def refusals(now):
    made = Refusals(lambda: now[0])
    made.note("gateway", CALL, REFUSED)
    return made


def test_the_same_call_to_the_same_host_is_not_worth_sending_for_a_while(refusals, now):
    now[0] += REMEMBERED_S - 1
    why = refusals.why_not("gateway", CALL)
    assert why == "it refused the same call 29 s ago: gateway: no model 'x'"
    assert refusals.why_not("gateway", OTHER) == ""
    assert refusals.why_not("box", CALL) == ""
    now[0] += 1
    assert refusals.why_not("gateway", CALL) == ""


@pytest.mark.parametrize("kind", [NotAllowedError, OverloadedError, DeadlineError])
def test_what_does_not_lie_in_the_call_is_not_remembered(refusals, kind):
    refusals.note("gateway", OTHER, kind("not now"))
    assert refusals.why_not("gateway", OTHER) == ""
    assert refusals.why_not("gateway", CALL)


def test_a_host_that_could_not_be_reached_may_be_another_when_it_is_back(refusals):
    refusals.note("box", CALL, REFUSED)
    refusals.note("gateway", OTHER, UnreachableError("gateway: connection refused"))
    assert refusals.why_not("gateway", CALL) == ""
    assert refusals.why_not("box", CALL)


def test_the_oldest_make_room(refusals):
    for number in range(MOST):
        refusals.note("gateway", number.to_bytes(32, "big"), REFUSED)
    assert refusals.why_not("gateway", CALL) == ""
    assert refusals.why_not("gateway", bytes(32))
    assert len(refusals._refused) == MOST
