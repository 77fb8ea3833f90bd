"""JSON Schemas (2020-12) of what models take and give, from their signatures. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from wherever_contracts.manifest import (
    DetectionsValue,
    EmbeddingValue,
    InputEntry,
    LabelValue,
    OptionEntry,
    Signature,
    TensorEntry,
)
from wherever_contracts.places import PRIORITIES
from wherever_contracts.receipts import Ran
from wherever_contracts.wire.rest_typed import MAX_TIMEOUT_S, MIN_TIMEOUT_S, SAID

Schema: TypeAlias = dict[str, Any]

_MOST_LABELS = 200  # more make a page that nobody reads

_NUMBER_OR_NULL: Schema = {"type": ["number", "null"]}
_STRING: Schema = {"type": "string"}


def said_schemas(variants: Sequence[str]) -> dict[str, Schema]:
    """What every call may say about itself, by name."""
    variant = {"enum": [*variants]} if variants else {}
    schemas = (
        {**_STRING, "description": "Comes back in the answer."},
        {**_STRING, **variant, "description": "What is to run; by default the best that can."},
        {**_STRING, "enum": [*PRIORITIES], "description": "Who goes first where calls wait."},
        {
            "type": "number",
            "minimum": MIN_TIMEOUT_S,
            "maximum": MAX_TIMEOUT_S,
            "description": "Seconds after which the answer is of no use, and not worked on.",
        },
    )
    return dict(zip(SAID, schemas, strict=True))


def option_schema(option: OptionEntry) -> Schema:
    """A number that may be given with a call."""
    about = {"description": option.help} if option.help else {}
    limits = {"minimum": option.min, "maximum": option.max, "default": option.default}
    return {"type": "number", **limits, **about}


def fields_schema(signature: Signature, variants: Sequence[str]) -> Schema:
    """The fields of a call in JSON; where a name means several, as `rest_typed` reads it."""
    inputs = {entry.name: input_schema(entry) for entry in signature.inputs}
    options = {option.name: option_schema(option) for option in signature.options}
    return {
        "type": "object",
        "properties": {**said_schemas(variants), **options, **inputs},
        "required": [*inputs],
        "additionalProperties": False,
    }


def form_schema(signature: Signature, variants: Sequence[str]) -> Schema:
    """The fields of a call as a form has them: files for what is no text."""
    schema = fields_schema(signature, variants)
    files = {
        entry.name: {"type": "string", "contentMediaType": _media_type(entry)}
        for entry in signature.inputs
        if entry.kind in ("image", "bytes")
    }
    return {**schema, "properties": {**schema["properties"], **files}}


def input_schema(entry: InputEntry) -> Schema:
    """One input in JSON."""
    if entry.kind == "text":
        return {**_STRING, "description": f"Text of at most {entry.max_bytes} bytes in UTF-8."}
    if entry.kind == "tensor":
        return nested(entry.dtype or "float32", entry.shape or (), entry.min, entry.max)
    coded: Schema = {
        "type": "string",
        "contentEncoding": "base64",
        "contentMediaType": _media_type(entry),
        "description": f"Base64 of at most {entry.max_bytes} bytes.",
    }
    if entry.numbers is None:
        return coded
    numbers = entry.numbers
    return {"anyOf": [coded, nested(numbers.dtype, numbers.shape, numbers.min, numbers.max)]}


def answer_schema(signature: Signature, model: str) -> Schema:
    """The answer to a call."""
    ran = dict.fromkeys(Ran._fields, _STRING) | {"threads": {"type": "integer"}}
    timings = dict.fromkeys(("queue_s", "engine_s"), _NUMBER_OR_NULL)
    properties: dict[str, Schema] = {
        "model": {**_STRING, "examples": [model]},
        "version": _STRING,
        "id": _STRING,
        "value": value_schema(signature),
        "confidence": {**_NUMBER_OR_NULL, "description": "0 to 1; null where none is known."},
        "ran": {"type": ["object", "null"], "properties": ran},
        "timings": {"type": "object", "properties": timings},
        "rows": {"type": "integer", "description": "Calls that shared the run of the engine."},
        "substituted": {
            "type": "array",
            "items": _STRING,
            "description": "What ran in place of what was planned, and why.",
        },
    }
    required = [name for name in properties if name != "id"]
    return {"type": "object", "properties": properties, "required": required}


def value_schema(signature: Signature) -> Schema:
    """The value that a model's signature promises."""
    value = signature.value
    outputs = {entry.name: entry for entry in signature.outputs}
    if isinstance(value, LabelValue):
        return _object(label=_label(value.labels), score=_NUMBER_OR_NULL)
    if isinstance(value, DetectionsValue):
        box = {"type": "array", "items": {"type": "number"}, "minItems": 4, "maxItems": 4}
        about = "left, top, right, bottom in pixels of the image"
        found = _object(
            label=_label(value.labels), score=_NUMBER_OR_NULL, box={**box, "description": about}
        )
        return {"type": "array", "items": found}
    if isinstance(value, EmbeddingValue):
        return _output(outputs[value.vector])
    return _object(**{name: _output(entry) for name, entry in outputs.items()})


def nested(
    dtype: str, shape: Sequence[int], low: float | None = None, high: float | None = None
) -> Schema:
    """Numbers in nested arrays of a tensor's shape."""
    schema = _element(dtype, low, high)
    for length in reversed(shape):
        bounds = {"minItems": 1} if length < 0 else {"minItems": length, "maxItems": length}
        schema = {"type": "array", "items": schema, **bounds}
    return {**schema, "description": f"{dtype}{[*shape]}; -1 stands for any length."}


def _output(entry: TensorEntry) -> Schema:
    """As `nested`, but there may be nothing, and null stands for what JSON has no number for."""
    schema: Schema = _NUMBER_OR_NULL if "float" in entry.dtype else _element(entry.dtype)
    for _ in entry.shape:
        schema = {"type": "array", "items": schema}
    return {**schema, "description": f"{entry.dtype}{[*entry.shape]}; -1 stands for any length."}


def _element(dtype: str, low: float | None = None, high: float | None = None) -> Schema:
    if dtype in ("bool", "bytes"):
        return {"type": "boolean" if dtype == "bool" else "string"}
    kind = np.dtype(dtype)
    limits = np.finfo(kind) if kind.kind == "f" else np.iinfo(kind)
    least, most = (float, float) if kind.kind == "f" else (int, int)
    return {
        "type": "number" if kind.kind == "f" else "integer",
        "minimum": least(limits.min if low is None else low),
        "maximum": most(limits.max if high is None else high),
    }


def _label(labels: Sequence[str]) -> Schema:
    return {**_STRING, "enum": [*dict.fromkeys(labels)]} if len(labels) <= _MOST_LABELS else _STRING


def _object(**properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "required": [*properties]}


def _media_type(entry: InputEntry) -> str:
    return "image/*" if entry.kind == "image" else "application/octet-stream"
