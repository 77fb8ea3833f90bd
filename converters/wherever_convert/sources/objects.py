"""Sources that are objects of a framework, written as ONNX by an exporter."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from wherever_contracts.errors import ConversionError
from wherever_convert.children import run_child
from wherever_convert.env.exporters import exporter
from wherever_convert.env.script import MissingToolError, RefusedError
from wherever_convert.environments import python_for
from wherever_convert.frameworks import missing_tool
from wherever_convert.model_file import read_model_file
from wherever_convert.sources import Request, Source, SourceModel, as_path
from wherever_convert.sources.witnesses import read_witness


class ObjectSource(Source):
    """A kind of object that an exporter writes as ONNX.

    An object is exported in this process; a file of data, in one of its own.

    Attributes:
        exporter: the module of its exporter (see `wherever_convert.env.exporters`).
        tools: the set of tools that it needs (see `wherever_convert.environments`).
        suffixes: of the files that the exporter reads with `load`, in lower case.
    """

    exporter: ClassVar[str]
    tools: ClassVar[str]
    suffixes: ClassVar[frozenset[str]] = frozenset()

    def recognises(self, source: object) -> bool:
        """True for an object of the framework, and for a file with one of the suffixes."""
        path = as_path(source)
        if path is not None:
            return path.suffix.lower() in self.suffixes
        return exporter(self.exporter).recognises(source)

    def load(self, source: object, request: Request) -> SourceModel:
        """Export it."""
        path = as_path(source)
        with tempfile.TemporaryDirectory(prefix="export-", dir=request.scratch) as scratch:
            if path is None:
                outcome = self._export_here(source, request, Path(scratch))
            else:
                outcome = self._export_file(path, request, Path(scratch))
            return read_export(self.finish(outcome, Path(scratch), request), Path(scratch))

    def finish(
        self, outcome: Mapping[str, Any], folder: Path, request: Request
    ) -> Mapping[str, Any]:
        """Make what needs another environment than the exporter's.

        Args:
            outcome: what the exporter says of its files.
            folder: where they are.
            request: what is wanted.

        Returns:
            What is to be said of the files now.
        """
        return outcome

    def _export_here(self, source: object, request: Request, folder: Path) -> Mapping[str, Any]:
        try:
            return exporter(self.exporter).export(source, request.example, request.formats, folder)
        except MissingToolError as error:
            raise missing_tool(error) from error
        except RefusedError as error:
            raise ConversionError(str(error)) from error

    def _export_file(self, path: Path, request: Request, folder: Path) -> Mapping[str, Any]:
        if not path.exists():
            raise ConversionError(f"{path}: there is no such file")
        job = {"model": str(path.resolve()), "exporters": [self.exporter]}
        python = python_for(self.tools, request.tell)
        return export_in_child(job, request, folder, f"converting {path.name}", python)


def export_in_child(
    job: dict[str, Any], request: Request, folder: Path, what: str, python: Path
) -> dict[str, Any]:
    """Run the script `export` with a job, and what the request says of it.

    Args:
        job: what to export, and the exporters that may.
        request: what is wanted.
        folder: for its files.
        what: what is done, for errors.
        python: the interpreter.
    """
    job = {**job, "formats": sorted(request.formats), "folder": str(folder)}
    if request.example is not None:
        np.save(folder / "example.npy", request.example, allow_pickle=False)
        job["example"] = str(folder / "example.npy")
    return run_child("export", job, folder, what, python=python)


def read_export(outcome: Mapping[str, Any], folder: Path) -> SourceModel:
    """What an exporter wrote, and said of it."""
    labels = outcome["labels"]
    files = {
        kind: read_model_file(folder / "model", kind, precision)
        for kind, precision in outcome["files"].items()
    }
    return SourceModel(
        files,
        outcome["facts"],
        None if labels is None else tuple(labels),
        batch=outcome["batch"],
        witness=read_witness(folder),
        also=outcome["also"],
    )
