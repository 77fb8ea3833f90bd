"""An ONNX file."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wherever_contracts.errors import ConversionError
from wherever_convert.frameworks import framework
from wherever_convert.sources import OnnxModel, Source, as_path

if TYPE_CHECKING:
    from wherever_contracts.tensors import Array


class OnnxFile(Source):
    """Takes an `.onnx` file as it is; weights that lie beside it are taken in."""

    title = "an .onnx file"

    def recognises(self, source: object) -> bool:
        """True for a path that ends in `.onnx`."""
        path = as_path(source)
        return path is not None and path.suffix.lower() == ".onnx"

    def to_onnx(self, source: object, example: Array | None) -> OnnxModel:
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
        return OnnxModel(_whole(data, path), facts)


def _whole(data: bytes, path: Path) -> bytes:
    """The model's bytes, with what it keeps in other files inside."""
    onnx = framework("onnx", "reading ONNX files")
    helper: Any = framework("onnx.external_data_helper", "reading ONNX files")
    try:
        model = onnx.load_from_string(data)
        tensors = list(model.graph.initializer)
        if not any(helper.uses_external_data(tensor) for tensor in tensors):
            return data
        whole: bytes = onnx.load(str(path)).SerializeToString()
    except Exception as error:
        raise ConversionError(f"{path.name} is no ONNX file that can be read: {error}") from error
    return whole
