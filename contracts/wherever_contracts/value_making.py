"""The value that a signature promises, made from its output tensors, and the same as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wherever_contracts.manifest import DetectionsValue, EmbeddingValue, LabelValue, Signature
from wherever_contracts.tensors import Array
from wherever_contracts.values import Detection, Label, detections, is_detections, is_tensors


def value_of(signature: Signature, outputs: Mapping[str, Array]) -> Any:
    """The value that `signature` promises, made from its output tensors."""
    value = signature.value
    if isinstance(value, LabelValue):
        return Label(value.labels, outputs[value.scores])
    if isinstance(value, DetectionsValue):
        found = (outputs[value.boxes], outputs[value.scores], outputs[value.classes])
        return detections(value.labels, *found)
    if isinstance(value, EmbeddingValue):
        return outputs[value.vector]
    return dict(outputs)


def plain(value: Any) -> Any:
    """A value as plain data, ready for JSON."""
    if isinstance(value, Label):
        return {"label": str(value), "score": value.score}
    if is_detections(value):
        return [_plain_detection(item) for item in value]
    if is_tensors(value):
        return {name: array.tolist() for name, array in value.items()}
    return value.tolist()


def _plain_detection(found: Detection) -> dict[str, Any]:
    box = found.box
    corners = [box.left, box.top, box.right, box.bottom]
    return {"label": found.label, "score": found.score, "box": corners}
