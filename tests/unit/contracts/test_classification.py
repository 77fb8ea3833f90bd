"""Outputs as their best classes, in the words of Triton's extension."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherever_contracts.errors import InputError
from wherever_contracts.manifest import Signature
from wherever_contracts.wire.classification import refuse_without_classes, with_classes

SIGNATURE = Signature.model_validate(
    {
        "inputs": [{"name": "x", "kind": "tensor", "dtype": "float32", "shape": [1]}],
        "outputs": [
            {"name": "scores", "dtype": "float32", "shape": [3]},
            {"name": "counts", "dtype": "int64", "shape": [-1, 2]},
            {"name": "flags", "dtype": "bool", "shape": [2]},
            {"name": "one", "dtype": "float32", "shape": []},
        ],
        "value": {"kind": "label", "scores": "scores", "labels": ["left", "middle", "right"]},
    }
)


def test_the_best_classes_come_first_with_their_labels():
    outputs = {"scores": np.array([0.25, 0.5, 0.125], np.float32), "one": np.float32(1)}
    made = with_classes(outputs, {"scores": 2}, SIGNATURE)
    assert made["scores"].tolist() == [b"0.500000:1:middle", b"0.250000:0:left"]
    assert made["one"] is outputs["one"]


def test_outputs_without_labels_have_values_and_indices_row_by_row():
    made = with_classes({"counts": np.array([[1, 2], [4, 3]])}, {"counts": 1}, SIGNATURE)
    assert made["counts"].tolist() == [[b"2.000000:1"], [b"4.000000:0"]]


@given(st.lists(st.floats(width=32, allow_nan=False), min_size=3, max_size=3), st.integers(1, 9))
def test_as_many_classes_come_as_are_wanted_and_there_are(scores, most):
    array = np.array(scores, np.float32)
    made = with_classes({"scores": array}, {"scores": most}, SIGNATURE)["scores"]
    found = [int(text.split(b":")[1]) for text in made]
    assert len(found) == len(set(found)) == min(most, 3)
    assert [scores[at] for at in found] == sorted(scores, reverse=True)[:most]


@pytest.mark.parametrize("name", ["flags", "one", "nothing"])
def test_what_has_no_classes_is_refused(name):
    with pytest.raises(InputError, match="numbers in a row"):
        refuse_without_classes({name: 1}, SIGNATURE)


def test_vectors_of_numbers_have_classes():
    refuse_without_classes({"scores": 1, "counts": 2}, SIGNATURE)
