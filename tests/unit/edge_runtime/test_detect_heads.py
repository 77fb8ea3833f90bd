"""YOLOv8's columns and TFLite's finished detections become detections."""

from __future__ import annotations

import numpy as np
import pytest

from wherever_contracts.errors import ManifestError
from wherever_contracts.manifest import Signature, StepEntry, Variant
from wherever_edge.pipelines.pipeline import StepContext, compile_steps
from wherever_edge.pipelines.placement import Placement

# an image of 200 x 50, stretched to 100 x 100
PLACEMENT = Placement(200, 50, 0.5, 2.0)
SSD = {"op": "ssd_boxes", "boxes": "b", "classes": "c", "scores": "s", "count": "n"}


def no_files(path):
    raise KeyError(path)


def context(shape=(1, 6, -1)):
    names = ("boxes", "scores", "classes")
    signature = {
        "inputs": [{"name": "image", "kind": "image"}],
        "outputs": [
            {"name": "boxes", "dtype": "float32", "shape": [-1, 4]},
            {"name": "scores", "dtype": "float32", "shape": [-1]},
            {"name": "classes", "dtype": "int64", "shape": [-1]},
        ],
        "value": {"kind": "detections", "labels": ["a", "b"], **{name: name for name in names}},
        "options": [{"name": "min_score", "default": 0.5, "min": 0, "max": 1}],
    }
    variant = {
        "id": "v",
        "format": "onnx",
        "precision": "float32",
        "files": [{"path": "v.onnx", "sha256": "0" * 64, "bytes": 0}],
        "tensors": {
            "inputs": [{"name": "x", "dtype": "float32", "shape": [1, 3, 100, 100]}],
            "outputs": [{"name": "out", "dtype": "float32", "shape": shape}],
        },
    }
    return StepContext(
        Signature.model_validate(signature), Variant.model_validate(variant), no_files
    )


def run(state, entry, where=None):
    (step,) = compile_steps([StepEntry(**entry)], where or context(), "post")
    state = {**state, "options": {"min_score": 0.5}, "placement": (PLACEMENT,)}
    step(state)
    return state


def test_yolov8s_columns_are_centres_and_the_best_label_wins():
    columns = [[50, 50, 20, 40, 0.9, 0.1], [10, 10, 4, 4, 0.2, 0.7], [5, 5, 2, 2, 0.01, 0.02]]
    tensor = np.array([columns], np.float32).transpose(0, 2, 1)
    found = run({"out": tensor}, {"op": "yolov8_boxes", "name": "out"})
    assert found["boxes"].tolist() == [[80, 15, 120, 35], [16, 4, 24, 6]]
    assert found["classes"].tolist() == [0, 1]
    np.testing.assert_allclose(found["scores"], [0.9, 0.7])


def test_yolov8_with_nothing_to_find_finds_nothing():
    found = run({"out": np.zeros((1, 6, 30), np.float32)}, {"op": "yolov8_boxes", "name": "out"})
    assert found["boxes"].shape == (0, 4)
    assert (found["scores"].dtype, found["classes"].dtype) == (np.float32, np.int64)


@pytest.mark.parametrize(
    ("shape", "name"), [((1, 7, -1), "out"), ((1, 6), "out"), ((1, 6, -1), "o")]
)
def test_a_tensor_that_is_not_yolov8s_is_refused(shape, name):
    with pytest.raises(ManifestError, match=f"'{name}'"):
        run({}, {"op": "yolov8_boxes", "name": name}, context(shape))


def test_only_as_many_finished_detections_as_the_model_counts_are_taken():
    state = {
        "b": np.array([[[0, 0, 0.5, 0.25], [0.5, 0.5, 1, 1], [0, 0, 1, 1]]], np.float32),
        "c": np.array([[1, 0, 1]], np.float32),
        "s": np.array([[0.9, 0.8, 0.7]], np.float32),
        "n": np.array([2], np.float32),
    }
    found = run(state, {**SSD, "size": [100, 100]})
    assert found["boxes"].tolist() == [[0, 0, 50, 25], [100, 25, 200, 50]]
    assert found["classes"].tolist() == [1, 0]


def test_detections_without_a_label_an_area_or_a_score_are_left_out():
    state = {
        "b": np.array(
            [[[0, 0, 1, 1], [0, 0, 1, 1], [0.5, 0.5, 0.5, 0.5], [0, 0, 1, 1]]], np.float32
        ),
        "c": np.array([[0, 3, 1, 2]], np.float32),
        "s": np.array([[0.9, 0.9, 0.9, 0.4]], np.float32),
        "n": np.array([4], np.float32),
    }
    found = run(state, {**SSD, "size": [100, 100], "first_class": 1})
    assert found["boxes"].shape == (0, 4)
