"""`ModelInferRequest` and `ModelInferResponse`, to bytes and back.

Encoding copies a tensor once (into the message); decoding does not copy a large one: it reads the
message's own bytes. Headers that were seen before are neither built nor parsed again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from wherever_contracts.wire.classification import CLASSIFICATION
from wherever_contracts.wire.contents import to_raw
from wherever_contracts.wire.framing import (
    ID_TAG,
    TENSOR_TAG,
    Fields,
    WireError,
    double_parameter,
    length_field,
    parse,
    sole_value,
    split,
    text_field,
)
from wherever_contracts.wire.schema import CLASSES
from wherever_contracts.wire.tensors import (
    Buffer,
    InferRequest,
    InferResponse,
    Parameter,
    Parameters,
    WireTensor,
)

__all__ = [
    "WireError",
    "decode_request",
    "decode_response",
    "encode_request",
    "encode_response",
]

_REQUEST, _RESPONSE = "ModelInferRequest", "ModelInferResponse"
_MODEL_TAG, _VERSION_TAG, _WANTED_TAG = 0x0A, 0x12, 0x32
_RAW_INPUT_TAG, _RAW_OUTPUT_TAG = 0x3A, 0x32

_CONTENT_TYPE = "content_type"
_MAX_INT64 = 2**63 - 1

# what is remembered of headers: so many, and none that is longer
_REMEMBERED, _LONGEST = 512, 2048

# (message, the first bytes of one) -> the header that it began with, as bytes and as read; the
# shortest headers have the model's name and so many bytes
_ALIKE = 16
_recent: dict[tuple[str, bytes], tuple[bytes, _Header]] = {}


def encode_request(request: InferRequest) -> bytes:
    """The bytes of a request.

    Raises:
        WireError: a name, parameter or shape cannot be put into a message.
    """
    try:
        parts = _parts(request, request.inputs, _RAW_INPUT_TAG)
        classes = dict(request.classes)
        parts[:0] = [_wanted(name, classes.get(name, 0)) for name in request.outputs]
        return b"".join(parts)
    except (ValueError, TypeError) as error:
        raise WireError(f"a request that cannot be put into a message: {error}") from error


def encode_response(response: InferResponse) -> bytes:
    """The bytes of a response.

    Raises:
        WireError: a name, parameter or shape cannot be put into a message.
    """
    try:
        return b"".join(_parts(response, response.outputs, _RAW_OUTPUT_TAG))
    except (ValueError, TypeError) as error:
        raise WireError(f"a response that cannot be put into a message: {error}") from error


def decode_request(data: bytes, start: int = 0, end: int | None = None) -> InferRequest:
    """The request in `data`, from `start` to `end`; typed contents become raw ones.

    Raises:
        WireError: the bytes are no such message, or it contradicts itself.
    """
    header, id_, parameters, bulk = _take_apart(_REQUEST, _RAW_INPUT_TAG, data, start, end)
    return InferRequest(
        header.model,
        header.version,
        id_,
        parameters,
        _with_contents(header.tensors, bulk, "input"),
        header.wanted,
        classes=header.classes,
    )


def decode_response(data: bytes, start: int = 0, end: int | None = None) -> InferResponse:
    """The response in `data`, from `start` to `end`; typed contents become raw ones.

    Raises:
        WireError: the bytes are no such message, or it contradicts itself.
    """
    header, id_, parameters, bulk = _take_apart(_RESPONSE, _RAW_OUTPUT_TAG, data, start, end)
    tensors = _with_contents(header.tensors, bulk, "output")
    return InferResponse(header.model, header.version, id_, parameters, tensors)


class _Tensor(NamedTuple):
    """A tensor of a header; `contents` are its typed contents made raw, None when it has none."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    content_type: str
    contents: bytes | None


class _Header(NamedTuple):
    """What a header says."""

    model: str
    version: str
    parameters: Parameters
    tensors: tuple[_Tensor, ...]
    wanted: tuple[str, ...]
    classes: tuple[tuple[str, int], ...]


class _Message(NamedTuple):
    """A message, taken apart."""

    header: _Header
    id: str
    parameters: Parameters
    bulk: Sequence[Buffer]


def _take_apart(name: str, bulk_tag: int, data: bytes, start: int, end: int | None) -> _Message:
    ends = len(data) if end is None else end
    message = _like_recent(name, bulk_tag, data, start, ends)
    message = message or _from_fields(name, bulk_tag, data, start, ends)
    if message is not None:
        return message
    parsed = parse(name, data[start:ends])
    bulk = parsed.raw_input_contents if name == _REQUEST else parsed.raw_output_contents
    header = _header(parsed)
    return _Message(header, parsed.id, header.parameters, bulk)


def _like_recent(name: str, bulk_tag: int, data: bytes, start: int, end: int) -> _Message | None:
    """The message, when it begins with the very header that one before it began with."""
    recent = _recent.get((name, _beginning(data, start)))
    if recent is None or not data.startswith(recent[0], start, end):
        return None
    begins = start + len(recent[0])
    alone = sole_value(data, bulk_tag, begins, end)  # half of what it takes to split the fields
    if alone is not None:
        return _Message(recent[1], "", recent[1].parameters.copy(), (alone,))
    fields = split(data, bulk_tag, begins, end)
    return None if fields is None or fields.header else _message(recent[1], fields)


def _from_fields(name: str, bulk_tag: int, data: bytes, start: int, end: int) -> _Message | None:
    """The message that its fields make; None when protobuf has to judge."""
    fields = split(data, bulk_tag, start, end)
    if fields is None:
        return None
    if len(fields.header) > _LONGEST:
        return _message(_read_header(name, fields.header), fields)
    header = _known_header(name, fields.header)
    begins = _beginning(data, start)
    if len(fields.header) >= len(begins) and data.startswith(fields.header, start, end):
        if len(_recent) >= _REMEMBERED:
            _recent.clear()
        _recent[name, begins] = fields.header, header
    return _message(header, fields)


def _beginning(data: bytes, start: int) -> bytes:
    """The field with the model's name, whose length is its second byte, and what follows it."""
    return data[start : start + _ALIKE + data[start + 1]] if start + 1 < len(data) else b""


def _message(header: _Header, fields: Fields) -> _Message | None:
    parameters = header.parameters | fields.doubles
    if len(parameters) < len(header.parameters) + len(fields.doubles):
        return None
    try:
        return _Message(header, fields.id.decode(), parameters, fields.bulk)
    except UnicodeDecodeError:
        return None


def _read_header(name: str, header: bytes) -> _Header:
    return _header(parse(name, header))


_known_header = lru_cache(maxsize=_REMEMBERED)(_read_header)


def _header(message: Any) -> _Header:
    is_request = message.DESCRIPTOR.name == _REQUEST
    return _Header(
        message.model_name,
        message.model_version,
        _parameters(message.parameters),
        tuple(map(_tensor, message.inputs if is_request else message.outputs)),
        tuple([output.name for output in message.outputs]) if is_request else (),
        tuple(_classes(message.outputs)) if is_request else (),
    )


def _tensor(message: Any) -> _Tensor:
    parameters = _supported(message)
    content_type = parameters.get(_CONTENT_TYPE, "")
    if not isinstance(content_type, str):
        raise WireError(f"tensor {message.name!r}: content_type is a string, not {content_type!r}")
    contents = to_raw(message) if message.HasField("contents") else None
    shape = tuple(message.shape)
    return _Tensor(message.name, message.datatype, shape, content_type, contents)


def _classes(outputs: Any) -> Iterator[tuple[str, int]]:
    """The outputs that are asked for as classes, and how many."""
    for output in outputs:
        most = _supported(output, but=CLASSIFICATION).get(CLASSIFICATION, 0)
        if type(most) is not int or most < 0:
            words = f"{CLASSIFICATION} is a number of classes, not {most!r}"
            raise WireError(f"output {output.name!r}: {words}")
        if most:
            yield output.name, most


def _supported(message: Any, but: str = "") -> Parameters:
    """The tensor's parameters, none of which would change the answer's meaning if ignored."""
    parameters = _parameters(message.parameters)
    for name in parameters.keys() - {but}:
        if name == CLASSIFICATION or name.startswith("shared_memory"):
            raise WireError(f"tensor {message.name!r}: {name!r} is not supported here")
    return parameters


def _parameters(fields: Any) -> Parameters:
    parameters: Parameters = {}
    for name, parameter in fields.items():
        choice = parameter.WhichOneof("choice")
        if choice is not None:
            parameters[name] = getattr(parameter, choice)
    return parameters


def _with_contents(
    tensors: Sequence[_Tensor], bulk: Sequence[Buffer], kind: str
) -> tuple[WireTensor, ...]:
    if not bulk:
        return tuple(_with_own(tensor, kind) for tensor in tensors)
    if len(bulk) != len(tensors):
        raise WireError(f"{len(tensors)} {kind} tensors with {len(bulk)} raw contents: one each")
    return tuple(map(_with_raw, tensors, bulk))


def _with_own(tensor: _Tensor, kind: str) -> WireTensor:
    name, datatype, shape, content_type, contents = tensor
    if contents is None and 0 not in shape:
        raise WireError(f"{kind} {name!r} has no contents")
    return WireTensor(name, datatype, shape, contents or b"", content_type)


def _with_raw(tensor: _Tensor, raw: Buffer) -> WireTensor:
    name, datatype, shape, content_type, contents = tensor
    if contents:  # empty ones are no contradiction: MLServer's answers have them
        raise WireError(f"tensor {name!r} has typed contents beside raw ones")
    return WireTensor(name, datatype, shape, raw, content_type)


def _parts(
    message: InferRequest | InferResponse, tensors: Sequence[WireTensor], bulk_tag: int
) -> list[Buffer]:
    """The pieces of a message: what is the same from call to call first, then what changes."""
    same: list[Buffer] = [_model(message.model, message.version)]
    changing: list[Buffer] = [text_field(ID_TAG, message.id)]
    for key, value in message.parameters.items():
        if isinstance(value, float):
            changing.append(double_parameter(key, value))
        elif isinstance(value, str) and len(value) > _LONGEST:
            changing.append(_parameter(key, value))
        else:
            same.append(_known_parameter(key, value))
    for name, datatype, shape, data, content_type in tensors:
        same.append(_tensor_head(name, datatype, shape, content_type))
        size = data.nbytes if isinstance(data, memoryview) else len(data)
        changing += (length_field(bulk_tag, size), data)
    return same + changing


@lru_cache(maxsize=_REMEMBERED)
def _model(name: str, version: str) -> bytes:
    return text_field(_MODEL_TAG, name) + text_field(_VERSION_TAG, version)


def _parameter(name: str, value: Parameter) -> bytes:
    message = CLASSES[_REQUEST]()
    field = message.parameters[name]
    if isinstance(value, str):
        field.string_param = value
    elif isinstance(value, bool):
        field.bool_param = value
    elif value > _MAX_INT64:
        field.uint64_param = value
    else:
        field.int64_param = value
    encoded: bytes = message.SerializeToString()
    return encoded


# typed, because True equals 1
_known_parameter = lru_cache(maxsize=_REMEMBERED, typed=True)(_parameter)


@lru_cache(maxsize=_REMEMBERED)
def _tensor_head(name: str, datatype: str, shape: tuple[int, ...], content_type: str) -> bytes:
    message = CLASSES["InferTensor"](name=name, datatype=datatype, shape=shape)
    if content_type:
        message.parameters[_CONTENT_TYPE].string_param = content_type
    return _framed(TENSOR_TAG, message)


@lru_cache(maxsize=_REMEMBERED)
def _wanted(name: str, classes: int) -> bytes:
    message = CLASSES["InferRequestedOutputTensor"](name=name)
    if classes:
        message.parameters[CLASSIFICATION].int64_param = classes
    return _framed(_WANTED_TAG, message)


def _framed(tag: int, message: Any) -> bytes:
    value: bytes = message.SerializeToString()
    return length_field(tag, len(value)) + value
