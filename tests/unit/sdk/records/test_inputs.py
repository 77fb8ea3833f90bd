"""Inputs as they are kept."""

from __future__ import annotations

import io

import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from wherever._records.inputs import content_digest, pack_inputs, unpack_inputs
from wherever_contracts.errors import InputError
from wherever_contracts.frames import FrameError, pack_frame
from wherever_edge.images import Image

KEY = bytes(32)
ARRAYS = npst.arrays(
    st.sampled_from(["bool", "uint8", "int64", "float32", "float64"]),
    npst.array_shapes(min_dims=0, max_dims=3, max_side=4),
)
VALUES = ARRAYS | st.text(max_size=20) | st.binary(max_size=20)


def same(one, other):
    if isinstance(one, np.ndarray):
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        return one.tobytes() == other.tobytes()
    return type(one) is type(other) and one == other


@given(st.dictionaries(st.text(max_size=9), VALUES, max_size=3))
def test_inputs_come_back_to_the_bit(inputs):
    back = unpack_inputs(pack_inputs(inputs))
    assert back.keys() == inputs.keys()
    assert all(same(back[name], inputs[name]) for name in inputs)
    assert content_digest(KEY, back) == content_digest(KEY, inputs)


@given(
    st.dictionaries(st.text(max_size=9), VALUES, max_size=3), st.binary(min_size=32, max_size=32)
)
def test_a_digest_is_the_key_s_own(inputs, key):
    digest = content_digest(KEY, inputs)
    assert len(digest) == 32
    assert set(digest) <= set("0123456789abcdef")
    assert (content_digest(key, inputs) == digest) is (key == KEY)


def test_an_image_comes_back_as_the_file_that_it_came_as():
    buffer = io.BytesIO()
    PIL.Image.new("RGB", (90, 80), "red").save(buffer, "JPEG")
    image = Image.from_encoded(buffer.getvalue(), "image")
    assert unpack_inputs(pack_inputs({"image": image})) == {"image": buffer.getvalue()}


def test_pixels_come_back_as_they_were_and_not_as_a_jpeg():
    pixels = np.random.default_rng(0).integers(0, 256, (80, 90, 3), np.uint8)
    back = unpack_inputs(pack_inputs({"image": Image.from_pixels(pixels, "image")}))
    assert np.array_equal(back["image"], pixels)


def test_what_was_packed_shares_nothing_with_what_was_given():
    pixels = np.zeros((80, 90, 3), np.uint8)
    frame = pack_inputs({"image": Image.from_pixels(pixels, "image")})
    pixels[:] = 255
    assert not unpack_inputs(frame)["image"].any()


def test_a_damaged_image_cannot_be_packed_when_its_pixels_are_needed():
    pil = PIL.Image.open(io.BytesIO(_png()[:-30]))
    with pytest.raises(InputError, match="damaged"):
        pack_inputs({"image": Image.from_pil(pil, "image")})


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        pack_frame({}, {}),
        pack_frame({"x": np.zeros(1)}, {"kinds": {}}),
        pack_frame({"x": np.zeros(1)}, {"kinds": ["x"]}),
        pack_frame({"x": np.array([255], np.uint8)}, {"kinds": {"x": "text"}}),
    ],
)
def test_a_frame_of_something_else_is_refused(frame):
    with pytest.raises(FrameError):
        unpack_inputs(frame)


def _png():
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (80, 90, 3), np.uint8)
    PIL.Image.fromarray(noise).save(buffer, "PNG")
    return buffer.getvalue()
