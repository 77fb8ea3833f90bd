"""`ModelInferRequest` and `ModelInferResponse`, to bytes and back.

Encoding copies a tensor once (into the message), decoding a large message not at all: the tensors
of a decoded message read the message's own bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wherever_contracts.wire.contents import to_raw
from wherever_contracts.wire.framing import WireError, bulk_parts, parse
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

_REQUEST, _RAW_INPUTS = "ModelInferRequest", 7
_RESPONSE, _RAW_OUTPUTS = "ModelInferResponse", 6
_CONTENT_TYPE = "content_type"
_MAX_INT64 = 2**63 - 1


def encode_request(request: InferRequest) -> bytes:
    """The bytes of a request.

    Raises:
        WireError: a name, parameter or shape cannot be put into a message.
    """
    message = CLASSES[_REQUEST]()
    try:
        _put_head(message, request)
        for name in request.outputs:
            message.outputs.add(name=name)
        return _joined(message, message.inputs, request.inputs, _RAW_INPUTS)
    except (ValueError, TypeError) as error:
        raise _unencodable("request", error) from error


def encode_response(response: InferResponse) -> bytes:
    """The bytes of a response.

    Raises:
        WireError: a name, parameter or shape cannot be put into a message.
    """
    message = CLASSES[_RESPONSE]()
    try:
        _put_head(message, response)
        return _joined(message, message.outputs, response.outputs, _RAW_OUTPUTS)
    except (ValueError, TypeError) as error:
        raise _unencodable("response", error) from error


def decode_request(data: bytes) -> InferRequest:
    """The request in `data`; typed contents become raw ones.

    Raises:
        WireError: the bytes are no such message, or it contradicts itself.
    """
    message, raw = parse(_REQUEST, data, _RAW_INPUTS)
    for wanted in message.outputs:
        _refuse_extensions(wanted.name, wanted.parameters)
    return InferRequest(
        message.model_name,
        message.model_version,
        message.id,
        _parameters(message.parameters),
        _tensors(message.inputs, raw, "input"),
        tuple(wanted.name for wanted in message.outputs),
    )


def decode_response(data: bytes) -> InferResponse:
    """The response in `data`; typed contents become raw ones.

    Raises:
        WireError: the bytes are no such message, or it contradicts itself.
    """
    message, raw = parse(_RESPONSE, data, _RAW_OUTPUTS)
    return InferResponse(
        message.model_name,
        message.model_version,
        message.id,
        _parameters(message.parameters),
        _tensors(message.outputs, raw, "output"),
    )


def _put_head(message: Any, source: InferRequest | InferResponse) -> None:
    message.model_name = source.model
    message.model_version = source.version
    message.id = source.id
    for name, value in source.parameters.items():
        _put_parameter(message.parameters[name], value)


def _put_parameter(parameter: Any, value: Parameter) -> None:
    if isinstance(value, str):
        parameter.string_param = value
    elif isinstance(value, bool):
        parameter.bool_param = value
    elif isinstance(value, float):
        parameter.double_param = value
    elif value > _MAX_INT64:
        parameter.uint64_param = value
    else:
        parameter.int64_param = value


def _joined(message: Any, heads: Any, tensors: Sequence[WireTensor], bulk_field: int) -> bytes:
    for tensor in tensors:
        head = heads.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        if tensor.content_type:
            head.parameters[_CONTENT_TYPE].string_param = tensor.content_type
    bulk = bulk_parts(bulk_field, [tensor.data for tensor in tensors])
    return b"".join([message.SerializeToString(), *bulk])


def _unencodable(what: str, error: Exception) -> WireError:
    return WireError(f"a {what} that cannot be put into a message: {error}")


def _parameters(fields: Any) -> Parameters:
    parameters: Parameters = {}
    for name, parameter in fields.items():
        choice = parameter.WhichOneof("choice")
        if choice is not None:
            parameters[name] = getattr(parameter, choice)
    return parameters


def _tensors(heads: Any, raw: Sequence[Buffer], kind: str) -> tuple[WireTensor, ...]:
    if raw and len(raw) != len(heads):
        raise WireError(f"{len(heads)} {kind} tensors with {len(raw)} raw contents: one each")
    tensors: list[WireTensor] = []
    for position, head in enumerate(heads):
        parameters = _parameters(head.parameters) if head.parameters else {}
        data = _contents(head, raw[position] if raw else None, kind)
        content_type = parameters.get(_CONTENT_TYPE, "")
        if not isinstance(content_type, str):
            raise WireError(f"{kind} {head.name!r}: content_type is a string, not {content_type!r}")
        shape = tuple(head.shape)
        tensors.append(WireTensor(head.name, head.datatype, shape, data, content_type))
    return tuple(tensors)


def _contents(head: Any, raw: Buffer | None, kind: str) -> Buffer:
    if not head.HasField("contents"):
        if raw is None and 0 not in head.shape:
            _refuse_extensions(head.name, head.parameters)
            raise WireError(f"{kind} {head.name!r} has no contents")
        return b"" if raw is None else raw
    if raw is not None:
        raise WireError(f"{kind} {head.name!r} has typed contents beside raw ones")
    return to_raw(head)


def _refuse_extensions(name: str, parameters: Any) -> None:
    """Refuse parameters that would make the answer mean something else if they were ignored."""
    for parameter in parameters:
        if parameter == "classification" or parameter.startswith("shared_memory"):
            raise WireError(f"tensor {name!r}: {parameter!r} is not supported here")
