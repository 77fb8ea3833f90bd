"""Typed calls over REST: a model's own fields in, the value that its signature promises out. Pure.

A call's fields are the signature's inputs and options by their names, and what every call may say
about itself (`SAID`). Where a name means several of these, an input goes before an option, and an
option before the rest. A field's value is JSON, or the bare bytes of a part of a form or of a whole
body.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, TypeAlias, cast

import numpy as np

from wherever_contracts.manifest import InputEntry, Signature
from wherever_contracts.places import PRIORITIES
from wherever_contracts.tensors import WIRE_TYPES, Array
from wherever_contracts.value_making import plain, value_of
from wherever_contracts.wire.asked import PRIORITY_KEY, VARIANT_KEY
from wherever_contracts.wire.framing import WireError
from wherever_contracts.wire.json_contents import read_contents
from wherever_contracts.wire.json_fields import Field
from wherever_contracts.wire.said import (
    CONFIDENCE_KEY,
    ENGINE_KEY,
    QUEUE_KEY,
    RAN_KEY,
    ROWS_KEY,
    SUBSTITUTED_KEY,
)
from wherever_contracts.wire.short_numbers import shortest
from wherever_contracts.wire.tensors import (
    InferRequest,
    InferResponse,
    Parameter,
    Parameters,
    WireTensor,
    from_bytes,
    to_array,
)

Given: TypeAlias = Field | bytes

# what every call may say about itself
TIMEOUT_S = "timeout_s"
_WORDS = ("id", VARIANT_KEY, PRIORITY_KEY)
SAID = (*_WORDS, TIMEOUT_S)

MIN_TIMEOUT_S, MAX_TIMEOUT_S = 0.001, 86_400.0
_MAX_DEPTH = 32
_NAMED = 12  # names that an error lists


class TypedCall(NamedTuple):
    """A call, and after how long nobody waits for its answer any more (None: no limit)."""

    request: InferRequest
    timeout_s: float | None


def read_call(
    model: str, version: str, signature: Signature, given: Mapping[str, Given]
) -> TypedCall:
    """The call that fields stand for.

    Args:
        model: the model's name.
        version: its version, "" for the server's choice.
        signature: what it takes.
        given: the fields by name.

    Raises:
        WireError: a field is missing, unknown or of another kind; the text names it, what was
            expected, and what came.
    """
    entries = {entry.name: entry for entry in signature.inputs}
    options = {option.name for option in signature.options}
    _refuse_unknown(given, [*entries, *sorted(options), *SAID])
    tensors = tuple(_tensor(entry, given.get(name)) for name, entry in entries.items())
    rest = {name: _field(name, each) for name, each in given.items() if name not in entries}
    parameters: Parameters = {name: _number(rest.pop(name)) for name in options & rest.keys()}
    parameters |= _said(rest)
    id_ = rest["id"].text() if "id" in rest else ""
    timeout_s = _timeout_s(rest[TIMEOUT_S]) if TIMEOUT_S in rest else None
    return TypedCall(InferRequest(model, version, id_, parameters, tensors), timeout_s)


def fields_of(document: bytes) -> dict[str, Given]:
    """The fields of a JSON object.

    Raises:
        WireError: the bytes are none.
    """
    root = Field.parse(document)
    members: object = root.value
    if not isinstance(members, dict):
        raise root.wrong("an object with the model's inputs")
    named = cast("dict[str, object]", members)
    return {name: Field(name, value) for name, value in named.items()}


def field_of_text(name: str, text: str) -> Field:
    """A field out of text, as a query or a part of a form has it: a number where it can be one."""
    if name in _WORDS:
        return Field(name, text)
    try:
        value = float(text)
    except ValueError:
        return Field(name, text)
    return Field(name, value if math.isfinite(value) else text)


def only_input(signature: Signature, kinds: Iterable[str]) -> str:
    """The name of the only input, when it is of one of these kinds; else ""."""
    first, *others = signature.inputs
    return first.name if not others and first.kind in kinds else ""


def encode_answer(signature: Signature, response: InferResponse) -> bytes:
    """The body of the answer: the value, how sure it is, and what ran.

    JSON has no NaN and no infinity: both become null.

    Raises:
        ValueError: the response's outputs are not those of the signature.
    """
    outputs = {tensor.name: _array(tensor) for tensor in response.outputs}
    said = response.parameters
    ran: Any = json.loads(str(said.get(RAN_KEY, "null")))
    answer: dict[str, Any] = {
        "model": response.model,
        "version": response.version,
        **({"id": response.id} if response.id else {}),
        "value": plain(value_of(signature, outputs)),
        "confidence": said.get(CONFIDENCE_KEY),
        "ran": ran,
        "timings": {"queue_s": said.get(QUEUE_KEY), "engine_s": said.get(ENGINE_KEY)},
        "rows": said.get(ROWS_KEY, 1),
        "substituted": json.loads(str(said.get(SUBSTITUTED_KEY, "[]"))),
    }
    try:
        text = json.dumps(answer, separators=(",", ":"), allow_nan=False)
    except ValueError:
        text = json.dumps(_finite(answer), separators=(",", ":"), allow_nan=False)
    return text.encode()


def _tensor(entry: InputEntry, given: Given | None) -> WireTensor:
    if given is None:
        raise WireError(f"{entry.name}: expected {expected_words(entry)}, found nothing")
    if entry.kind == "tensor":
        field = _field(entry.name, given)
        return _numbers(field, entry.name, entry.dtype or "float32", len(entry.shape or ()))
    if isinstance(given, bytes):
        return from_bytes(entry.name, [given])
    value: object = given.value
    if isinstance(value, list) and entry.numbers is not None:
        numbers = entry.numbers
        return _numbers(given, entry.name, numbers.dtype, len(numbers.shape))
    if not isinstance(value, str):
        raise given.wrong(expected_words(entry))
    data = _utf8(given) if entry.kind == "text" else _decoded(given)
    return from_bytes(entry.name, [data])


def expected_words(entry: InputEntry) -> str:
    """What an input must be, for a person."""
    if entry.kind == "tensor":
        lengths = ", ".join("any" if n < 0 else str(n) for n in entry.shape or ())
        return f"numbers nested as [{lengths}]"
    if entry.kind == "text":
        return "a string"
    what = "an image" if entry.kind == "image" else "bytes"
    instead = f", or numbers nested as {[*entry.numbers.shape]}" if entry.numbers else ""
    return f"{what} as a string in base64{instead}"


def _numbers(field: Field, name: str, dtype: str, rank: int) -> WireTensor:
    """The tensor that nested arrays are; a bare number where there is no axis."""
    datatype = WIRE_TYPES[dtype]
    shape: tuple[int, ...] = ()
    if rank == 0 and not isinstance(field.value, list):
        field = Field(field.path, [field.value])
    else:
        shape = _nesting(field)
    return WireTensor(name, datatype, shape, read_contents(field, datatype, shape))


def _nesting(field: Field) -> tuple[int, ...]:
    """The lengths of nested arrays, as the first of each says; whether all agree is seen later."""
    lengths: list[int] = []
    inner: Any = field.array()
    while isinstance(inner, list):
        rows = cast("list[object]", inner)
        lengths.append(len(rows))
        if len(lengths) > _MAX_DEPTH:
            raise field.wrong(f"at most {_MAX_DEPTH} arrays in one another", "more")
        inner = rows[0] if rows else None
    return tuple(lengths)


def _decoded(field: Field) -> bytes:
    text = field.text()
    if text.startswith("data:"):  # as web pages write it (RFC 2397)
        text = text.partition(";base64,")[2] or text
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        found = f"a string of {len(field.text())} that is not"
        raise field.wrong("base64 without line breaks", found) from error


def _utf8(field: Field) -> bytes:
    try:
        return field.text().encode()
    except UnicodeEncodeError as error:
        raise field.wrong("text that UTF-8 can hold") from error


def _field(name: str, given: Given) -> Field:
    """A field whose value is JSON also when it came as bytes."""
    if isinstance(given, Field):
        return given
    try:
        text = given.decode()
    except UnicodeDecodeError as error:
        raise WireError(f"{name}: expected text in UTF-8, found bytes that are not") from error
    if not text.lstrip().startswith("["):
        return field_of_text(name, text)
    return Field(name, Field.parse(given).value)


def _number(field: Field) -> Parameter:
    value = field.value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise field.wrong("a number")
    try:
        return float(value)
    except OverflowError as error:
        raise field.wrong("a number", "one that is too large") from error


def _said(said: Mapping[str, Field]) -> Parameters:
    parameters: Parameters = {}
    if VARIANT_KEY in said:
        parameters[VARIANT_KEY] = said[VARIANT_KEY].text()
        if not parameters[VARIANT_KEY]:
            raise said[VARIANT_KEY].wrong("the id of a variant")
    if PRIORITY_KEY in said:
        priority = parameters[PRIORITY_KEY] = said[PRIORITY_KEY].text()
        if priority not in PRIORITIES:
            raise said[PRIORITY_KEY].wrong(f"one of {', '.join(PRIORITIES)}")
    return parameters


def _timeout_s(field: Field) -> float:
    value = float(_number(field))
    if not MIN_TIMEOUT_S <= value <= MAX_TIMEOUT_S:
        raise field.wrong(f"seconds from {MIN_TIMEOUT_S:g} to {MAX_TIMEOUT_S:g}")
    return value


def _refuse_unknown(given: Iterable[str], known: list[str]) -> None:
    for name in given:
        if name not in known:
            more = ", ..." if len(known) > _NAMED else ""
            expected = f"one of {', '.join(known[:_NAMED])}{more}"
            raise WireError(f"field {name[:60]!r}: expected {expected}, found an unknown name")


def _array(tensor: WireTensor) -> Array:
    """A tensor's contents as JSON has them: short numbers; text where it can be, else base64."""
    array = shortest(to_array(tensor))
    if array.dtype != object:
        return array
    texts = np.empty(array.size, dtype=object)
    texts[:] = [_text(element) for element in array.reshape(-1).tolist()]
    return texts.reshape(array.shape)


def _text(element: bytes) -> str:
    try:
        return element.decode()
    except UnicodeDecodeError:
        return base64.b64encode(element).decode()


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        members = cast("dict[str, Any]", value)
        return {name: _finite(each) for name, each in members.items()}
    return list(map(_finite, cast("list[object]", value))) if isinstance(value, list) else value
