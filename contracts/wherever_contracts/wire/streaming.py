"""The messages of a stream of calls: many calls, and many answers, in one message each.

    Calls   { repeated Call calls = 1; }
    Call    { uint64 number = 1; double timeout_s = 2; bytes request = 3; bool cancel = 4;
              repeated Header headers = 5; }
    Header  { string name = 1; string value = 2; }
    Answers { repeated Answer answers = 1; bool goaway = 2; }
    Answer  { uint64 number = 1; bytes response = 2; string status = 3; string details = 4;
              string code = 5; optional int64 pushback_ms = 6; }

They are protobuf's on the wire. Requests and responses are found where they lie and read there;
nothing is copied on the way in.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

from wherever_contracts.wire.framing import WireError, length_field, text_field, varint
from wherever_contracts.wire.tensors import Buffer

CALLS_SERVICE = "wherever.Calls"
STREAM_METHOD = f"/{CALLS_SERVICE}/Stream"

Headers: TypeAlias = tuple[tuple[str, str], ...]

_ITEM_TAG, _NUMBER_TAG = 0x0A, 0x08
_TIMEOUT_TAG, _REQUEST_TAG, _CANCEL_TAG, _HEADER_TAG = 0x11, 0x1A, 0x20, 0x2A
_GOAWAY_TAG = 0x10
_RESPONSE_TAG, _STATUS_TAG, _DETAILS_TAG, _CODE_TAG, _PUSHBACK_TAG = 0x12, 0x1A, 0x22, 0x2A, 0x30

_VARINT, _FIXED_64, _BYTES, _FIXED_32 = 0, 1, 2, 5
_SIZES = {_FIXED_64: 8, _FIXED_32: 4}
_MAX_VARINT_BYTES, _MAX_UINT64 = 10, 2**64 - 1
_MAX_TAG = 2**32 - 1

# of one message, and of one call; more is no call of ours
MAX_CALLS, _MAX_HEADERS = 4096, 64

# a number and a request, with one byte for the value of each
_LEAST_PLAIN = 4

_DOUBLE = struct.Struct("<d")
_NOTHING = (0, 0)


class Call(NamedTuple):
    """One call of a message.

    Attributes:
        number: what the answer will be known by.
        start: where the request begins in the message, a `ModelInferRequest`.
        end: where it ends.
        timeout_s: how long the answer is of use, None for no limit.
        cancel: nobody waits for the answer of the call that had this number any more.
        headers: what came with it, as with a call of its own.
    """

    number: int
    start: int
    end: int
    timeout_s: float | None = None
    cancel: bool = False
    headers: Headers = ()


class Answer(NamedTuple):
    """One answer of a message.

    Attributes:
        number: the call's.
        start: where the response begins in the message, a `ModelInferResponse`.
        end: where it ends.
        status: gRPC's name for how the call ended; "" for well.
        details: the words to it.
        code: our own code of the error.
        pushback_ms: when to try again, None where that is not said.
    """

    number: int
    start: int
    end: int
    status: str = ""
    details: str = ""
    code: str = ""
    pushback_ms: int | None = None


class Answers(NamedTuple):
    """The answers of a message; `goaway` says that calls begin elsewhere from now on."""

    answers: list[Answer]
    goaway: bool


def call_parts(
    number: int, request: bytes, timeout_s: float | None = None, headers: Headers = ()
) -> tuple[Buffer, ...]:
    """The pieces of a call, to be joined with those of others to a message."""
    head = b"\x08" + varint(number)
    if timeout_s is not None:
        head += b"\x11" + _DOUBLE.pack(timeout_s)
    tail = b"".join(map(_header, headers)) if headers else b""
    head += length_field(_REQUEST_TAG, len(request))
    return length_field(_ITEM_TAG, len(head) + len(request) + len(tail)) + head, request, tail


def cancel_part(number: int) -> bytes:
    """What says that nobody waits for the answer of a call any more."""
    call = b"\x08" + varint(number) + b"\x20\x01"
    return length_field(_ITEM_TAG, len(call)) + call


def response_parts(number: int, response: bytes) -> tuple[Buffer, Buffer]:
    """The pieces of the answer to a call that went well."""
    head = b"\x08" + varint(number) + length_field(_RESPONSE_TAG, len(response))
    return length_field(_ITEM_TAG, len(head) + len(response)) + head, response


def error_part(
    number: int, status: str, details: str, code: str, pushback_ms: int | None = None
) -> bytes:
    """The answer to a call that did not."""
    answer = b"\x08" + varint(number) + text_field(_STATUS_TAG, status)
    answer += text_field(_DETAILS_TAG, details) + text_field(_CODE_TAG, code)
    if pushback_ms is not None:
        answer += b"\x30" + varint(pushback_ms & _MAX_UINT64)
    return length_field(_ITEM_TAG, len(answer)) + answer


def goaway_part() -> bytes:
    """What says that calls are to begin elsewhere."""
    return b"\x10\x01"


def decode_calls(data: bytes) -> list[Call]:
    """The calls of a message.

    Raises:
        WireError: the bytes are no such message.
    """
    calls: list[Call] = []
    for tag, start, end, _ in _fields(data, 0, len(data)):
        if tag == _ITEM_TAG:
            calls.append(_call(data, start, end))
            _refuse_many(len(calls), MAX_CALLS, "calls in one message")
    return calls


def decode_answers(data: bytes) -> Answers:
    """The answers of a message.

    Raises:
        WireError: the bytes are no such message.
    """
    answers: list[Answer] = []
    goaway = False
    for tag, start, end, value in _fields(data, 0, len(data)):
        if tag == _ITEM_TAG:
            answers.append(_answer(data, start, end))
            _refuse_many(len(answers), MAX_CALLS, "answers in one message")
        elif tag == _GOAWAY_TAG:
            goaway = bool(value)
    return Answers(answers, goaway)


def _call(data: bytes, start: int, end: int) -> Call:
    return _plain_call(data, start, end) or _any_call(data, start, end)


def _plain_call(data: bytes, start: int, end: int) -> Call | None:
    """A call with a number, perhaps a timeout, and a request, in this order; None for another."""
    if end - start < _LEAST_PLAIN or data[start] != _NUMBER_TAG:
        return None
    number, position = _varint_at(data, start + 1, end, _MAX_UINT64)
    timeout_s: float | None = None
    if position + 9 < end and data[position] == _TIMEOUT_TAG:
        (timeout_s,) = _DOUBLE.unpack_from(data, position + 1)
        position += 9
    if position >= end or data[position] != _REQUEST_TAG:
        return None
    size, position = _varint_at(data, position + 1, end, _MAX_UINT64)
    if position + size != end or (timeout_s is not None and not math.isfinite(timeout_s)):
        return None
    return Call(number, position, end, timeout_s)


def _any_call(data: bytes, start: int, end: int) -> Call:
    number, request, timeout_s, cancel = 0, _NOTHING, None, False
    headers: Headers = ()
    for tag, begins, ends, value in _fields(data, start, end):
        if tag == _NUMBER_TAG:
            number = value
        elif tag == _REQUEST_TAG:
            request = begins, ends
        elif tag == _TIMEOUT_TAG:
            (timeout_s,) = _DOUBLE.unpack_from(data, begins)
        elif tag == _CANCEL_TAG:
            cancel = bool(value)
        elif tag == _HEADER_TAG:
            headers += (_read_header(data, begins, ends),)
            _refuse_many(len(headers), _MAX_HEADERS, "headers of one call")
    if timeout_s is not None and not math.isfinite(timeout_s):
        raise WireError(f"call {number} has a timeout_s of {timeout_s}; leave it out for none")
    return Call(number, *request, timeout_s, cancel, headers)


def _answer(data: bytes, start: int, end: int) -> Answer:
    number, response, pushback_ms = 0, _NOTHING, None
    texts = {_STATUS_TAG: "", _DETAILS_TAG: "", _CODE_TAG: ""}
    for tag, begins, ends, value in _fields(data, start, end):
        if tag == _NUMBER_TAG:
            number = value
        elif tag == _RESPONSE_TAG:
            response = begins, ends
        elif tag == _PUSHBACK_TAG:
            pushback_ms = value - (value >> 63 << 64)
        elif tag in texts:
            texts[tag] = _text(data, begins, ends)
    status, details, code = texts.values()
    return Answer(number, *response, status, details, code, pushback_ms)


def _header(header: tuple[str, str]) -> bytes:
    name, value = header
    pair = text_field(0x0A, name) + text_field(0x12, value)
    return length_field(_HEADER_TAG, len(pair)) + pair


def _read_header(data: bytes, start: int, end: int) -> tuple[str, str]:
    texts = {0x0A: "", 0x12: ""}
    for tag, begins, ends, _ in _fields(data, start, end):
        if tag in texts:
            texts[tag] = _text(data, begins, ends)
    return texts[0x0A], texts[0x12]


def _refuse_many(count: int, most: int, of_what: str) -> None:
    if count > most:
        raise WireError(f"more than {most} {of_what}")


def _text(data: bytes, start: int, end: int) -> str:
    try:
        return data[start:end].decode()
    except UnicodeDecodeError as error:
        raise WireError(f"a text that is not UTF-8 ({error})") from error


def _fields(data: bytes, position: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Each field from `position` to `end`: tag, where its value begins and ends, and the number.

    Raises:
        WireError: one is cut, or of a kind that proto3 has not.
    """
    while position < end:
        tag = data[position]
        position += 1
        if tag >= 0x80:
            tag, position = _varint_at(data, position - 1, end, _MAX_TAG)
        if not tag >> 3:
            raise WireError("a field with the number 0")
        kind = tag & 7
        if kind in _SIZES:
            start, value, position = position, 0, position + _SIZES[kind]
        elif kind in (_VARINT, _BYTES):
            value, start = _varint_at(data, position, end, _MAX_UINT64)
            position = start + value if kind == _BYTES else start
        else:
            raise WireError(f"a field of the kind {kind}, which proto3 has not")
        if position > end:
            raise WireError(f"a field that ends {position - end} bytes behind its message")
        yield tag, start, position, value


def _varint_at(data: bytes, position: int, end: int, most: int) -> tuple[int, int]:
    """A number, and where it ends."""
    if position < end and data[position] < 0x80:
        return data[position], position + 1
    value = 0
    for count, byte in enumerate(data[position : min(end, position + _MAX_VARINT_BYTES)]):
        value |= (byte & 0x7F) << 7 * count
        if byte < 0x80:
            if value > most:
                break
            return value, position + count + 1
    raise WireError("a number that is cut, or longer than numbers are")
