"""Events as lines of JSON: what is written is read again, and nothing else is."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherever._escalation.events import (
    Alarmed,
    Judged,
    Paired,
    Stood,
    pack_event,
    unpack_event,
)

AT = 1_700_000_000.5
PAIR = Paired(17, 0.75, 1.0, 0.05, 3, AT, given=True)
shares = st.floats(0, 1)
counts = st.integers(0, 10**12)
times = st.floats(allow_nan=False, allow_infinity=False)
events = st.one_of(
    st.builds(
        Paired,
        counts,
        shares,
        shares,
        st.floats(0, 1, exclude_min=True),
        st.integers(),
        times,
        st.booleans(),
    ),
    st.builds(
        Judged,
        st.text(),
        st.none() | shares,
        st.none() | shares,
        st.none() | shares,
        st.none() | st.integers(),
        times,
        st.booleans(),
    ),
    st.builds(Alarmed, st.text(), st.text(), times),
    st.builds(Stood, st.text(), times, st.text(), counts, times),
)


@given(events)
def test_an_event_comes_back_from_its_line_as_it_was(event):
    line = pack_event(event)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert unpack_event(line) == event
    assert type(unpack_event(line.strip())) is type(event)


@given(events, st.data())
def test_a_torn_line_is_no_event(event, data):
    line = pack_event(event).strip()
    with pytest.raises(ValueError, match=r"\w"):
        unpack_event(line[: data.draw(st.integers(0, len(line) - 1))])


@given(st.binary())
def test_any_other_bytes_are_refused_with_a_value_error(line):
    with pytest.raises(ValueError, match=r"\w"):
        unpack_event(line)


def test_a_number_of_numpys_is_written_as_one():
    line = pack_event(PAIR._replace(confidence=np.float32(0.5)))
    assert unpack_event(line) == PAIR._replace(confidence=0.5)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("calls", -1),
        ("calls", True),
        ("calls", 1.5),
        ("confidence", 1.01),
        ("confidence", True),
        ("loss", "0"),
        ("loss", None),
        ("probability", 0),
        ("category", None),
        ("category", 1.0),
        ("given", 1),
        ("at", 1e999),
        ("at", float("nan")),
    ],
)
def test_a_wrong_value_is_refused(field, value):
    data = {**json.loads(pack_event(PAIR)), field: value}
    with pytest.raises(ValueError, match=f"{field}|JSON number"):
        unpack_event(json.dumps(data).encode())


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"[1]", "expected a JSON object, found list"),
        (b"{}", "no event is named None"),
        (b'{"event": ["paired"]}', "no event is named"),
        (b'{"event": "parsed", "calls": 1}', "no event is named 'parsed'"),
        (b'{"event": "alarmed", "why": "x"}', "alarmed: expected kind, why, at; found why"),
        (
            b'{"event": "alarmed", "kind": "a", "why": "x", "at": 1, "by": 2}',
            "found kind, why, at, by",
        ),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_a_line_of_another_make_is_refused_with_what_is_wrong(line, words):
    with pytest.raises(ValueError, match=words):
        unpack_event(line)


def test_the_answer_that_was_given_is_the_one_that_is_right_or_wrong():
    judged = Judged("a-1", 0.0, 1.0, 0.4, 3, AT)
    assert judged.right_given == 0.0
    assert judged._replace(escalated=True).right_given == 1.0
