"""What is slower is told from what chance made look slower."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherever_convert.speed import Timing, race, slower


def timing(rounds_s):
    return Timing(float(np.median(rounds_s)), max(rounds_s), tuple(rounds_s), len(rounds_s))


@given(seed=st.integers(0, 10_000), share=st.floats(1.3, 5))
def test_what_takes_a_third_longer_is_slower_whatever_the_noise(seed, share):
    random = np.random.default_rng(seed)
    load = random.lognormal(0, 0.5, 15)  # of the machine: it hits both alike
    own, other = (random.normal(1, 0.05, 15) * load for _ in range(2))
    assert slower(timing(own * share), timing(other))
    assert not slower(timing(other), timing(own * share))


def test_equal_sessions_are_seldom_called_slower():
    random = np.random.default_rng(0)
    races = random.normal(1, 0.2, (1000, 2, 15))
    assert sum(slower(timing(own), timing(other)) for own, other in races) <= 25


def test_one_percent_more_is_as_fast_however_sure_it_is():
    rounds = [1.0 + n / 100 for n in range(15)]
    assert not slower(timing([1.01 * each for each in rounds]), timing(rounds))
    assert slower(timing([1.05 * each for each in rounds]), timing(rounds))


def test_few_rounds_tell_nothing():
    assert not slower(timing([2.0] * 5), timing([1.0] * 5))
    assert slower(timing([2.0] * 6), timing([1.0] * 6))


def test_rounds_that_were_not_at_the_same_time_cannot_be_compared():
    with pytest.raises(ValueError, match="argument"):
        slower(timing([1.0] * 7), timing([1.0] * 8))


class Counting:
    """A session that notes its turns."""

    def __init__(self, name, turns):
        self.name = name
        self.turns = turns

    def run(self, tensors):
        self.turns.append(self.name)


def test_sessions_take_turns_and_the_first_round_does_not_count():
    turns = []
    feeds = [{"x": np.zeros(1)}] * 2
    found = race({name: (Counting(name, turns), feeds) for name in "ab"}, rounds=3)
    assert "".join(turns) == "bbaaaabbbbaaaabb"
    assert {name: (each.runs, len(each.rounds_s)) for name, each in found.items()} == {
        "a": (6, 3),
        "b": (6, 3),
    }
    assert all(each.median_s <= each.p95_s for each in found.values())
