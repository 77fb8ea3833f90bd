"""A budget with prices: what hosts may be asked, and what came back counts."""

from __future__ import annotations

from contextlib import nullcontext

import pytest

from wherever._escalation.purse import Prices, Purse
from wherever._escalation.words import PACED, Bar, Budget
from wherever._routing.plan import Candidate

CLOUD = Candidate("gw:8001", "cloud")
FREE = Prices()


def purse_of(*, prices: Prices = FREE, **budget: float) -> Purse:
    return Purse(Budget(**budget), prices, lambda: 0.0, nullcontext())


def leave(purse: Purse, up_bytes: int = 0, *, admitted: str = "", last_hope: bool = False) -> str:
    guarded = purse.guarded(lambda *_: admitted, lambda: up_bytes)
    return guarded(CLOUD, last_hope)


def test_a_call_that_the_budget_has_no_room_for_is_refused_unless_nobody_else_could_answer():
    purse = purse_of(calls=1)
    assert leave(purse) == ""
    assert leave(purse).startswith("the budget of 1 calls an hour is spent until")
    assert leave(purse, last_hope=True) == ""


def test_a_call_that_its_host_refuses_costs_nothing():
    purse = purse_of(calls=1)
    assert leave(purse, admitted="it is down") == "it is down"
    assert leave(purse) == ""


def test_what_comes_back_counts_too():
    purse = purse_of(bytes=1000)
    assert leave(purse, 300) == ""
    purse.received("cloud", 0)
    purse.received("cloud", 500)
    assert leave(purse, 300).startswith("the budget of 1,000 bytes an hour is spent until")


@pytest.mark.parametrize(("place", "cost"), [("cloud", 3.0), ("nearby", 0.0), ("device", 0.0)])
def test_gateways_cost_by_the_call_and_by_what_travels(place, cost):
    assert Prices(1.0, 1.0).cost(place, 2, 10**9) == cost


def test_what_gateways_cost_is_spent():
    purse = purse_of(prices=Prices(per_call=1.0), cost=1.5)
    assert leave(purse) == ""
    assert leave(purse).startswith("the budget of 1.5 (cost) an hour is spent until")


def test_a_bar_is_lowered_to_where_the_budget_leads_unless_it_is_promised():
    purse = purse_of(calls=1)
    usual, promised = Bar(0.9), Bar(0.9, promised=True)
    purse.seen(None)
    assert (purse.paced(None), purse.paced(usual)) == (None, usual), "nothing is known yet"
    for number in range(200):
        purse.seen(0.5 + number / 1000)
    lowered = purse.paced(usual)
    assert lowered is not None
    assert (lowered.why, lowered.wanted) == (PACED, 0.9)
    assert lowered.threshold < 0.9
    alone = purse.paced(None)
    assert alone is not None
    assert (alone.threshold, alone.wanted) == (lowered.threshold, 0.0)
    assert purse.paced(promised) == promised
    assert purse.paced(Bar(0.001)) == Bar(0.001)
