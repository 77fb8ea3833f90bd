"""What is decided about workers, without any."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherever_edge.isolation.supervision import (
    CRASHES,
    FIRST_RUN_S,
    HANG_FACTOR,
    HEALTHY_S,
    LEAST_HANG_S,
    LONGEST_DELAY_S,
    LONGEST_SENTENCE_S,
    LONGEST_START_DELAY_S,
    SENTENCE_S,
    Backoff,
    Pace,
    Suspects,
    how_it_ended,
    p99,
    told,
)

SHAPE = ((1, 3),)
seconds = st.floats(0, 100)


def paced(*runs_s):
    pace = Pace()
    for run_s in (20.0, *runs_s):  # the first one pays for the start
        pace.answered(SHAPE, run_s)
    return pace


def test_quick_runs_hang_after_a_second():
    assert paced(*[0.001] * 50).limit_s(SHAPE) == LEAST_HANG_S


def test_slow_runs_hang_after_ten_times_their_99th_percentile():
    assert paced(*[0.3] * 50).limit_s(SHAPE) == pytest.approx(3.0)


def test_the_first_run_of_all_has_ten_seconds_and_does_not_count():
    pace = Pace()
    assert pace.limit_s(SHAPE) == FIRST_RUN_S
    pace.answered(SHAPE, 8.0)
    assert pace.limit_s(SHAPE) == LEAST_HANG_S


def test_new_shapes_have_as_long_as_new_shapes_take():
    pace = paced(0.001)
    assert pace.limit_s(((1, 2),)) == LEAST_HANG_S
    pace.answered(((1, 2),), 0.5)
    assert pace.limit_s(((2, 1),)) == pytest.approx(5.0)
    assert pace.limit_s(SHAPE) == LEAST_HANG_S


def test_an_input_that_is_larger_than_all_before_has_longer():
    assert paced(0.05).limit_s(((1, 30),)) == pytest.approx(5.0)
    assert paced(0.001).limit_s(((1, 30),)) == LEAST_HANG_S


def test_what_was_slow_once_is_forgotten_after_many_quick_runs():
    assert paced(5.0, *[0.01] * 1000).limit_s(SHAPE) == LEAST_HANG_S


def test_shapes_are_remembered_up_to_a_number():
    pace = Pace()
    for n in range(1, 1000):
        pace.answered(((n,),), 0.3)
    pace.answered(((999,),), 0.2)
    assert pace.limit_s(((1,),)) == pytest.approx(3.0)
    assert pace.limit_s(((999,),)) == pytest.approx(2.0)


@given(st.lists(seconds, min_size=1, max_size=100))
def test_the_limit_is_never_under_a_second_nor_under_ten_times_most_runs(runs_s):
    limit_s = paced(*runs_s).limit_s(SHAPE)
    assert limit_s >= LEAST_HANG_S
    assert sum(run_s * HANG_FACTOR <= limit_s * 1.000001 for run_s in runs_s) >= 0.99 * len(runs_s)


@given(st.lists(seconds, min_size=1, max_size=300))
def test_p99_is_the_smallest_sample_that_99_percent_do_not_exceed(samples):
    found = p99(deque(samples))
    assert sum(sample <= found for sample in samples) >= 0.99 * len(samples)
    assert sum(sample < found for sample in samples) < 0.99 * len(samples)


def test_a_worker_starts_again_at_once_and_then_ever_later():
    backoff = Backoff()
    delays = [backoff.delay_s(lived_s=0.2, was_ready=True) for _ in range(9)]
    assert delays[0] == 0
    assert delays == sorted(delays)
    assert delays[-1] == LONGEST_DELAY_S


def test_a_worker_that_never_gets_ready_is_given_more_time():
    backoff = Backoff()
    delays = [backoff.delay_s(lived_s=0, was_ready=False) for _ in range(40)]
    assert delays[-1] == LONGEST_START_DELAY_S


def test_a_worker_that_lived_for_a_while_starts_again_at_once():
    backoff = Backoff()
    for _ in range(5):
        backoff.delay_s(lived_s=0.1, was_ready=True)
    assert backoff.delay_s(lived_s=HEALTHY_S, was_ready=True) == 0


@given(st.lists(st.tuples(seconds, st.booleans()), max_size=2000))
def test_no_delay_is_negative_or_over_its_bound(lives):
    backoff = Backoff()
    for lived_s, was_ready in lives:
        delay_s = backoff.delay_s(lived_s=lived_s, was_ready=was_ready)
        assert 0 <= delay_s <= (LONGEST_DELAY_S if was_ready else LONGEST_START_DELAY_S)


def test_an_input_is_refused_after_its_third_crash_for_a_time():
    suspects = Suspects()
    assert suspects.verdict(b"a", 0) == "free"
    assert [suspects.crashed(b"a", n, 1) for n in range(CRASHES)] == [
        "suspect",
        "suspect",
        "refused",
    ]
    assert suspects.verdict(b"b", 1) == "free"
    assert suspects.verdict(b"a", SENTENCE_S) == "refused"


def test_who_is_tried_again_and_crashes_again_is_refused_for_twice_as_long():
    suspects = Suspects()
    now_s = 0.0
    for worker in range(CRASHES):
        suspects.crashed(b"a", worker, now_s)
    for sentence_s in (SENTENCE_S, 2 * SENTENCE_S, 4 * SENTENCE_S):
        assert suspects.verdict(b"a", now_s + sentence_s - 1) == "refused"
        now_s += sentence_s
        assert suspects.verdict(b"a", now_s) == "suspect"
        assert suspects.crashed(b"a", int(now_s) + 100, now_s) == "refused"
    for worker in range(1000, 1100):
        suspects.crashed(b"a", worker, now_s)
    assert suspects.verdict(b"a", now_s + LONGEST_SENTENCE_S) == "suspect"


def test_the_oldest_suspect_is_forgotten_when_there_are_too_many():
    suspects = Suspects()
    for number in range(70):
        suspects.crashed(number.to_bytes(1, "big"), number, 0)
    assert len(suspects) == 64
    assert suspects.verdict(b"\x00", 0) == "free"
    assert suspects.verdict(b"\x45", 0) == "suspect"


def test_an_input_that_is_answered_is_free():
    suspects = Suspects()
    for worker in range(10):
        assert suspects.crashed(b"a", worker, 0) == "suspect"
        suspects.answered(b"a")


def test_a_worker_that_dies_with_the_same_input_several_times_in_it_counts_once():
    suspects = Suspects()
    for _ in range(10):
        assert suspects.crashed(b"a", 1, 0) == "suspect"


@given(st.lists(st.tuples(st.sampled_from("ca"), st.integers(0, 200)), max_size=400))
def test_only_an_input_that_crashed_thrice_without_an_answer_is_refused(events):
    suspects = Suspects()
    crashes: dict[int, int] = {}
    for now_s, (kind, number) in enumerate(events):
        key = bytes([number])
        if kind == "c":
            suspects.crashed(key, now_s, now_s)
            crashes[number] = crashes.get(number, 0) + 1
        else:
            suspects.answered(key)
            crashes[number] = 0
        assert suspects.verdict(key, now_s) != "refused" or crashes[number] >= CRASHES
        assert len(suspects) <= 64


@pytest.mark.parametrize(
    ("returncode", "how", "words"),
    [
        (-11, "SIGSEGV", "was killed by SIGSEGV"),
        (-9, "SIGKILL", "was killed by SIGKILL (the system does this when memory runs out)"),
        (-63, "signal 63", "was killed by signal 63"),
        (3, "exit 3", "ended by itself (exit code 3)"),
    ],
)
def test_an_end_has_a_name_and_words(returncode, how, words):
    assert how_it_ended(returncode) == how
    assert told(how) == words
    assert told(how, "bad_alloc") == f'{words}; its last words: "bad_alloc"'
