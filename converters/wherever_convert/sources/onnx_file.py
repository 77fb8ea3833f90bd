"""An ONNX file."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from wherever_contracts.errors import ConversionError
from wherever_convert.anatomy.onnx_graph import foreign_operators, opset_of
from wherever_convert.env.onnx_graphs import limit_ir_version
from wherever_convert.frameworks import framework
from wherever_convert.model_file import ModelFile
from wherever_convert.running import open_model
from wherever_convert.sources import Request, Source, SourceModel, as_path, existing_file
from wherever_edge.engines.onnx_file import precision_of

# What one message of a protocol buffer may have, and so one ONNX file.
_MAX_BYTES = 2**31 - 1


class OnnxFile(Source):
    """Takes an `.onnx` file as it is; weights that lie beside it are taken in."""

    title = "an .onnx file (float32)"

    def recognises(self, source: object) -> bool:
        """True for a path that ends in `.onnx`."""
        path = as_path(source)
        return path is not None and path.suffix.lower() == ".onnx"

    def load(self, source: object, request: Request) -> SourceModel:
        """Read the file, and see that an engine here opens it."""
        path = existing_file(source)
        file = read_float_onnx(path)
        open_model(file, path.name).close()
        facts = {
            "kind": "onnx",
            "file": path.name,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        return SourceModel({"onnx": file}, facts)


def read_float_onnx(path: Path) -> ModelFile:
    """The float32 model in a file, with what it keeps in other files inside.

    Raises:
        ConversionError: it is none, or is not float32; the message says what to do.
        MissingExtraError: onnx is not installed.
    """
    data = read_bytes(path)
    model = read_model(data, path)
    _refuse(model, path, precision_of(data))
    return ModelFile("onnx", "float32", (whole_model(model, data, path),))


def read_bytes(path: Path) -> bytes:
    """The bytes of a file that may be one ONNX model.

    Raises:
        ConversionError: there are none, or more than one model has.
    """
    size = path.stat().st_size
    if not 0 < size <= _MAX_BYTES:
        raise ConversionError(f"{path.name} has {size} bytes; an ONNX file has 1 to {_MAX_BYTES}")
    return path.read_bytes()


def read_model(data: bytes, path: Path) -> Any:
    """The `onnx.ModelProto` of a file, without what it keeps in other files.

    Raises:
        ConversionError: the file holds none.
        MissingExtraError: onnx is not installed.
    """
    onnx = framework("onnx", "reading ONNX files")
    try:
        model = onnx.load_from_string(data)
    except Exception as error:
        raise ConversionError(f"{path.name} is no ONNX file that can be read: {error}") from error
    if not model.graph.output or not model.graph.node:
        raise ConversionError(
            f"{path.name} is no ONNX file that can be read: it holds no graph with operators and "
            f"outputs"
        )
    return model


def whole_model(model: Any, data: bytes, path: Path) -> bytes:
    """The bytes of a model, which older runtimes can read, with all weights inside.

    Args:
        model: what `read_model` made of `data`; changed.
        data: the file's bytes.
        path: of the file, beside which its weights may lie.

    Raises:
        ConversionError: they cannot be read, or are too many for one file.
    """
    helper: Any = framework("onnx.external_data_helper", "reading ONNX files")
    outside = [each for each in model.graph.initializer if helper.uses_external_data(each)]
    version = model.ir_version
    limit_ir_version(model)
    if not outside:
        return data if model.ir_version == version else _bytes(model, path)
    try:
        helper.load_external_data_for_model(model, str(path.parent))
    except Exception as error:
        raise ConversionError(
            f"{path.name} keeps weights in files beside it, which cannot be read: {error}"
        ) from error
    return _bytes(model, path)


def _refuse(model: Any, path: Path, precision: str) -> None:
    """Refuse what is not float32, and what no engine knows."""
    if precision not in ("", "float32"):
        raise ConversionError(
            f"{path.name} is {precision} already: convert the float32 model that it was made of "
            f"(`wherever pack add PACKAGE {path.name}` joins it, as it is, to a package)"
        )
    known = int(framework("onnx", "reading ONNX files").defs.onnx_opset_version())
    if opset_of(model) > known:
        raise ConversionError(
            f"{path.name} is of opset {opset_of(model)}, and at most {known} is known here: export "
            f"the model with an older one, such as 17"
        )
    foreign = foreign_operators(model)
    if foreign:
        raise ConversionError(
            f"{path.name} has operators that no engine here knows ({', '.join(foreign)}): export "
            f"the model with standard ones"
        )


def _bytes(model: Any, path: Path) -> bytes:
    size = int(model.ByteSize())
    if size > _MAX_BYTES:
        raise ConversionError(
            f"{path.name} has {size} bytes with its weights; an ONNX file has at most {_MAX_BYTES}"
        )
    data: bytes = model.SerializeToString(deterministic=True)
    return data
