"""The names of a journal's files, and which of them go."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from wherever._records.layout import (
    SLACK_S,
    Held,
    adoptable,
    begun_at,
    on_disk,
    segment_name,
    surplus,
)

TIMES = st.floats(0, 4e9)
SIZES = st.integers(0, 5).map(lambda blocks: 4096 * blocks)
FACTS = st.tuples(SIZES, st.integers(0, 20).map(float))
SEGMENTS = st.lists(st.tuples(FACTS, st.booleans()), max_size=6).map(
    lambda given: [Held(f"s{n}", *facts, written) for n, (facts, written) in enumerate(given)]
)
INPUTS = st.lists(FACTS, max_size=6).map(
    lambda given: [Held(f"i{n}", *facts) for n, facts in enumerate(given)]
)


def segment(since_s, size=4096, *, written=False, kind="receipts"):
    return Held(segment_name(kind, since_s, 7), size, since_s, written)


def inputs(name, since_s, size=4096):
    return Held(f"inputs/{name}.frame", size, since_s)


def names(held):
    return [each.name for each in held]


@given(TIMES, st.integers(1, 1 << 22), st.integers(0, 99))
def test_a_segment_s_name_says_when_it_was_begun(at_s, pid, number):
    for kind in ("receipts", "feedback"):
        name = segment_name(kind, at_s, pid, number)
        assert abs(begun_at(name) - at_s) < 1e-5
        assert begun_at(name, kind) == begun_at(name)
    assert begun_at(segment_name("receipts", at_s, pid), "feedback") is None


@given(st.lists(st.integers(0, 4_000_000_000), min_size=2))
def test_segments_sort_by_their_names(times):
    in_order = [segment_name("receipts", at, 7) for at in sorted(times)]
    assert sorted(in_order) == in_order


def test_other_names_are_no_segments_s():
    for name in (
        "receipts.jsonl",
        "receipts-20261121T164501.123456Z-7.jsonl.swp",
        "receipts-20261399T164501.123456Z-7.jsonl",
        ".lock",
        "device.key",
    ):
        assert begun_at(name) is None


@given(st.integers(0, 1 << 40))
def test_a_file_takes_whole_blocks(size):
    assert size <= on_disk(size) < size + 4096


@given(SEGMENTS, INPUTS, st.integers(0, 1 << 17))
def test_what_remains_fits_unless_it_is_being_written(segments, kept_inputs, most):
    going = surplus(segments, kept_inputs, most)
    assert not any(each.written for each in going)
    assert len({each.name for each in going}) == len(going)
    remain = [each for each in (*segments, *kept_inputs) if each not in going]
    assert sum(each.size for each in remain) <= most or all(each.written for each in remain)


@given(SEGMENTS, INPUTS, st.integers(0, 1 << 17))
def test_nothing_goes_in_vain(segments, kept_inputs, most):
    going = surplus(segments, kept_inputs, most)
    if going:
        total = sum(each.size for each in (*segments, *kept_inputs))
        assert total - sum(each.size for each in going[:-1]) > most


@given(SEGMENTS, INPUTS, st.integers(0, 1 << 17))
def test_no_segment_goes_before_an_older_one(segments, kept_inputs, most):
    going = surplus(segments, kept_inputs, most)
    gone = [each.since_s for each in going if each in segments]
    kept = [each.since_s for each in segments if each not in going and not each.written]
    assert gone == sorted(gone)
    assert not gone or not kept or max(gone) <= min(kept)


@given(SEGMENTS, INPUTS, st.integers(0, 1 << 17))
def test_inputs_that_a_remaining_segment_may_refer_to_go_last(segments, kept_inputs, most):
    going = surplus(segments, kept_inputs, most)
    remain = [each for each in segments if each not in going]
    needed = [
        each
        for each in going
        if each in kept_inputs and any(each.since_s >= one.since_s - SLACK_S for one in remain)
    ]
    assert not needed or all(each.written for each in remain)


def test_the_oldest_records_go_with_the_inputs_that_only_they_refer_to():
    segments = [segment(100.0), segment(200.0), segment(300.0)]
    kept = [inputs("a", 150.0), inputs("b", 250.0), inputs("c", 350.0)]
    going = surplus(segments, kept, 4 * 4096)
    assert names(going) == [segments[0].name, "inputs/a.frame"]


def test_inputs_without_any_records_go_first():
    going = surplus([segment(100.0)], [inputs("a", 50.0)], 4096)
    assert names(going) == ["inputs/a.frame"]


def test_the_latest_small_segment_is_gone_on_with():
    latest = segment(200.0)
    assert adoptable([segment(100.0), latest], [], "receipts", 8192) == latest
    assert adoptable([segment(100.0), latest], [], "feedback", 8192) is None
    said = segment(300.0, kind="feedback")
    assert adoptable([latest, said], [], "receipts", 8192) == latest


def test_a_segment_that_is_large_or_written_is_not_gone_on_with():
    assert adoptable([segment(200.0, 8192)], [], "receipts", 8192) is None
    assert adoptable([segment(200.0, written=True)], [], "receipts", 8192) is None
    assert adoptable([segment(200.0)], [inputs("a", 250.0)], "receipts", 8192) is None
    assert adoptable([segment(200.0)], [inputs("a", 150.0)], "receipts", 8192) is not None
    assert adoptable([], [], "receipts", 8192) is None
