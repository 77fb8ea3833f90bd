"""Graphs are opened for any number of rows without changing what they compute for one."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from wherever_convert.graphs import (
    ROWS,
    count_nodes,
    inputs_of,
    open_rows,
    opened_lengths,
    why_no_rows,
)


def model_of(nodes, inputs, outputs, constants=()):
    def values(shapes):
        return [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name, shape in shapes.items()
        ]

    weights = [numpy_helper.from_array(array, name) for name, array in constants]
    return helper.make_model(
        helper.make_graph(nodes, "g", values(inputs), values(outputs), weights)
    )


def reshaping(lengths, *, constant_node=False):
    shape = np.array(lengths, np.int64)
    nodes = [helper.make_node("Reshape", ["x", "shape"], ["y"])]
    if constant_node:
        tensor = numpy_helper.from_array(shape)
        nodes.insert(0, helper.make_node("Constant", [], ["shape"], value=tensor))
        return model_of(nodes, {"x": [1, 6]}, {"y": lengths})
    return model_of(nodes, {"x": [1, 6]}, {"y": lengths}, [("shape", shape)])


def first_lengths(values):
    dims = [value.type.tensor_type.shape.dim[0] for value in values]
    return [dim.dim_param or dim.dim_value for dim in dims]


@pytest.mark.parametrize("constant_node", [False, True])
def test_a_reshape_follows_the_rows(constant_node):
    model = reshaping([1, 2, 3], constant_node=constant_node)
    assert open_rows(model)
    assert first_lengths([*model.graph.input, *model.graph.output]) == [ROWS, ROWS]
    (reshape,) = (node for node in model.graph.node if node.op_type == "Reshape")
    (lengths,) = (t for t in model.graph.initializer if t.name == reshape.input[1])
    assert numpy_helper.to_array(lengths).tolist() == [-1, 2, 3]


def test_what_other_nodes_read_of_the_same_lengths_stays():
    model = reshaping([1, 2, 3])
    model.graph.node.append(helper.make_node("Identity", ["shape"], ["z"]))
    open_rows(model)
    assert "shape" in {tensor.name for tensor in model.graph.initializer}
    assert model.graph.node[1].input[0] == "shape"


def test_a_graph_that_is_open_is_not_changed():
    model = model_of([helper.make_node("Relu", ["x"], ["y"])], {"x": ["n", 2]}, {"y": ["n", 2]})
    before = model.SerializeToString()
    assert not open_rows(model)
    assert model.SerializeToString() == before


@pytest.mark.parametrize(
    ("inputs", "outputs", "reason"),
    [
        ({"x": [1, 3]}, {"y": [1, 3]}, ""),
        ({"x": ["any", 3]}, {"y": [1]}, ""),
        ({"x": [4, 3]}, {"y": [1, 3]}, "the first length of input 'x' is 4"),
        ({"x": [1, 3]}, {"y": [8, 3]}, "the first length of output 'y' is 8"),
        ({"x": []}, {"y": [1]}, "input 'x' is a single number"),
        ({"x": None}, {"y": [1]}, "the file does not say how long input 'x' is"),
    ],
)
def test_why_the_first_axis_counts_no_rows_is_said(inputs, outputs, reason):
    assert why_no_rows(model_of([], inputs, outputs)) == reason


def test_weights_that_old_files_list_as_inputs_are_none():
    model = model_of([], {"x": [1, 3], "w": [3, 3]}, {"y": [1]}, [("w", np.ones((3, 3)))])
    assert [each.name for each in inputs_of(model)] == ["x"]


def test_nodes_inside_of_nodes_are_counted():
    inner = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "inner", [], [])
    node = helper.make_node("If", ["c"], ["z"], then_branch=inner, else_branch=inner)
    assert count_nodes(helper.make_graph([node], "g", [], [])) == 3


@pytest.mark.parametrize(
    ("lengths", "any_first", "opened"),
    [
        ([1, 8], False, [-1, 8]),
        ([1, -1], False, [0, -1]),
        ([0, 8], False, None),
        ([-1, 8], False, None),
        ([48, 2, 9], False, None),
        ([48, 2, 9], True, [-1, 2, 9]),
        ([2, -1, 9], True, None),
        ([], True, None),
    ],
)
def test_lengths_are_opened_where_that_is_safe(lengths, any_first, opened):
    assert opened_lengths(lengths, any_first=any_first) == opened


@given(
    lengths=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    inferred=st.integers(0, 4),
    any_first=st.booleans(),
)
def test_one_row_gets_the_same_shape_as_before(lengths, inferred, any_first):
    """Whatever is opened: for one row, `Reshape` gives what it gave."""
    shape = [1, math.prod(lengths)]  # what comes in
    asked = [-1 if n == inferred and n > 0 else length for n, length in enumerate(lengths)]
    opened = opened_lengths(asked, any_first=any_first)
    if opened is not None:
        assert reshaped(shape, opened) == reshaped(shape, asked) == lengths


def reshaped(shape, lengths):
    """What ONNX's `Reshape` makes of a shape: 0 copies a length, -1 is what is left over."""
    known = [shape[n] if length == 0 else length for n, length in enumerate(lengths)]
    left = math.prod(shape) // math.prod(n for n in known if n != -1)
    return [left if length == -1 else length for length in known]
