"""When two answers of one signature are the same answer."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherever_contracts.manifest import Signature
from wherever_edge.packages.agreement import Difference, Tolerance, difference

TOLERANCE = Tolerance(atol=0.05, rtol=0.01)
INPUT = {"name": "x", "kind": "text"}
LABEL = Signature.model_validate(
    {
        "inputs": [INPUT],
        "outputs": [{"name": "scores", "dtype": "float32", "shape": [3]}],
        "value": {"kind": "label", "scores": "scores", "labels": ["left", "middle", "right"]},
    }
)
DETECTIONS = Signature.model_validate(
    {
        "inputs": [INPUT],
        "outputs": [
            {"name": "boxes", "dtype": "float32", "shape": [-1, 4]},
            {"name": "scores", "dtype": "float32", "shape": [-1]},
            {"name": "classes", "dtype": "int64", "shape": [-1]},
        ],
        "value": {
            "kind": "detections",
            "boxes": "boxes",
            "scores": "scores",
            "classes": "classes",
            "labels": ["person", "bicycle"],
        },
    }
)


def tensors(dtype, shape):
    return Signature.model_validate(
        {
            "inputs": [INPUT],
            "outputs": [{"name": "y", "dtype": dtype, "shape": shape}],
            "value": {"kind": "tensors"},
        }
    )


def label(*scores):
    return {"scores": np.array(scores, np.float32)}


def things(*rows):
    """Detections, each (class, score, left, top, right, bottom)."""
    return {
        "boxes": np.array([row[2:] for row in rows], np.float32).reshape(-1, 4),
        "scores": np.array([row[1] for row in rows], np.float32),
        "classes": np.array([row[0] for row in rows], np.int64),
    }


def test_a_label_agrees_when_the_best_is_the_same_and_scores_are_near():
    worst = difference(LABEL, label(0.9, 0.06, 0.04), label(0.88, 0.07, 0.05), TOLERANCE)
    assert worst == pytest.approx(0.02 / 0.05, abs=1e-3)


def test_another_best_label_differs_however_near_the_scores_are():
    found = difference(LABEL, label(0.40, 0.39, 0.21), label(0.39, 0.40, 0.21), TOLERANCE)
    assert found == Difference(
        "scores", "'left' (0.4; 'middle' 0.39)", "'middle' (0.4; 'left' 0.39)"
    )


def test_a_score_that_moved_too_far_is_named():
    found = difference(LABEL, label(0.75, 0.25, 0), label(0.5, 0.25, 0), TOLERANCE)
    assert found == Difference("scores", "0.75 ± 0.05 at [0]", "0.5")


def test_a_score_that_is_no_number_differs():
    found = difference(LABEL, label(0.9, 0.1, 0), label(0.9, np.nan, 0), TOLERANCE)
    assert isinstance(found, Difference)


ONE = (0, 0.9, 0, 0, 100, 100)
OTHER = (1, 0.7, 50, 50, 90, 120)


def test_detections_agree_in_any_order_with_boxes_that_nearly_coincide():
    moved = [(1, 0.68, 50, 51, 91, 120), (0, 0.91, 1, 0, 100, 101)]
    worst = difference(DETECTIONS, things(ONE, OTHER), things(*moved), TOLERANCE)
    assert worst == pytest.approx(0.02 / 0.05, abs=1e-3)


@pytest.mark.parametrize(
    "there",
    [
        [],
        [OTHER],
        [(1, *ONE[1:]), OTHER],
        [(0, 0.8, *ONE[2:]), OTHER],
        [(0, 0.9, 0, 0, 100, 79), OTHER],
        [(0, 0.9, 200, 0, 300, 100), OTHER],
        [(0, 0.9, 100, 100, 0, 0), OTHER],
    ],
)
def test_a_detection_without_a_partner_is_a_difference_on_either_side(there):
    found = difference(DETECTIONS, things(ONE, OTHER), things(*there), TOLERANCE)
    assert found.expected == "'person' 0.900 at [0.0, 0.0, 100.0, 100.0]"
    assert found.found == "nothing like it"
    back = difference(DETECTIONS, things(*there), things(ONE, OTHER), TOLERANCE)
    assert isinstance(back, Difference)


def test_one_detection_is_no_partner_of_two():
    found = difference(DETECTIONS, things(ONE), things(ONE, ONE), TOLERANCE)
    assert found == Difference("boxes", "nothing like it", difference_words(ONE))


def difference_words(row):
    return f"'person' {row[1]:.3f} at [{', '.join(f'{side:.1f}' for side in row[2:])}]"


def test_faint_detections_may_come_and_go():
    faint = (0, 0.49, 5, 5, 9, 9)
    assert difference(DETECTIONS, things(ONE, faint), things(ONE), TOLERANCE) == 0
    assert difference(DETECTIONS, things(ONE), things(ONE, faint), TOLERANCE) == 0


def test_a_detection_on_the_threshold_has_a_partner_below_it():
    above, below = (0, 0.51, 5, 5, 9, 9), (0, 0.48, 5, 5, 9, 9)
    assert difference(DETECTIONS, things(above), things(below), TOLERANCE) < 1
    assert difference(DETECTIONS, things(below), things(above), TOLERANCE) < 1


def test_nothing_agrees_with_nothing():
    assert difference(DETECTIONS, things(), things(), TOLERANCE) == 0
    assert difference(tensors("float32", [-1]), *[{"y": np.zeros(0, "f4")}] * 2, TOLERANCE) == 0


def test_tensors_may_be_off_by_a_share_of_what_is_expected():
    signature = tensors("float32", [2])
    expected = {"y": np.array([1000, 0], np.float32)}
    assert difference(signature, expected, {"y": np.array([1010, 0], "f4")}, TOLERANCE) <= 1
    found = difference(signature, expected, {"y": np.array([1000, 0.06], "f4")}, TOLERANCE)
    assert found == Difference("y", "0 ± 0.05 at [1]", "0.06")


@pytest.mark.parametrize(
    ("dtype", "expected", "given", "said"),
    [
        ("bool", [True, False], [True, True], "at [1]"),
        ("bytes", [b"a", b"b"], [b"c", b"b"], "b'a' at [0]"),
        ("float32", [1, 2], [1], "float32[2]"),
        ("int64", [2**40, 1], [2**40, 3], "1 ± "),
        ("float32", [np.inf, 1], [-np.inf, 1], "inf"),
    ],
)
def test_what_differs_is_told(dtype, expected, given, said):
    kind = object if dtype == "bytes" else dtype
    arrays = [{"y": np.array(each, kind)} for each in (expected, given)]
    found = difference(tensors(dtype, [-1]), *arrays, TOLERANCE)
    assert found.output == "y"
    assert said in found.expected


@given(st.lists(st.floats(width=32), min_size=1, max_size=5))
def test_every_answer_without_nan_agrees_with_itself_exactly(numbers):
    answer = {"y": np.array(numbers, np.float32)}
    found = difference(tensors("float32", [-1]), answer, answer, Tolerance(atol=0, rtol=0))
    assert (found == 0) is not any(map(np.isnan, numbers))


@pytest.mark.parametrize(
    "wrong", [{"atol": -1}, {"atol": np.nan}, {"atol": "much"}, {"atol": 1, "iou": True}]
)
def test_a_tolerance_that_is_no_number_is_refused(wrong):
    with pytest.raises(ValueError, match="tolerance"):
        Tolerance(**wrong)
