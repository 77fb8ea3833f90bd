"""Quantized tensors: what their integers stand for, and where a file says so."""

from __future__ import annotations

import struct

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import given
from hypothesis import strategies as st

from wherever_edge.engines.scales import INTEGERS, Scale
from wherever_edge.engines.tflite_file import read_scales


@given(
    dtype=st.sampled_from(INTEGERS),
    step=st.floats(2**-20, 2**10, width=32),
    zero_point=st.integers(-128, 255),
    integers=st.lists(st.integers(-(2**15), 2**15 - 1), max_size=20),
)
def test_integers_come_back_as_they_were(dtype, step, zero_point, integers):
    limits = np.iinfo(dtype)
    stored = np.clip(integers, limits.min, limits.max).astype(dtype)
    scale = Scale(dtype, step, zero_point)
    shown = scale.to_floats(stored)
    assert shown.dtype == np.float32
    np.testing.assert_array_equal(scale.to_integers(shown), stored)


def test_numbers_are_rounded_to_the_nearest_and_kept_in_range():
    scale = Scale("int8", 0.5, -128)
    given_numbers = np.array([-3, 0, 0.2, 0.3, 127.5, 1e30], np.float32)
    assert scale.to_integers(given_numbers).tolist() == [-128, -128, -128, -127, 127, 127]
    assert Scale("uint8", 1 / 128, 128).to_floats(np.array([0, 128, 255], np.uint8)).tolist() == [
        -1.0,
        0.0,
        127 / 128,
    ]


def tensor(kind, steps=None, zero_points=None):
    made = schema.TensorT()
    made.type = getattr(schema.TensorType, kind)
    if steps is not None:
        made.quantization = schema.QuantizationParametersT()
        made.quantization.scale = steps
        made.quantization.zeroPoint = zero_points
    return made


def file_of(inputs, outputs):
    graph = schema.SubGraphT()
    graph.tensors = [tensor("FLOAT32"), *outputs, *inputs]
    graph.outputs = list(range(1, 1 + len(outputs)))
    graph.inputs = list(range(1 + len(outputs), len(graph.tensors)))
    model = schema.ModelT()
    model.version = 3
    model.subgraphs = [graph]
    builder = flatbuffers.Builder(0)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def test_scales_are_read_in_the_order_of_inputs_and_outputs():
    inputs = [tensor("INT8", [0.5], [-128]), tensor("FLOAT32"), tensor("INT16", [0.25], [0])]
    outputs = [tensor("UINT8", [2.0], [7]), tensor("INT32")]
    found = read_scales(file_of(inputs, outputs))
    assert found == (
        [Scale("int8", 0.5, -128), None, Scale("int16", 0.25, 0)],
        [Scale("uint8", 2.0, 7), None],
    )


@pytest.mark.parametrize(
    "odd",
    [
        tensor("INT8"),
        tensor("INT8", []),
        tensor("INT8", [0.0], [0]),
        tensor("INT8", [0.5, 0.25], [0, 0]),
        tensor("INT32", [0.5], [0]),
        tensor("FLOAT32", [0.5], [0]),
    ],
)
def test_what_has_no_single_scale_stays_as_it_is(odd):
    assert read_scales(file_of([odd], [])) == ([None], [])


def test_a_scale_without_a_zero_point_has_zero_there():
    assert read_scales(file_of([tensor("UINT8", [0.5])], [])) == ([Scale("uint8", 0.5, 0)], [])


@pytest.mark.parametrize("cut", [0, 3, 10, 40])
def test_half_a_file_is_not_read(cut):
    with pytest.raises((struct.error, IndexError)):
        read_scales(file_of([tensor("INT8", [0.5], [1])], [])[:cut])
