"""PyTorch modules, through torch.onnx."""

from __future__ import annotations

import io
import sys
from collections.abc import Collection, Generator
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wherever_convert.env.exporters import Outcome
from wherever_convert.env.onnx_graphs import limit_ir_version
from wherever_convert.env.script import MissingToolError, RefusedError, first_words
from wherever_convert.env.tools import tool, versions
from wherever_convert.env.witness import write_witness

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FEATURE = "exporting PyTorch modules"
_OPSET = 18
_ROWS = 2  # torch.export takes a batch of one for a constant


def recognises(given: object) -> bool:
    """True for an nn.Module."""
    nn = sys.modules.get("torch.nn")
    return nn is not None and isinstance(given, nn.Module)


def export(
    given: Any, example: NDArray[Any] | None, formats: Collection[str], folder: Path
) -> Outcome:
    """Export a module in evaluation mode, with any number of rows where it can take that."""
    name = type(given).__name__
    if example is None:
        raise RefusedError(
            f"the shape of what {name} takes is not known: give the size of its images "
            f"(--input-size HEIGHTxWIDTH), or samples that are tables of numbers"
        )
    _require_exporter()
    rows = np.concatenate([example] * _ROWS)[: max(_ROWS, len(example))]
    with _evaluating(given):
        data, batch = _exported(given, rows)
        # other rows than were exported with: what became a constant must not look right
        others = rows[_ROWS:] if len(rows) > _ROWS else rows
        _write_answers(folder, given, others if batch else others[-1:])
    (folder / "model.onnx").write_bytes(data)
    tools = versions("torch", "onnxscript", "onnx")
    return {
        "facts": {"kind": "pytorch", "module": name, "tools": tools},
        "labels": None,
        "batch": batch,
        "files": {"onnx": "float32"},
        "also": {},
    }


def _require_exporter() -> None:
    try:
        tool("onnxscript", _FEATURE)
    except MissingToolError as error:
        command = "pip install onnx onnxscript"
        raise MissingToolError(_FEATURE, "onnxscript beside torch", command) from error


@contextmanager
def _evaluating(module: Any) -> Generator[None]:
    training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(training)


def _exported(module: Any, rows: NDArray[Any]) -> tuple[bytes, bool]:
    """The ONNX file, and whether it takes any number of rows."""
    with suppress(Exception):  # many modules are written for one row, or for a fixed number
        return _export(module, rows[:_ROWS], any_rows=True), True
    try:
        return _export(module, rows[:1], any_rows=False), False
    except Exception as error:
        raise RefusedError(
            f"torch.onnx cannot export {type(module).__name__} for rows of shape "
            f"{list(rows.shape[1:])}: {first_words(error)}"
        ) from error


def _export(module: Any, rows: NDArray[Any], *, any_rows: bool) -> bytes:
    torch = tool("torch", _FEATURE)
    shapes = ({0: torch.export.Dim("rows")},) if any_rows else None
    with redirect_stdout(io.StringIO()):  # it reports progress there, where our JSON goes
        program = torch.onnx.export(
            module,
            (torch.from_numpy(rows),),
            dynamo=True,
            dynamic_shapes=shapes,
            opset_version=_OPSET,
            verbose=False,
        )
    model = program.model_proto
    limit_ir_version(model)
    data: bytes = model.SerializeToString()
    return data


def _write_answers(folder: Path, module: Any, rows: NDArray[Any]) -> None:
    torch = tool("torch", _FEATURE)
    with torch.no_grad():
        answer = module(torch.from_numpy(rows))
    answers = [answer] if hasattr(answer, "numpy") else list(_values(answer))
    write_witness(
        folder, [rows], [each.numpy() if hasattr(each, "numpy") else None for each in answers]
    )


def _values(answer: Any) -> Any:
    return answer.values() if hasattr(answer, "values") else answer
