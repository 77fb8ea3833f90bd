"""Running a bare ONNX file in an engine, before there is a package around it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherever_contracts.errors import ConversionError, EngineError
from wherever_devices.plans import RunPlan
from wherever_edge import plugins

if TYPE_CHECKING:
    from wherever_contracts.tensors import Array
    from wherever_edge.engines.engine import Session

ENGINE = "onnxruntime"


def open_onnx(data: bytes, what: str, precision: str = "float32") -> Session:
    """Load an ONNX file.

    Raises:
        ConversionError: the engine cannot.
    """
    engine = plugins.load("wherever.engines", ENGINE)()
    try:
        plan = RunPlan(ENGINE, "cpu", precision, 1)
        session: Session = engine.open([data], file_format="onnx", plan=plan)
    except EngineError as error:
        raise ConversionError(f"{what} cannot be run: {error}") from error
    return session


def run_onnx(data: bytes, rows: Array) -> list[Array]:
    """The outputs, in the file's order, of an ONNX file with one input.

    Raises:
        ConversionError: the engine cannot load the file, or cannot run it.
    """
    session = open_onnx(data, "the converted model")
    (entry, *others) = session.inputs
    if others:
        raise ConversionError(f"the converted model takes {1 + len(others)} inputs, not one")
    try:
        return list(session.run({entry.name: rows.astype(entry.numpy_dtype)}).values())
    except EngineError as error:
        raise ConversionError(f"the converted model cannot be run: {error}") from error
