"""What may be said of an answer, and how right the answer then is."""

from __future__ import annotations

import json

import numpy as np
import pytest

from wherever._escalation.judging import Truth, judge, truth_of
from wherever_contracts.errors import InputError
from wherever_contracts.manifest import Signature
from wherever_contracts.values import Box, Detection

IMAGE = {"name": "image", "kind": "image"}


def signature(value: dict, *outputs: tuple[str, str, list[int]]) -> Signature:
    entries = [{"name": name, "dtype": dtype, "shape": shape} for name, dtype, shape in outputs]
    return Signature.model_validate({"inputs": [IMAGE], "outputs": entries, "value": value})


FRUIT = ("apple", "pear", "plum", "pear")
LABELS = signature(
    {"kind": "label", "scores": "scores", "labels": FRUIT}, ("scores", "float32", [4])
)
MANY = signature(
    {"kind": "label", "scores": "scores", "labels": [f"class {n}" for n in range(100)]},
    ("scores", "float32", [100]),
)
BOXES = signature(
    {
        "kind": "detections",
        "boxes": "boxes",
        "scores": "scores",
        "classes": "classes",
        "labels": ["person", "car"],
    },
    ("boxes", "float32", [-1, 4]),
    ("scores", "float32", [-1]),
    ("classes", "int64", [-1]),
)
VECTOR = signature({"kind": "embedding", "vector": "vector"}, ("vector", "float32", [2]))
TENSORS = signature({"kind": "tensors"}, ("vector", "float32", [2]))


def scores(best: int) -> dict[str, np.ndarray]:
    return {"scores": np.eye(4, dtype=np.float32)[best]}


def found(*boxes: tuple[float, float, float, float], score: float = 0.9) -> dict[str, np.ndarray]:
    return {
        "boxes": np.array(boxes, np.float32).reshape(-1, 4),
        "scores": np.full(len(boxes), score, np.float32),
        "classes": np.zeros(len(boxes), np.int64),
    }


@pytest.mark.parametrize(
    ("label", "accepted", "words"), [(None, None, "neither"), ("pear", True, "both")]
)
def test_exactly_one_of_the_two_is_said(label, accepted, words):
    with pytest.raises(InputError, match=f"one of label= and accepted=, found {words}"):
        truth_of(LABELS, label, accepted)


@pytest.mark.parametrize("accepted", [1, "yes", 0.0])
def test_accepted_is_true_or_false(accepted):
    with pytest.raises(InputError, match="'accepted': expected True or False"):
        truth_of(LABELS, None, accepted)


@pytest.mark.parametrize("of", [LABELS, BOXES, VECTOR, TENSORS, None])
def test_any_answer_can_be_accepted_or_not(of):
    assert truth_of(of, None, False) == Truth(accepted=False)
    assert truth_of(of, None, np.bool_(True)) == Truth(accepted=True)
    assert truth_of(of, None, True).plain_label() is None


def test_a_label_is_one_of_the_models():
    assert truth_of(LABELS, "plum", None) == Truth("plum")
    assert truth_of(LABELS, "plum", None).plain_label() == "plum"


@pytest.mark.parametrize(
    ("of", "label", "words"),
    [
        (LABELS, "aple", "perhaps 'apple', found 'aple'"),
        (LABELS, 3, "one of 'apple', 'pear', 'plum', 'pear', found 3 "),
        (LABELS, ["pear"], "found .*list"),
        (MANY, "", r"one of 'class 0', .*'class 11', \.\.\., found ''"),
        (VECTOR, "pear", "names no labels: say accepted=True"),
        (TENSORS, "pear", "names no labels: say accepted=True"),
        (BOXES, "person", "a list of all that there is in the image"),
        (BOXES, ["person"], "if the boxes are not known, say accepted=True"),
        (BOXES, [("persons", (0, 0, 1, 1))], "perhaps 'person'"),
        (BOXES, [{"box": [0, 0, 1, 1]}], "if the boxes are not known, say accepted=True"),
        (BOXES, [(None, [0, 0, 1, 1])], "one of 'person', 'car', found None"),
        (BOXES, [("car", (0, 0, 1))], "left, top, right and bottom"),
        (BOXES, [("car", 7)], "left, top, right and bottom"),
        (BOXES, [("car", (0, 0, float("inf"), 1))], "left, top, right and bottom"),
        (BOXES, [("car", (5, 0, 1, 1))], "left, top, right and bottom"),
        (BOXES, [("car", (0, 5, 1, 1))], "left, top, right and bottom"),
    ],
)
def test_what_this_model_cannot_be_told_is_refused_with_what_it_can(of, label, words):
    with pytest.raises(InputError, match=words):
        truth_of(of, label, None)


def test_detections_are_told_as_they_are_given_in_pairs_or_as_plain_data():
    box = Box(0.0, 1.0, 2.0, 3.0)
    ways = [
        Detection("car", 0.4, box),
        ("car", box),
        ("car", (0, 1, 2, 3)),
        {"label": "car", "score": 0.4, "box": [0, 1, 2, 3]},
    ]
    truth = truth_of(BOXES, ways, None)
    assert truth.label == (Detection("car", 1.0, box),) * 4
    plain = truth.plain_label()
    assert plain[0] == {"label": "car", "box": [0.0, 1.0, 2.0, 3.0]}
    assert truth_of(BOXES, json.loads(json.dumps(plain)), None) == truth


def test_a_label_is_right_by_its_name():
    assert judge(LABELS, Truth("pear"), scores(1), None) == (1.0, None)
    assert judge(LABELS, Truth("pear"), scores(3), scores(0)) == (1.0, 0.0)
    assert judge(LABELS, Truth("plum"), scores(1), scores(2)) == (0.0, 1.0)


def test_detections_are_as_right_as_their_f1():
    there = truth_of(BOXES, [("person", (0, 0, 10, 10)), ("person", (50, 50, 60, 60))], None)
    one, both = found((0, 0, 10, 9)), found((0, 0, 10, 9), (50, 51, 60, 60))
    assert judge(BOXES, there, one, both) == (pytest.approx(2 / 3), 1.0)
    nothing = truth_of(BOXES, [], None)
    assert judge(BOXES, nothing, found(), one) == (1.0, 0.0)
    assert judge(BOXES, truth_of(BOXES, [("car", (0, 0, 10, 9))], None), one, None).given == 0.0


def test_of_two_labels_that_differ_one_at_most_is_right():
    assert judge(LABELS, Truth(accepted=True), scores(1), None) == (1.0, None)
    assert judge(LABELS, Truth(accepted=True), scores(1), scores(2)) == (1.0, 0.0)
    assert judge(LABELS, Truth(accepted=True), scores(1), scores(1)) == (1.0, 1.0)
    assert judge(LABELS, Truth(accepted=False), scores(1), scores(1)) == (0.0, 0.0)
    assert judge(LABELS, Truth(accepted=False), scores(1), scores(2)) == (0.0, None)


def test_an_accepted_list_of_detections_says_nothing_of_another_one():
    one, both = found((0, 0, 10, 9)), found((0, 0, 10, 9), (50, 51, 60, 60))
    assert judge(BOXES, Truth(accepted=True), one, both) == (1.0, None)
    assert judge(BOXES, Truth(accepted=True), one, one) == (1.0, 1.0)
