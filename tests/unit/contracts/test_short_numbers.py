"""Float32 and float16 in JSON: few digits, and the same numbers."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherever_contracts.wire.rest_bodies import in_json
from wherever_contracts.wire.short_numbers import _FEW, shortest
from wherever_contracts.wire.tensors import from_array

NARROW = (np.float32, np.float16)


def as_float(bits: np.ndarray, dtype: type) -> np.ndarray:
    return bits.astype(np.uint32 if dtype is np.float32 else np.uint16).view(dtype)


@given(st.lists(st.integers(0, 2**32 - 1), max_size=2 * _FEW), st.sampled_from(NARROW))
def test_every_number_comes_back_bit_by_bit_from_its_shortest_form(bits, dtype):
    array = as_float(np.array(bits, np.uint64), dtype)
    short = shortest(array)
    np.testing.assert_array_equal(short.astype(dtype), array)
    numbers = ~np.isnan(array)
    np.testing.assert_array_equal(np.signbit(short)[numbers], np.signbit(array)[numbers])
    for number, digits in zip(short.tolist(), array.astype("U").tolist(), strict=True):
        assert len(repr(number)) == len(repr(float(digits)))


def test_all_float16_are_written_as_short_as_can_be():
    array = np.arange(2**16, dtype=np.uint16).view(np.float16)
    array = array[np.isfinite(array)]
    lengths = [len(json.dumps(number)) for number in shortest(array).tolist()]
    assert lengths == [len(repr(float(text))) for text in array.astype("U").tolist()]


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.1, "0.1"),
        (1 / 3, "0.33333334"),
        (-16777216.0, "-16777216.0"),
        (1e-30, "1e-30"),
        (3.4028235e38, "3.4028235e+38"),
        (1e-45, "1e-45"),
        (-0.0, "-0.0"),
    ],
)
def test_a_float32_has_the_digits_that_it_needs(number, text):
    for times in (1, 2 * _FEW):
        short = shortest(np.full(times, number, np.float32)).tolist()
        assert [json.dumps(each) for each in short] == [text] * times


def test_answers_in_json_have_short_numbers_and_no_nan():
    tensor = from_array("x", np.array([0.1, np.nan, np.inf, 1 / 3], np.float32))
    assert json.dumps(in_json(tensor)["data"]) == "[0.1, null, null, 0.33333334]"


def test_shapes_stay_and_what_is_no_narrow_float_is_left_alone():
    assert shortest(np.full((2, 0, 3), 0.1, np.float32)).shape == (2, 0, 3)
    assert shortest(np.full((9, 3, 3), 0.1, np.float32)).shape == (9, 3, 3)
    assert shortest(np.array(0.1, np.float32)) == 0.1
    for kind in (np.float64, np.int64, np.bool_, object):
        array = np.ones(3, kind)
        assert shortest(array) is array


@given(st.lists(st.floats(width=32, allow_nan=False), min_size=2, max_size=20))
def test_what_is_larger_stays_larger(numbers):
    array = np.sort(np.array(numbers, np.float32))
    short = shortest(array)
    assert ((short[1:] > short[:-1]) == (array[1:] > array[:-1])).all()
