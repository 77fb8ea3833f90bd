"""An ONNX file."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from wherever_contracts.errors import ConversionError
from wherever_convert.frameworks import framework
from wherever_convert.model_file import ModelFile
from wherever_convert.sources import Request, Source, SourceModel, as_path

_QUANTIZED = frozenset(
    {"DequantizeLinear", "QLinearConv", "QLinearMatMul", "MatMulInteger", "ConvInteger"}
)


class OnnxFile(Source):
    """Takes an `.onnx` file as it is; weights that lie beside it are taken in."""

    title = "an .onnx file"

    def recognises(self, source: object) -> bool:
        """True for a path that ends in `.onnx`."""
        path = as_path(source)
        return path is not None and path.suffix.lower() == ".onnx"

    def load(self, source: object, request: Request) -> SourceModel:
        """Read the file."""
        path = as_path(source)
        if path is None or not path.is_file():
            raise ConversionError(f"{source}: there is no such file")
        data = path.read_bytes()
        facts = {
            "kind": "onnx",
            "file": path.name,
            "sha256": hashlib.sha256(data).hexdigest(),
        }
        whole = _float_model(data, path)
        return SourceModel({"onnx": ModelFile("onnx", "float32", (whole,))}, facts)


def _float_model(data: bytes, path: Path) -> bytes:
    """The model's bytes, with what it keeps in other files inside."""
    onnx = framework("onnx", "reading ONNX files")
    helper: Any = framework("onnx.external_data_helper", "reading ONNX files")
    try:
        model = onnx.load_from_string(data)
        tensors = list(model.graph.initializer)
        small = _smaller_than_float(model, {tensor.data_type for tensor in tensors})
        if not small and not any(helper.uses_external_data(tensor) for tensor in tensors):
            return data
        whole: bytes = onnx.load(str(path)).SerializeToString()
    except Exception as error:
        raise ConversionError(f"{path.name} is no ONNX file that can be read: {error}") from error
    if small:
        raise ConversionError(
            f"{path.name} is {small} already: give the float32 model that it was made of "
            f"(`wherever pack add` joins a finished file to a package)"
        )
    return whole


def _smaller_than_float(model: Any, weights: set[int]) -> str:
    """What a model's weights are when they are not float32; "" when they are, or it has none."""
    onnx = framework("onnx", "reading ONNX files")
    if not _QUANTIZED.isdisjoint(node.op_type for node in model.graph.node):
        return "int8"
    types = onnx.TensorProto
    return "float16" if types.FLOAT16 in weights and types.FLOAT not in weights else ""
