"""How far two answers differ is one number, and the same wherever it is counted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wherever_contracts.manifest import Signature
from wherever_convert.judges import judge_for
from wherever_convert.samples.sample import Sample
from wherever_edge.agreement import (
    NOTHING_FOUND,
    Found,
    agreement,
    category_of,
    closeness,
    cosine,
    detection_agreement,
    disagreement,
    overlaps,
    share,
    sure,
    thinned,
)


def signature(value, *outputs):
    return Signature.model_validate(
        {
            "inputs": [{"name": "x", "kind": "text"}],
            "outputs": [
                {"name": name, "dtype": "float32", "shape": [-1] * axes} for name, axes in outputs
            ],
            "value": value,
        }
    )


LABELS = [*"abcd"]
LABEL = signature({"kind": "label", "scores": "s", "labels": LABELS}, ("s", 1))
THINGS = signature(
    {"kind": "detections", "boxes": "b", "scores": "s", "classes": "c", "labels": LABELS},
    *(("b", 2), ("s", 1), ("c", 1)),
)
VECTOR = signature({"kind": "embedding", "vector": "v"}, ("v", 1))
TENSORS = signature({"kind": "tensors"}, ("y", 1), ("z", 2))
NOTHING = Found(np.zeros((0, 4)), np.zeros(0), np.zeros(0, int))


def things(*rows):
    """Detections, each (class, score, left, top, right, bottom)."""
    return {
        "b": np.array([row[2:] for row in rows], np.float32).reshape(-1, 4),
        "s": np.array([row[1] for row in rows], np.float32),
        "c": np.array([row[0] for row in rows], np.int64),
    }


def drawn(kind, rng):
    """Any answer that fits the signature."""
    if kind is LABEL:
        return {"s": rng.random(4, np.float32).round(1)}
    if kind is THINGS:
        corners = rng.integers(0, 20, (rng.integers(0, 5), 2))
        sides = rng.integers(1, 20, corners.shape)
        rows = np.hstack([corners, corners + sides]).tolist()
        return things(*((rng.integers(0, 2), rng.random(), *row) for row in rows))
    if kind is VECTOR:
        return {"v": rng.normal(0.2, 1, 5).astype(np.float32)}
    return {
        "y": rng.normal(0, 1, 9000).astype(np.float32),
        "z": rng.normal(0, 1, (2, 3)).astype(np.float32),
    }


@settings(max_examples=80)
@given(st.sampled_from([LABEL, THINGS, VECTOR, TENSORS]), st.integers(0, 2**32 - 1))
def test_it_is_what_calibration_counts(kind, seed):
    rng = np.random.default_rng(seed)
    ours, theirs = drawn(kind, rng), drawn(kind, rng)
    judge = judge_for(kind, [Sample("one", None, None)])
    (counted,) = judge.agreements([judge.keep(ours)], [judge.keep(theirs)])
    assert agreement(kind, ours, theirs) == np.clip(np.nan_to_num(counted), 0, 1)
    assert disagreement(kind, ours, theirs) == 1 - agreement(kind, ours, theirs)
    assert disagreement(kind, ours, ours) == pytest.approx(0, abs=1e-12)


def test_labels_differ_where_the_best_class_does():
    one, same, other = ({"s": np.array(s)} for s in ([0.1, 0.9], [0.4, 0.6], [0.6, 0.4]))
    assert (disagreement(LABEL, one, same), disagreement(LABEL, one, other)) == (0, 1)


def test_detections_differ_by_what_is_sure_and_has_no_partner():
    both = things((0, 0.9, 0, 0, 10, 10), (1, 0.5, 20, 20, 30, 30))
    unsure = things((0, 0.9, 0, 0, 10, 10), (1, 0.29, 20, 20, 30, 30))
    renamed = things((0, 0.9, 0, 0, 10, 10), (2, 0.5, 20, 20, 30, 30))
    moved = things((0, 0.9, 0, 0, 10, 5), (1, 0.5, 20, 20, 30, 24))
    assert disagreement(THINGS, unsure, both) == pytest.approx(1 / 3)
    assert disagreement(THINGS, renamed, both) == 0.5
    assert disagreement(THINGS, moved, both) == 0.5
    assert disagreement(THINGS, things(), both) == 1
    assert disagreement(THINGS, things((0, 0.2, 0, 0, 1, 1)), things()) == 0


def test_vectors_differ_by_their_angle_and_opposites_not_more_than_wholly():
    one = {"v": np.array([1.0, 0.0])}
    assert disagreement(VECTOR, {"v": np.array([1.0, 1.0])}, one) == pytest.approx(1 - 2**-0.5)
    assert disagreement(VECTOR, {"v": np.array([-3.0, 0.0])}, one) == 1
    assert disagreement(VECTOR, {"v": np.array([np.nan, 0.0])}, one) == 1
    assert disagreement(VECTOR, {"v": np.array([np.inf, 0.0])}, one) == 1


def test_tensors_differ_by_their_relative_error_over_all_of_them():
    one = {"y": np.array([3.0]), "z": np.array([[4.0]])}
    other = {"z": np.array([[4.0]]), "y": np.array([3.5])}
    assert disagreement(TENSORS, other, one) == pytest.approx(0.1)
    assert disagreement(TENSORS, {**other, "y": np.array([3.0, 3.0])}, one) == 1
    endless = {**other, "y": np.array([np.inf])}
    assert disagreement(TENSORS, endless, one) == disagreement(TENSORS, endless, endless) == 1


def test_the_category_is_the_best_class_or_that_of_the_surest_detection():
    found = things((2, 0.4, 0, 0, 9, 9), (3, 0.6, 0, 0, 9, 9), (0, 0.5, 0, 0, 9, 9))
    assert category_of(LABEL, {"s": np.array([0.1, 0.7, 0.2])}) == 1
    assert category_of(THINGS, found) == 3
    assert category_of(THINGS, things()) == NOTHING_FOUND == -1
    assert category_of(VECTOR, {"v": np.ones(3)}) == 0
    assert category_of(TENSORS, {"y": np.ones(3), "z": np.ones((1, 1))}) == 0


def test_overlap_is_intersection_over_union_and_over_the_box_alone_in_a_crowd():
    box, half = np.array([[0, 0, 10, 10]]), np.array([[5, 0, 15, 10]])
    assert overlaps(box, half)[0, 0] == pytest.approx(50 / 150)
    assert overlaps(box, half, np.array([True]))[0, 0] == pytest.approx(0.5)
    assert overlaps(np.zeros((1, 4)), np.zeros((1, 4)))[0, 0] == 0


def test_agreement_of_detections_is_f1_within_a_class():
    one = Found(np.array([[0.0, 0, 9, 9], [20, 20, 30, 30]]), np.ones(2), np.array([0, 1]))
    other = one._replace(classes=np.array([0, 2]))
    assert detection_agreement([one], [one]) == 1
    assert detection_agreement([one], [other]) == 0.5
    assert detection_agreement([one], [NOTHING]) == 0
    assert detection_agreement([NOTHING], [NOTHING]) == 1


def test_a_detection_has_one_partner():
    one = Found(np.array([[0.0, 0, 9, 9]]), np.ones(1), np.zeros(1, int))
    twice = Found(np.repeat(one.boxes, 2, axis=0), np.ones(2), np.zeros(2, int))
    assert detection_agreement([twice], [one]) == pytest.approx(2 / 3)
    assert len(sure(twice._replace(scores=np.array([0.3, 0.2999]))).scores) == 1


vectors = st.lists(st.floats(-100, 100).map(lambda x: round(x, 3)), min_size=1, max_size=8)


@settings(max_examples=50)
@given(vectors)
def test_everything_is_like_itself(numbers):
    vector = np.array(numbers)
    assert cosine(vector, vector) == pytest.approx(1)
    assert closeness([vector], [vector]) == 1


def test_closeness_is_one_less_the_relative_error():
    reference = np.array([3.0, 4.0])
    assert closeness([reference * 1.1], [reference]) == pytest.approx(0.9)
    assert closeness([-reference], [reference]) == 0
    assert closeness([np.zeros(3)], [reference]) == 0
    assert closeness([np.zeros(2)], [np.zeros(2)]) == 1


def test_the_cosine_of_opposites_is_minus_one_and_nothing_is_like_zero():
    vector = np.array([1.0, 2.0])
    assert cosine(-vector, vector) == pytest.approx(-1)
    assert cosine(vector, np.zeros(2)) == 0
    assert cosine(np.zeros(2), np.zeros(2)) == 1


def test_of_a_large_tensor_numbers_at_even_distances_are_kept():
    assert thinned(np.arange(10)).tolist() == list(range(10))
    assert thinned(np.arange(4096.0)).size == 2048
    assert thinned(np.zeros((100, 1000))).size <= 4096


def test_a_share_is_a_number_from_0_to_1():
    assert [share(each) for each in (-0.1, 0.5, 1.1, float("nan"))] == [0, 0.5, 1, 0]
