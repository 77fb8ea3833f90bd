"""Bodies as the client of the protocol's REST form writes and reads them.

The mirror image of `wherever_contracts.wire.rest_bodies`. Contents go out and are asked for in
raw form where the server knows that form (the extension "binary_tensor_data"), and else in JSON; a
server that answers with numbers in JSON is understood all the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

from wherever_contracts.wire.classification import CLASSIFICATION
from wherever_contracts.wire.framing import WireError
from wherever_contracts.wire.json_fields import Field
from wherever_contracts.wire.metadata import ModelMetadata, ServerMetadata, TensorMetadata
from wherever_contracts.wire.rest_bodies import (
    BINARY_OUTPUTS,
    BINARY_SIZE,
    CONTENT_TYPE,
    TIMEOUT,
    encode_json,
    in_json,
    read_tensor,
    split_body,
)
from wherever_contracts.wire.tensors import Buffer, InferRequest, InferResponse, WireTensor

RAW_EXTENSION = "binary_tensor_data"

_MAX_WORDS = 300


class RequestBody(NamedTuple):
    """A body in pieces.

    Attributes:
        document: the JSON.
        contents: what stands behind it.
        size: the bytes of all together.
    """

    document: bytes
    contents: tuple[Buffer, ...]
    size: int


def model_path(model: str, version: str = "") -> str:
    """The path of a model: "/v2/models/NAME" or "/v2/models/NAME/versions/VERSION"."""
    path = f"/v2/models/{quote(model, safe='')}"
    return f"{path}/versions/{quote(version, safe='')}" if version else path


def encode_request(
    request: InferRequest, timeout_s: float | None, *, raw: bool = True
) -> RequestBody:
    """The body of a request.

    Args:
        request: the call.
        timeout_s: after how long nobody waits for the answer any more, None for no limit.
        raw: whether the server knows contents in raw form.

    Raises:
        WireError: a parameter, or contents that are not to be raw, cannot be put into JSON.
    """
    try:
        document = encode_json(_said(request, timeout_s, raw=raw))
    except (ValueError, TypeError) as error:
        raise WireError(f"a request that cannot be put into JSON: {error}") from error
    contents = tuple(tensor.data for tensor in request.inputs) if raw else ()
    return RequestBody(document, contents, len(document) + sum(map(len, contents)))


def decode_response(body: bytes, json_size: int | None) -> InferResponse:
    """The response in a body.

    Args:
        body: the whole body.
        json_size: how many bytes of it are JSON, None for all.

    Raises:
        WireError: the body is not what the protocol says.
    """
    root, raw = split_body(body, json_size)
    outputs = tuple(read_tensor(field, raw) for field in root.member("outputs").elements())
    raw.finish()
    return InferResponse(
        root.member("model_name").text(""),
        root.member("model_version").text(""),
        root.member("id").text(""),
        root.member("parameters").parameters(skip_null=True),
        outputs,
        protocol="rest",
    )


def decode_server_metadata(body: bytes) -> ServerMetadata:
    """What a server says about itself.

    Raises:
        WireError: the body is not what the protocol says.
    """
    root = Field.parse(body)
    extensions = tuple(field.text() for field in root.member("extensions").elements())
    return ServerMetadata(root.member("name").text(), root.member("version").text(""), extensions)


def decode_model_metadata(body: bytes) -> ModelMetadata:
    """What a server says about a model.

    Raises:
        WireError: the body is not what the protocol says.
    """
    root = Field.parse(body)
    versions = root.member("versions")
    return ModelMetadata(
        root.member("name").text(),
        tuple(field.text() for field in versions.elements()) if versions.given else (),
        root.member("platform").text(""),
        _tensors(root.member("inputs")),
        _tensors(root.member("outputs")),
    )


def decode_error(body: bytes) -> str:
    """The text that came with an error; "" when the body has none."""
    try:
        said = Field.parse(body)
        for name in ("error", "detail"):  # FastAPI's servers say the latter, of bodies
            if said.member(name).given:
                return said.member(name).text("")[:_MAX_WORDS]
    except WireError:
        pass
    return ""


def _said(request: InferRequest, timeout_s: float | None, *, raw: bool) -> dict[str, Any]:
    parameters = {**request.parameters, **({BINARY_OUTPUTS: True} if raw else {})}
    if timeout_s is not None:
        parameters[TIMEOUT] = max(1, int(timeout_s * 1e6))
    describe = _described if raw else _in_json
    said: dict[str, Any] = {
        "parameters": parameters,
        "inputs": [describe(tensor) for tensor in request.inputs],
    }
    if request.id:
        said["id"] = request.id
    if request.outputs:
        said["outputs"] = [_wanted(name, dict(request.classes)) for name in request.outputs]
    return said


def _described(tensor: WireTensor) -> dict[str, Any]:
    parameters: dict[str, str | int] = {BINARY_SIZE: len(tensor.data)}
    if tensor.content_type:
        parameters[CONTENT_TYPE] = tensor.content_type
    return {
        "name": tensor.name,
        "datatype": tensor.datatype,
        "shape": tensor.shape,
        "parameters": parameters,
    }


def _in_json(tensor: WireTensor) -> dict[str, Any]:
    said = in_json(tensor)
    if None in said["data"]:
        raise ValueError(f"{tensor.name!r} has NaN or infinity, and JSON has neither")
    return said


def _tensors(field: Field) -> tuple[TensorMetadata, ...]:
    return tuple(map(_tensor, field.elements())) if field.given else ()


def _tensor(field: Field) -> TensorMetadata:
    shape = tuple(length.integer() for length in field.member("shape").elements())
    return TensorMetadata(field.member("name").text(), field.member("datatype").text(), shape)


def _wanted(name: str, classes: Mapping[str, int]) -> dict[str, Any]:
    most = classes.get(name, 0)
    return {"name": name, "parameters": {CLASSIFICATION: most}} if most else {"name": name}
