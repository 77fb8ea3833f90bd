"""Tenants share the engines and the places by their weights, whatever one of them sends."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherever_edge.queueing import shares as shares_module
from wherever_edge.queueing.policy import (
    FAIR_TURN,
    Limits,
    Standing,
    ahead_of,
    company,
    displaced_by,
    fairest,
    level,
    longest_waiting,
    next_of,
    several_tenants,
)
from wherever_edge.queueing.shares import Places, Shares

LIMITS = Limits(rows=8)


def standing(number: int, tenant: str = "", rank: int = 0, weight: float = 1.0, **more) -> Standing:
    return Standing(rank, math.inf, number, tenant=tenant, weight=weight, **{"group": "g", **more})


class Floor:
    """An engine with a line before it, without a clock: whoever has the turn has run at once.

    Attributes:
        served: the calls in the order of their turns.
    """

    def __init__(self) -> None:
        self.line: list[Standing] = []
        self.served: list[Standing] = []
        self._shares = Shares()
        self._passed = 0

    def take(self, cost_s: float = 1.0) -> Standing:
        """One turn."""
        start = self._shares.start
        chosen = next_of(self.line, self._passed, (), start)
        assert chosen is not None
        self._passed = 0 if chosen == fairest(self.line, start) else self._passed + 1
        self._shares.begin(chosen.rank, chosen.tenant, chosen.weight, cost_s)
        self.line.remove(chosen)
        self.served.append(chosen)
        return chosen


weights = st.lists(st.sampled_from([0.5, 1.0, 2.0, 3.0, 7.0]), min_size=2, max_size=5)


@given(weights, st.data())
def test_the_turns_of_tenants_that_always_have_work_converge_to_their_weights(given_weights, data):
    floor = Floor()
    tenants = {f"t{n}": weight for n, weight in enumerate(given_weights)}
    number = 0
    for name, weight in tenants.items():
        for _ in range(data.draw(st.integers(1, 9))):
            number += 1
            floor.line.append(standing(number, name, 0, weight))
    turns = 200
    for _ in range(turns):
        chosen = floor.take()
        number += 1
        floor.line.append(standing(number, chosen.tenant, 0, chosen.weight))
    counted = Counter(each.tenant for each in floor.served)
    for name, weight in tenants.items():
        fair = turns * weight / sum(tenants.values())
        assert abs(counted[name] - fair) <= 1 + weight / min(tenants.values())


@given(st.lists(st.floats(0.001, 3.0), min_size=30, max_size=30))
def test_seconds_are_shared_and_not_calls(costs):
    """One tenant's calls take as long as they like: it has fewer of them."""
    floor = Floor()
    had = {"long": 0.0, "short": 0.0}
    for number in range(600):
        floor.line = [standing(2 * number, "long"), standing(2 * number + 1, "short")]
        chosen = next_of(floor.line, 0, (), floor._shares.start)
        assert chosen is not None
        cost = costs[number % len(costs)] if chosen.tenant == "long" else 0.05
        floor._shares.begin(0, chosen.tenant, 1.0, cost)
        had[chosen.tenant] += cost
    assert abs(had["long"] - had["short"]) <= max(*costs, 0.05) + 1e-6


@given(st.integers(1, 200), st.lists(st.tuples(st.integers(0, 12), st.integers(0, 3)), max_size=40))
def test_a_light_tenant_is_next_or_nearly_so_however_much_the_heavy_one_sends(held, sent):
    """Next, where the other had turns since its last call; else after two of the other's."""
    floor = Floor()
    floor.line = [standing(number, "heavy") for number in range(held)]
    number = held
    floor.take()
    since = 1
    for more, taken in sent:
        floor.line += [standing(number + n, "heavy") for n in range(more)]
        number += more + 1
        for _ in range(min(taken, len(floor.line))):
            floor.take()
            since += 1
        light = standing(number, "light")
        floor.line.append(light)
        turns = 0
        while light in floor.line:
            floor.take()
            turns += 1
        assert turns <= (1 if since > 1 else 3)
        since = 0


calls = st.lists(
    st.tuples(
        st.integers(0, 2),  # class
        st.sampled_from(["a", "b", "c"]),
        st.sampled_from([0.0, 1e-3, 5.0]),  # what its turn costs
        st.integers(0, 2),  # turns taken before the next comes
    ),
    max_size=60,
)


@given(calls)
def test_no_call_waits_for_ever_whatever_classes_and_tenants_come_after_it(sent):
    """The flood goes on; the first call has its turn within a bound that it does not change."""
    floor = Floor()
    first = standing(0, "patient", 2)
    floor.line.append(first)
    flood = [*sent, *[(0, "a", 1.0, 1), (1, "b", 1.0, 1), (2, "c", 1e-3, 1)] * 30]
    turns = 0
    for number, (rank, tenant, cost_s, taken) in enumerate(flood, 1):
        floor.line.append(standing(number, tenant, rank))
        for _ in range(min(taken, len(floor.line))):
            turns += first in floor.line
            floor.take(cost_s)
    # its tenant had nothing: it is behind at most one call of each other tenant
    assert first not in floor.line
    assert turns <= FAIR_TURN * 4


@given(calls)
def test_every_call_has_exactly_one_turn(sent):
    floor = Floor()
    everyone = [standing(n, tenant, rank) for n, (rank, tenant, _, _) in enumerate(sent)]
    for each, (_, _, cost_s, taken) in zip(everyone, sent, strict=True):
        floor.line.append(each)
        for _ in range(min(taken, len(floor.line))):
            floor.take(cost_s)
    while floor.line:
        floor.take()
    assert sorted(each.number for each in floor.served) == [each.number for each in everyone]


def test_classes_go_first_whatever_their_tenants_had():
    shares = Shares()
    shares.begin(0, "urgent", 1.0, 100.0)
    line = [standing(1, "calm", rank=1), standing(2, "urgent"), standing(3, "other")]
    assert next_of(line, 0, (), shares.start) == line[2]
    assert next_of(line[:2], 0, (), shares.start) == line[1]
    assert next_of(line, FAIR_TURN - 1, (), shares.start) == line[0]


def test_a_tenant_whose_group_is_busy_holds_up_nobody():
    line = [standing(1, "a"), standing(2, "b", group="h")]
    assert next_of(line, FAIR_TURN, {"g"}, Shares().start) == line[1]
    assert next_of(line, FAIR_TURN, {"g", "h"}, Shares().start) is None


def test_the_deadlines_of_a_tenant_order_its_own_calls_alone():
    shares = Shares()
    shares.begin(0, "b", 1.0, 1.0)
    line = [standing(1, "a"), standing(2, "a")._replace(deadline=9.0), standing(3, "b")]
    line[2] = line[2]._replace(deadline=1.0)
    assert next_of(line, 0, (), shares.start) == line[1]


def test_the_fair_turn_is_that_of_the_tenant_that_had_least_in_the_class_that_waits_longest():
    shares = Shares()
    line = [
        standing(1, "a", 1),
        standing(3, "b", 1),
        standing(2, "b", 1),
        standing(4, "b"),
    ]
    assert fairest(line, shares.start) == line[0]
    shares.begin(1, "a", 1.0, 1.0)
    assert fairest(line, shares.start) == line[2]
    assert longest_waiting(line) == fairest(line) == line[0]
    assert level(0, "a") == level(1, "b")
    assert several_tenants(line)
    assert not several_tenants(line[1:])


# --- what tenants had ---


def test_time_that_was_not_used_is_lost():
    shares = Shares()
    shares.begin(0, "busy", 1.0, 5.0)
    shares.begin(0, "busy", 1.0, 5.0)
    assert (shares.start(0, "idle"), shares.start(0, "busy")) == (5.0, 10.0)
    assert shares.start(1, "busy") == 0.0


def test_who_goes_along_puts_nobody_behind():
    shares = Shares()
    shares.begin(0, "a", 1.0, 1.0)
    shares.begin(0, "a", 1.0, 1.0, leads=False)
    assert (shares.start(0, "a"), shares.start(0, "b")) == (2.0, 0.0)


def test_weights_and_costs_that_are_as_good_as_nothing_count_a_little():
    shares = Shares()
    shares.begin(0, "a", 0.0, 1.0)
    shares.begin(0, "b", 1.0, 0.0)
    assert shares.start(0, "a") == pytest.approx(1.0 / shares_module.LEAST_WEIGHT)
    assert shares.start(0, "b") > 0


@pytest.mark.parametrize("leads", [True, False])
def test_what_is_remembered_of_tenants_is_bounded(leads):
    shares = Shares()
    for number in range(3 * shares_module._MOST):
        if number % 1000 == 0:
            shares.begin(0, "heavy", 1.0, 100.0)
        shares.begin(0, f"t{number}", 1.0, 1.0, leads=leads)
        assert len(shares._had) <= shares_module._MOST
    assert shares.start(0, "heavy") >= shares.start(0, "t0") + 100.0


# --- who goes along ---


class Prices:
    """A second for each row, and half of it together."""

    def expected_s(self, rows: int) -> float:
        return 1.0 * rows

    def pays(self, parts: Sequence[int]) -> bool:
        return True


def test_where_a_run_has_no_room_for_all_tenants_take_turns_in_it():
    line = [standing(n, "heavy") for n in range(20)] + [standing(n, "light") for n in (20, 21)]
    shares = Shares()
    together = company(line[0], line, Prices(), 0.0, LIMITS, shares.start)
    assert Counter(each.tenant for each in together) == {"heavy": 5, "light": 2}
    assert [each.tenant for each in together[:3]] == ["light", "heavy", "light"]
    assert all(each.tenant == "heavy" for each in company(line[0], line, Prices(), 0.0, LIMITS))


@given(st.integers(1, 20), st.integers(1, 20), st.sampled_from([1.0, 3.0]))
def test_a_run_is_shared_by_weight_as_turns_are(heavy, light, weight):
    line = [standing(n, "heavy") for n in range(heavy)]
    line += [standing(heavy + n, "light", 0, weight) for n in range(light)]
    members = [line[0], *company(line[0], line, Prices(), 0.0, LIMITS, Shares().start)]
    assert len(members) == min(LIMITS.rows, len(line))
    counted = Counter(each.tenant for each in members)
    if len(line) > LIMITS.rows and counted["light"] < light:
        assert counted["light"] >= math.floor(LIMITS.rows * weight / (1 + weight))


# --- who gives way ---


def test_the_newest_call_of_who_holds_most_gives_way_to_one_that_holds_less():
    line = [standing(n, "heavy") for n in range(4)] + [standing(n, "light") for n in (4, 5)]
    assert displaced_by(0, line, "new") == line[3]
    assert displaced_by(0, line, "light") == line[3]
    assert displaced_by(0, line[1:], "light") is None  # three each would be two and three
    assert displaced_by(0, line, "heavy") is None


def test_places_are_shared_by_weight():
    line = [standing(n, "large", 0, 3.0) for n in range(6)] + [standing(6, "small")]
    assert displaced_by(0, line, "small") is None
    assert displaced_by(0, line, "other", 1.0) == line[5]
    assert displaced_by(0, line[3:], "other", 1.0) is None


def test_who_gives_way_is_of_the_least_urgent_class_and_of_its_fullest_tenant():
    line = [
        standing(1, "a", 2),
        standing(2, "a", 2),
        standing(3, "b", 2),
        standing(4, "c", 1),
    ]
    assert displaced_by(1, line, "a") == line[1]
    assert displaced_by(2, line, "c") == line[1]
    assert displaced_by(2, line, "b") is None
    assert displaced_by(1, line[3:], "c") is None


lines = st.lists(
    st.builds(
        standing,
        st.integers(1, 10_000),
        st.sampled_from("abc"),
        st.integers(0, 2),
        st.sampled_from([1.0, 2.0]),
    ),
    max_size=30,
    unique_by=lambda each: each.number,
)


@given(lines, st.integers(0, 2), st.sampled_from("abcd"), st.sampled_from([1.0, 2.0]))
def test_giving_way_never_turns_back(line, rank, tenant, weight):
    """Who took a place by its share cannot lose it at once to the one that gave way."""
    line = [each._replace(weight=1.0 if each.tenant in "ab" else 2.0) for each in line]
    weight = {"a": 1.0, "b": 1.0, "c": 2.0}.get(tenant, weight)
    gone = displaced_by(rank, line, tenant, weight)
    if gone is not None and gone.rank == rank:
        assert gone.tenant != tenant
        after = [each for each in line if each != gone]
        after.append(standing(20_000, tenant, rank, weight))
        again = displaced_by(gone.rank, after, gone.tenant, gone.weight)
        assert again is None or again.tenant != tenant


@given(lines, st.integers(0, 2), st.sampled_from("abcd"), st.sampled_from([1.0, 2.0]))
def test_as_many_go_before_a_newcomer_as_its_share_and_its_class_explain(
    line, rank, tenant, weight
):
    ahead = ahead_of(rank, line, tenant, weight)
    urgent = [each for each in line if each.rank < rank]
    own = [each for each in line if each.rank == rank and each.tenant == tenant]
    assert len(urgent) + len(own) <= ahead <= len([e for e in line if e.rank <= rank])


def test_a_light_tenant_is_not_behind_all_that_the_heavy_one_holds():
    line = [standing(n, "heavy") for n in range(50)]
    assert ahead_of(0, line, "light", 1.0) == 1.0
    assert ahead_of(0, line, "heavy", 1.0) == 50.0
    assert ahead_of(0, line, "light", 0.1) == pytest.approx(10.0)


# --- places ---


def test_alone_a_tenant_may_hold_every_place_and_no_more():
    places = Places()
    for _ in range(4):
        assert places.spare_one("a", 4)
        places.take("a")
    assert not places.spare_one("a", 4)


def test_beside_others_it_has_its_part_by_weight():
    places = Places()
    for _ in range(8):
        places.take("heavy")
    assert places.spare_one("light", 8)
    assert not places.spare_one("light", 8, 0.1)
    for _ in range(4):
        places.take("light")
    assert not places.spare_one("light", 8)
    assert places.spare_one("light", 8, 3.0)
    assert places.spare_one("third", 8)


def test_who_gave_all_its_places_back_has_no_share_of_them():
    places = Places()
    places.take("a")
    places.take("a")
    places.take("b")
    places.give_back("b")
    assert places.spare_one("a", 3)
    places.give_back("a")
    places.give_back("a")
    assert (places._held, places._weights) == ({}, {})


@given(st.lists(st.tuples(st.sampled_from("abcde"), st.booleans()), max_size=200))
def test_never_are_twice_as_many_inside_as_there_are_places(moves):
    """Anybody up to the places there are, and beyond them those within their share alone."""
    places, held, most = Places(), Counter(), 10
    for tenant, comes in moves:
        if not comes and held[tenant]:
            held[tenant] -= 1
            places.give_back(tenant)
        elif comes and (held.total() < most or places.spare_one(tenant, most)):
            held[tenant] += 1
            places.take(tenant)
        assert held.total() < 2 * most
