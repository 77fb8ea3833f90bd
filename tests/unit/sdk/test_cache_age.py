"""How old a kept answer is, whatever is done to the clock on the wall."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherever._cache_age import Stamp, is_fresh, present, stamp_of

KEPT = Stamp("this boot", 100.0, 1_000_000.0)
JUMPS = st.floats(-1e9, 1e9)


@pytest.mark.parametrize(("age_s", "fresh"), [(0, True), (60, True), (60.1, False)])
def test_an_answer_is_given_until_it_is_too_old(age_s, fresh):
    now = Stamp("this boot", KEPT.steady_s + age_s, KEPT.wall_s + age_s)
    assert is_fresh(KEPT, now, 60.0) is fresh
    assert is_fresh(KEPT, now, None)


@given(st.floats(0, 1e6), JUMPS)
def test_no_jump_of_the_wall_clock_changes_an_age_within_a_boot(age_s, jump_s):
    now = Stamp("this boot", KEPT.steady_s + age_s, KEPT.wall_s + age_s + jump_s)
    assert is_fresh(KEPT, now, 60.0) is (now.steady_s - KEPT.steady_s <= 60)


@given(JUMPS)
def test_after_another_boot_the_wall_clock_tells_and_the_future_is_not_believed(later_s):
    now = Stamp("next boot", 5.0, KEPT.wall_s + later_s)
    assert is_fresh(KEPT, now, 60.0) is (0 <= now.wall_s - KEPT.wall_s <= 60)


def test_a_stamp_survives_json_and_nothing_else_is_one():
    stamp = present()
    assert stamp_of(json.loads(json.dumps(stamp))) == stamp
    for other in (None, [], "now", ["boot", 1.0], ["boot", "1", 2.0], [1, 2.0, 3.0], {"clock": 1}):
        assert stamp_of(other) is None


def test_the_steady_clock_is_one_and_the_same_and_only_grows():
    first, second = present(), present()
    assert first.clock == second.clock != ""
    assert first.steady_s <= second.steady_s
