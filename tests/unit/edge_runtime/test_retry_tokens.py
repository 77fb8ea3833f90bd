"""The budget for attempts beyond a call's first."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherever_edge.host_health.tokens import MAX_TOKENS, TOKEN_RATIO, RetryTokens


def test_half_of_the_tokens_can_be_spent_at_once_and_no_more():
    tokens = RetryTokens()
    assert [tokens.spend() for _ in range(7)] == [True] * 5 + [False] * 2
    assert not tokens.allows


def test_failures_take_the_leave_for_extra_attempts_without_any_being_made():
    tokens = RetryTokens()
    for _ in range(5):
        tokens.failed()
    assert not tokens.spend()
    for _ in range(20):
        tokens.failed()
    assert tokens.tokens == 0


def test_answers_give_back_a_fraction_up_to_what_there_was():
    tokens = RetryTokens(max_tokens=4, token_ratio=0.5)
    for _ in range(4):
        tokens.failed()
    answers = 0
    while not tokens.allows:
        tokens.answered()
        answers += 1
    assert answers == 5
    for _ in range(10):
        tokens.answered()
    assert tokens.tokens == 4


def test_a_look_whether_a_probe_may_be_sent_takes_nothing():
    tokens = RetryTokens()
    assert all(tokens.allows for _ in range(100))
    assert tokens.tokens == MAX_TOKENS


@given(st.lists(st.sampled_from(["spend", "answered", "failed"]), max_size=300))
def test_extra_attempts_are_at_most_a_share_of_the_answers_and_what_there_was_at_first(events):
    tokens = RetryTokens()
    extra = sum(tokens.spend() for _ in range(3))
    answers = 0
    for event in events:
        if event == "spend":
            extra += tokens.spend()
        elif event == "answered":
            tokens.answered()
            answers += 1
        else:
            tokens.failed()
        assert 0 <= tokens.tokens <= MAX_TOKENS
    assert extra <= MAX_TOKENS / 2 + TOKEN_RATIO * answers + 1e-6 + 1


@pytest.mark.parametrize("left", [5.0, 5.01])
def test_they_are_given_only_above_half(left):
    tokens = RetryTokens()
    tokens.tokens = left
    assert tokens.spend() == (left > 5)
