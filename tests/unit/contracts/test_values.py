"""What an answer's value can be."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from wherever_contracts.places import BOUNDARIES, WITHIN, stricter
from wherever_contracts.tensors import TensorSpec, describe
from wherever_contracts.values import Box, Detection, Label, detections

NAMES = ("cat", "dog", "cow")


def test_a_label_is_the_name_of_the_best_class_and_knows_its_score():
    label = Label(NAMES, np.array([0.2, 0.7, 0.1], np.float32))
    assert label == "dog"
    assert (label.class_index, label.score) == (1, pytest.approx(0.7))
    assert [name for name, _ in label.ranking] == ["dog", "cat", "cow"]


def test_a_label_survives_pickling():
    label = Label(NAMES, np.array([0.2, 0.7, 0.1], np.float32))
    again = pickle.loads(pickle.dumps(label))
    assert (again, again.score, again.ranking) == (label, label.score, label.ranking)


def test_equal_scores_rank_in_the_order_of_the_labels():
    assert [n for n, _ in Label(NAMES, np.ones(3, np.float32)).ranking] == list(NAMES)


def test_detections_are_rows_with_names():
    boxes = np.array([[1, 2, 11, 22]], np.float32)
    (found,) = detections(NAMES, boxes, np.array([0.5], np.float32), np.array([2]))
    assert found == Detection("cow", 0.5, Box(1, 2, 11, 22))
    assert (found.box.width, found.box.height) == (10, 20)
    assert detections(NAMES, boxes[:0], np.zeros(0), np.zeros(0, np.int64)) == []


def test_the_stricter_of_two_boundaries_lets_data_travel_less_far():
    for one in BOUNDARIES:
        for other in BOUNDARIES:
            both = set(WITHIN[one]) & set(WITHIN[other])
            assert set(WITHIN[stricter(one, other)]) == both


def test_a_spec_admits_its_dtype_and_any_length_where_it_says_so():
    spec = TensorSpec("x", "float32", (-1, 3))
    for rows in range(40):
        assert spec.admits(np.zeros((rows, 3), np.float32))
    assert not spec.admits(np.zeros((1, 4), np.float32))
    assert not spec.admits(np.zeros((1, 3)))
    assert not spec.admits(np.zeros(3, np.float32))
    assert str(spec) == "float32[any, 3]"
    assert describe(np.empty(2, object)) == "bytes[2]"
