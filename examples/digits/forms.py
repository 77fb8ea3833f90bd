"""The forms of a trained network that the `digits` package carries, one for each engine."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import onnx
import openvino
import torch  # type: ignore[import-not-found, unused-ignore] # not in the development environment
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import quantization
from tflite_mlp import Linear, packed
from torch import nn  # type: ignore[import-not-found, unused-ignore]

Floats: TypeAlias = npt.NDArray[np.float32]

FULL = 16.0  # the number of a cell full of ink
OPSET, IR_VERSION = 17, 8  # old enough for every supported onnxruntime


class Form(NamedTuple):
    """A variant's files: what they are, what they compute in, and their content by name."""

    variant: str
    file_format: str
    precision: str
    files: dict[str, bytes]


def folded(model: nn.Sequential) -> nn.Sequential:
    """The same network for numbers 0 to 16, without layers that only training needs.

    Scaling and normalisation are folded into the layers, because a node costs more than its sums.
    """
    layers: list[nn.Module] = []
    for layer in model:
        if isinstance(layer, nn.BatchNorm2d):
            layers[-1] = nn.utils.fuse_conv_bn_eval(layers[-1], layer)
        elif not isinstance(layer, nn.Dropout):
            layers.append(layer)
    if isinstance(layers[0], nn.Flatten):
        del layers[0]  # the exported network takes flat rows
    with torch.no_grad():
        layers[0].weight /= FULL
    return nn.Sequential(*layers)


def onnx_form(variant: str, model: nn.Sequential) -> Form:
    """A trained network in ONNX."""
    return Form(variant, "onnx", "float32", {f"{variant}.onnx": graph(model).SerializeToString()})


def graph(model: nn.Sequential) -> onnx.ModelProto:
    """A folded network as an ONNX graph: numbers 0 to 16 in, probabilities out."""
    nodes: list[onnx.NodeProto] = []
    weights: list[onnx.TensorProto] = []
    last = "numbers"
    for position, layer in enumerate(model):
        made = f"layer{position}"
        op, attributes, arrays = _node(layer)
        names = [f"{made}.{role}" for role in arrays]
        weights += map(numpy_helper.from_array, arrays.values(), names)
        nodes.append(helper.make_node(op, [last, *names], [made], name=made, **attributes))
        last = made
    nodes.append(helper.make_node("Softmax", [last], ["scores"], name="softmax", axis=1))
    shape: list[str | int] = ["n", 64] if isinstance(model[0], nn.Linear) else ["n", 1, 8, 8]
    inputs = [helper.make_tensor_value_info("numbers", TensorProto.FLOAT, shape)]
    outputs = [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 10])]
    drawn = helper.make_graph(nodes, "digits", inputs, outputs, weights)
    opsets = [helper.make_opsetid("", OPSET)]
    return helper.make_model(drawn, opset_imports=opsets, ir_version=IR_VERSION)


def _node(layer: nn.Module) -> tuple[str, dict[str, Any], dict[str, Floats]]:
    """The operator that does what `layer` does, with its attributes and its weights."""
    if isinstance(layer, nn.ReLU):
        return "Relu", {}, {}
    if isinstance(layer, nn.Flatten):
        return "Flatten", {}, {}
    weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
    if isinstance(layer, nn.Linear):
        return "Gemm", {}, {"weight": np.ascontiguousarray(weight.T), "bias": bias}
    attributes = {"pads": list(layer.padding) * 2, "strides": list(layer.stride)}
    return "Conv", attributes, {"weight": weight, "bias": bias}


class _Samples(quantization.CalibrationDataReader):  # type: ignore[misc] # untyped base
    def __init__(self, images: Floats) -> None:
        self._batches = iter([{"numbers": images.reshape(-1, 64)}])

    def get_next(self) -> dict[str, Floats] | None:
        return next(self._batches, None)


def int8_form(variant: str, model: nn.Sequential, images: Floats) -> Form:
    """The same network in int8, with the ranges that it takes on `images` [n, 8, 8].

    Weights are unsigned, because x86 CPUs without VNNI saturate on unsigned by signed bytes.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "int8.onnx"
        quantization.quantize_static(
            graph(model),
            path,
            _Samples(images),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=["Gemm"],
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QUInt8,
            extra_options={"OpTypesToExcludeOutputQuantization": ["Gemm"]},
        )
        return Form(variant, "onnx", "int8", {f"{variant}.onnx": path.read_bytes()})


def tflite_form(variant: str, model: nn.Sequential) -> Form:
    """A perceptron for LiteRT."""
    layers = [
        Linear(layer.weight.detach().numpy(), layer.bias.detach().numpy())
        for layer in model
        if isinstance(layer, nn.Linear)
    ]
    content = packed(layers, takes="numbers", gives="scores")
    return Form(variant, "tflite", "float32", {f"{variant}.tflite": content})


def openvino_form(variant: str, model: nn.Sequential) -> Form:
    """A trained network in OpenVINO's own format, weights as they are."""
    read = openvino.Core().read_model(graph(model).SerializeToString())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{variant}.xml"
        openvino.save_model(read, path, compress_to_fp16=False)
        files = {each.name: each.read_bytes() for each in (path, path.with_suffix(".bin"))}
    return Form(variant, "openvino", "float32", files)
