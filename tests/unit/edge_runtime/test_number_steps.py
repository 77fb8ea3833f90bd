"""Sigmoid, quantization and ranking against the formulas that they state, in Python's numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from wherever_contracts.errors import ManifestError
from wherever_contracts.manifest import Signature, StepEntry, Variant
from wherever_edge.pipelines.pipeline import StepContext, compile_steps

FILES = {"labels.txt": "chat\nchien\nâne\n".encode()}


def context(labels: tuple[str, ...] | None = ("cat", "dog", "ass")) -> StepContext:
    value: dict[str, Any] = {"kind": "tensors"}
    if labels is not None:
        value = {"kind": "label", "scores": "y", "labels": labels}
    tensor = {"name": "y", "dtype": "float32", "shape": [3]}
    signature = {
        "inputs": [{"name": "x", "kind": "tensor", "dtype": "float32", "shape": [3]}],
        "outputs": [tensor],
        "value": value,
    }
    variant = {
        "id": "v",
        "format": "onnx",
        "precision": "float32",
        "files": [{"path": "v.onnx", "sha256": "0" * 64, "bytes": 0}],
        "tensors": {"inputs": [tensor], "outputs": [tensor]},
    }
    return StepContext(
        Signature.model_validate(signature), Variant.model_validate(variant), FILES.__getitem__
    )


def run(array: Any, op: str, where: StepContext | None = None, **parameters: Any) -> dict[str, Any]:
    entry = StepEntry.model_validate({"op": op, "name": "x", **parameters})
    (step,) = compile_steps([entry], where or context(), "post")
    state = {"x": array}
    step(state)
    return state


floats = st.floats(-1e4, 1e4, width=32)
rows = arrays.arrays(np.float32, st.integers(1, 12), elements=floats)


@given(rows)
def test_sigmoid_is_one_over_one_plus_the_power(logits: Any) -> None:
    found = run(logits, "sigmoid", to="p")["p"]
    assert found.dtype == np.float32
    # below -700 the power is beyond what a float holds, and the answer below what float32 holds
    expected = [1 / (1 + math.exp(-x)) if x > -700 else 0.0 for x in logits.tolist()]
    np.testing.assert_allclose(found, expected, rtol=2e-4, atol=1e-37)


@given(rows)
def test_softmax_is_a_share_of_the_powers(logits: Any) -> None:
    found = run(logits, "softmax", to="p")["p"]
    powers = [math.exp(x - max(logits.tolist())) for x in logits.tolist()]
    np.testing.assert_allclose(found, np.array(powers) / sum(powers), rtol=1e-5, atol=1e-37)


@given(
    numbers=arrays.arrays(np.float32, 8, elements=st.floats(-300, 300, width=32)),
    step=st.sampled_from([0.25, 0.5, 1.0, 2.0]),
    zero_point=st.integers(-128, 127),
)
def test_quantizing_is_rounding_to_the_nearest_step_and_clipping(
    numbers: Any, step: float, zero_point: int
) -> None:
    found = run(numbers, "quantize", step=step, zero_point=zero_point, to="q")["q"]
    # Python's round takes halves to the even neighbour; these steps divide without an error
    expected = [min(max(round(x / step) + zero_point, -128), 127) for x in numbers.tolist()]
    assert found.dtype == np.int8
    assert found.tolist() == expected


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16"])
def test_what_is_quantized_comes_back_within_half_a_step(dtype: str) -> None:
    limits = np.iinfo(dtype)
    zero_point = (limits.min + limits.max) // 2
    numbers = np.linspace(-1, 1, 999, dtype=np.float32) * np.float32(limits.max - limits.min) * 0.03
    scale = {"step": 0.07, "zero_point": zero_point}
    integers = run(numbers, "quantize", dtype=dtype, to="q", **scale)["q"]
    back = run(integers, "dequantize", to="y", **scale)["y"]
    assert (integers.dtype, back.dtype) == (np.dtype(dtype), np.float32)
    np.testing.assert_allclose(back, numbers, atol=0.07 / 2 * 1.001)


@pytest.mark.parametrize(
    ("op", "parameters", "says"),
    [
        ("quantize", {"step": 0.0}, "step must be above 0"),
        ("quantize", {"step": 1.0, "dtype": "int32"}, "one of int8, uint8, int16"),
        ("dequantize", {"step": -1.0}, "step must be above 0"),
        ("dequantize", {"step": float("nan")}, "step must be above 0"),
        ("top_k", {"k": 0}, "1 or more"),
        ("top_k", {"names": "n", "labels": None}, "a file of labels"),
    ],
)
def test_wrong_parameters_are_refused_when_the_package_is_loaded(
    op: str, parameters: dict[str, Any], says: str
) -> None:
    with pytest.raises(ManifestError, match=says):
        run(np.zeros(3, np.float32), op, context(None), **parameters)


@given(scores=st.lists(st.integers(0, 5), min_size=1, max_size=12), k=st.integers(1, 14))
def test_the_best_come_first_and_equals_in_their_order(scores: list[int], k: int) -> None:
    state = run(np.array(scores, np.uint8), "top_k", k=k)
    ranked = sorted(range(len(scores)), key=lambda position: (-scores[position], position))[:k]
    assert state["top_classes"].tolist() == ranked
    assert state["top_scores"].tolist() == [scores[position] for position in ranked]
    assert (state["top_classes"].dtype, state["top_scores"].dtype) == (np.int64, np.uint8)


def test_rows_are_ranked_each_by_itself() -> None:
    state = run(np.array([[1.0, 3, 2], [9, 8, 7]]), "top_k", k=2)
    assert state["top_classes"].tolist() == [[1, 2], [0, 1]]
    assert state["top_scores"].tolist() == [[3, 2], [9, 8]]


@pytest.mark.parametrize(
    ("labels", "expected"), [(None, ["dog", "ass"]), ("labels.txt", ["chien", "âne"])]
)
def test_labels_come_from_the_signature_or_from_a_file(
    labels: str | None, expected: list[str]
) -> None:
    state = run(np.array([1.0, 3, 2]), "top_k", k=2, names="n", labels=labels)
    assert [name.decode() for name in state["n"]] == expected
    assert state["n"].dtype == object
