"""A file whose tensors are integers, with a scale that only its package knows."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from wherever_convert.builder import build_package
from wherever_edge.host import LocalHost
from wherever_edge.images import Image
from wherever_edge.packages.store import Store

STEP, ZERO_POINT = 0.02, -11
ENGINES = ("onnxruntime", "openvino")


def negative_of_integers(path: Path) -> None:
    """A model of int8 [1, 4, 4, 3] whose real numbers it negates."""
    nodes = [
        helper.make_node("DequantizeLinear", ["x", "step", "zero"], ["real"]),
        helper.make_node("Neg", ["real"], ["negated"]),
        helper.make_node("QuantizeLinear", ["negated", "step", "zero"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "negative",
        [helper.make_tensor_value_info("x", TensorProto.INT8, [1, 4, 4, 3])],
        [helper.make_tensor_value_info("y", TensorProto.INT8, [1, 4, 4, 3])],
        [
            numpy_helper.from_array(np.array(STEP, np.float32), "step"),
            numpy_helper.from_array(np.array(ZERO_POINT, np.int8), "zero"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path.write_bytes(model.SerializeToString())


@pytest.mark.parametrize("engine", ENGINES)
def test_real_numbers_go_in_as_integers_and_come_out_as_real_numbers(
    engine: str, tmp_path: Path
) -> None:
    negative_of_integers(tmp_path / "model.onnx")
    scale = {"step": STEP, "zero_point": ZERO_POINT}
    pre = {"op": "image_tensor", "name": "image", "to": "x", "size": [4, 4], "layout": "nhwc"}
    variant = {
        "id": engine,
        "format": "onnx",
        "precision": "int8",
        "files": [{"path": "model.onnx"}],
        "tensors": {
            "inputs": [{"name": "x", "dtype": "int8", "shape": [1, 4, 4, 3]}],
            "outputs": [{"name": "y", "dtype": "int8", "shape": [1, 4, 4, 3]}],
        },
        "pipeline": {
            "pre": [
                {**pre, "scale": 1 / 127.5, "mean": [1.0]},
                {"op": "quantize", "name": "x", **scale},
            ],
            "post": [
                {"op": "dequantize", "name": "y", **scale},
                {"op": "first_row", "name": "y", "to": "negative"},
            ],
        },
        "needs": {"engines": [engine]},
    }
    build_package(
        tmp_path,
        {
            "name": "negative",
            "version": "1.0.0",
            "boundary": "device",
            "reference": engine,
            "signature": {
                "inputs": [{"name": "image", "kind": "image"}],
                "outputs": [{"name": "negative", "dtype": "float32", "shape": [4, 4, 3]}],
                "value": {"kind": "tensors"},
            },
            "variants": [variant],
        },
    )
    pixels = np.random.default_rng(0).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    store = Store([tmp_path], builtin=False)
    with contextlib.closing(LocalHost(store, distance="device")) as host:
        loaded = host.resolve("negative")
        assert loaded.ran.engine == engine
        answer = loaded.answer({"image": Image.from_pixels(pixels, "image")}, {})
    # half a step lost on the way in, and half on the way out
    expected = 1 - pixels / 127.5
    np.testing.assert_allclose(answer.outputs["negative"], expected, atol=STEP)
