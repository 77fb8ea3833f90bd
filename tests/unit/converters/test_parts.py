"""A model is divided into parts that can be int8 or float one by one."""

from __future__ import annotations

import numpy as np
import pytest

from wherever_convert.env.divergence import STEPS, threshold
from wherever_convert.env.sensitivity import WORST, output_error, rounded
from wherever_convert.quantization.parts import Node, parts_of


def node(name, op, inputs, *outputs):
    return Node(name, op, tuple(inputs.split()), outputs or (name,))


RESIDUAL = [
    node("scaled", "Mul", "image half"),
    node("first", "Conv", "scaled w1"),
    node("gate", "Sigmoid", "first"),
    node("swish", "Mul", "first gate"),
    node("second", "Conv", "swish w2"),
    node("sum", "Add", "swish second"),
    node("pooled", "GlobalAveragePool", "sum"),
    node("last", "Gemm", "pooled w3"),
    node("scores", "Softmax", "last"),
]
WEIGHTS = {"w1", "w2", "w3", "half"}


def test_a_part_is_a_layer_with_what_follows_it_alone():
    names = {part.name: [each.name for each in part.nodes] for part in parts_of(RESIDUAL, WEIGHTS)}
    assert names == {
        "first": ["first", "gate", "swish"],
        "second": ["second"],
        "sum": ["sum", "pooled"],
        "last": ["last"],
    }


def test_parts_know_whether_they_are_layers_and_whether_they_are_last():
    parts = {part.name: (part.is_layer, part.is_last) for part in parts_of(RESIDUAL, WEIGHTS)}
    assert parts == {
        "first": (True, False),
        "second": (True, False),
        "sum": (False, False),
        "last": (True, True),
    }


def test_only_layers_and_what_moves_numbers_are_int8_when_that_was_chosen():
    first = parts_of(RESIDUAL, WEIGHTS)[0]
    assert first.quantizable("everything") == ["first", "gate", "swish"]
    assert first.quantizable("layers") == ["first"]


def test_a_product_of_what_changes_is_no_layer():
    nodes = [node("keys", "MatMul", "x wk"), node("product", "MatMul", "keys x")]
    assert [part.is_layer for part in parts_of(nodes, {"wk"})] == [True]


def test_a_model_without_layers_has_no_parts():
    assert parts_of([node("scores", "Softmax", "x")], set()) == ()


def test_an_error_is_a_share_of_the_range():
    expected = np.array([[[0.0, 10.0], [1.0, 20.0]]])
    assert output_error([expected + np.array([0.1, 0.0])], [expected]) == pytest.approx(0.05)
    assert output_error([expected + np.array([0.0, 1.0])], [expected]) == pytest.approx(0.05)
    assert output_error([expected], [expected]) == 0


def test_the_worst_output_counts():
    right, wrong = np.ones((1, 3)), np.zeros((1, 3))
    assert output_error([right, wrong], [right, right]) == pytest.approx(1)


@pytest.mark.parametrize("found", [np.array([[np.nan, 1]]), np.array([[1.0]])])
def test_what_is_not_a_number_or_of_another_shape_is_as_wrong_as_can_be(found):
    assert output_error([found], [np.array([[0.0, 1.0]])]) == WORST


def test_numbers_that_count_classes_are_the_same_or_not():
    assert output_error([np.array([1, 2, 3, 4])], [np.array([1, 2, 3, 5])]) == 0.25
    assert output_error([np.array([], np.int64)], [np.array([], np.int64)]) == 0


def test_an_error_has_six_digits():
    assert rounded(0.123456789) == 0.123457
    assert rounded(1e12) == WORST


def test_a_range_is_not_cut_where_numbers_are_spread_evenly():
    assert threshold(np.full(2048, 10)) == 1


def test_a_few_numbers_far_out_are_cut_off():
    counts = np.zeros(2048, np.int64)
    counts[:256] = np.linspace(1000, 1, 256)
    counts[-1] = 1
    assert STEPS / 2048 <= threshold(counts) < 0.2
