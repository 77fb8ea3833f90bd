"""Keras models: objects, and `.keras` files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherever_contracts.errors import ConversionError
from wherever_convert.sources import as_path
from wherever_convert.sources.keras_archives import refusal_of
from wherever_convert.sources.objects import ObjectSource

if TYPE_CHECKING:
    from wherever_convert.sources import Request, SourceModel

_OLD = frozenset({".h5", ".hdf5"})


class Keras(ObjectSource):
    """Exports a model to ONNX, and to TensorFlow Lite where its converter can."""

    title = "a Keras 3 model (the object, FILE.py:NAME, or its .keras file)"
    formats = ("onnx", "tflite")
    exporter = "wherever_convert.env.exporters.keras_models"
    tools = "keras"
    suffixes = frozenset({".keras"})

    def recognises(self, source: object) -> bool:
        """True for a model, for a .keras file, and for what it refuses with advice."""
        path = as_path(source)
        if path is not None and (path.suffix.lower() in _OLD or _is_saved_model(source)):
            return True
        return super().recognises(source)

    def load(self, source: object, request: Request) -> SourceModel:
        """Export it; a file is looked through first, without any framework."""
        path = as_path(source)
        if path is not None and path.suffix.lower() in _OLD:
            raise ConversionError(
                f"{path.name} is of Keras's old format, which may hold code: load it in Keras 3 "
                f"and save it again as a .keras file"
            )
        if path is not None and path.is_dir():
            raise ConversionError(
                f"{path} is a TensorFlow SavedModel, a program that may read and write files: "
                f"save the model as a .keras file, or give a .tflite file"
            )
        if path is not None and path.is_file() and (reason := refusal_of(path)):
            raise ConversionError(reason)
        return super().load(source, request)


def _is_saved_model(source: object) -> bool:
    path = as_path(source)
    return path is not None and (path / "saved_model.pb").is_file()
