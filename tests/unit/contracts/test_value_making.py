"""The value that a signature promises, and the same as plain data for JSON."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from wherever_contracts.manifest import Signature
from wherever_contracts.value_making import plain, value_of
from wherever_contracts.values import Box, Detection, Label

LABELS = ["cat", "dog"]
SCORES = np.array([0.25, 0.75], np.float32)
VECTOR = np.array([0.5, -1.5], np.float32)


def signature(value: dict[str, Any], **outputs: tuple[str, list[int]]) -> Signature:
    listed = [
        {"name": name, "dtype": dtype, "shape": shape} for name, (dtype, shape) in outputs.items()
    ]
    given = {"name": "given", "kind": "tensor", "dtype": "float32", "shape": [1]}
    return Signature.model_validate({"inputs": [given], "outputs": listed, "value": value})


LABEL = signature({"kind": "label", "scores": "scores", "labels": LABELS}, scores=("float32", [2]))
DETECTIONS = signature(
    {
        "kind": "detections",
        "boxes": "boxes",
        "scores": "scores",
        "classes": "classes",
        "labels": LABELS,
    },
    boxes=("float32", [-1, 4]),
    scores=("float32", [-1]),
    classes=("int64", [-1]),
)
EMBEDDING = signature({"kind": "embedding", "vector": "vector"}, vector=("float32", [2]))
TENSORS = signature({"kind": "tensors"}, vector=("float32", [2]))


def test_a_label_is_told_with_its_score():
    value = value_of(LABEL, {"scores": SCORES})
    assert isinstance(value, Label)
    assert plain(value) == {"label": "dog", "score": 0.75}


def test_detections_are_told_with_their_boxes():
    found = {
        "boxes": np.array([[1, 2, 11, 22]], np.float32),
        "scores": np.array([0.5], np.float32),
        "classes": np.array([1]),
    }
    value = value_of(DETECTIONS, found)
    assert value == [Detection("dog", 0.5, Box(1, 2, 11, 22))]
    assert plain(value) == [{"label": "dog", "score": 0.5, "box": [1, 2, 11, 22]}]
    assert plain([]) == []


def test_an_embedding_is_its_tensor():
    value = value_of(EMBEDDING, {"vector": VECTOR})
    assert value is VECTOR
    assert plain(value) == [0.5, -1.5]


def test_tensors_are_told_by_their_names():
    value = value_of(TENSORS, {"vector": VECTOR})
    assert value == {"vector": pytest.approx(VECTOR)}
    assert plain(value) == {"vector": [0.5, -1.5]}


def test_every_value_can_be_put_into_json():
    for value in (value_of(LABEL, {"scores": SCORES}), VECTOR, {"vector": VECTOR}, []):
        assert json.loads(json.dumps(plain(value))) == plain(value)
