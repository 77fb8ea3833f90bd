"""What an ONNX file computes in, read without a runtime."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from wherever_edge.engines.onnx_file import precision_of


def model(operations=("Add",), weights=(np.float32,)):
    """A model's bytes with some operations, and a weight of each type."""
    nodes = [helper.make_node(name, ["x", "w0"], [f"y{at}"]) for at, name in enumerate(operations)]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in ("x", "y0")]
    initializers = [
        numpy_helper.from_array(np.zeros(8 * (at + 1), each), f"w{at}")
        for at, each in enumerate(weights)
    ]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], initializers)
    return helper.make_model(graph, doc_string="QuantizeLinear").SerializeToString()


@pytest.mark.parametrize(
    ("content", "precision"),
    [
        (model(), "float32"),
        (model(weights=()), "float32"),
        (model(weights=(np.float16,)), "float16"),
        (model(weights=(np.float32, np.float16)), "float16"),
        (model(weights=(np.float16, np.float32)), "float32"),
        (model(weights=(np.int64, np.int64)), "float32"),
        (model(("Add", "DequantizeLinear")), "int8"),
        (model(("QLinearConv",)), "int8"),
        (model(("MatMulInteger",), (np.float16,)), "int8"),
    ],
)
def test_precision_is_that_of_the_operations_and_of_most_weights(content, precision):
    assert precision_of(content) == precision


def test_dimensions_that_are_packed_count_as_those_that_are_not():
    packed = bytes([1 << 3 | 2, 2, 0x80, 0x04, 2 << 3, 10])  # 512 numbers of float16
    tensors = bytes([5 << 3 | 2, len(packed)]) + packed
    content = bytes([7 << 3 | 2, len(tensors)]) + tensors
    assert precision_of(content) == "float16"


def test_fields_of_every_kind_are_passed_over():
    unknown = bytes([14 << 3 | 1]) + bytes(8) + bytes([15 << 3 | 5]) + bytes(4)
    assert precision_of(unknown + model(("QLinearConv",))) == "int8"


def test_bfloat16_is_told():
    tensor = helper.make_tensor("w0", TensorProto.BFLOAT16, [2], [1.0, 2.0])
    graph = helper.make_graph([], "g", [], [], [tensor])
    assert precision_of(helper.make_model(graph).SerializeToString()) == "bfloat16"


@pytest.mark.parametrize(
    "content", [b"", b"ORTM", b"\x3a\xff\xff\xff", b"\x0b", b"\x3a", b"\x80" * 99]
)
def test_what_is_no_model_is_unclear(content):
    assert precision_of(content) == ""


@given(st.binary(max_size=200), st.integers(0, 200))
def test_damaged_files_never_raise(noise, cut):
    precision_of(noise)
    whole = model(("Add", "Conv"), (np.float32, np.float16))
    at = cut % len(whole)
    precision_of(whole[:at])
    precision_of(whole[:at] + noise + whole[at:])
