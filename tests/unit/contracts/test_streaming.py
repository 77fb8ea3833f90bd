"""The messages of a stream of calls: what protobuf reads of them, and what is refused."""

from __future__ import annotations

import math
import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherever_contracts.wire.framing import WireError
from wherever_contracts.wire.messages import decode_request, encode_request
from wherever_contracts.wire.schema import CLASSES
from wherever_contracts.wire.streaming import (
    MAX_CALLS,
    Answer,
    call_parts,
    cancel_part,
    decode_answers,
    decode_calls,
    error_part,
    goaway_part,
    response_parts,
)
from wherever_contracts.wire.tensors import InferRequest, WireTensor

NUMBERS = st.integers(0, 2**64 - 1)
TEXTS = st.text(max_size=12)
TIMEOUTS = st.none() | st.floats(allow_nan=False, allow_infinity=False)
HEADERS = st.lists(st.tuples(TEXTS, TEXTS), max_size=3).map(tuple)
CALLS = st.tuples(NUMBERS, st.binary(max_size=300), TIMEOUTS, HEADERS)
PUSHBACKS = st.none() | st.integers(-(2**63), 2**63 - 1)
ERRORS = st.tuples(NUMBERS, TEXTS, TEXTS, TEXTS, PUSHBACKS)


def message_of(calls):
    return b"".join(part for call in calls for part in call_parts(*call))


def read_calls(data):
    return [
        (call.number, data[call.start : call.end], call.timeout_s, call.headers)
        for call in decode_calls(data)
    ]


@given(st.lists(CALLS, max_size=5))
def test_calls_come_back_as_they_were_sent(calls):
    assert read_calls(message_of(calls)) == calls


@given(st.lists(CALLS, max_size=5))
def test_protobuf_reads_the_same_calls(calls):
    parsed = CLASSES["Calls"].FromString(message_of(calls))
    read = [
        (
            call.number,
            call.request,
            call.timeout_s,
            tuple((header.name, header.value) for header in call.headers),
        )
        for call in parsed.calls
    ]
    assert read == [
        (number, request, left or 0.0, headers) for number, request, left, headers in calls
    ]


@given(st.lists(CALLS, max_size=5))
def test_calls_that_protobuf_wrote_are_read(calls):
    written = CLASSES["Calls"]()
    for number, request, timeout_s, headers in calls:
        call = written.calls.add(number=number, request=request, timeout_s=timeout_s)
        for name, value in headers:
            call.headers.add(name=name, value=value)
    # protobuf leaves out what is 0
    expected = [(n, request, left or None, headers) for n, request, left, headers in calls]
    read = [
        (n, request, left or None, headers)
        for n, request, left, headers in read_calls(written.SerializeToString())
    ]
    assert read == expected


@given(st.lists(st.tuples(NUMBERS, st.binary(max_size=300)) | ERRORS, max_size=5), st.booleans())
def test_answers_come_back_as_they_were_sent(answers, goaway):
    data = b"".join(
        part
        for answer in answers
        for part in (response_parts(*answer) if len(answer) == 2 else (error_part(*answer),))
    )
    data += goaway_part() if goaway else b""
    found = decode_answers(data)
    assert found.goaway == goaway
    for answer, given_ in zip(found.answers, answers, strict=True):
        if len(given_) == 2:
            assert (answer.number, data[answer.start : answer.end]) == given_
            assert answer[3:] == ("", "", "", None)
        else:
            assert (answer.number, *answer[3:]) == given_
    parsed = CLASSES["Answers"].FromString(data)
    assert [each.number for each in parsed.answers] == [each.number for each in found.answers]
    pushbacks = [
        each.pushback_ms if each.HasField("pushback_ms") else None for each in parsed.answers
    ]
    assert pushbacks == [each.pushback_ms for each in found.answers]
    assert parsed.goaway == goaway


def test_an_error_has_its_words():
    data = error_part(7, "RESOURCE_EXHAUSTED", "full", "WHEREVER_OVERLOADED", 25)
    start, end = 0, 0
    expected = Answer(7, start, end, "RESOURCE_EXHAUSTED", "full", "WHEREVER_OVERLOADED", 25)
    assert decode_answers(data).answers == [expected]


def test_a_cancel_names_its_call_alone():
    (call,) = decode_calls(cancel_part(300))
    assert (call.number, call.cancel, call.start, call.end) == (300, True, 0, 0)


@given(NUMBERS, st.binary(min_size=1), st.data())
def test_a_message_that_is_cut_is_refused(number, request, data):
    message = message_of([(number, request, 1.5, (("a", "b"),))])
    cut = data.draw(st.integers(1, len(message) - 1))
    with pytest.raises(WireError):
        decode_calls(message[:cut])


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(data):
    for decode in decode_calls, decode_answers:
        with suppress(WireError):
            decode(data)


@given(st.lists(CALLS, min_size=1, max_size=3), st.data())
def test_a_message_with_bytes_changed_is_read_or_refused(calls, data):
    message = bytearray(message_of(calls))
    for _ in range(data.draw(st.integers(1, 4))):
        message[data.draw(st.integers(0, len(message) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = decode_calls(bytes(message))
    except WireError:
        return
    for call in found:
        assert 0 <= call.start <= call.end <= len(message)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\x0a", id="a field without its length"),
        pytest.param(b"\x0a\x02\x08", id="a call that ends behind its message"),
        pytest.param(b"\x0a\x01\x08", id="a number that is missing"),
        pytest.param(b"\x0a\x03\x08\x80\x80", id="a number that is cut"),
        pytest.param(b"\x0a\x0b\x08" + b"\xff" * 10, id="a number that is too long"),
        pytest.param(b"\x0a\x0b\x08" + b"\xff" * 9 + b"\x7f", id="a number above 64 bits"),
        pytest.param(b"\x0b\x0c", id="a group"),
        pytest.param(b"\x00\x00", id="field 0"),
        pytest.param(b"\xff\xff\xff\xff\xff\x00", id="a tag above 32 bits"),
        pytest.param(b"\x0a\x04\x11\x00\x00\x00", id="a double that is cut"),
        pytest.param(b"\x0a\x09\x11" + struct.pack("<d", math.inf), id="an infinite timeout"),
        pytest.param(b"\x0a\x09\x11" + struct.pack("<d", math.nan), id="no number as timeout"),
        pytest.param(b"\x0a\x05\x2a\x03\x0a\x01\xff", id="a header that is no text"),
        pytest.param(b"\x0a\x82\x01" + b"\x2a\x00" * 65, id="many headers"),
        pytest.param(b"\x0a\x00" * (MAX_CALLS + 1), id="many calls"),
    ],
)
def test_what_is_no_message_of_calls_is_refused(data):
    with pytest.raises(WireError):
        decode_calls(data)


@pytest.mark.parametrize("tag", [b"\x1a", b"\x22", b"\x2a"])
def test_what_an_answer_says_is_text(tag):
    with pytest.raises(WireError, match="UTF-8"):
        decode_answers(b"\x0a\x03" + tag + b"\x01\xff")
    with pytest.raises(WireError, match="answers in one message"):
        decode_answers(b"\x0a\x00" * (MAX_CALLS + 1))


def test_fields_of_later_versions_are_passed_over():
    later = (
        b"\x78\x05" + b"\x7a\x02hi" + b"\x79" + b"\0" * 8 + b"\x7d" + b"\0" * 4 + b"\x80\x01\x00"
    )
    call = b"\x08\x07" + later + b"\x2a\x02\x18\x01"
    message = later + b"\x0a" + bytes([len(call)]) + call
    (read,) = decode_calls(message)
    assert read.number == 7
    assert read.headers == (("", ""),)
    answer = b"\x08\x07" + later
    found = decode_answers(later + b"\x0a" + bytes([len(answer)]) + answer)
    assert [each.number for each in found.answers] == [7]


def test_requests_are_read_where_they_lie():
    large = bytes(range(256)) * 64
    requests = [
        InferRequest("m", "1", str(n), {"half": 0.5}, (WireTensor("x", "UINT8", (len(raw),), raw),))
        for n, raw in enumerate((b"abc", large, b"", large[:5000]))
    ]
    for _ in range(2):  # the second time, their header was seen before
        message = message_of([(n, encode_request(r), None, ()) for n, r in enumerate(requests)])
        calls = decode_calls(message)
        found = [decode_request(message, call.start, call.end) for call in calls]
        assert found == requests
        data = found[1].inputs[0].data
        assert isinstance(data, memoryview)
        assert data.obj is message


@given(st.binary(max_size=40), st.integers(0, 40), st.binary(max_size=40))
def test_a_request_within_a_message_means_what_it_means_alone(before, cut, after):
    whole = encode_request(
        InferRequest("m", "", "i", {}, (WireTensor("x", "UINT8", (3,), b"abc"),))
    )
    request = whole[: max(0, len(whole) - cut)]
    assert outcome(request) == outcome(
        before + request + after, len(before), len(before) + len(request)
    )


def outcome(*arguments):
    try:
        return decode_request(*arguments)
    except WireError as error:
        return str(error)
