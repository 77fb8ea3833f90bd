"""Frames: whatever was packed comes back, and nothing else is ever taken for a frame."""

from __future__ import annotations

import hashlib
import json
import struct
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from wherever_contracts.frames import FrameError, pack_frame, peek_meta, unpack_frame
from wherever_contracts.tensors import DTYPES

NUMBERS = [np.dtype(name) for name in DTYPES if name != "bytes"]
SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)
ARRAYS = st.one_of(
    st.sampled_from([*NUMBERS, np.dtype(">f4"), np.dtype(">i8")]).flatmap(
        lambda dtype: hnp.arrays(dtype, SHAPES)
    ),
    hnp.arrays(np.dtype(object), SHAPES, elements=st.binary(max_size=20), fill=st.just(b"")),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
FRAME = pack_frame(
    {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array([b"x", b"yz"], object)},
    {"n": 1},
)


def sealed(body):
    return body + hashlib.sha256(body).digest()[:16]


def frame(header, buffers=b""):
    """A frame with a right checksum, whatever its header says."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    prefix = b"WVF\x01" + struct.pack("<I", len(text)) + text
    return sealed(prefix + bytes(-len(prefix) % 16) + buffers)


def entry(**changes):
    plain = {"name": "a", "dtype": "uint8", "shape": [4], "offset": 0, "bytes": 4}
    return {**plain, **changes}


@given(st.dictionaries(st.text(), ARRAYS, max_size=4), st.dictionaries(st.text(), JSON, max_size=3))
def test_arrays_and_facts_come_back_as_they_were(arrays, meta):
    found, facts = unpack_frame(pack_frame(arrays, meta))
    assert facts == meta
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype.newbyteorder("=")
        assert found[name].shape == array.shape
        assert found[name].tolist() == array.tolist() or np.array_equal(
            found[name], array, equal_nan=True
        )


def test_numbers_are_read_only_views_of_the_frame():
    found, _ = unpack_frame(FRAME)
    assert not found["a"].flags.writeable
    assert found["a"].flags.aligned
    assert np.shares_memory(found["a"], np.frombuffer(FRAME, np.uint8))


def test_strides_leave_no_trace():
    array = np.arange(24, dtype=np.int32).reshape(4, 6)
    assert pack_frame({"a": array.T}, {}) == pack_frame({"a": array.T.copy("C")}, {})
    assert pack_frame({"a": array[::2, ::-1]}, {}) == pack_frame({"a": array[::2, ::-1].copy()}, {})


def test_a_frame_that_is_cut_off_anywhere_is_refused():
    for size in range(len(FRAME)):
        with pytest.raises(FrameError):
            unpack_frame(FRAME[:size])


def test_one_flipped_bit_anywhere_is_refused():
    for position in range(8 * len(FRAME)):
        damaged = bytearray(FRAME)
        damaged[position // 8] ^= 1 << position % 8
        with pytest.raises(FrameError):
            unpack_frame(bytes(damaged))


@given(st.integers(0, len(FRAME) - 17), st.binary(min_size=1, max_size=6))
def test_damage_under_a_right_checksum_raises_nothing_else(position, changed):
    body = bytearray(FRAME[:-16])
    body[position : position + len(changed)] = changed
    with suppress(FrameError):
        unpack_frame(sealed(bytes(body)))


@given(st.binary(max_size=200))
def test_any_bytes_as_the_header_raise_nothing_else(header):
    with pytest.raises(FrameError):
        unpack_frame(frame(header))


@given(st.fixed_dictionaries({"meta": JSON, "tensors": st.lists(JSON, max_size=3)}))
def test_any_json_as_the_header_raises_nothing_else(header):
    with suppress(FrameError):
        unpack_frame(frame(header))


@given(
    st.fixed_dictionaries(
        {
            "name": st.just("a"),
            "dtype": st.sampled_from(DTYPES),
            "shape": st.lists(st.integers(-1, 2**70), max_size=70),
            "offset": st.integers(-1, 32),
            "bytes": st.integers(-1, 2**70),
        }
    )
)
def test_any_claim_about_a_tensor_raises_nothing_else(claim):
    with suppress(FrameError):
        unpack_frame(frame({"meta": {}, "tensors": [claim]}, bytes(16)))


def test_a_header_that_claims_gigabytes_is_refused_unread():
    claim = b"WVF\x01" + struct.pack("<I", 2**32 - 1) + bytes(64)
    with pytest.raises(FrameError, match="4294967295"):
        unpack_frame(claim)
    long = pack_frame({}, {"text": "x" * 1000})
    assert unpack_frame(long)[1] == {"text": "x" * 1000}
    with pytest.raises(FrameError, match="at most 100 bytes"):
        unpack_frame(long, max_header_bytes=100)


@pytest.mark.parametrize(
    ("tensors", "buffers", "said"),
    [
        ([entry(), entry(name="b", offset=0)], bytes(32), "'b' at 16"),
        ([entry(), entry(offset=16)], bytes(32), "two tensors named 'a'"),
        ([entry(offset=16)], bytes(32), "'a' at 0"),
        ([entry()], bytes(32), "ends at"),
        ([], bytes(16), "ends at"),
        ([entry(bytes=17, shape=[17])], bytes(16), "within the frame"),
        ([entry(shape=[5])], bytes(16), "5 bytes"),
        ([entry(shape=[True, 4])], bytes(16), "whole numbers"),
        ([entry(shape=4)], bytes(16), "whole numbers"),
        ([entry(shape=[0, 2**70], bytes=0)], b"", "'a'"),
        ([entry(dtype="object")], bytes(16), "one of bool"),
        ([entry(dtype=["uint8"])], bytes(16), "one of bool"),
        ([entry(more=1)], bytes(16), "a tensor's"),
        (["a"], bytes(16), "a tensor's"),
        ([entry(dtype="bytes", shape=[2**62])], bytes(16), "elements"),
    ],
)
def test_a_layout_that_frames_do_not_have_is_refused(tensors, buffers, said):
    with pytest.raises(FrameError, match=said):
        unpack_frame(frame({"meta": {}, "tensors": tensors}, buffers))


@pytest.mark.parametrize(
    "header",
    [
        b"[]",
        b'{"meta":{}}',
        b'{"meta":[],"tensors":[]}',
        b'{"meta":{},"tensors":{}}',
        b'{"meta":{"x":NaN},"tensors":[]}',
        b"[" * 50_000,
        b"\xff",
    ],
)
def test_a_header_of_another_form_is_refused(header):
    with pytest.raises(FrameError):
        unpack_frame(frame(header))


@pytest.mark.parametrize(
    ("arrays", "meta"),
    [
        ({"a": np.zeros(2, np.complex64)}, {}),
        ({"a": np.array(["text"])}, {}),
        ({"a": np.array([1, None], object)}, {}),
        ({"a": np.array(["2020-01-01"], "datetime64[D]")}, {}),
        ({"a": np.zeros(2, [("x", "i4")])}, {}),
        ({}, {"x": float("nan")}),
        ({}, {"x": b"bytes"}),
    ],
)
def test_what_a_frame_cannot_hold_is_refused(arrays, meta):
    with pytest.raises(FrameError):
        pack_frame(arrays, meta)


def test_the_meta_of_a_frame_is_known_from_its_beginning():
    for length in range(len(FRAME)):
        try:
            assert peek_meta(FRAME[:length]) == {"n": 1}
        except FrameError:
            assert length < len(FRAME) - 3 * 16  # the header's end is not there yet


@pytest.mark.parametrize("header", [b"{", b"[" * 9000, b"[]", b"{}", b'{"meta":[]}'])
def test_a_beginning_of_something_else_is_refused(header):
    with pytest.raises(FrameError):
        peek_meta(struct.pack("<4sI", b"WVF\x01", len(header)) + header)
    with pytest.raises(FrameError):
        peek_meta(header)
