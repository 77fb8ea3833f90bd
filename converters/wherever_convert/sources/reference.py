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
from wherever_convert.sources import OnnxModel, Source, as_path

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

    def to_onnx(self, source: object, example: Array | None) -> OnnxModel:
        """Convert in a process of its own, so that the file cannot disturb this one."""
        match = _REFERENCE.fullmatch(str(source))
        if match is None or not Path(match["file"]).is_file():
            raise ConversionError(f"{source}: there is no such file")
        path = Path(match["file"]).resolve()
        with tempfile.TemporaryDirectory(prefix="wherever-export-") as scratch:
            return _exported(path, match["name"], example, Path(scratch))


def _exported(path: Path, name: str, example: Array | None, scratch: Path) -> OnnxModel:
    job: dict[str, Any] = {"file": str(path), "name": name, "output": str(scratch / "model.onnx")}
    if example is not None:
        np.save(scratch / "example.npy", example, allow_pickle=False)
        job["example"] = str(scratch / "example.npy")
    made = run_child("export", job, scratch, f"converting {path.name}:{name}")
    origin = {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    labels = made["labels"]
    return OnnxModel(
        (scratch / "model.onnx").read_bytes(),
        {**made["facts"], **origin},
        None if labels is None else tuple(labels),
        batch=made["batch"],
        agreement=made["agreement"],
    )
