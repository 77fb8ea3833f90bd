"""The name of an answer in the result cache: the same for the same call, another for any other."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image as Pillow

from wherever._cache import call_digest, result_key
from wherever_edge.images import Image

SECRET = bytes(range(32))
PLAIN = {
    "variant_digest": "a" * 64,
    "precision": "int8",
    "inputs": {"x": np.arange(6, dtype=np.float32).reshape(2, 3), "text": "hello"},
    "options": {"min_score": 0.3},
    "signature_digest": "b" * 64,
}
NUMBERS = st.sampled_from(["uint8", "int16", "float32", "float64"]).flatmap(
    lambda name: hnp.arrays(name, hnp.array_shapes(min_dims=1, max_dims=3, max_side=5))
)


def key(secret=SECRET, **changes):
    given = {**PLAIN, **changes}
    call = call_digest(secret, given["inputs"], given["options"], given["signature_digest"])
    return result_key(
        secret, call, given["variant_digest"], given["precision"], given.get("release", "")
    )


def png(pixels):
    file = io.BytesIO()
    Pillow.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def test_a_key_is_32_bytes_that_nobody_can_guess_without_the_secret():
    assert len(key()) == 32
    assert key(secret=bytes(32)) != key()


@pytest.mark.parametrize(
    "change",
    [
        {"variant_digest": "a" * 63 + "b"},
        {"precision": "float32"},
        {"release": "crop"},
        {"signature_digest": "b" * 63 + "a"},
        {"options": {}},
        {"options": {"min_score": np.nextafter(0.3, 1)}},
        {"options": {"min_scorf": 0.3}},
        {"options": {"min_score": 0.3, "more": 0.0}},
        {"inputs": {**PLAIN["inputs"], "text": "Hello"}},
        {"inputs": {**PLAIN["inputs"], "text": np.frombuffer(b"hello", np.uint8)}},
        {"inputs": {**PLAIN["inputs"], "text": b"hello"}},
        {"inputs": {"y": PLAIN["inputs"]["x"], "text": "hello"}},
        {"inputs": {"x": PLAIN["inputs"]["x"].reshape(3, 2), "text": "hello"}},
        {"inputs": {"x": PLAIN["inputs"]["x"].view(np.int32), "text": "hello"}},
        {"inputs": {"x": PLAIN["inputs"]["x"]}},
    ],
)
def test_whatever_decides_the_answer_decides_the_key(change):
    assert key(**change) != key()


def test_the_order_of_names_does_not():
    backwards = dict(reversed(PLAIN["inputs"].items()))
    assert key(inputs=backwards) == key()
    options = {"a": 1.0, "b": 2.0}
    assert key(options=options) == key(options=dict(reversed(options.items())))


@given(NUMBERS, st.data())
def test_any_other_bit_of_an_input_is_another_key(array, data):
    other = array.copy()
    position = data.draw(st.integers(0, 8 * array.nbytes - 1))
    other.view(np.uint8).reshape(-1)[position // 8] ^= 1 << position % 8
    assert key(inputs={"x": array}) != key(inputs={"x": other})


@given(NUMBERS)
def test_strides_and_byte_order_leave_no_trace(array):
    plain = key(inputs={"x": array})
    assert key(inputs={"x": np.asfortranarray(array)}) == plain
    assert key(inputs={"x": np.repeat(array, 2, axis=0)[::2]}) == plain
    assert key(inputs={"x": array.astype(array.dtype.newbyteorder(">"))}) == plain


@given(st.floats(), st.floats())
def test_options_that_differ_in_any_bit_have_keys_of_their_own(one, other):
    same = one.hex() == other.hex()
    assert (key(options={"a": one}) == key(options={"a": other})) is same


@given(st.lists(st.text(max_size=4), max_size=4), st.lists(st.text(max_size=4), max_size=4))
def test_texts_do_not_run_into_each_other(one, other):
    keys = [key(inputs={f"{i}": text for i, text in enumerate(texts)}) for texts in (one, other)]
    assert (keys[0] == keys[1]) is (one == other)


@given(st.lists(st.binary(max_size=4), max_size=4), st.lists(st.binary(max_size=4), max_size=4))
def test_nor_do_the_elements_of_a_bytes_tensor(one, other):
    arrays = [np.array([*each, None], object)[:-1] for each in (one, other)]
    keys = [key(inputs={"x": array}) for array in arrays]
    assert (keys[0] == keys[1]) is (one == other)


def test_an_image_is_its_file_when_it_came_as_one():
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    file = png(pixels)
    plain = key(inputs={"image": Image.from_encoded(file, "image")})
    assert key(inputs={"image": Image.from_encoded(bytes(file), "image")}) == plain
    assert key(inputs={"image": Image.from_encoded(file + b"\0", "image")}) != plain


def test_an_image_of_pixels_has_one_key_whatever_was_made_of_it():
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    image = Image.from_pixels(pixels, "image")
    plain = key(inputs={"image": image})
    image.encoded()
    assert key(inputs={"image": image}) == plain
    assert key(inputs={"image": Image.from_pixels(pixels[::, ::-1][::, ::-1], "image")}) == plain
    assert key(inputs={"image": Image.from_pil(Pillow.fromarray(pixels), "image")}) == plain
    assert key(inputs={"image": Image.from_pixels(pixels[::-1], "image")}) != plain
