"""How long a call may wait for company."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from wherever_edge.queueing.sharing import AS_USUAL, Sharing

seconds = st.floats(0, 1000)


def test_without_a_rule_nobody_waits_for_company():
    assert AS_USUAL.patience_s(None, 1.0) == 0


def test_without_a_deadline_it_is_what_the_rule_says():
    assert Sharing(0.005).patience_s(None, 10.0) == 0.005


@given(seconds, st.floats(-10, 1000), seconds)
def test_nobody_waits_for_longer_than_leaves_time_for_the_run(delay_s, left_s, expected_s):
    patience_s = Sharing(delay_s).patience_s(left_s, expected_s)
    assert 0 <= patience_s <= delay_s
    assert patience_s == 0 or patience_s <= left_s - expected_s
