"""Keras models: objects, and `.keras` files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherever_contracts.errors import ConversionError
from wherever_convert.sources import as_path
from wherever_convert.sources.keras_archives import refusal_of
from wherever_convert.sources.objects import ObjectSource

if TYPE_CHECKING:
    from wherever_contracts.manifest import Format
    from wherever_convert.sources import Request, SourceModel


class Keras(ObjectSource):
    """Exports a model to ONNX, and to TensorFlow Lite where its converter can."""

    title = "a Keras 3 model (the object, FILE.py:NAME, or its .keras file)"
    formats: tuple[Format, ...] = ("onnx", "tflite")
    exporter = "wherever_convert.env.exporters.keras_models"
    tools = "keras"
    suffixes = frozenset({".keras"})

    def load(self, source: object, request: Request) -> SourceModel:
        """Export it; a file is looked through first, before any framework is there."""
        path = as_path(source)
        if path is not None and path.is_file() and (reason := refusal_of(path)):
            raise ConversionError(reason)
        return super().load(source, request)
