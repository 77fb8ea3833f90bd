"""Bodies of the protocol's REST form: requests and metadata in, responses and metadata out.

A body is JSON. With the binary tensor extension a tensor's raw contents stand behind the JSON, in
the order of the tensors, and its parameter `binary_data_size` says how many bytes are its own.
How contents look in JSON: `wherever_contracts.wire.json_contents`.
"""

from __future__ import annotations

import json
import math
from typing import Any, NamedTuple

from wherever_contracts.errors import InputError
from wherever_contracts.tensors import DTYPE_OF_WIRE
from wherever_contracts.wire.classification import CLASSIFICATION
from wherever_contracts.wire.framing import WireError
from wherever_contracts.wire.json_contents import (
    BASE64,
    looks_like_base64,
    read_contents,
    write_contents,
)
from wherever_contracts.wire.json_fields import Field
from wherever_contracts.wire.metadata import ModelMetadata
from wherever_contracts.wire.tensors import (
    BFLOAT16,
    Buffer,
    InferRequest,
    InferResponse,
    Parameter,
    WireTensor,
)

# parameters of a tensor, a wanted output, a request
CONTENT_TYPE = "content_type"
BINARY_SIZE = "binary_data_size"
_BINARY = "binary_data"
BINARY_OUTPUTS = "binary_data_output"
TIMEOUT = "timeout"

_MAX_LENGTH = 2**63 - 1

# header: how many bytes of a body are JSON, when raw contents follow
JSON_SIZE_HEADER = "inference-header-content-length"

# before each element of BYTES
_LENGTH_BYTES = 4


class RestRequest(NamedTuple):
    """What a body asks for.

    Attributes:
        request: the call.
        timeout_s: how long the caller waits for it to begin, None for as long as it takes.
        raw: whether outputs are wanted as raw contents, unless `raw_by_name` says otherwise.
        raw_by_name: the same, for single outputs.
    """

    request: InferRequest
    timeout_s: float | None
    raw: bool
    raw_by_name: dict[str, bool]


class Body(NamedTuple):
    """A body, and how many bytes of it are JSON: all of them when no raw contents follow."""

    content: bytes
    json_size: int


def decode_request(model: str, version: str, body: bytes, json_size: int | None) -> RestRequest:
    """The request in a body.

    The parameter `timeout` is that of Triton: microseconds after which the call need not begin
    any more; 0 sets no limit.

    Args:
        model: the model that the path names.
        version: the version that the path names, or "".
        body: the whole body.
        json_size: how many bytes of it are JSON, None for all.

    Raises:
        WireError: the body is not what the protocol says; the text names the field, what was
            expected, and what came.
    """
    root, raw = split_body(body, json_size)
    parameters = root.member("parameters")
    inputs = tuple(read_tensor(field, raw) for field in root.member("inputs").elements())
    raw.finish()
    wanted, raw_by_name, classes = _outputs(root.member("outputs"))
    id_ = root.member("id").text("")
    return RestRequest(
        InferRequest(model, version, id_, parameters.parameters(), inputs, wanted, classes=classes),
        _timeout_s(parameters.member(TIMEOUT)),
        parameters.member(BINARY_OUTPUTS).flag(default=False),
        raw_by_name,
    )


def encode_response(response: InferResponse, asked: RestRequest) -> Body:
    """The body of the answer to `asked`."""
    outputs: list[dict[str, Any]] = []
    raw: list[Buffer] = []
    for tensor in response.outputs:
        if asked.raw_by_name.get(tensor.name, asked.raw):
            outputs.append(_raw_output(tensor))
            raw.append(tensor.data)
        else:
            outputs.append(in_json(tensor))
    content = encode_json(
        {
            "model_name": response.model,
            "model_version": response.version,
            **({"id": response.id} if response.id else {}),
            "parameters": {name: _plain(value) for name, value in response.parameters.items()},
            "outputs": outputs,
        }
    )
    return Body(b"".join([content, *raw]), len(content))


def encode_metadata(metadata: ModelMetadata) -> bytes:
    """The body that tells about a model."""
    tensors = {
        "inputs": [entry._asdict() for entry in metadata.inputs],
        "outputs": [entry._asdict() for entry in metadata.outputs],
    }
    return encode_json({**metadata._asdict(), **tensors})


def encode_json(value: Any) -> bytes:
    """A value as JSON in ASCII, which carries every string; numbers in it must be finite."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()


def with_hint(error: InputError, request: InferRequest) -> InputError:
    """The same error, with what to do about it when base64 was sent as plain text."""
    for name, datatype, _, data, content_type in request.inputs:
        is_plain = (name, datatype, content_type) == (error.field, "BYTES", "")
        if is_plain and looks_like_base64(bytes(data[_LENGTH_BYTES:])):
            advice = f'give the input the parameter {{"{CONTENT_TYPE}": "{BASE64}"}}'
            found = f"{error.found}; for what looks like base64, {advice}"
            return InputError(error.field, error.expected, found)
    return error


def split_body(body: bytes, json_size: int | None) -> tuple[Field, RawContents]:
    """The document of a body, and the raw contents behind it.

    Args:
        body: the whole body.
        json_size: how many bytes of it are JSON, None for all.

    Raises:
        WireError: it is shorter than that, or begins with no JSON.
    """
    size = len(body) if json_size is None else json_size
    if not 0 <= size <= len(body):
        raise WireError(f"the body: expected {size} bytes of JSON, found {len(body)} bytes in all")
    return Field.parse(body[:size]), RawContents(memoryview(body)[size:])


class RawContents:
    """What stands behind the JSON, handed out in order."""

    def __init__(self, data: memoryview) -> None:
        self._data = data

    def take(self, size: Field) -> memoryview:
        """The next bytes, as many as `size` says.

        Raises:
            WireError: it is no size, or more than what is left.
        """
        length = size.size()
        if length > len(self._data):
            raise size.wrong(f"at most the {len(self._data)} bytes that are left behind the JSON")
        taken, self._data = self._data[:length], self._data[length:]
        return taken

    def finish(self) -> None:
        """Make sure that nothing is left.

        Raises:
            WireError: something is.
        """
        if self._data:
            raise WireError(
                f"the body: expected raw contents of the sizes that the tensors state, "
                f"found {len(self._data)} bytes more"
            )


def read_tensor(field: Field, raw: RawContents) -> WireTensor:
    """A tensor of a request or response, whose contents stand in the JSON or behind it.

    Raises:
        WireError: it is not what the protocol says.
    """
    name = field.member("name").text()
    datatype = _datatype(field.member("datatype"))
    shape = tuple(length.size(_MAX_LENGTH) for length in field.member("shape").elements())
    parameters, data = _supported(field.member("parameters")), field.member("data")
    kind = parameters.member(CONTENT_TYPE).text("")
    size = parameters.member(BINARY_SIZE)
    if not size.given and datatype == BFLOAT16:
        raise data.wrong(f"raw contents behind the JSON, which {BFLOAT16} alone has")
    if not size.given:
        contents = read_contents(data, datatype, shape, kind)
        # it is base64 no more
        return WireTensor(name, datatype, shape, contents, "" if kind == BASE64 else kind)
    if data.given:
        raise data.wrong(f"nothing beside the parameter {BINARY_SIZE}")
    return WireTensor(name, datatype, shape, raw.take(size), kind)


def _datatype(field: Field) -> str:
    datatype = field.text()
    if datatype not in (*DTYPE_OF_WIRE, BFLOAT16):
        raise field.wrong(f"one of {', '.join(DTYPE_OF_WIRE)}, {BFLOAT16}")
    return datatype


def _supported(parameters: Field, but: str = "") -> Field:
    """A tensor's parameters, none of which would change the answer's meaning if ignored."""
    for name in parameters.parameters().keys() - {but}:
        if name == CLASSIFICATION or name.startswith("shared_memory"):
            raise parameters.member(name).wrong("nothing: it is not supported here")
    return parameters


def _outputs(
    field: Field,
) -> tuple[tuple[str, ...], dict[str, bool], tuple[tuple[str, int], ...]]:
    """The outputs that are asked for; whether they come as raw contents; and those as classes."""
    names: list[str] = []
    raw: dict[str, bool] = {}
    classes: list[tuple[str, int]] = []
    for output in field.elements() if field.given else ():
        names.append(output.member("name").text())
        parameters = _supported(output.member("parameters"), but=CLASSIFICATION)
        binary, most = parameters.member(_BINARY), parameters.member(CLASSIFICATION)
        if binary.given:
            raw[names[-1]] = binary.flag(default=False)
        if most.given and most.size():
            classes.append((names[-1], most.size()))
    return tuple(names), raw, tuple(classes)


def _timeout_s(field: Field) -> float | None:
    return field.size() / 1e6 or None if field.given else None


def in_json(tensor: WireTensor) -> dict[str, Any]:
    """A tensor whose contents stand in the JSON.

    Raises:
        ValueError: its contents cannot be put into JSON.
    """
    data, content_type = write_contents(tensor)
    parameters = {"parameters": {CONTENT_TYPE: content_type}} if content_type else {}
    return {**_described(tensor), **parameters, "data": data}


def _raw_output(tensor: WireTensor) -> dict[str, Any]:
    return {**_described(tensor), "parameters": {BINARY_SIZE: len(tensor.data)}}


def _described(tensor: WireTensor) -> dict[str, Any]:
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape}


def _plain(value: Parameter) -> Parameter | None:
    return None if isinstance(value, float) and not math.isfinite(value) else value
