"""OpenVINO's own format: an .xml, and the .bin beside it."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from wherever_contracts.errors import ConversionError
from wherever_convert.anatomy import Anatomy, precision_by
from wherever_convert.anatomy.ir_graph import read_ir
from wherever_convert.model_file import ModelFile, Precision
from wherever_convert.running import open_model
from wherever_convert.sources import Request, Source, SourceModel, as_path, existing_file

if TYPE_CHECKING:
    from wherever_contracts.manifest import Format

_INTEGERS = frozenset({"int8", "uint8", "int4", "uint4"})
_MAX_XML_BYTES = 512 * 1024 * 1024


class OpenVinoIr(Source):
    """Takes an IR as it is."""

    title = "an OpenVINO IR (an .xml, its .bin beside it)"
    formats: tuple[Format, ...] = ("openvino",)

    def recognises(self, source: object) -> bool:
        """True for a path that ends in `.xml`."""
        path = as_path(source)
        return path is not None and path.suffix.lower() == ".xml"

    def load(self, source: object, request: Request) -> SourceModel:
        """Read the two files, and see that OpenVINO opens them."""
        path = existing_file(source)
        weights = path.with_suffix(".bin")
        if not weights.is_file():
            raise ConversionError(f"{path.name} needs {weights.name} beside it, which is not there")
        if path.stat().st_size > _MAX_XML_BYTES:
            raise ConversionError(f"{path.name} has more than {_MAX_XML_BYTES} bytes")
        contents = (path.read_bytes(), weights.read_bytes())
        try:
            precision = ir_precision(read_ir(contents[0]))
        except ValueError as error:
            raise ConversionError(f"{path.name} is no OpenVINO model: {error}") from error
        file = ModelFile("openvino", precision, contents)
        open_model(file, path.name).close()
        digest = hashlib.sha256(contents[0]).hexdigest()
        return SourceModel(
            {"openvino": file}, {"kind": "openvino", "file": path.name, "sha256": digest}
        )


def ir_precision(anatomy: Anatomy) -> Precision:
    """What an IR computes in: int8 where it has operators that quantize, else as its weights."""
    if "FakeQuantize" in anatomy.operators:
        return "int8"
    return precision_by(anatomy.weights, _INTEGERS)
