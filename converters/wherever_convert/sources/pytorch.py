"""PyTorch modules and exported programs, through torch.onnx and litert-torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wherever_contracts.errors import ConversionError, MissingExtraError
from wherever_contracts.manifest import Format
from wherever_convert.children import run_child
from wherever_convert.env.exporters.pytorch import PROGRAM
from wherever_convert.environments import python_for
from wherever_convert.sources import Request, SourceModel, as_path
from wherever_convert.sources.objects import ObjectSource

_TIMEOUT_S = 1800


class PyTorch(ObjectSource):
    """Exports a module in evaluation mode, with any number of rows where it can take that.

    A LiteRT file takes one row at a time, with the module's own order of axes.
    """

    title = "a PyTorch nn.Module or torch.export program (the object, FILE.py:NAME, or a .pt2 file)"
    formats: tuple[Format, ...] = ("onnx", "tflite")
    exporter = "wherever_convert.env.exporters.pytorch"
    tools = "torch"
    suffixes = frozenset({".pt2"})

    def load(self, source: object, request: Request) -> SourceModel:
        """Export it; a file is read only where code in it may run."""
        path = as_path(source)
        if path is not None and not request.allow_code:
            raise ConversionError(
                f"{path.name} is not read: loading a torch.export file can run code that it holds. "
                f"If you trust whoever made it, say so (--allow-code), or convert FILE.py:NAME"
            )
        return super().load(source, request)

    def finish(
        self, outcome: Mapping[str, Any], folder: Path, request: Request
    ) -> Mapping[str, Any]:
        """Make the LiteRT file of the program that the exporter wrote for it."""
        program = folder / PROGRAM
        if not program.is_file():
            return outcome
        job = {"program": str(program), "output": str(folder / "model.tflite")}
        try:
            made = run_child(
                "program_to_tflite",
                job,
                folder,
                "converting to LiteRT",
                python=python_for("litert-torch", request.tell),
                timeout_s=_TIMEOUT_S,
            )
        except (ConversionError, MissingExtraError) as error:
            return {**outcome, "also": {**outcome["also"], "tflite": str(error)}}
        facts = {**outcome["facts"], "tools": {**outcome["facts"]["tools"], **made["tools"]}}
        return {**outcome, "facts": facts, "files": {**outcome["files"], "tflite": "float32"}}
