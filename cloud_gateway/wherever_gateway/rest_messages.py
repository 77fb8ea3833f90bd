"""The protocol's REST messages, to and from those of the wire.

A tensor's contents are JSON, or with the binary tensor extension raw bytes behind the JSON. An
element of a BYTES tensor is a string: the text itself, or base64 of the bytes when the tensor's
parameter `content_type` is given and does not begin with "text/" (such as "image/png").
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeGuard, cast

import numpy as np

from wherever_contracts.errors import EngineError, InputError
from wherever_contracts.tensors import DTYPE_OF_WIRE, Array
from wherever_contracts.wire.tensors import (
    Buffer,
    InferRequest,
    InferResponse,
    Parameters,
    WireTensor,
    from_array,
    from_bytes,
    to_array,
)

_LARGEST_PARAMETER = 2**64

# kind of numpy dtype -> kinds of JSON values that it may be made of
_MADE_OF = {"b": "b", "i": "iu", "u": "iu", "f": "fiu"}


class RestRequest(NamedTuple):
    """A request, and the outputs whose contents it wants as raw bytes (None stands for all)."""

    request: InferRequest
    raw_outputs: frozenset[str] | None


def read_request(body: bytes, json_bytes: int | None, model: str, version: str) -> RestRequest:
    """Read the body of an inference request.

    Args:
        body: all of it.
        json_bytes: how much of it is JSON when raw contents follow, else None.
        model: the model in the path.
        version: the version in the path, or "".

    Raises:
        InputError: it is no such body; the error names the field.
    """
    if json_bytes is not None and not 0 <= json_bytes <= len(body):
        raise InputError("", f"{json_bytes} bytes of JSON", f"a body of {len(body)} bytes")
    fields = _object("", _parsed(body if json_bytes is None else body[:json_bytes]))
    raw = memoryview(body)[len(body) if json_bytes is None else json_bytes :]
    inputs: list[WireTensor] = []
    for entry in _list("inputs", fields.get("inputs")):
        tensor, raw = _input(_object("inputs", entry), raw)
        inputs.append(tensor)
    if raw:
        raise InputError("", "raw contents of the sizes given", f"{len(raw)} bytes more")
    parameters = _parameters("parameters", fields.get("parameters"))
    outputs = [_object("outputs", entry) for entry in _list("outputs", fields.get("outputs", []))]
    names = tuple(_text("outputs", entry, "name") for entry in outputs)
    request = InferRequest(
        model, version, _text("", fields, "id", ""), parameters, tuple(inputs), names
    )
    return RestRequest(request, _raw_outputs(parameters, outputs))


def write_response(
    response: InferResponse, raw_outputs: frozenset[str] | None
) -> tuple[bytes, int]:
    """The body of an inference response.

    Args:
        response: what was answered.
        raw_outputs: outputs whose contents go behind the JSON as raw bytes, None for all.

    Returns:
        The body, and how much of it is JSON.

    Raises:
        EngineError: an output has a number that JSON cannot carry.
    """
    outputs: list[dict[str, Any]] = []
    raw: list[Buffer] = []
    for tensor in response.outputs:
        entry: dict[str, Any] = {
            "name": tensor.name,
            "datatype": tensor.datatype,
            "shape": list(tensor.shape),
        }
        if raw_outputs is None or tensor.name in raw_outputs:
            entry["parameters"] = {"binary_data_size": len(tensor.data)}
            raw.append(tensor.data)
        else:
            entry.update(_contents(tensor))
        outputs.append(entry)
    text = json.dumps(
        {
            "model_name": response.model,
            "model_version": response.version,
            **({"id": response.id} if response.id else {}),
            "parameters": response.parameters,
            "outputs": outputs,
        }
    ).encode()
    return b"".join([text, *raw]), len(text)


def _parsed(text: bytes) -> Any:
    try:
        return json.loads(text.decode(), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise InputError("", "a JSON body", f"{error}") from error


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


def _input(entry: dict[str, Any], raw: memoryview) -> tuple[WireTensor, memoryview]:
    """The tensor of an input, and the raw contents that are left."""
    name = _text("inputs", entry, "name")
    datatype = _text(name, entry, "datatype")
    if datatype not in DTYPE_OF_WIRE:
        raise InputError(name, f"a datatype ({', '.join(DTYPE_OF_WIRE)})", repr(datatype))
    shape = tuple(_list(name, entry.get("shape")))
    if not all(type(n) is int and 0 <= n < 2**63 for n in shape):
        raise InputError(name, "a shape of whole numbers", repr(list(shape)))
    parameters = _parameters(name, entry.get("parameters"))
    content_type = parameters.get("content_type", "")
    if not isinstance(content_type, str):
        raise InputError(name, "a content_type that is a string", repr(content_type))
    size = parameters.get("binary_data_size")
    if size is None:
        data = _list(name, entry.get("data"))
        return _tensor(name, datatype, shape, data, content_type), raw
    if type(size) is not int or not 0 <= size <= len(raw):
        raise InputError(name, f"a binary_data_size of at most {len(raw)}", repr(size))
    return WireTensor(name, datatype, shape, raw[:size], content_type), raw[size:]


def _tensor(
    name: str, datatype: str, shape: tuple[int, ...], data: list[Any], content_type: str
) -> WireTensor:
    if datatype == "BYTES":
        elements = [_element(name, each, content_type) for each in _flat(data)]
        return from_bytes(name, elements, shape, content_type)
    array = _numbers(name, datatype, data)
    if array.size != math.prod(shape):
        raise InputError(name, f"{math.prod(shape)} numbers for its shape", f"{array.size}")
    return from_array(name, array.reshape(shape))


def _numbers(name: str, datatype: str, data: list[Any]) -> Array:
    dtype = np.dtype(DTYPE_OF_WIRE[datatype])
    try:
        given = np.asarray(data)
    except (ValueError, OverflowError) as error:
        raise InputError(name, f"an array of {datatype}", f"{error}") from error
    if given.size and given.dtype.kind not in _MADE_OF[dtype.kind]:
        raise InputError(name, f"an array of {datatype}", f"one of {given.dtype}")
    with np.errstate(over="ignore"):
        made = given.astype(dtype)
    if dtype.kind in "iu" and not np.array_equal(made, given):
        raise InputError(name, f"numbers that fit {datatype}", "larger ones")
    return made


def _flat(data: list[Any]) -> list[Any]:
    flat: list[Any] = []
    left = data[::-1]
    while left:
        item = left.pop()
        if isinstance(item, list):
            left += item[::-1]
        else:
            flat.append(item)
    return flat


def _element(name: str, value: Any, content_type: str) -> bytes:
    if not isinstance(value, str):
        raise InputError(name, "strings for BYTES", repr(value)[:80])
    if not content_type or content_type.startswith("text/"):
        return value.encode(errors="surrogatepass")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputError(
            name, f"base64, as its content_type is {content_type}", f"{error}"
        ) from error


def _contents(tensor: WireTensor) -> dict[str, Any]:
    array = to_array(tensor).reshape(-1)
    if array.dtype == object:
        encoded = [base64.b64encode(element).decode() for element in array]
        return {"data": encoded, "parameters": {"content_type": "application/octet-stream"}}
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise EngineError(
            f"output {tensor.name!r} has NaN or infinity in it, which JSON cannot carry; "
            "ask for binary_data, or use gRPC"
        )
    return {"data": array.tolist()}


def _raw_outputs(
    parameters: Parameters, outputs: Sequence[dict[str, Any]]
) -> frozenset[str] | None:
    if not outputs:
        return None if parameters.get("binary_data_output") is True else frozenset()
    wanted: set[str] = set()
    for entry in outputs:
        name = entry["name"]
        given = _parameters(name, entry.get("parameters"))
        if "classification" in given:
            raise InputError(name, "no 'classification', which is not supported here", "it")
        if given.get("binary_data", parameters.get("binary_data_output")) is True:
            wanted.add(name)
    return frozenset(wanted)


def _parameters(field: str, value: Any) -> Parameters:
    parameters = {} if value is None else _object(field, value)
    for name, each in parameters.items():
        if not _is_parameter(each):
            raise InputError(name, "a string, number or boolean parameter", repr(each)[:80])
        if name.startswith("shared_memory"):
            raise InputError(field, f"no {name!r}, which is not supported here", "it")
    return parameters


def _is_parameter(value: Any) -> TypeGuard[str | float | bool]:
    if isinstance(value, int):
        return -_LARGEST_PARAMETER // 2 <= value < _LARGEST_PARAMETER
    return isinstance(value, str | float)


def _object(field: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError(field, "a JSON object", repr(value)[:80])
    return cast("dict[str, Any]", value)


def _list(field: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise InputError(field, "a JSON array", repr(value)[:80])
    return value  # pyright: ignore[reportUnknownVariableType]  # of Any, as mypy sees


def _text(field: str, entry: dict[str, Any], name: str, default: str | None = None) -> str:
    value = entry.get(name, default)
    if not isinstance(value, str):
        raise InputError(field, f"a string {name!r}", repr(value)[:80])
    return value
