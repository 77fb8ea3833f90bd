"""A pipeline follows a file with other tensor names or another size."""

from __future__ import annotations

import pytest

from wherever_contracts.errors import ConversionError
from wherever_contracts.manifest import Pipeline, VariantTensors
from wherever_contracts.tensors import TensorSpec
from wherever_convert.adapting import adapted, image_size

SMALL = (1, 3, 96, 128)
PIPELINE = Pipeline.model_validate(
    {
        "pre": [{"op": "image_tensor", "name": "image", "to": "in", "size": [96, 128]}],
        "post": [
            {"op": "decode", "name": "out", "size": [96, 128], "strides": [8]},
            {"op": "class_nms"},
        ],
    }
)


def tensors(names=("in",), shape=SMALL):
    return VariantTensors.model_validate(
        {
            "inputs": [{"name": name, "dtype": "float32", "shape": shape} for name in names],
            "outputs": [{"name": "out", "dtype": "float32", "shape": [1, 9]}],
        }
    )


def spec(name, *shape):
    return TensorSpec(name, "float32", shape)


def test_names_and_size_follow_the_new_file():
    new = adapted(PIPELINE, tensors(), [spec("x", 1, 3, 192, 256)], [spec("y", 1, 90)])
    assert new["pre"] == [{"op": "image_tensor", "name": "image", "to": "x", "size": [192, 256]}]
    assert new["post"][0] == {"op": "decode", "name": "y", "size": [192, 256], "strides": [8]}
    assert new["post"][1] == {"op": "class_nms"}


def test_the_same_tensors_change_nothing():
    same = adapted(PIPELINE, tensors(), [spec("in", *SMALL)], [spec("out", 1, 9)])
    assert same == PIPELINE.model_dump(mode="json")


def test_a_shape_that_was_the_old_inputs_follows_too():
    flat = Pipeline.model_validate(
        {"pre": [{"op": "reshape", "name": "given", "to": "in", "shape": [1, 64]}]}
    )
    new = adapted(flat, tensors(shape=(-1, 64)), [spec("in", -1, 1, 8, 8)], [spec("out", 1, 9)])
    assert new["pre"][0]["shape"] == [1, 1, 8, 8]


def test_what_cannot_be_matched_is_refused():
    with pytest.raises(ConversionError, match=r"inputs are a, b; the pipeline is for in\."):
        adapted(PIPELINE, tensors(), [spec("a", 1), spec("b", 1)], [spec("out", 1, 9)])


def test_the_size_of_an_image_is_seen_in_both_layouts():
    assert image_size((1, 3, 4, 5)) == (4, 5)
    assert image_size((-1, 4, 5, 3)) == (4, 5)
    assert image_size((1, 3, -1, -1)) is None
    assert image_size((1, 64)) is None
