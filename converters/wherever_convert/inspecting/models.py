"""What is in a model file, and which engines here open it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from wherever_contracts.errors import ConversionError, EngineError, SettingsError
from wherever_convert.anatomy import Anatomy, Port, precision_by
from wherever_convert.anatomy.ir_graph import read_ir
from wherever_convert.anatomy.onnx_graph import foreign_operators, read_onnx
from wherever_convert.anatomy.tflite_graph import read_tflite
from wherever_convert.model_file import ModelFile, Precision
from wherever_convert.sources.onnx_file import read_bytes, read_model, whole_model
from wherever_convert.sources.openvino_ir import ir_precision
from wherever_devices.plans import RunPlan
from wherever_edge import plugins
from wherever_edge.engines.engine import Resources
from wherever_edge.engines.installed import GROUP
from wherever_edge.engines.onnx_file import precision_of
from wherever_edge.opening import engines_for

_INTEGERS = frozenset({"int8", "uint8", "int4", "uint4"})
_PRECISIONS: dict[str, Precision] = {"float16": "float16", "int8": "int8"}


def model_data(path: Path) -> dict[str, Any]:
    """All that is to be said of a model file, as plain data.

    Raises:
        ConversionError: it is none.
        MissingExtraError: onnx is not installed, which reads .onnx files.
    """
    readers = {".onnx": _onnx, ".tflite": _tflite, ".xml": _ir}
    try:
        file, anatomy, notes = readers[path.suffix.lower()](path)
    except ValueError as error:
        raise ConversionError(f"{path.name} is no model file: {error}") from error
    return {
        "path": str(path),
        "format": file.format,
        "bytes": sum(each.stat().st_size for each in _files(path)),
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "precision": file.precision,
        **_described(anatomy),
        "notes": notes,
        "engines": _engines(file),
    }


def _described(anatomy: Anatomy) -> dict[str, Any]:
    return {
        "version": anatomy.version,
        "producer": anatomy.producer,
        "parameters": anatomy.parameters,
        "weights": {
            name: {"tensors": each.tensors, "numbers": each.numbers, "bytes": each.bytes}
            for name, each in anatomy.weights.items()
        },
        "operators": dict(anatomy.operators),
        "inputs": list(map(_port, anatomy.inputs)),
        "outputs": list(map(_port, anatomy.outputs)),
        "any_rows": anatomy.open_rows,
        "labels": None if anatomy.labels is None else list(anatomy.labels),
        "pixels": None if anatomy.pixels is None else anatomy.pixels.given(),
        "metadata": dict(anatomy.metadata),
        "carries": list(anatomy.carries),
    }


def _port(port: Port) -> dict[str, Any]:
    return {"name": port.name, "dtype": port.dtype, "shape": list(port.shape)}


def _onnx(path: Path) -> tuple[ModelFile, Anatomy, list[str]]:
    data = read_bytes(path)
    model = read_model(data, path)
    anatomy = read_onnx(model)
    foreign = foreign_operators(model)
    notes = [f"operators that no engine here knows: {', '.join(foreign)}"] if foreign else []
    outside = sorted(
        {
            entry.value
            for tensor in model.graph.initializer
            for entry in tensor.external_data
            if entry.key == "location"
        }
    )
    if outside:
        notes.append(f"keeps weights beside it, in {', '.join(outside)}")
    precision = _PRECISIONS.get(precision_of(data), "float32")
    return ModelFile("onnx", precision, (whole_model(model, data, path),)), anatomy, notes


def _tflite(path: Path) -> tuple[ModelFile, Anatomy, list[str]]:
    data = path.read_bytes()
    anatomy = read_tflite(data)
    return ModelFile("tflite", precision_by(anatomy.weights, _INTEGERS), (data,)), anatomy, []


def _ir(path: Path) -> tuple[ModelFile, Anatomy, list[str]]:
    xml, anatomy = path.read_bytes(), read_ir(path.read_bytes())
    weights = path.with_suffix(".bin")
    if not weights.is_file():
        note = f"{weights.name} is not beside it"
        return ModelFile("openvino", ir_precision(anatomy), (xml, b"")), anatomy, [note]
    file = ModelFile("openvino", ir_precision(anatomy), (xml, weights.read_bytes()))
    return file, anatomy, []


def _files(path: Path) -> list[Path]:
    beside = path.with_suffix(".bin")
    return [path, beside] if path.suffix.lower() == ".xml" and beside.is_file() else [path]


def _engines(file: ModelFile) -> dict[str, str]:
    """Engine -> why it does not open the file; "" for those that do."""
    try:
        engines = engines_for("process")
    except SettingsError:  # this system cannot give them processes of their own
        engines = engines_for("none")
    answers: dict[str, str] = {}
    for name, state in engines.states(sorted(plugins.entry_points(GROUP))).items():
        if file.format in state.formats or state.missing:
            answers[name] = state.missing or _opened(engines, name, file)
    return answers


def _opened(engines: Any, name: str, file: ModelFile) -> str:
    try:
        plan = RunPlan(name, "cpu", "float32", 1)
        engines.open(plan, file.format, file.contents, Resources()).close()
    except EngineError as error:
        return str(error).removeprefix(f"{name} ")
    return ""
