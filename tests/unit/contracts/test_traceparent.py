"""Where a call stands in a trace, out of a header and into one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherever_contracts.wire.traceparent import Parent, read_traceparent, write_traceparent

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENTS = st.builds(Parent, st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.booleans())


@given(PARENTS)
def test_what_is_written_is_read(parent):
    assert read_traceparent(write_traceparent(parent)) == parent


def test_the_example_of_the_recommendation_is_read():
    found = read_traceparent(f"00-{TRACE}-{SPAN}-01")
    assert found == Parent(int(TRACE, 16), int(SPAN, 16), sampled=True)


def test_other_flags_than_sampled_change_nothing():
    assert read_traceparent(f"00-{TRACE}-{SPAN}-fe") == read_traceparent(f"00-{TRACE}-{SPAN}-00")


@pytest.mark.parametrize("header", [f"cc-{TRACE}-{SPAN}-01", f"cc-{TRACE}-{SPAN}-01-what-follows"])
def test_a_later_version_is_read_as_far_as_it_is_known(header):
    assert read_traceparent(header) == read_traceparent(f"00-{TRACE}-{SPAN}-01")


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "00",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-01\n",
        f" 00-{TRACE}-{SPAN}-01",
    ],
)
def test_what_is_no_traceparent_is_none(header):
    assert read_traceparent(header) is None


@given(st.text(max_size=80))
def test_no_text_is_an_error(header):
    found = read_traceparent(header)
    assert found is None or found.trace_id
