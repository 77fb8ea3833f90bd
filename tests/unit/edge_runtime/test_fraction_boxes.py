"""Finished boxes, as fractions of the image, become detections."""

from __future__ import annotations

import numpy as np
import pytest

from wherever_contracts.errors import ManifestError
from wherever_contracts.manifest import Signature, StepEntry, Variant
from wherever_edge.pipelines.pipeline import StepContext, compile_steps
from wherever_edge.pipelines.placement import Placement

OUTPUTS = ("boxes", "scores", "classes")
# an image of 200 x 50, stretched to 100 x 100
PLACEMENT = Placement(200, 50, 0.5, 2.0)
STEP = {"op": "fraction_boxes", "boxes": "b", "scores": "s", "size": [100, 100]}


def no_files(path):
    raise KeyError(path)


def context(labels, columns):
    signature = {
        "inputs": [{"name": "image", "kind": "image"}],
        "outputs": [
            {"name": "boxes", "dtype": "float32", "shape": [-1, 4]},
            {"name": "scores", "dtype": "float32", "shape": [-1]},
            {"name": "classes", "dtype": "int64", "shape": [-1]},
        ],
        "value": {"kind": "detections", "labels": labels, **{name: name for name in OUTPUTS}},
        "options": [{"name": "min_score", "default": 0.5, "min": 0, "max": 1}],
    }
    tensors = {
        "inputs": [{"name": "x", "dtype": "float32", "shape": [1, 3, 100, 100]}],
        "outputs": [
            {"name": "b", "dtype": "float32", "shape": [1, -1, 4]},
            {"name": "s", "dtype": "float32", "shape": [1, -1, columns]},
        ],
    }
    variant = {
        "id": "v",
        "format": "onnx",
        "precision": "float32",
        "files": [{"path": "v.onnx", "sha256": "0" * 64, "bytes": 0}],
        "tensors": tensors,
    }
    return StepContext(
        Signature.model_validate(signature), Variant.model_validate(variant), no_files
    )


def run(boxes, scores, labels=("face",), columns=2, min_score=0.5, **changes):
    entry = StepEntry(**{**STEP, "background": 0, **changes})
    (step,) = compile_steps([entry], context(list(labels), columns), "post")
    state = {
        "b": np.array([boxes], np.float32),
        "s": np.array([scores], np.float32),
        "options": {"min_score": min_score},
        "placement": (PLACEMENT,),
    }
    step(state)
    return state


def test_boxes_are_moved_to_the_pixels_of_the_image():
    state = run([[0.25, 0.5, 0.75, 1.0]], [[0.1, 0.9]])
    assert state["boxes"].tolist() == [[50, 25, 150, 50]]
    assert state["scores"].tolist() == [np.float32(0.9)]
    assert state["classes"].tolist() == [0]


def test_the_background_is_no_label():
    state = run([[0, 0, 1, 1]], [[0.2, 0.7, 0.1]], ("cat", "dog"), 3, background=1)
    assert state["scores"].tolist() == [np.float32(0.2)]
    assert state["classes"].tolist() == [0]


def test_without_a_background_each_column_is_a_label():
    state = run([[0, 0, 1, 1]], [[0.2, 0.7]], ("cat", "dog"), 2, background=None)
    assert state["classes"].tolist() == [1]


def test_candidates_below_the_floor_come_only_when_asked_for():
    boxes, scores = [[0, 0, 1, 1]] * 2, [[0.99, 0.01], [0.9, 0.1]]
    assert len(run(boxes, scores)["scores"]) == 1
    assert len(run(boxes, scores, min_score=0.0)["scores"]) == 2


def test_what_is_no_box_or_no_number_is_left_out():
    nan = float("nan")
    boxes = [[0.5, 0, 0.5, 1], [0.6, 0, 0.4, 1], [nan, 0, 1, 1], [0, 0, 1, 1], [-2, -2, 3, 3]]
    scores = [[0, 0.9], [0, 0.9], [0, 0.9], [0, nan], [0, 0.9]]
    assert run(boxes, scores)["boxes"].tolist() == [[0, 0, 200, 50]]


@pytest.mark.parametrize(
    "changes", [{"boxes": "nothing"}, {"scores": "b"}, {"background": None}, {"background": 5}]
)
def test_a_step_that_does_not_fit_its_tensors_is_refused(changes):
    entry = StepEntry(**{**STEP, "background": 0, **changes})
    with pytest.raises(ManifestError):
        compile_steps([entry], context(["face"], 2), "post")
