"""What people may give, and what is refused, with which words."""

from __future__ import annotations

import os
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from wherever_contracts.errors import InputError
from wherever_contracts.manifest import Signature
from wherever_contracts.wire.tensors import WireTensor, from_array, from_bytes
from wherever_edge.images import Image
from wherever_edge.inputs import InputChecker, check_options, owned
from wherever_edge.wire_inputs import WireInputs


def signature(*inputs, options=()) -> Signature:
    return Signature.model_validate(
        {
            "inputs": list(inputs),
            "outputs": [{"name": "out", "dtype": "float32", "shape": [1]}],
            "value": {"kind": "tensors"},
            "options": list(options),
        }
    )


TENSOR = {"name": "x", "kind": "tensor", "dtype": "float32", "shape": [2, 3]}
COUNTS = {"name": "n", "kind": "tensor", "dtype": "int8", "shape": [-1]}
TEXT = {"name": "text", "kind": "text", "max_bytes": 20}
DIGIT = {
    "name": "image",
    "kind": "image",
    "numbers": {"dtype": "float32", "shape": [8, 8], "min": 0, "max": 16},
}
PHOTO = {"name": "photo", "kind": "image", "max_bytes": 1000}


def check(entry, value):
    (result,) = InputChecker(signature(entry)).check(value).values()
    return result


def refusal(entry, value) -> str:
    with pytest.raises(InputError) as caught:
        check(entry, value)
    assert caught.value.field == entry["name"]
    return str(caught.value)


def test_a_fitting_array_is_handed_on_without_a_copy():
    array = np.ones((2, 3), np.float32)
    assert check(TENSOR, array) is array


@pytest.mark.parametrize(
    "value",
    [np.ones((2, 3)), np.ones((2, 3), np.int64), [[1, 2, 3], [4, 5, 6]], ((1.0,) * 3,) * 2],
    ids=["float64", "int64", "lists", "tuples"],
)
def test_numbers_of_the_same_kind_are_converted(value):
    assert check(TENSOR, value).dtype == np.float32


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.ones((3, 2), np.float32), "float32[2, 3], found float32[3, 2]"),
        (np.ones((1, 2, 3), np.float32), "without a batch axis"),
        (np.ones((2, 3), np.complex64), "found complex64[2, 3]"),
        (np.full((2, 3), "a"), "found str"),
        (np.full((2, 3), None), "found bytes[2, 3]"),
        (np.full((2, 3), np.nan, np.float32), "finite numbers, found NaN"),
        (np.full((2, 3), np.inf), "finite numbers"),
        (np.full((2, 3), 1e300), "finite numbers"),
        ([[1, 2], [3]], "a ragged list"),
        ("1 2 3", "found a str"),
        (None, "found None"),
        ({1, 2}, "found a set"),
        (b"123", "found a bytes"),
    ],
)
def test_a_tensor_that_does_not_fit_is_refused_with_what_came(value, words):
    assert words in refusal(TENSOR, value)


def test_large_finite_numbers_pass_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check(TENSOR, np.full((2, 3), 3e38, np.float32))


@pytest.mark.parametrize("size", [3, 100_000])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_one_number_that_is_not_finite_is_found_among_many(size, dtype):
    entry = {**TENSOR, "shape": [-1], "dtype": np.dtype(dtype).name}
    array = np.full(size, np.finfo(dtype).max, dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert check(entry, array) is array
        for wrong in (np.nan, np.inf, -np.inf):
            array[size // 2] = wrong
            assert "NaN or infinity" in refusal(entry, array)


def test_a_tensor_with_no_elements_is_refused():
    assert "at least one element" in refusal(COUNTS, np.zeros(0, np.int8))


def test_integers_that_would_wrap_and_fractions_are_refused():
    assert "numbers that fit int8" in refusal(COUNTS, np.array([1, 300]))
    assert "int8" in refusal(COUNTS, np.array([1.5]))
    np.testing.assert_array_equal(check(COUNTS, np.array([1, -128])), [1, -128])


def test_a_range_is_held_and_nan_is_outside_every_range():
    bounded = {**TENSOR, "min": 0, "max": 1, "finite": False}
    assert "from 0 to 1, found 0 to 2" in refusal(bounded, [[0, 0, 0], [0, 0, 2]])
    assert "NaN" in refusal(bounded, np.full((2, 3), np.nan))
    check(bounded, np.ones((2, 3)))


def test_a_list_of_whole_numbers_fits_an_unsigned_tensor_by_its_values():
    unsigned = {**COUNTS, "dtype": "uint8"}
    np.testing.assert_array_equal(check(unsigned, [0, 255]), np.array([0, 255], np.uint8))
    for wrong in ([0, 256], [0, -1], np.array([1, 2])):
        assert "uint8" in refusal(unsigned, wrong)


def test_nan_passes_where_the_signature_allows_it():
    assert np.isnan(check({**TENSOR, "finite": False}, np.full((2, 3), np.nan))).all()


def test_text_is_text():
    assert check(TEXT, "grüße") == "grüße"
    assert "found a bytes" in refusal(TEXT, b"bytes")
    assert "at most 20 bytes" in refusal(TEXT, "x" * 21)
    assert "UTF-8" in refusal(TEXT, "\ud800")


def test_numbers_of_an_image_may_be_flat_or_square_of_any_numeric_type():
    for value in (np.zeros(64), np.zeros((8, 8), np.uint8), [0] * 64, np.zeros(64, np.float32)):
        checked = check(DIGIT, value)
        assert checked.shape == (8, 8)
        assert checked.dtype == np.float32


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.full(64, 17.0), "numbers from 0 to 16, found 17 to 17"),
        (np.full(64, -1.0), "found -1 to -1"),
        (np.full(64, np.nan), "NaN among them"),
        (np.full((8, 8), "x"), "numbers from 0 to 16"),
        ([0] * 63, "8 x 8 numbers from 0 to 16"),
        (5, "an image (path"),
        (None, "found None"),
        ({"no": 1}, ""),
    ],
)
def test_numbers_that_are_not_a_digit_are_refused(value, words):
    if isinstance(value, dict):
        with pytest.raises(InputError, match="an unknown name"):
            InputChecker(signature(DIGIT)).check(value)
    else:
        assert words in refusal(DIGIT, value)


def test_an_array_of_another_shape_is_taken_for_a_picture():
    assert isinstance(check(DIGIT, np.zeros((20, 30, 3), np.uint8)), Image)


def test_paths_that_lead_to_no_image_file_say_why(tmp_path):
    assert "No such file" in refusal(PHOTO, "cat.jpg")
    assert "No such file" in refusal(PHOTO, tmp_path / "cat.jpg")
    assert "irectory" in refusal(PHOTO, tmp_path) or "regular file" in refusal(PHOTO, tmp_path)
    assert "download it first" in refusal(PHOTO, "https://example.org/cat.jpg")
    assert "null" in refusal(PHOTO, "cat\0.jpg")
    assert len(refusal(PHOTO, "x" * 10_000)) < 400


@pytest.mark.skipif(os.name == "nt", reason="named pipes in directories are a POSIX thing")
def test_a_named_pipe_is_refused_without_waiting_for_its_writer(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert refusal(PHOTO, tmp_path / "pipe").count("not a regular file") == 1
    assert refusal(PHOTO, tmp_path / "pipe").count("expected") == 1


def test_a_file_larger_than_allowed_is_not_read_whole(tmp_path):
    (tmp_path / "big.jpg").write_bytes(b"x" * 2000)
    assert "at most 1000 bytes" in refusal(PHOTO, tmp_path / "big.jpg")


def test_several_inputs_are_given_by_name():
    checker = InputChecker(signature(TENSOR, TEXT))
    inputs = checker.check({"text": "a", "x": np.ones((2, 3), np.float32)})
    assert list(inputs) == ["x", "text"]
    for wrong, words in [
        ("a", "a dict with 'x', 'text'"),
        ({"x": 1, "text": "a", "y": 2}, "unknown name"),
        ({"text": "a"}, "a value, found only 'text'"),
        ({}, "an empty dict"),
    ]:
        with pytest.raises(InputError, match=words):
            checker.check(wrong)


OPTION = {"name": "min_score", "default": 0.3, "min": 0, "max": 1}


def test_options_have_defaults_ranges_and_known_names():
    declared = signature(TENSOR, options=[OPTION])
    assert check_options(declared, {}) == {"min_score": 0.3}
    assert check_options(declared, {"min_score": np.float32(0.5)}) == {"min_score": 0.5}
    for wrong, words in [
        ({"min_scor": 0.5}, "min_score"),
        ({"min_score": 2}, "from 0 to 1"),
        ({"min_score": float("nan")}, "from 0 to 1"),
        ({"min_score": "0.5"}, "a number"),
        ({"min_score": True}, "a number"),
    ]:
        with pytest.raises(InputError, match=words):
            check_options(declared, wrong)
    with pytest.raises(InputError, match="it has none"):
        check_options(signature(TENSOR), {"min_score": 0.5})


@given(
    hnp.arrays(np.float32, (2, 3), elements=st.floats(-(2**60), 2**60, width=32)),
    st.text(max_size=5),
    hnp.arrays(np.float32, (8, 8), elements=st.floats(0, 16, width=32)),
)
def test_checked_inputs_come_through_the_wire_unchanged(x, text, digit):
    declared = signature(TENSOR, TEXT, DIGIT)
    inputs = InputChecker(declared).check({"x": x, "text": text, "image": digit})
    wire = WireInputs(declared)
    received = wire.read(wire.write(inputs))
    np.testing.assert_array_equal(received["x"], x)
    np.testing.assert_array_equal(received["image"], digit)
    assert received["text"] == text


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ([], "a tensor, found nothing"),
        ([from_array("y", np.ones(2, np.float32))], "unknown name"),
        ([from_array("x", np.ones((2, 3), np.float32))] * 2, "two of that name"),
        ([from_array("x", np.ones((2, 3)))], "float32[2, 3], found float64[2, 3]"),
        ([from_array("x", np.ones((3, 3), np.float32))], "found float32[3, 3]"),
        ([WireTensor("x", "FP32", (2, 3), b"123")], "24 bytes"),
        ([WireTensor("x", "FP32", (-2, 3), b"")], "lengths of 0 and more"),
        ([WireTensor("x", "FP99", (2, 3), b"")], "a known datatype"),
        ([WireTensor("x", "FP32", (2**40, 2**40), b"")], "bytes for FP32"),
        ([from_bytes("x", [b"abc"])], "found bytes[1]"),
    ],
)
def test_tensors_on_the_wire_that_do_not_fit_are_refused(tensors, words):
    with pytest.raises(InputError) as caught:
        WireInputs(signature(TENSOR)).read(tensors)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        (from_bytes("text", [b"\xff\xfe"]), "UTF-8"),
        (from_bytes("text", [b"a", b"b"], (2,)), "one element"),
        (from_array("text", np.ones(2, np.float32)), "one UTF-8 text"),
        (WireTensor("text", "BYTES", (1,), b"\xff\xff\xff\xff"), "past its end"),
        (WireTensor("text", "BYTES", (10**12,), b"\0\0\0\0"), "elements of BYTES"),
        (WireTensor("text", "BYTES", (1,), b"\0\0\0\0more"), "bytes more"),
        (WireTensor("text", "BYTES", (2,), b"\4\0\0\0abcd"), "elements of BYTES, not 1"),
    ],
)
def test_text_on_the_wire_that_is_none_is_refused(tensor, words):
    with pytest.raises(InputError) as caught:
        WireInputs(signature(TEXT)).read([tensor])
    assert words in str(caught.value)


def test_owned_inputs_stay_what_they_are_when_those_given_are_changed():
    pixels, numbers = np.zeros((4, 4, 3), np.uint8), np.zeros(3, np.float32)
    given = {"image": Image.from_pixels(pixels, "image"), "x": numbers, "text": "a"}
    kept = owned(given)
    pixels[:], numbers[:] = 9, 9
    assert not kept["image"].rgb().any()
    assert not kept["x"].any()
    assert kept["text"] == "a"


def test_owned_images_are_encoded_once_and_files_are_not_read():
    pixels = np.zeros((4, 4, 3), np.uint8)
    image = Image.from_pixels(pixels, "image")
    travels = image.encoded()
    file = Image.from_encoded(travels[0], "image")
    assert image.owned().encoded() is travels
    assert file.owned() is file
