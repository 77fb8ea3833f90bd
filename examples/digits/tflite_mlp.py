"""Write a small perceptron as a `.tflite` file, with nothing but the format's own schema."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import flatbuffers  # type: ignore[import-untyped, unused-ignore]
import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

_VERSION = 3
_IDENTIFIER = b"TFL3"
_ANY_ROWS = -1


class Linear(NamedTuple):
    """A fully connected layer: float32 weight [outputs, inputs] and bias [outputs]."""

    weight: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]


def packed(layers: Sequence[Linear], *, takes: str, gives: str) -> bytes:
    """The bytes of a perceptron: ReLU between its layers, a softmax after the last.

    Args:
        layers: the layers, first to last.
        takes: the name of the input, float32 [rows, inputs of the first layer].
        gives: the name of the output, float32 [rows, outputs of the last layer].
    """
    graph = _Graph()
    last = entry = graph.tensor(takes, (_ANY_ROWS, layers[0].weight.shape[1]))
    for position, layer in enumerate(layers):
        last = graph.connected(last, layer, name=f"layer{position}", relu=layer is not layers[-1])
    result = graph.tensor(gives, (_ANY_ROWS, len(layers[-1].bias)))
    graph.softmax(last, result)
    builder = flatbuffers.Builder(1024)
    builder.Finish(graph.model(entry, result).Pack(builder), _IDENTIFIER)
    return bytes(builder.Output())


class _Graph:
    """The parts of the file, each found by its position among its kind."""

    def __init__(self) -> None:
        self._buffers: list[Any] = [schema.BufferT()]  # the first one stands for "no data"
        self._tensors: list[Any] = []
        self._operators: list[Any] = []

    def tensor(
        self, name: str, shape: tuple[int, ...], data: npt.NDArray[np.float32] | None = None
    ) -> int:
        """Add a tensor; without data it is one that a run fills."""
        tensor = schema.TensorT()
        tensor.name = name
        tensor.type = schema.TensorType.FLOAT32
        tensor.shape = [abs(n) for n in shape]  # one row is what a reader begins with
        tensor.shapeSignature = list(shape)
        if data is not None:
            tensor.buffer = len(self._buffers)
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(data.tobytes(), np.uint8)
            self._buffers.append(buffer)
        self._tensors.append(tensor)
        return len(self._tensors) - 1

    def connected(self, source: int, layer: Linear, *, name: str, relu: bool) -> int:
        """Add a fully connected layer after the tensor `source`."""
        weight = self.tensor(f"{name}.weight", layer.weight.shape, layer.weight)
        bias = self.tensor(f"{name}.bias", layer.bias.shape, layer.bias)
        made = self.tensor(name, (_ANY_ROWS, len(layer.bias)))
        options = schema.FullyConnectedOptionsT()
        kind = schema.ActivationFunctionType
        options.fusedActivationFunction = kind.RELU if relu else kind.NONE
        self._operator(0, [source, weight, bias], made, "FullyConnectedOptions", options)
        return made

    def softmax(self, source: int, made: int) -> None:
        """Add a softmax over the last axis."""
        options = schema.SoftmaxOptionsT()
        options.beta = 1.0
        self._operator(1, [source], made, "SoftmaxOptions", options)

    def model(self, entry: int, result: int) -> Any:
        """The whole model, from the tensor `entry` to the tensor `result`."""
        graph = schema.SubGraphT()
        graph.name = "main"
        graph.tensors, graph.operators = self._tensors, self._operators
        graph.inputs, graph.outputs = [entry], [result]
        model = schema.ModelT()
        model.version = _VERSION
        model.description = "perceptron"
        model.operatorCodes = [
            _code(schema.BuiltinOperator.FULLY_CONNECTED),
            _code(schema.BuiltinOperator.SOFTMAX),
        ]
        model.subgraphs = [graph]
        model.buffers = self._buffers
        return model

    def _operator(self, code: int, takes: list[int], made: int, kind: str, options: object) -> None:
        operator = schema.OperatorT()
        operator.opcodeIndex = code
        operator.inputs, operator.outputs = takes, [made]
        operator.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
        operator.builtinOptions = options
        self._operators.append(operator)


def _code(builtin: int) -> Any:
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = builtin
    code.version = 1
    return code
