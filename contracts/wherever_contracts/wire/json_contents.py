"""A tensor's contents as JSON has them, to raw ones and back.

Numbers stand in row-major order, in one flat array or nested as the shape says.

An element of a BYTES tensor is a string. Its meaning depends on the tensor's `content_type`
parameter alone: base64 (RFC 4648, without line breaks) when that is `base64` or a media type
other than `text/...`, such as `image/png`; otherwise the text itself, in UTF-8. MLServer reads
its `base64` and `str` in the same way; Triton and KServe know the plain text alone. What is
written follows the same rule: text where every element is UTF-8, else base64 and said to be so.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np

from wherever_contracts.tensors import DTYPE_OF_WIRE, Array
from wherever_contracts.wire.json_fields import Field, describe
from wherever_contracts.wire.short_numbers import shortest
from wherever_contracts.wire.tensors import Buffer, WireTensor, from_bytes, to_array

BASE64 = "base64"

# kind of dtype -> the types of the JSON values that may become one
_TYPES: dict[str, set[type]] = {"b": {bool}, "i": {int}, "u": {int}, "f": {int, float}}
_WORDS = {"b": "booleans", "i": "whole numbers", "u": "whole numbers", "f": "numbers"}


def read_contents(
    field: Field, datatype: str, shape: tuple[int, ...], content_type: str = ""
) -> Buffer:
    """The raw contents that an array of JSON stands for.

    Args:
        field: the array.
        datatype: one that the protocol knows.
        shape: the shape that the contents must have.
        content_type: for BYTES, what the strings stand for.

    Raises:
        WireError: another number of elements, another nesting, or an element that does not fit.
    """
    values = _flattened(field, shape)
    name = DTYPE_OF_WIRE[datatype]
    if name == "bytes":
        return from_bytes("", _byte_strings(field, values, content_type)).data
    dtype = np.dtype(name)
    if set(map(type, values)) - _TYPES[dtype.kind]:
        raise field.wrong(f"{_WORDS[dtype.kind]} for {datatype}", _stranger(values, dtype.kind))
    array = _floats(field, values, dtype) if dtype.kind == "f" else _exact(field, values, dtype)
    return array.astype(dtype.newbyteorder("<"), copy=False).tobytes()


def write_contents(tensor: WireTensor) -> tuple[list[Any], str]:
    """The contents as a flat array of JSON, and the content type to give along ("" for none).

    Numbers have the digits that give them back as their datatype, and no more. JSON has no NaN and
    no infinity: both become null. Raw contents keep them as they are.
    """
    array = shortest(to_array(tensor).reshape(-1))
    if array.dtype == object:
        return _strings(array.tolist(), tensor.content_type)
    values = array.tolist()
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        values = [value if math.isfinite(value) else None for value in values]
    return values, ""


def looks_like_base64(text: bytes) -> bool:
    """True for what can hardly be anything else."""
    try:
        return len(base64.b64decode(text, validate=True)) > len(text) / 2 >= 16
    except binascii.Error:
        return False


def _flattened(field: Field, shape: tuple[int, ...]) -> list[Any]:
    """The elements in row-major order, once their number and nesting are those of the shape."""
    values = field.array()
    lengths: tuple[int, ...] = (len(values),)
    while len(lengths) < len(shape) and list in (kinds := set(map(type, values))):
        if len(kinds) > 1 or len(set(map(len, values))) > 1:
            raise field.wrong("rows of one length", "rows that differ")
        lengths += (len(values[0]),)
        values = list(chain.from_iterable(values))
    nested = lengths == shape or (not values and lengths == shape[: len(lengths)])
    if len(lengths) > 1 and not nested:
        raise field.wrong(f"an array nested as the shape {[*shape]}", f"one of {[*lengths]}")
    if len(values) != math.prod(shape):
        expected = f"{math.prod(shape)} elements for the shape {[*shape]}"
        raise field.wrong(expected, str(len(values)))
    return values


def _exact(field: Field, values: list[Any], dtype: np.dtype[Any]) -> Array:
    """Booleans or whole numbers, every one of which fits."""
    if values and dtype.kind != "b":
        limits, least, most = np.iinfo(dtype), min(values), max(values)
        if least < limits.min or most > limits.max:
            found = describe(least if least < limits.min else most)
            raise field.wrong(f"numbers from {limits.min} to {limits.max}", found)
    return np.array(values, dtype)


def _floats(field: Field, values: list[Any], dtype: np.dtype[Any]) -> Array:
    try:
        with np.errstate(over="ignore"):
            array = np.array(values, np.float64).astype(dtype, copy=False)
    except OverflowError:
        array = np.array([np.inf])
    if not np.isfinite(array).all():
        raise field.wrong(f"numbers of at most {np.finfo(dtype).max:g}", "a larger one")
    return array


def _stranger(values: Sequence[Any], kind: str) -> str:
    """What the first value is that may not become one of this kind; no text is quoted."""
    value = next(value for value in values if type(value) not in _TYPES[kind])
    return f"a string of {len(value)}" if type(value) is str else describe(value)


def _byte_strings(field: Field, values: Sequence[Any], content_type: str) -> list[bytes]:
    coded = _is_base64(content_type)
    elements: list[bytes] = []
    for index, value in enumerate(values):
        element = Field(f"{field.path}[{index}]", value)
        elements.append(_decoded(element, content_type) if coded else _encoded(element))
    return elements


def _decoded(element: Field, content_type: str) -> bytes:
    text = element.text()
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        expected = f"base64 without line breaks, as the content_type is {content_type!r}"
        raise element.wrong(expected) from error


def _encoded(element: Field) -> bytes:
    try:
        return element.text().encode()
    except UnicodeEncodeError as error:
        raise element.wrong("text that UTF-8 can hold") from error


def _is_base64(content_type: str) -> bool:
    """True when strings of this content type are base64."""
    return content_type == BASE64 or (
        "/" in content_type and not content_type.lower().startswith("text/")
    )


def _strings(elements: list[bytes], content_type: str) -> tuple[list[Any], str]:
    if not _is_base64(content_type):
        try:
            return [element.decode() for element in elements], content_type
        except UnicodeDecodeError:
            content_type = BASE64
    return [base64.b64encode(element).decode() for element in elements], content_type
