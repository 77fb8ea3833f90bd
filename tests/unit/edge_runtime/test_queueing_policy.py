"""Who goes next, who goes along, and who gives way: decided without clocks and locks."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wherever_devices.decision import Decision
from wherever_edge.queueing.bounds import Bounds, bounds_of
from wherever_edge.queueing.costs import HAND_OVER_S, Costs
from wherever_edge.queueing.policy import (
    FAIR_TURN,
    Limits,
    Standing,
    company,
    displaced_by,
    longest_waiting,
    next_of,
)

NOW = 100.0
LIMITS = Limits(rows=8, size=1000)


class Prices:
    """A run takes `first` seconds and `more` for each row after; joining pays, or does not."""

    def __init__(self, first: float = 1.0, more: float = 0.1, *, pay: bool = True) -> None:
        self._first, self._more, self._pay = first, more, pay

    def expected_s(self, rows: int) -> float:
        return self._first + self._more * (rows - 1)

    def pays(self, parts: Sequence[int]) -> bool:
        return self._pay or len(parts) < 2


def standing(number: int, rank: int = 0, deadline: float = math.inf, **more) -> Standing:
    return Standing(rank, deadline, number, **{"group": "g", **more})


deadlines = st.one_of(st.just(math.inf), st.floats(NOW - 1, NOW + 5))
standings = st.lists(
    st.builds(
        standing,
        st.integers(1, 10_000),
        st.integers(0, 2),
        deadlines,
        group=st.sampled_from(["g", "h", None]),
        rows=st.integers(1, 10),
        size=st.integers(0, 400),
    ),
    min_size=1,
    max_size=30,
    unique_by=lambda each: each.number,
)


def test_the_more_urgent_goes_first_then_the_earlier_deadline_then_the_earlier_arrival():
    line = [standing(1, 2), standing(2, 1), standing(3), standing(4, deadline=NOW), standing(5)]
    order = []
    while line:
        order.append(next_of(line, 0))
        line.remove(order[-1])
    assert [each.number for each in order] == [4, 3, 5, 2, 1]


def test_one_turn_in_a_few_is_that_of_the_one_who_has_waited_longest():
    line = [standing(1, 2), standing(2)]
    assert [next_of(line, passed).number for passed in range(FAIR_TURN + 1)] == [2, 2, 2, 1, 1]


def test_a_group_that_cannot_begin_holds_up_nobody_else_and_does_not_lose_its_turn():
    line = [standing(1, 2), standing(2), standing(3, 2, group="h")]
    assert next_of(line, FAIR_TURN, {"g"}).number == 3
    assert next_of(line, FAIR_TURN, {"g", "h"}) is None
    assert next_of(line, FAIR_TURN + 1).number == 1


@given(st.lists(st.tuples(st.integers(0, 2), deadlines, st.integers(0, 2)), max_size=60))
def test_nobody_waits_for_more_turns_than_those_before_it_explain(calls):
    """Whatever comes later, and however urgent it is: each call's wait has a bound."""
    line: dict[Standing, int] = {}  # call -> the most turns that it may still wait
    passed = 0
    for number, (rank, deadline, turns) in enumerate([*calls, (0, math.inf, 10_000)], 1):
        line[standing(number, rank, deadline)] = FAIR_TURN * (len(line) + 1)
        for _ in range(min(turns, len(line))):
            chosen = next_of(line, passed)
            passed = 0 if chosen == longest_waiting(line) else passed + 1
            del line[chosen]
            line = {each: left - 1 for each, left in line.items()}
            assert all(left > 0 for left in line.values()), line
    assert not line


@given(standings, st.booleans())
def test_company_is_of_one_group_within_the_limits_and_in_time(line, pay):
    prices = Prices(pay=pay)
    first, *rest = line
    together = company(first, line, prices, NOW, LIMITS)
    assert first not in together
    assert set(together) <= set(rest)
    if first.group is None or not pay:
        assert not together
    members = [first, *together]
    assert {each.group for each in members} == {first.group}
    rows = sum(each.rows for each in members)
    if together:
        assert rows <= LIMITS.rows
        assert sum(each.size for each in members) <= LIMITS.size
    for each in members:
        if NOW + prices.expected_s(each.rows) <= each.deadline:
            assert NOW + prices.expected_s(rows) <= each.deadline


@given(standings)
def test_the_more_urgent_goes_along_before_the_less_urgent(line):
    """Where neither size nor time is short, whoever is left behind is no more urgent."""
    line = [each._replace(rows=1, size=0, deadline=math.inf) for each in line]
    first = min(line)
    together = company(first, line, Prices(), NOW, LIMITS)
    left = [each for each in line if each.group == first.group and each not in [first, *together]]
    if together and left:
        assert max(together) < min(left)
        assert len(together) == LIMITS.rows - 1


def test_one_who_would_be_late_for_it_stays_out_and_the_next_fits_in():
    tight = standing(2, deadline=NOW + 1.05)
    late_anyway = standing(3, deadline=NOW + 0.5)
    line = [standing(1), tight, late_anyway, standing(4)]
    together = company(line[0], line, Prices(), NOW, LIMITS)
    assert [each.number for each in together] == [3, 4]


def test_where_all_of_them_do_not_pay_fewer_may():
    class Small(Prices):
        def pays(self, parts: Sequence[int]) -> bool:
            return len(parts) <= 3

    line = [standing(number) for number in range(1, 9)]
    assert len(company(line[0], line, Small(), NOW, LIMITS)) == 1


@given(standings, st.integers(0, 2))
def test_only_the_newest_of_the_least_urgent_gives_way_and_only_to_the_more_urgent(line, rank):
    chosen = displaced_by(rank, line)
    if chosen is None:
        assert all(each.rank <= rank for each in line)
    else:
        assert chosen.rank > rank
        assert chosen.rank == max(each.rank for each in line)
        assert chosen.number == max(each.number for each in line if each.rank == chosen.rank)


def test_nobody_gives_way_in_an_empty_line():
    assert displaced_by(0, []) is None


# --- what joining costs and saves ---


def learned(seconds: dict[int, float], runs: int = 3) -> Costs:
    costs = Costs()
    for rows, elapsed_s in seconds.items():
        for _ in range(runs):
            costs.learn(rows, elapsed_s, joined=rows > 1)
    return costs


def test_nothing_is_joined_before_it_is_known_what_a_call_takes_alone():
    costs = Costs()
    assert costs.expected_s(5) == 0.0
    for _ in range(3):
        assert not costs.may_join()
        assert not costs.pays([1, 1])
        costs.learn(1, 1e-3)
    assert costs.may_join()
    assert costs.pays([1, 1])


def test_what_takes_no_longer_than_handing_it_over_is_never_joined():
    costs = learned({1: HAND_OVER_S})
    assert not costs.may_join()
    assert not costs.pays([1] * 32)


def test_runs_that_read_their_weights_once_pay():
    costs = learned({1: 1e-3, 8: 2e-3}, runs=40)
    assert costs.pays([1] * 8)
    assert costs.may_join()


def test_runs_that_take_as_long_for_each_row_do_not_pay_and_are_tried_again_later():
    costs = learned({1: 1e-3, 8: 7.9e-3}, runs=40)
    assert not costs.pays([1] * 8)
    assert not costs.may_join()
    for _ in range(2000):
        costs.learn(1, 1e-3)
    assert costs.may_join()
    assert costs.pays([1] * 8)


def test_one_slow_run_changes_no_judgement():
    costs = learned({1: 1e-3, 8: 2e-3}, runs=40)
    costs.learn(8, 50e-3, joined=True)
    assert costs.pays([1] * 8)


def test_where_joined_runs_fail_nothing_is_joined():
    costs = learned({1: 1e-3, 8: 2e-3})
    costs.give_up()
    assert not costs.pays([1] * 8)
    assert not costs.may_join()


@settings(max_examples=50)
@given(st.integers(1, 64), st.floats(1e-6, 1.0))
def test_a_size_is_expected_to_take_what_it_took(rows, elapsed_s):
    assert learned({rows: elapsed_s}).expected_s(rows) == pytest.approx(elapsed_s)


def test_rows_that_take_less_than_their_callers_do_around_them_are_brief():
    brief, long = learned({1: 1e-3, 16: 400e-6}), learned({1: 5e-3, 16: 16e-3})
    assert not brief.brief  # not before it is known that joining them pays
    for costs in (brief, long):
        assert costs.pays([1] * 16)
    assert (brief.brief, long.brief) == (True, False)


# --- bounds ---


DECISION = Decision(
    profile="tiny",
    threads=1,
    runs=3,
    memory_max_bytes=None,
    max_waiting=5,
    devices=("cpu",),
    precisions=("float32",),
    objective="latency",
    prefer_small=False,
    reasons=(),
)


@pytest.mark.parametrize(
    ("wished", "decision", "distance", "cores", "bounds"),
    [
        (Bounds(None, None), None, "device", 8, Bounds(None, None)),
        (Bounds(None, None), None, "cloud", 8, Bounds(8, 64)),
        (Bounds(None, None), None, "nearby", 1, Bounds(2, 64)),
        (Bounds(None, None), DECISION, "device", 8, Bounds(3, 5)),
        (Bounds(None, None), DECISION, "cloud", 8, Bounds(3, 64)),
        (Bounds(1, 0), DECISION, "cloud", 8, Bounds(1, 0)),
        (Bounds(None, 0), None, "cloud", 8, Bounds(8, 0)),
    ],
)
def test_bounds_are_as_wished_then_as_decided_then_as_the_cores_allow(
    wished, decision, distance, cores, bounds
):
    assert bounds_of(wished, decision, distance, cores) == bounds
