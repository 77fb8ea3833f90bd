"""Which samples become golden, and how far answers to them may be off."""

from __future__ import annotations

import numpy as np
import pytest

from wherever_contracts.manifest import Signature
from wherever_convert.judges import judge_for
from wherever_convert.proof.golden_choice import (
    Run,
    allowed_for,
    choose_golden,
    golden_options,
    is_lossy,
)
from wherever_edge.agreement import Found

LABEL = Signature.model_validate(
    {
        "inputs": [{"name": "x", "kind": "tensor", "dtype": "float32", "shape": [2]}],
        "outputs": [{"name": "scores", "dtype": "float32", "shape": [3]}],
        "value": {"kind": "label", "scores": "scores", "labels": ["a", "b", "c"]},
    }
)
TENSORS = Signature.model_validate(
    {
        "inputs": [{"name": "x", "kind": "tensor", "dtype": "float32", "shape": [2]}],
        "outputs": [{"name": "y", "dtype": "float32", "shape": [2]}],
        "value": {"kind": "tensors"},
    }
)
DETECTIONS = Signature.model_validate(
    {
        "inputs": [{"name": "image", "kind": "image"}],
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
            "labels": ["cat", "dog"],
        },
        "options": [{"name": "min_score", "default": 0.3, "min": 0.0, "max": 1.0}],
    }
)


def found(*boxes, scores=None):
    count = len(boxes)
    return Found(
        np.array(boxes, np.float32).reshape(count, 4),
        np.array(scores or [0.9] * count, np.float32),
        np.zeros(count, np.int64),
    )


def scores(*numbers):
    array = np.array(numbers, np.float32)
    return Run({"scores": array}, {"logits": array})


def test_of_labels_one_of_each_is_taken_first():
    kept = [0, 0, 0, 1, 1, 2, 2, 2]
    chosen = choose_golden(judge_for(LABEL, []), [kept, kept], most=3)
    assert sorted(kept[n] for n in chosen) == [0, 1, 2]


def test_samples_that_variants_answer_differently_are_not_taken():
    reference, other = [0, 1, 2, 0], [0, 2, 1, 1]
    assert choose_golden(judge_for(LABEL, []), [reference, other], most=4) == [0]


def test_no_more_are_taken_than_there_are():
    assert choose_golden(judge_for(LABEL, []), [[1, 1]], most=4) == [0, 1]


def test_of_detections_those_that_overlap_are_taken():
    apart = found([0, 0, 10, 10], [50, 50, 60, 60])
    crowded = found([0, 0, 10, 10], [3, 0, 13, 10], [20, 20, 30, 30])
    kept = [found(), apart, crowded, found([0, 0, 5, 5])]
    assert choose_golden(judge_for(DETECTIONS, []), [kept], most=1) == [2]
    assert choose_golden(judge_for(DETECTIONS, []), [kept], most=2) == [1, 2]


def test_unlikely_detections_are_asked_for_too():
    assert golden_options(DETECTIONS) == {"min_score": 0.1}
    assert golden_options(LABEL) == {}


def test_engines_that_agree_leave_the_floor_of_the_precision():
    runs = [scores(0.1, 0.7, 0.2)] * 2
    exact = allowed_for(LABEL, "float32", runs, lossy=False)
    coarse = allowed_for(LABEL, "int8", runs, lossy=False)
    lossy = allowed_for(LABEL, "float32", runs, lossy=True)
    assert exact.answer.atol < lossy.answer.atol < coarse.answer.atol <= 0.06
    assert exact.tensors.fed < lossy.tensors.fed


def test_what_engines_are_apart_widens_what_is_allowed():
    runs = [scores(0.1, 0.7, 0.2), scores(0.1, 0.68, 0.22)]
    allowed = allowed_for(LABEL, "int8", runs, lossy=False)
    assert allowed.answer.atol == pytest.approx(0.08, rel=0.01)
    assert allowed.tensors.given > 0.01


def test_engines_that_answer_otherwise_make_no_golden_sample():
    runs = [scores(0.1, 0.5, 0.4), scores(0.1, 0.4, 0.5)]
    assert allowed_for(LABEL, "int8", runs, lossy=False) is None


def test_an_answer_that_hangs_on_the_processor_makes_no_golden_sample():
    runs = [scores(0.1, 0.7, 0.2)] * 2
    near, far = scores(0.1, 0.64, 0.26), scores(0.1, 0.5, 0.4)
    wider = allowed_for(LABEL, "int8", runs, lossy=False, lesser=[near])
    assert wider.answer.atol > allowed_for(LABEL, "int8", runs, lossy=False).answer.atol
    assert allowed_for(LABEL, "int8", runs, lossy=False, lesser=[far]) is None


def test_large_numbers_may_be_off_by_as_much_as_they_are_large():
    first = {"y": np.array([1000, 2], np.float32)}
    small = {"y": np.array([1, 0.002], np.float32)}
    large_ones = allowed_for(TENSORS, "float32", [Run(first, None)], lossy=False)
    small_ones = allowed_for(TENSORS, "float32", [Run(small, None)], lossy=False)
    assert large_ones.answer.atol == pytest.approx(1000 * small_ones.answer.atol)


def test_detections_that_come_and_go_are_allowed_for_lower_scores_alone():
    def run(least):
        kept = found([0, 0, 10, 10], [50, 50, 60, 60], scores=[0.9, least])
        return Run(dict(zip(("boxes", "scores", "classes"), kept, strict=True)), None)

    alone = found([0, 0, 10, 10])
    without = Run(dict(zip(("boxes", "scores", "classes"), alone, strict=True)), None)
    strict = allowed_for(DETECTIONS, "float32", [run(0.25), run(0.25)], lossy=False)
    loose = allowed_for(DETECTIONS, "float32", [run(0.25), without], lossy=False)
    assert strict.answer.min_score < 0.25 < loose.answer.min_score
    assert allowed_for(DETECTIONS, "float32", [run(0.8), without], lossy=False) is None


@pytest.mark.parametrize(
    ("data", "lossy"),
    [
        (b"\xff\xd8\xff\xe0", True),
        (b"RIFF\0\0\0\0WEBPVP8 ", True),
        (b"\x89PNG", False),
        (b"", False),
    ],
)
def test_jpeg_and_webp_are_known_for_lossy(data, lossy):
    assert is_lossy([data]) is lossy
