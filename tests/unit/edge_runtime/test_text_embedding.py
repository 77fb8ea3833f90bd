"""One vector out of many: means over tokens, and lengths of 1, against sums in float64."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from wherever_contracts.manifest import StepEntry
from wherever_edge.pipelines.pipeline import StepContext, compile_steps

NUMBERS = st.floats(-1e3, 1e3, width=32)
VECTORS = hnp.arrays(
    np.float32, hnp.array_shapes(min_dims=3, max_dims=3, max_side=6), elements=NUMBERS
)


def run(op, state, **parameters):
    entry = StepEntry.model_validate({"op": op, **parameters})
    (step,) = compile_steps([entry], StepContext.__new__(StepContext), "pipeline.post")
    step(state)
    return state


def mean_again(vectors, mask):
    rows = []
    for row, weights in zip(vectors.astype(np.float64), mask.astype(np.float64), strict=True):
        total = sum(weight * vector for weight, vector in zip(weights, row, strict=True))
        rows.append(total / weights.sum() if weights.sum() else total)
    return np.array(rows)


@given(VECTORS, st.data(), st.sampled_from(["int64", "int32", "float32", "bool"]))
def test_the_mean_counts_the_tokens_of_the_mask_alone(vectors, data, dtype):
    mask = data.draw(hnp.arrays(np.int64, vectors.shape[:2], elements=st.integers(0, 1)))
    state = {"hidden": vectors, "mask": mask.astype(dtype)}
    found = run("mean_pool", state, name="hidden", mask="mask", to="pooled")["pooled"]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, mean_again(vectors, mask), rtol=1e-4, atol=1e-3)
    assert state["hidden"] is vectors


@given(VECTORS)
def test_without_a_mask_every_token_counts(vectors):
    found = run("mean_pool", {"x": vectors}, name="x")["x"]
    np.testing.assert_allclose(found, vectors.astype(np.float64).mean(1), rtol=1e-4, atol=1e-3)


def test_padding_changes_nothing_whatever_stands_in_it():
    hidden = np.arange(12, dtype=np.float32).reshape(1, 3, 4)
    padded = np.concatenate([hidden, np.full((1, 2, 4), 1e30, np.float32)], axis=1)
    plain = {"x": hidden, "m": np.array([[1, 1, 1]])}
    longer = {"x": padded, "m": np.array([[1, 1, 1, 0, 0]])}
    means = [run("mean_pool", state, name="x", mask="m")["x"] for state in (plain, longer)]
    np.testing.assert_array_equal(*means)


def test_a_row_without_a_token_is_zeros():
    state = {"x": np.ones((1, 2, 3), np.float32), "m": np.zeros((1, 2), np.int64)}
    assert run("mean_pool", state, name="x", mask="m")["x"].tolist() == [[0, 0, 0]]


@pytest.mark.parametrize("shape", [(5,), (1, 5), (3, 5)])
@pytest.mark.parametrize("size", [1e-30, 1e-3, 1.0, 1e30])
def test_vectors_get_a_length_of_1_and_keep_their_direction(shape, size):
    given_ = (np.arange(1, 1 + np.prod(shape)).reshape(shape) * size).astype(np.float32)
    found = run("unit_length", {"x": given_}, name="x", to="y")["y"]
    exact = given_.astype(np.float64)
    exact /= np.sqrt((exact**2).sum(-1, keepdims=True))
    np.testing.assert_allclose(found, exact, rtol=1e-5)
    assert found.dtype == np.float32


def test_a_vector_of_zeros_stays_one():
    assert run("unit_length", {"x": np.zeros((1, 3), np.float16)}, name="x")["x"].tolist() == [
        [0, 0, 0]
    ]
