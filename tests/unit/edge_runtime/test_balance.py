"""Which of several hosts of one place is asked first."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherever_edge.host_health.balance import arrange, burden


def never() -> float:
    raise AssertionError("there is nothing to draw")


@pytest.mark.parametrize("hosts", [(), ("a",)])
def test_one_host_needs_no_chance(hosts):
    assert arrange(hosts, lambda _: 1.0, never) == hosts


def test_of_two_the_less_burdened_goes_first_whatever_the_chance_is():
    cost = {"a": 2.0, "b": 1.0}
    for chance in (0.0, 0.5, 0.999):
        assert arrange(("a", "b"), cost.__getitem__, lambda at=chance: at) == ("b", "a")


def test_the_busier_a_host_is_the_later_it_is_asked():
    assert burden(0.1, 0) < burden(0.05, 2)
    assert burden(0.1, 0) == burden(0.1, 0, 0.5) < burden(0.1, 0, 1.5)


@given(st.permutations(range(6)), st.randoms())
def test_all_hosts_are_there_once_and_the_worst_of_three_or_more_is_never_first(order, source):
    arranged = arrange(order, float, source.random)
    assert sorted(arranged) == sorted(order)
    assert arranged[0] != 5
    assert arranged[0] < arranged[1]


def test_among_equals_every_host_gets_its_share():
    source = random.Random(1)
    firsts = Counter(arrange("abcd", lambda _: 1.0, source.random)[0] for _ in range(4000))
    assert all(900 < firsts[host] < 1100 for host in "abcd")
