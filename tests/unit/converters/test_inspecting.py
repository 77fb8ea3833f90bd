"""What model files say of themselves is read without an engine; damage is said in words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from wherever_contracts.errors import ConversionError
from wherever_convert.anatomy import Anatomy, Port, Weights, precision_by
from wherever_convert.anatomy.ir_graph import read_ir
from wherever_convert.anatomy.onnx_graph import foreign_operators, read_onnx
from wherever_convert.anatomy.tflite_graph import read_tflite
from wherever_convert.inspecting import Inspection, inspect
from wherever_edge.builtin import PACKAGES

DIGITS = PACKAGES / "digits"


def small_model(np_dtype="float32", **node):
    import numpy as np

    weights = numpy_helper.from_array(np.ones((3, 2), np_dtype), "w")
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"], **node)]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])],
        [weights],
    )
    return helper.make_model(
        graph, producer_name="tests", opset_imports=[helper.make_opsetid("", 17)], ir_version=9
    )


def test_an_onnx_model_is_read():
    found = read_onnx(small_model())
    assert found.weights == {"float32": Weights(1, 6, 24)}
    assert found.operators == {"MatMul": 1}
    assert found.inputs == (Port("x", "float32", ("n", 3)),)
    assert (found.version, found.producer) == ("IR 9, opset ai.onnx 17", "tests")
    assert found.open_rows
    assert found.parameters == 6


def test_operators_of_a_librarys_own_are_named():
    assert foreign_operators(small_model(domain="org.example")) == ("org.example.MatMul",)
    assert foreign_operators(small_model(domain="com.microsoft")) == ()


def test_a_tflite_file_is_read():
    found = read_tflite((DIGITS / "mlp-litert.tflite").read_bytes())
    assert found.operators["FULLY_CONNECTED"] == 2
    assert found.weights["float32"].numbers > 600
    assert (found.inputs[0].dtype, found.inputs[0].shape[-1]) == ("float32", 64)


def test_an_openvino_model_is_read():
    found = read_ir((DIGITS / "mlp-openvino.xml").read_bytes())
    assert found.operators["MatMul"] == 2
    assert found.outputs[0].shape[-1] == 10
    assert found.version.startswith("IR ")


@pytest.mark.parametrize(
    ("weights", "precision"),
    [
        ({"float32": Weights(2, 1000, 4000)}, "float32"),
        ({"float32": Weights(2, 10, 40), "float16": Weights(9, 1000, 2000)}, "float16"),
        ({"float32": Weights(2, 900, 3600), "int8": Weights(9, 1000, 1000)}, "int8"),
        ({"float32": Weights(2, 2, 8), "int8": Weights(1, 10, 10)}, "float32"),
        ({}, "float32"),
    ],
)
def test_most_numbers_say_what_a_model_is(weights, precision):
    assert precision_by(weights, frozenset({"int8"})) == precision


def test_a_file_without_inputs_takes_no_rows():
    assert not Anatomy("onnx", {}, {}, (), ()).open_rows


@given(st.binary(max_size=400))
def test_noise_is_no_tflite_file(noise):
    for data in (noise, b"\x10\0\0\0TFL3" + noise):
        with pytest.raises(ValueError, match="it"):
            read_tflite(data)


@given(cut=st.integers(8, 3000), at=st.integers(8, 3000), byte=st.integers(0, 255))
def test_a_damaged_tflite_file_is_read_or_said_to_be_damaged(cut, at, byte):
    whole = bytearray((DIGITS / "mlp-litert.tflite").read_bytes())
    whole[at] = byte
    for data in (bytes(whole), bytes(whole[:cut])):
        try:
            read_tflite(data)
        except ValueError as error:
            assert str(error).startswith("it ")


@given(st.text(max_size=100))
def test_noise_is_no_openvino_model(noise):
    for text in (noise, f"<net>{noise}</net>", f"<net><layers>{noise}</layers></net>"):
        with pytest.raises(ValueError, match="it"):
            read_ir(text.encode())


def test_an_openvino_model_with_entities_is_not_read():
    bomb = b'<!DOCTYPE a [<!ENTITY b "bb">]><net version="11"><layers/></net>'
    with pytest.raises(ValueError, match="declares a document type or entities"):
        read_ir(bomb)


def test_text_fits_the_terminal_and_cannot_steer_it():
    data = {
        "path": "a.onnx",
        "format": "onnx",
        "precision": "float32",
        "bytes": 24,
        "version": "IR 9",
        "producer": "\x1b[31mred",
        "parameters": 6,
        "weights": {"float32": {"tensors": 1, "numbers": 6, "bytes": 24}},
        "operators": {f"Operator{n}": 30 - n for n in range(30)},
        "inputs": [{"name": "x", "dtype": "float32", "shape": ["n", 3]}],
        "outputs": [],
        "any_rows": True,
        "labels": [f"class {n}" for n in range(30)],
        "pixels": None,
        "metadata": {"description": "words " * 90},
        "carries": [],
        "notes": [],
        "engines": {"onnxruntime": "", "openvino": "it cannot"},
    }
    for width in (80, 120):
        text = Inspection("model", data).text(width)
        assert max(map(len, text.splitlines())) <= width
        assert "\x1b" not in text
    assert "and 18 other kinds" in text
    assert "30: class 0, class 1" in text
    assert "onnxruntime: opens it" in text


def test_a_package_shows_what_was_measured_of_each_variant():
    certificate = {
        "variant": "small",
        "engine": "openvino",
        "valid": False,
        "metric": "top-1",
        "value": 0.912,
        "low": 0.887,
        "high": 0.934,
        "drop": 0.004,
        "agreement": 0.981,
        "latency_s": 0.0000184,
        "memory_peak_bytes": 21_000_000,
    }
    variant = {
        "id": "small",
        "format": "onnx",
        "precision": "int8",
        "bytes": 49_321,
        "here": False,
        "places": ["device"],
        "quality": [{"metric": "top-1", "value": 0.912, "low": 0.887, "high": 0.934, "n": 500}],
        "calibration": {"against": "large", "dataset": "photos", "n": 320},
    }
    signature = {
        "inputs": [{"name": "image", "kind": "image"}],
        "value": {"kind": "label", "labels": ["cat", "dog"]},
    }
    data = {
        **dict.fromkeys(("summary", "licence", "boundary", "reference", "digest"), ""),
        "name": "pets",
        "version": "1.0.0",
        "signature": signature,
        "variants": [variant],
        "certificates": [certificate],
        "golden": 3,
        "files": [],
        "provenance": {"source": {"kind": "onnx", "sha256": "0" * 64, "tools": {"onnx": "1"}}},
    }
    text = Inspection("package", data).text(160)
    assert "top-1 0.912 (0.887-0.934), n 500" in text
    assert "(its files are not here); calibrated on 320 pairs" in text
    assert "small (of another package)" in text
    assert "18.4 us" in text
    assert "+0.004" in text
    assert "98.1%" in text
    assert "000000" not in text


def test_what_is_nothing_to_look_into_is_said(tmp_path):
    (tmp_path / "notes.txt").write_text("words")
    (tmp_path / "empty").mkdir()
    (tmp_path / "old.h5").touch()
    for name, words in (
        ("notes.txt", "is nothing to look into: it takes an .onnx"),
        ("empty", "is nothing to look into"),
        ("old.h5", "a Keras file"),
        ("none.onnx", "there is no such file or folder"),
    ):
        with pytest.raises(ConversionError, match=words):
            inspect(tmp_path / name)
