"""A TFLite file."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from wherever_contracts.errors import ConversionError
from wherever_convert.anatomy import precision_by
from wherever_convert.anatomy.tflite_graph import read_tflite
from wherever_convert.model_file import ModelFile
from wherever_convert.running import open_model
from wherever_convert.sources import Request, Source, SourceModel, as_path, existing_file

if TYPE_CHECKING:
    from wherever_contracts.manifest import Format

_INTEGERS = frozenset({"int8", "uint8", "int4"})
_MAX_BYTES = 2**31 - 1


class TfliteFile(Source):
    """Takes a `.tflite` file as it is, with the labels and the scale of pixels that it carries."""

    title = "a .tflite file"
    formats: tuple[Format, ...] = ("tflite",)

    def recognises(self, source: object) -> bool:
        """True for a path that ends in `.tflite`."""
        path = as_path(source)
        return path is not None and path.suffix.lower() == ".tflite"

    def load(self, source: object, request: Request) -> SourceModel:
        """Read the file, and see that an engine here opens it."""
        path = existing_file(source)
        size = path.stat().st_size
        if not 0 < size <= _MAX_BYTES:
            raise ConversionError(
                f"{path.name} has {size} bytes; a .tflite file has 1 to {_MAX_BYTES}"
            )
        data = path.read_bytes()
        try:
            anatomy = read_tflite(data)
        except ValueError as error:
            raise ConversionError(f"{path.name} is no .tflite file: {error}") from error
        # weights of float16 are computed in float32 all the same
        integers = precision_by(anatomy.weights, _INTEGERS) == "int8"
        file = ModelFile("tflite", "int8" if integers else "float32", (data,))
        open_model(file, path.name).close()
        facts = {"kind": "tflite", "file": path.name, "sha256": hashlib.sha256(data).hexdigest()}
        facts |= {
            key: anatomy.metadata[key] for key in ("name", "licence") if key in anatomy.metadata
        }
        return SourceModel({"tflite": file}, facts, anatomy.labels, pixels=anatomy.pixels)
