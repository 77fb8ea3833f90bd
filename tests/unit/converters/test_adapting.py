"""A pipeline follows a file with other tensor names, another size or another layout."""

from __future__ import annotations

import numpy as np
import pytest

from wherever_contracts.errors import ConversionError
from wherever_contracts.tensors import TensorSpec
from wherever_convert.adapting import adapted, image_size, laid_out, laying_out, matched, turned


def spec(name, *shape, dtype="float32"):
    return TensorSpec(name, dtype, shape)


IMAGE = [spec("in", 1, 3, 96, 128)]
OUT = [spec("out", 1, 9)]
PIPELINE = {
    "pre": [{"op": "image_tensor", "name": "image", "to": "in", "size": [96, 128]}],
    "post": [
        {"op": "decode", "name": "out", "size": [96, 128], "strides": [8]},
        {"op": "class_nms"},
    ],
}


def test_names_and_size_follow_the_new_file():
    new = adapted(PIPELINE, IMAGE, OUT, [spec("x", 1, 3, 192, 256)], [spec("y", 1, 90)])
    assert new["pre"] == [{"op": "image_tensor", "name": "image", "to": "x", "size": [192, 256]}]
    assert new["post"][0] == {"op": "decode", "name": "y", "size": [192, 256], "strides": [8]}
    assert new["post"][1] == {"op": "class_nms"}


def test_what_the_signature_names_keeps_its_name_where_a_tensor_had_the_same():
    bare = {
        "pre": [{"op": "reshape", "name": "in", "shape": [1, 64]}, {"op": "scale", "name": "in"}],
        "post": [{"op": "first_row", "name": "out"}, {"op": "softmax", "name": "out"}],
    }
    old, new = ([spec("in", -1, 64)], [spec("out", -1, 9)]), ([spec("x", 1, 64)], [spec("y", 1, 9)])
    made = adapted(bare, *old, *new)
    assert made["pre"] == [
        {"op": "reshape", "name": "in", "to": "x", "shape": [1, 64]},
        {"op": "scale", "name": "x"},
    ]
    assert made["post"] == [
        {"op": "first_row", "name": "y", "to": "out"},
        {"op": "softmax", "name": "out"},
    ]


def test_the_same_tensors_change_nothing():
    assert adapted(PIPELINE, IMAGE, OUT, IMAGE, OUT) == PIPELINE


def test_a_shape_that_was_the_old_inputs_follows_too():
    flat = {"pre": [{"op": "reshape", "name": "given", "to": "in", "shape": [1, 64]}]}
    new = adapted(flat, [spec("in", -1, 64)], OUT, [spec("in", -1, 1, 8, 8)], OUT)
    assert new["pre"][0]["shape"] == [1, 1, 8, 8]


@pytest.mark.parametrize(
    ("before", "after", "layout"),
    [
        ((1, 3, 96, 128), (1, 96, 128, 3), "nhwc"),
        ((-1, 3, 96, 128), (1, 96, 128, 3), "nhwc"),
        ((1, 96, 128, 3), (1, 3, 96, 128), "nchw"),
    ],
)
def test_the_layout_follows_where_the_channels_moved(before, after, layout):
    new = adapted(PIPELINE, [spec("in", *before)], OUT, [spec("x", *after)], OUT)
    assert new["pre"][0]["layout"] == layout
    assert new["pre"][0]["size"] == [96, 128]


def test_a_layout_that_stays_is_not_said_anew():
    new = adapted(PIPELINE, IMAGE, OUT, [spec("x", 1, 3, 96, 128)], OUT)
    assert "layout" not in new["pre"][0]


def test_channels_that_moved_need_a_step_that_follows():
    plain = {"pre": [{"op": "cast", "name": "given", "to": "in", "dtype": "float32"}]}
    with pytest.raises(ConversionError, match="takes in as nhwc, and no step"):
        adapted(plain, IMAGE, OUT, [spec("in", 1, 96, 128, 3)], OUT)
    grey = adapted(plain, [spec("in", 1, 1, 8, 8)], OUT, [spec("in", 1, 8, 8, 1)], OUT)
    assert grey["pre"] == plain["pre"]


def test_several_tensors_are_matched_by_type_and_shape():
    old = [spec("ids", 1, 16, dtype="int64"), spec("mask", 1, 16), spec("image", 1, 3, 8, 8)]
    new = [spec("c", 1, 8, 8, 3), spec("a", 1, 16, dtype="int64"), spec("b", 1, 16)]
    found = matched("inputs", old, new)
    assert {name: each.name for name, each in found.items()} == {
        "ids": "a",
        "mask": "b",
        "image": "c",
    }


def test_steps_that_read_several_tensors_follow_and_names_of_answers_stay():
    old = [spec("boxes", 1, 10, 4), spec("scores", 1, 10)]
    new = [spec("b", 1, 10, 4), spec("s", 1, 10)]
    pipeline = {
        "post": [
            {"op": "fraction_boxes", "boxes": "boxes", "scores": ["scores"]},
            {"op": "top_k", "name": "scores", "scores": "scores"},
        ]
    }
    post = adapted(pipeline, IMAGE, old, IMAGE, new)["post"]
    assert post[0] == {"op": "fraction_boxes", "boxes": "b", "scores": ["s"]}
    assert post[1] == {"op": "top_k", "name": "s", "scores": "scores"}


@pytest.mark.parametrize(
    "inputs",
    [
        [spec("a", 1), spec("b", 1)],  # too many
        [spec("a", 1, 4), spec("b", 1, 4)],  # two of the same shape
        [spec("a", 1, 4), spec("b", 1, 4, dtype="int32")],  # another type
    ],
)
def test_what_cannot_be_matched_is_refused(inputs):
    old = [spec("x", 1, 4), spec("y", 1, 4)] if inputs[0].shape != (1,) else IMAGE
    with pytest.raises(ConversionError, match=r"inputs are a, b; the pipeline is for"):
        matched("inputs", old, inputs)


def test_an_array_is_laid_out_as_the_new_file_takes_it():
    image = np.arange(24, dtype=np.float32).reshape(1, 3, 2, 4)
    moved = laid_out(image, spec("x", 1, 2, 4, 3))
    assert np.array_equal(moved, image.transpose(0, 2, 3, 1))
    assert np.array_equal(laid_out(moved, spec("x", 1, 3, 2, 4)), image)
    assert laid_out(image, spec("x", -1, 3, 2, 4)) is image
    assert laid_out(image, spec("x", 1, 24)).shape == (1, 24)


def test_an_image_that_is_alike_in_both_layouts_is_left_alone():
    assert turned((1, 3, 3, 3), spec("x", 1, 3, 3, 3)) == ""
    assert turned((1, 3, 8, 8), spec("x", 1, 5, 8, 8)) == ""


def test_tensors_that_are_made_in_either_layout_are_known():
    assert laying_out(PIPELINE) == {"in"}
    assert laying_out({"post": []}) == frozenset()


def test_the_size_of_an_image_is_seen_in_both_layouts():
    assert image_size((1, 3, 4, 5)) == (4, 5)
    assert image_size((-1, 4, 5, 3)) == (4, 5)
    assert image_size((1, 3, -1, -1)) is None
    assert image_size((1, 64)) is None
