"""The search for an int8 file ends, takes only what keeps its promise, and leaves little float."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from wherever_convert.quantization.search import (
    METHODS,
    MOST_TRIES,
    Candidate,
    Space,
    Tried,
    best,
    nearest,
    next_candidate,
    ways,
)


def searched(space, oracle):
    tried = []
    while (candidate := next_candidate(space, tried)) is not None:
        tried.append(Tried(candidate, *oracle(candidate)))
        assert len(tried) <= 10 * MOST_TRIES, "it does not end"
    return tried


def space(parts=64, max_drop=0.01, method="minmax", *, insisted=False):
    return Space(ways(method, insisted=insisted), parts, max_drop)


def enough_from(threshold):
    """A model that keeps its quality once `threshold` of its parts are float."""
    return lambda candidate: (0.0, 1.0) if candidate.floats >= threshold else (0.1, 0.5)


def test_a_model_that_loses_nothing_is_int8_at_the_first_try():
    tried = searched(space(), enough_from(0))
    assert [each.candidate for each in tried] == [Candidate(("minmax", "everything"), 0)]


@given(parts=st.integers(1, 128), share=st.floats(0, 1))
def test_about_the_fewest_parts_that_must_be_float_are_found(parts, share):
    looked = space(parts)
    threshold = round(share * looked.most_floats)
    found = best(looked, searched(looked, enough_from(threshold)))
    assert found is not None
    assert threshold <= found.candidate.floats <= max(threshold, threshold * 1.2)


@given(
    data=st.data(),
    parts=st.integers(1, 2000),
    max_drop=st.floats(0, 1),
    method=st.sampled_from(METHODS),
    insisted=st.booleans(),
)
def test_whatever_comes_out_was_measured_and_kept_the_promise(
    data, parts, max_drop, method, insisted
):
    looked = space(parts, max_drop, method, insisted=insisted)
    figures = st.tuples(st.floats(-1, 1) | st.just(math.nan), st.floats(0, 1))
    tried = searched(looked, lambda _: data.draw(figures))
    assert 1 <= len(tried) <= MOST_TRIES
    assert len({each.candidate for each in tried}) == len(tried)
    assert all(0 <= each.candidate.floats <= parts // 2 for each in tried)
    assert {each.candidate.way.method for each in tried} <= ({method} if insisted else {*METHODS})
    found = best(looked, tried)
    if found is not None:
        assert found in tried
        assert found.drop <= max_drop
        assert all(not looked.keeps(each) or each.drop <= max_drop for each in tried)
    else:
        assert not any(looked.keeps(each) for each in tried)


def test_other_ranges_are_tried_when_float_parts_do_not_help():
    def only_percentile(candidate):
        return (0.0, 1.0) if candidate.way.method == "percentile" else (1.0, 0.0)

    tried = searched(space(parts=4), only_percentile)
    assert best(space(parts=4), tried).candidate == Candidate(("percentile", "everything"), 0)


def test_no_other_ranges_are_tried_when_some_were_asked_for():
    tried = searched(space(parts=4, method="entropy", insisted=True), lambda _: (1.0, 0.0))
    assert {each.candidate.way for each in tried} == {
        ("entropy", "everything"),
        ("entropy", "layers"),
    }


def test_a_lucky_figure_does_not_hide_that_the_answers_changed():
    looked = space()
    assert not looked.keeps(Tried(Candidate(looked.ways[0], 0), drop=-0.02, agreement=0.5))
    assert looked.keeps(Tried(Candidate(looked.ways[0], 0), drop=-0.02, agreement=0.99))


def test_the_nearest_is_what_lost_least():
    way = space().ways[0]
    tried = [Tried(Candidate(way, n), drop, 1.0) for n, drop in enumerate((0.3, 0.02, 0.1))]
    assert nearest(tried) == tried[1]
    assert nearest([]) is None
