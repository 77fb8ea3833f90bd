"""Compressed bodies: identities, bounds, and anything damaged."""

from __future__ import annotations

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherever_contracts.wire.framing import WireError
from wherever_gateway.rest.coding import CODINGS, chosen_coding, coding_of, decoded, encoded

CODING = st.sampled_from(CODINGS)


def unbounded(_size: int) -> None:
    pass


class Room:
    """Room for so many bytes."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.taken = 0

    def __call__(self, size: int) -> None:
        self.taken += size
        if self.taken > self.most:
            raise OverflowError


@given(st.binary(max_size=4096), CODING)
def test_what_is_compressed_comes_back(body, coding):
    assert decoded(encoded(body, coding), coding, unbounded) == body


@given(st.binary(max_size=512), CODING)
def test_anything_is_either_read_or_refused(body, coding):
    try:
        decoded(body, coding, unbounded)
    except WireError as error:
        assert str(error).startswith(f"the body: expected {coding} data")


@given(st.binary(min_size=1, max_size=512), CODING, st.data())
def test_what_is_cut_off_is_refused(body, coding, data):
    whole = encoded(body, coding)
    part = whole[: data.draw(st.integers(0, len(whole) - 1))]
    with pytest.raises(WireError):
        decoded(part, coding, unbounded)


def test_deflate_is_read_with_its_header_and_without():
    bare = zlib.compressobj(wbits=-15)
    body = b"text " * 100
    assert decoded(bare.compress(body) + bare.flush(), "deflate", unbounded) == body
    assert decoded(zlib.compress(body), "deflate", unbounded) == body


def test_members_of_gzip_behind_each_other_are_one_body():
    assert decoded(gzip.compress(b"one ") + gzip.compress(b"two"), "gzip", unbounded) == b"one two"


@pytest.mark.parametrize("coding", CODINGS)
def test_bytes_behind_the_end_are_refused(coding):
    with pytest.raises(WireError):
        decoded(encoded(b"body", coding) + b"more", coding, unbounded)


@pytest.mark.parametrize("coding", CODINGS)
def test_a_bomb_is_stopped_within_one_piece_of_its_bound(coding):
    bomb = encoded(bytes(64 << 20), coding)
    room = Room(1 << 20)
    with pytest.raises(OverflowError):
        decoded(bomb, coding, room)
    assert len(bomb) < 1 << 20
    assert room.taken <= 2 << 20


@pytest.mark.parametrize(
    ("header", "coding"),
    [
        ("", None),
        ("identity", None),
        (" GZIP ", "gzip"),
        ("x-gzip", "gzip"),
        ("deflate", "deflate"),
    ],
)
def test_codings_go_by_their_names(header, coding):
    assert coding_of(header) == coding


@pytest.mark.parametrize("header", ["br", "gzip, deflate", "gzip;q=1", "\x00"])
def test_other_codings_are_refused_with_those_that_are_taken(header):
    with pytest.raises(ValueError, match="those that are: gzip, deflate"):
        coding_of(header)


@pytest.mark.parametrize(
    ("accepted", "size", "is_text", "coding"),
    [
        ("", 1 << 20, True, None),
        ("identity", 1 << 20, True, None),
        ("br, *", 1 << 20, True, None),
        ("gzip", 1000, False, "gzip"),  # asked for
        ("deflate", 1000, True, "deflate"),
        ("gzip", 100, True, None),  # not worth a header
        ("gzip, deflate", 1 << 20, True, "gzip"),  # taken, as most clients do by themselves
        ("gzip;q=0.5, deflate", 1 << 20, True, "deflate"),
        ("gzip;q=0, deflate;q=0", 1 << 20, True, None),
        ("gzip;q=0.000, deflate", 1 << 20, True, "deflate"),
        ("gzip, deflate, br", 1 << 20, False, None),  # raw tensors
        ("gzip, deflate, br", 8000, True, None),
        ("gzip;q=nonsense, deflate;;", 1 << 20, True, None),
    ],
)
def test_answers_are_compressed_where_a_client_asked_or_text_is_worth_it(
    accepted, size, is_text, coding
):
    assert chosen_coding(accepted, size, is_text=is_text) == coding


def test_a_header_of_many_spaces_takes_no_longer_than_its_length():
    for header in ("gzip" + " " * 60_000 + "x", "gzip;" + " " * 60_000 + "q", "a" * 60_000):
        assert chosen_coding(header, 1 << 20, is_text=True) is None


@given(st.text(max_size=40), st.integers(0, 1 << 24), st.booleans())
def test_no_header_is_too_odd(accepted, size, is_text):
    assert chosen_coding(accepted, size, is_text=is_text) in (None, *CODINGS)
