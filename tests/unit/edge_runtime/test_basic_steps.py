"""Steps on plain arrays and text."""

from __future__ import annotations

import numpy as np
import pytest

from wherever_contracts.errors import ManifestError
from wherever_contracts.manifest import StepEntry
from wherever_edge.pipelines.pipeline import StepContext, compile_steps, known_steps


def run(op, state, **parameters):
    entry = StepEntry.model_validate({"op": op, **parameters})
    context = StepContext.__new__(StepContext)
    (step,) = compile_steps([entry], context, "variants.v.pipeline.pre")
    step(state)
    return state


def test_scale_multiplies_into_float32_and_leaves_its_source_alone():
    numbers = np.array([0, 8, 16], np.uint8)
    state = run("scale", {"image": numbers}, name="image", to="x", by=0.125)
    assert state["x"].dtype == np.float32
    np.testing.assert_array_equal(state["x"], [0, 1, 2])
    np.testing.assert_array_equal(numbers, [0, 8, 16])


def test_reshape_first_row_and_rename():
    state = {"x": np.arange(6)}
    run("reshape", state, name="x", shape=[2, -1])
    assert state["x"].shape == (2, 3)
    run("first_row", state, name="x", to="row")
    np.testing.assert_array_equal(state["row"], [0, 1, 2])
    run("rename", state, name="row", to="scores")
    assert state["scores"] is state["row"]


def test_softmax_gives_probabilities_even_for_huge_logits():
    state = run(
        "softmax", {"logits": np.array([[1000.0, 1000.0], [0, -1e9]])}, name="logits", to="p"
    )
    np.testing.assert_allclose(state["p"], [[0.5, 0.5], [1, 0]])


def test_the_confidence_of_a_classifier_is_its_largest_score():
    state = run("max_confidence", {"scores": np.array([0.2, 0.7, 0.1])}, name="scores")
    assert state["confidence"] == pytest.approx(0.7)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", [9, 9, 9]), ("ab", [97, 98, 9]), ("abcd", [97, 98, 99]), ("é", [195, 169, 9])],
)
def test_text_becomes_its_bytes_cut_or_padded(text, expected):
    state = run("utf8_bytes", {"text": text}, name="text", to="ids", length=3, pad=9)
    assert state["ids"].tolist() == [expected]
    assert state["ids"].dtype == np.int32


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"op": "nonsense"}, "one of .*reshape"),
        ({"op": "reshape", "name": "x"}, "shape"),
        ({"op": "reshape", "name": "x", "shape": [1], "extra": 1}, "extra"),
        ({"op": "reshape", "name": "x", "shape": ["a"]}, "parameters that 'reshape' takes"),
        ({"op": "utf8_bytes", "name": "x", "to": "y", "length": 0}, "1 or more"),
    ],
)
def test_a_step_that_does_not_exist_or_fit_names_its_field(entry, words):
    with pytest.raises(ManifestError, match=words) as caught:
        run(entry.pop("op"), {}, **entry)
    assert caught.value.field.startswith("variants.v.pipeline.pre.0")


def test_our_own_steps_register_like_everybodys():
    assert known_steps().broken == ()
    assert {"reshape", "softmax"} <= set(known_steps().by_name)


def test_columns_takes_a_stretch_of_the_last_axis():
    state = {"x": np.arange(8).reshape(2, 4)}
    run("columns", state, name="x", to="named", start=1)
    assert state["named"].tolist() == [[1, 2, 3], [5, 6, 7]]
    run("columns", state, name="x", start=1, stop=3)
    assert state["x"].tolist() == [[1, 2], [5, 6]]


@pytest.mark.parametrize(
    ("numbers", "kept"),
    [
        ([0.25, 0.75], True),
        ([0.2, 0.7], True),  # as int8 rounds them
        ([0.0, 2.0], False),
        ([-0.5, 1.5], False),
        ([0.1, 0.1], False),
        ([1.0, 1.0], False),
    ],
)
def test_probabilities_are_kept_and_logits_are_turned(numbers, kept):
    given = np.array(numbers, np.float32)
    found = run("probabilities", {"x": given.copy()}, name="x", to="y")["y"]
    if kept:
        np.testing.assert_array_equal(found, given)
    else:
        np.testing.assert_allclose(found, np.exp(given) / np.exp(given).sum(), rtol=1e-6)


def test_cast_rounds_and_stays_within_the_range():
    found = run("cast", {"x": np.array([-3, 1.5, 2.5, 300], np.float32)}, name="x", dtype="uint8")
    assert found["x"].tolist() == [0, 2, 2, 255]
    assert found["x"].dtype == np.uint8
    with pytest.raises(ManifestError, match="dtype"):
        run("cast", {"x": np.zeros(1)}, name="x", dtype="U1")
