"""A model as one runtime reads it: the bytes of its files, and what they are."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from wherever_contracts.manifest import Format

Precision: TypeAlias = Literal["float32", "float16", "int8"]

SUFFIXES: Mapping[Format, tuple[str, ...]] = {
    "onnx": (".onnx",),
    "tflite": (".tflite",),
    "openvino": (".xml", ".bin"),
}


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model in one format.

    Attributes:
        format: "onnx", "tflite" or "openvino".
        precision: of its weights.
        contents: the bytes of each of its files, in the order of `SUFFIXES`.
    """

    format: Format
    precision: Precision
    contents: tuple[bytes, ...]

    @property
    def size_bytes(self) -> int:
        """Of all its files."""
        return sum(map(len, self.contents))

    @property
    def sha256(self) -> str:
        """Of all its files, one after the other (hex)."""
        return hashlib.sha256(b"".join(self.contents)).hexdigest()

    def write(self, folder: Path, stem: str) -> list[Path]:
        """Write its files as STEM.onnx, or STEM.xml and STEM.bin, and so on; returns the paths."""
        paths = [folder / f"{stem}{suffix}" for suffix in SUFFIXES[self.format]]
        for path, data in zip(paths, self.contents, strict=True):
            path.write_bytes(data)
        return paths


def read_model_file(path: Path, model_format: Format, precision: Precision) -> ModelFile:
    """Read the files that `ModelFile.write` wrote; `path` names the first of them."""
    paths = [path.with_suffix(suffix) for suffix in SUFFIXES[model_format]]
    return ModelFile(model_format, precision, tuple(each.read_bytes() for each in paths))
