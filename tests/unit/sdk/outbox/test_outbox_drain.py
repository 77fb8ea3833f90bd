"""Which call is sent next, when, and what becomes of one that fails."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherever._outbox.age import Stamp
from wherever._outbox.delivery import worst
from wherever._outbox.drain import (
    FIRST_PAUSE_S,
    LONGEST_PAUSE_S,
    LONGEST_REST_S,
    LONGEST_TIMEOUT_S,
    MOST_FAILURES,
    Drain,
    Spent,
    Way,
    is_final,
)
from wherever_contracts.errors import (
    BadAnswerError,
    BlockedError,
    ClosedError,
    DeadlineError,
    InputError,
    NotAllowedError,
    OverloadedError,
    RefusedError,
    RemoteError,
    SettingsError,
    UnreachableError,
    UntrustedPeerError,
)

NOTHING = Spent(0, 0.0)


def drain(share=0.2, chance=lambda: 0.0):
    return Drain(share, chance)


@pytest.fixture
def entry(scene):
    def entry(id_="a-1", priority="interactive", at=1.8e9):
        return scene.letter(id_, priority=priority, created=Stamp(at, 0.0, "b")).entry

    return entry


def test_the_most_urgent_goes_first_and_of_those_the_oldest(entry):
    waiting = [
        entry("d", "background", 1.0),
        entry("b", "interactive", 3.0),
        entry("c", "batch", 1.0),
        entry("a", "interactive", 2.0),
    ]
    sender, order = drain(share=1.0), []
    while waiting:
        chosen = sender.choose(waiting, 0.0)
        order.append(chosen.id)
        waiting.remove(chosen)
        sender.answered(chosen, NOTHING, 0.0)
    assert order == ["a", "b", "c", "d"]
    assert sender.choose([], 0.0) is None
    assert sender.wait_s([], 0.0) == math.inf


@given(
    st.lists(st.tuples(st.floats(0.001, 60), st.integers(0, 10**7)), min_size=2, max_size=30),
    st.floats(0.01, 1),
    st.integers(0, 2**32),
)
def test_no_more_of_the_uplink_is_used_than_the_share(scene, sent, share, seed):
    sender = Drain(share, random.Random(seed).random)
    one = scene.letter().entry
    now = busy_s = 0.0
    for elapsed_s, size in sent:
        now += sender.wait_s([one], now)
        assert sender.choose([one], now) is one
        now += elapsed_s
        sender.answered(one, Spent(size, elapsed_s), now)
        busy_s += elapsed_s
    now += sender.wait_s([one], now)
    assert busy_s <= share * now * (1 + 1e-9) + 1e-6


@given(
    st.floats(0, 100), st.floats(0, 100), st.floats(0, 10), st.floats(1, 1e9), st.integers(0, 10**8)
)
def test_the_uplink_counts_as_busy_for_no_longer_than_the_call_took(took, away, trip, rate, size):
    known = Spent(size, took, away, Way(trip, rate))
    assert 0 <= known.uplink_s <= Spent(size, took, away).uplink_s <= took


def test_small_calls_on_a_way_that_is_known_do_not_wait_for_round_trips():
    small = Spent(1000, 0.2, 0.05, Way(0.14, 1e6))
    assert small.uplink_s == pytest.approx(0.01)
    assert Spent(1000, 0.2, 0.05, Way(0.15, 1e5)).uplink_s == pytest.approx(0.01)


def test_pauses_double_up_to_the_longest_and_end_with_the_first_answer(entry):
    sender, one, now = drain(), entry(), 0.0
    pauses = []
    for _ in range(12):
        assert sender.failed(one, UnreachableError("gone"), NOTHING, now) == "again"
        pauses.append(sender.wait_s([one], now))
        assert sender.choose([one], now) is None
        now += pauses[-1]
    assert pauses[0] == FIRST_PAUSE_S / 2
    assert pauses[-1] == LONGEST_PAUSE_S / 2
    assert pauses == sorted(pauses)
    assert sender.choose([one], now) is one
    sender.answered(one, NOTHING, now)
    assert sender.pause_s == FIRST_PAUSE_S


@given(st.floats(0, 1, exclude_max=True))
def test_a_pause_is_drawn_from_half_of_it_to_the_whole(scene, chance):
    sender = Drain(0.2, lambda: chance)
    one = scene.letter().entry
    sender.failed(one, UnreachableError("gone"), NOTHING, 0.0)
    assert FIRST_PAUSE_S / 2 <= sender.wait_s([one], 0.0) <= FIRST_PAUSE_S


@pytest.mark.parametrize(("said", "least"), [(5.0, 5.0), (math.inf, LONGEST_REST_S), (0.01, 0.25)])
def test_a_host_that_says_when_to_come_again_is_heeded(entry, said, least):
    error = OverloadedError("full")
    error.retry_after_s = said
    sender = drain()
    sender.failed(entry(), error, NOTHING, 0.0)
    assert sender.wait_s([entry()], 0.0) == least


@pytest.mark.parametrize("kind", [RemoteError, BadAnswerError])
def test_a_call_that_makes_its_host_fail_rests_while_others_go_on_and_is_given_up(entry, kind):
    sender, bad, good, now = drain(), entry("bad", at=1.0), entry("good", at=2.0), 0.0
    for _ in range(MOST_FAILURES - 1):
        assert sender.failed(bad, kind("it broke"), NOTHING, now) == "again"
        assert sender.choose([bad, good], now) is good
        assert sender.wait_s([bad, good], now) == 0
        now += sender.wait_s([bad], now)
        assert sender.choose([bad, good], now) is bad
    assert sender.failed(bad, kind("it broke"), NOTHING, now) == "final"


def test_a_call_that_was_forgotten_begins_anew(entry):
    sender, bad = drain(), entry("bad")
    for _ in range(MOST_FAILURES - 1):
        sender.failed(bad, RemoteError("it broke"), NOTHING, 0.0)
    sender.forget_all_but({"another"})
    assert sender.failed(bad, RemoteError("it broke"), NOTHING, 0.0) == "again"


def test_a_call_that_needs_longer_is_given_longer(entry):
    sender, one = drain(), entry()
    first_s = sender.timeout_s(one, 64_000)
    assert first_s == 12
    sender.failed(one, DeadlineError("late"), NOTHING, 0.0)
    assert sender.timeout_s(one, 64_000) == 2 * first_s
    for _ in range(40):
        sender.failed(one, DeadlineError("late"), NOTHING, 0.0)
    assert sender.timeout_s(one, 64_000) == LONGEST_TIMEOUT_S


def test_an_answer_elsewhere_ends_the_pause_and_keeps_the_share(entry):
    sender, one = drain(share=0.1), entry()
    for _ in range(8):
        sender.failed(one, UnreachableError("gone"), Spent(1, 0.01), 0.0)
    sender.hurry(0.0)
    assert sender.wait_s([one], 0.0) == pytest.approx(0.09)


@pytest.mark.parametrize(
    ("error", "final"),
    [
        (RefusedError("no such model"), True),
        (InputError("image", "an image", "a list"), True),
        (BlockedError("beyond the boundary"), True),
        (NotAllowedError("no key"), False),
        (UntrustedPeerError("a stranger"), False),
        (UnreachableError("gone"), False),
        (ClosedError("closed"), False),
        (SettingsError("the key would travel in the clear"), False),
    ],
)
def test_only_what_no_time_can_change_is_final(entry, error, final):
    assert is_final(error) is final
    assert drain().failed(entry(), error, NOTHING, 0.0) == ("final" if final else "again")


def test_of_several_hosts_failures_the_most_hopeful_decides():
    gone, refused, broke = UnreachableError("gone"), RefusedError("no"), RemoteError("broke")
    assert worst([refused, gone]) is gone
    assert worst([gone, broke]) is broke
    assert worst([refused, refused]) is refused
