"""A kept answer as bytes: what comes out is what went in, or nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherever._cache_age import Stamp
from wherever._cache_values import LARGE_BYTES, Found, pack, unpack
from wherever_contracts.frames import FrameError
from wherever_contracts.receipts import Answer, Ran

RAN = Ran("m", "1.0.0", "v", "p", "d", "local", "onnxruntime", "1", "CPU", "float32", 1)
KEY = bytes(range(32))
STAMP = Stamp("boot", 1.5, 2.5)


def kept(**outputs):
    return Found(Answer(outputs, 0.5, RAN, 0.01, protocol="grpc"), STAMP, "gateway:8001")


LARGE = np.arange(LARGE_BYTES, dtype=np.uint16).reshape(2, -1)
MIXED = kept(
    maps=LARGE.astype(np.float32),
    score=np.float32([0.5]),
    more=LARGE,
    names=np.array([b"x" * LARGE_BYTES, b""], object),
    none=np.zeros((0, 4), np.int64),
    turned=LARGE.T.astype(">f8"),
)
PACKED = pack(KEY, MIXED)


def test_large_and_small_arrays_come_back_in_their_order():
    found = unpack(KEY, bytearray(PACKED))
    assert (found.kept, found.host, found.answer.cached) == (STAMP, "gateway:8001", True)
    assert list(found.answer.outputs) == list(MIXED.answer.outputs)
    for name, array in MIXED.answer.outputs.items():
        again = found.answer.outputs[name]
        assert again.dtype == array.dtype.newbyteorder("=")
        assert np.array_equal(again, array)
        assert again.flags.writeable


def test_bytes_that_nobody_may_write_to_give_arrays_that_one_may():
    assert unpack(KEY, PACKED).answer.outputs["maps"].flags.writeable


def test_a_large_array_is_used_where_it_was_read_and_lies_aligned():
    data = bytearray(PACKED)
    maps = unpack(KEY, data).answer.outputs["maps"]
    assert np.shares_memory(maps, np.frombuffer(data, np.uint8))
    assert maps.flags.aligned


@given(st.integers(0, 8 * len(PACKED) - 1))
def test_one_bit_that_is_another_is_found_wherever_anything_is_read(bit):
    harmed = bytearray(PACKED)
    harmed[bit // 8] ^= 1 << bit % 8
    try:
        outputs = unpack(KEY, harmed).answer.outputs
    except FrameError:
        return
    for name, array in MIXED.answer.outputs.items():  # it lies between the arrays
        assert np.array_equal(outputs[name], array)


@given(st.integers(0, len(PACKED) - 1))
def test_a_value_that_is_cut_off_is_none(length):
    with pytest.raises(FrameError):
        unpack(KEY, PACKED[:length])


def test_a_value_that_goes_on_is_none():
    with pytest.raises(FrameError, match="bytes, found"):
        unpack(KEY, PACKED + bytes(16))


def test_nothing_is_given_under_anothers_key():
    with pytest.raises(FrameError, match="not the answer"):
        unpack(bytes(32), PACKED)
    with pytest.raises(FrameError, match="not the answer"):
        unpack(bytes(32), pack(KEY, kept(x=np.float32([1]))))


@pytest.mark.parametrize(
    "change",
    [
        {"large": None},
        {"large": [{"name": "maps"}]},
        {"large": [{"name": "maps", "dtype": "bytes", "shape": [1], "crc32": 0}]},
        {"large": [{"name": "maps", "dtype": "uint8", "shape": [-1], "crc32": 0}]},
        {"large": [{"name": "maps", "dtype": "uint8", "shape": "1", "crc32": 0}]},
        {"large": [{"name": "maps", "dtype": "uint8", "shape": [2**62], "crc32": 0}]},
        {"large": []},
        {"order": ["maps"]},
        {"order": None},
        {"kept": None},
        {"host": 5},
    ],
)
def test_whole_frames_with_facts_of_another_form_are_none(change):
    from wherever._cache_values import _PREFIX, _gap
    from wherever_contracts.frames import pack_frame, unpack_frame

    length = _PREFIX.unpack_from(PACKED)[1]
    arrays, facts = unpack_frame(PACKED[_PREFIX.size :][:length])
    frame = pack_frame(arrays, {**facts, **change})
    start = _PREFIX.size + length
    start += -start % 16
    head = _PREFIX.pack(b"WVR\x01", len(frame)) + frame
    with pytest.raises(FrameError):
        unpack(KEY, bytearray(head + _gap(len(head)) + PACKED[start:]))
