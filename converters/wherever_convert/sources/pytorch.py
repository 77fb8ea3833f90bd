"""A PyTorch module, through torch.onnx.

PyTorch is the user's: it is never installed with wherever.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Generator
from contextlib import contextmanager, redirect_stdout, suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from wherever_contracts.errors import ConversionError, MissingExtraError
from wherever_contracts.manifest import Format
from wherever_convert.frameworks import framework, versions
from wherever_convert.graphs import limit_ir_version
from wherever_convert.model_file import ModelFile
from wherever_convert.sources import Request, Source, SourceModel, Witness

if TYPE_CHECKING:
    from wherever_contracts.tensors import Array

_OPSET = 18
_ROWS = 2  # torch.export takes a batch of one for a constant


class PyTorch(Source):
    """Exports a module in evaluation mode, with any number of rows where it can take that."""

    title = "a PyTorch nn.Module (the object, or FILE.py:NAME)"

    def recognises(self, source: object) -> bool:
        """True for an nn.Module."""
        nn = sys.modules.get("torch.nn")
        return nn is not None and isinstance(source, nn.Module)

    def load(self, source: object, request: Request) -> SourceModel:
        """Export, and ask the module about the example rows."""
        example = request.example
        name = type(source).__name__
        if example is None:
            raise ConversionError(
                f"the shape of what {name} takes is not known: give the size of its images "
                f"(--input-size HEIGHTxWIDTH), or samples that are tables of numbers"
            )
        _require_exporter()
        rows = np.concatenate([example] * _ROWS)[: max(_ROWS, len(example))]
        with _evaluating(source):
            data, batch = _exported(source, rows)
            # other rows than were exported with: what became a constant must not look right
            others = rows[_ROWS:] if len(rows) > _ROWS else rows
            witness = _witness(source, others if batch else others[-1:])
        facts = {
            "kind": "pytorch",
            "module": name,
            "tools": versions("torch", "onnxscript", "onnx"),
        }
        files: dict[Format, ModelFile] = {"onnx": ModelFile("onnx", "float32", (data,))}
        return SourceModel(files, facts, batch=batch, witness=witness)


def _require_exporter() -> None:
    try:
        framework("onnxscript", "exporting PyTorch modules")
    except MissingExtraError as error:
        raise MissingExtraError(
            "exporting PyTorch modules needs onnxscript beside torch: pip install onnx onnxscript"
        ) from error


@contextmanager
def _evaluating(module: Any) -> Generator[None]:
    training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(training)


def _exported(module: Any, rows: Array) -> tuple[bytes, bool]:
    """The ONNX file, and whether it takes any number of rows."""
    with suppress(Exception):  # many modules are written for one row, or for a fixed number
        return _export(module, rows[:_ROWS], any_rows=True), True
    try:
        return _export(module, rows[:1], any_rows=False), False
    except Exception as error:
        what = " ".join(str(error).split())[:300] or type(error).__name__
        raise ConversionError(
            f"torch.onnx cannot export {type(module).__name__} for rows of shape "
            f"{list(rows.shape[1:])}: {what}"
        ) from error


def _export(module: Any, rows: Array, *, any_rows: bool) -> bytes:
    torch = framework("torch", "exporting PyTorch modules")
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


def _witness(module: Any, rows: Array) -> Witness:
    torch = framework("torch", "exporting PyTorch modules")
    with torch.no_grad():
        answer = module(torch.from_numpy(rows))
    answers = [answer] if hasattr(answer, "numpy") else list(_values(answer))
    outputs = tuple(each.numpy() if hasattr(each, "numpy") else None for each in answers)
    return Witness((rows,), outputs)


def _values(answer: Any) -> Any:
    return answer.values() if hasattr(answer, "values") else answer
