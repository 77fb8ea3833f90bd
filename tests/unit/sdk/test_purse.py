"""A budget with prices: what hosts may be asked, and what came back counts."""

from __future__ import annotations

import numpy as np
import pytest

from wherever._escalation.words import Budget
from wherever._purse import Prices, Purse
from wherever._routing.forecast import Work
from wherever._routing.plan import Candidate
from wherever_contracts.receipts import Answer, Ran

CLOUD = Candidate("gw:8001", "cloud")
RAN = Ran("m", "1.0.0", "large", "", "", "gw", "e", "1", "cpu", "fp32", 1)


def answer(down_bytes: int) -> Answer:
    return Answer({"y": np.zeros(1, np.float32)}, 0.5, RAN, 0.001, down_bytes=down_bytes)


def leave(purse: Purse, up_bytes: int = 0, *, admitted: str = "", last_hope: bool = False) -> str:
    guarded = purse.guarded(lambda *_: admitted, lambda variant: Work("m", variant, up_bytes))
    return guarded(CLOUD, last_hope)


def test_a_call_that_the_budget_has_no_room_for_is_refused_unless_nobody_else_could_answer():
    purse = Purse(Budget(calls=1), Prices())
    assert leave(purse) == ""
    assert leave(purse).startswith("the budget of 1 calls an hour is spent until")
    assert leave(purse, last_hope=True) == ""


def test_a_call_that_its_host_refuses_costs_nothing():
    purse = Purse(Budget(calls=1), Prices())
    assert leave(purse, admitted="it is down") == "it is down"
    assert leave(purse) == ""


def test_what_comes_back_of_an_audit_counts_too():
    purse = Purse(Budget(bytes=1000), Prices())
    assert leave(purse, 300) == ""
    purse.came("cloud", answer(500))
    assert leave(purse, 300).startswith("the budget of 1,000 bytes an hour is spent until")


@pytest.mark.parametrize(("place", "cost"), [("cloud", 3.0), ("nearby", 0.0), ("device", 0.0)])
def test_gateways_cost_by_the_call_and_by_what_travels(place, cost):
    assert Prices(1.0, 1.0).use(place, 2, 10**9) == Budget(2, 10**9, cost)
