"""`FILE.py:NAME`: an object that a Python file makes, converted in a process of its own."""

from __future__ import annotations

import hashlib
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wherever_contracts.errors import ConversionError
from wherever_convert.children import run_child
from wherever_convert.model_file import ModelFile
from wherever_convert.sources import Request, Source, SourceModel, Witness, as_path
from wherever_convert.sources.witnesses import read_witness

if TYPE_CHECKING:
    from wherever_contracts.tensors import Array

_REFERENCE = re.compile(r"(?P<file>.+\.py):(?P<name>[A-Za-z_]\w*)")


class PythonReference(Source):
    """Runs the user's own file, and converts the object, or what the function there returns."""

    title = "FILE.py:NAME, an object or a function that returns one (the file is run)"

    def recognises(self, source: object) -> bool:
        """True for `FILE.py:NAME`."""
        path = as_path(source)
        return path is not None and _REFERENCE.fullmatch(str(path)) is not None

    def load(self, source: object, request: Request) -> SourceModel:
        """Convert in a process of its own, so that the file cannot disturb this one."""
        match = _REFERENCE.fullmatch(str(source))
        if match is None or not Path(match["file"]).is_file():
            raise ConversionError(f"{source}: there is no such file")
        path = Path(match["file"]).resolve()
        with tempfile.TemporaryDirectory(prefix="export-", dir=request.scratch) as scratch:
            return _exported(path, match["name"], request.example, Path(scratch))


def _exported(path: Path, name: str, example: Array | None, scratch: Path) -> SourceModel:
    job: dict[str, Any] = {"file": str(path), "name": name, "output": str(scratch / "model.onnx")}
    if example is not None:
        np.save(scratch / "example.npy", example, allow_pickle=False)
        job["example"] = str(scratch / "example.npy")
    made = run_child("export", job, scratch, f"converting {path.name}:{name}")
    origin = {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    labels = made["labels"]
    data = (scratch / "model.onnx").read_bytes()
    return SourceModel(
        {"onnx": ModelFile("onnx", "float32", (data,))},
        {**made["facts"], **origin},
        None if labels is None else tuple(labels),
        batch=made["batch"],
        witness=_witness(scratch / "witness.npz"),
    )


def _witness(path: Path) -> Witness | None:
    if not path.is_file():
        return None
    with np.load(path, allow_pickle=False) as arrays:
        return read_witness(dict(arrays))
