"""What the OpenAPI document says of the protocol's routes, and of every answer. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wherever_contracts.tensors import DTYPE_OF_WIRE
from wherever_contracts.wire.tensors import BFLOAT16

_PROTOCOL, _SERVER, _MODELS = "Open Inference Protocol v2", "server", "models"

KEY: list[dict[str, list[str]]] = [{"key": []}]

_TEXT = {"type": "string"}
_PARAMETERS = {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}}
_SHAPE = {"type": "array", "items": {"type": "integer", "minimum": 0}}
_DATATYPE = {"type": "string", "enum": [*DTYPE_OF_WIRE, BFLOAT16]}
_TENSOR_METADATA = {
    "type": "object",
    "properties": {
        "name": _TEXT,
        "datatype": _DATATYPE,
        "shape": {"type": "array", "items": {"type": "integer", "minimum": -1}},
    },
    "required": ["name", "datatype", "shape"],
}
_TENSOR = {
    "type": "object",
    "properties": {
        "name": _TEXT,
        "datatype": _DATATYPE,
        "shape": _SHAPE,
        "parameters": _PARAMETERS,
        "data": {"type": "array"},
    },
    "required": ["name", "datatype", "shape"],
}


def _object(required: Sequence[str], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": [*required]}


def _array(items: Any) -> dict[str, Any]:
    return {"type": "array", "items": items}


SCHEMAS: dict[str, Any] = {
    "Error": _object(["error"], error={**_TEXT, "description": "What happened, and what to do."}),
    "Server": _object(
        ["name", "version", "extensions"], name=_TEXT, version=_TEXT, extensions=_array(_TEXT)
    ),
    "Live": _object(["live"], live={"type": "boolean"}),
    "Ready": _object(["ready"], ready={"type": "boolean"}, name=_TEXT),
    "Metadata": _object(
        ["name", "versions", "platform", "inputs", "outputs"],
        name=_TEXT,
        versions=_array(_TEXT),
        platform=_TEXT,
        inputs=_array(_TENSOR_METADATA),
        outputs=_array(_TENSOR_METADATA),
    ),
    "InferRequest": _object(
        ["inputs"],
        id=_TEXT,
        parameters=_PARAMETERS,
        inputs={**_array(_TENSOR), "minItems": 1},
        outputs=_array(_object(["name"], name=_TEXT, parameters=_PARAMETERS)),
    ),
    "InferResponse": _object(
        ["model_name", "model_version", "outputs"],
        model_name=_TEXT,
        model_version=_TEXT,
        id=_TEXT,
        parameters={"type": "object"},
        outputs=_array(_TENSOR),
    ),
    "Models": _object(["models"], models=_array({"$ref": "#/components/schemas/Model"})),
    "Model": _object(
        ["name", "version", "versions", "inputs", "outputs", "value", "predict"],
        name=_TEXT,
        version=_TEXT,
        versions=_array(_TEXT),
        summary=_TEXT,
        licence=_TEXT,
        boundary=_TEXT,
        inputs=_array({"type": "object"}),
        outputs=_array({"type": "object"}),
        value={"type": "object"},
        options=_array({"type": "object"}),
        predict=_TEXT,
    ),
    "IndexRequest": _object([], ready={"type": "boolean"}),
    "Index": _array(
        _object(
            ["name", "version", "state", "reason"],
            name=_TEXT,
            version=_TEXT,
            state={"type": "string", "enum": ["READY", "UNAVAILABLE"]},
            reason=_TEXT,
        )
    ),
    "Statistics": _object(["model_stats"], model_stats=_array({"type": "object"})),
    "Change": _object([], parameters={"type": "object"}),
    "Done": {"type": "object"},
}

_FAILED = {
    400: ("BadRequest", "The request is wrong; the text names the field."),
    401: ("NoKey", "No API key, or one that is not known."),
    403: ("Forbidden", "The API key may not do this."),
    404: ("NotFound", "There is no such model or version."),
    408: ("Stalled", "The body stood still."),
    409: ("Conflict", "The call contradicts what is served, or an earlier call."),
    413: ("TooLarge", "The body is too large."),
    415: ("UnknownMedia", "The body's type or coding is not taken."),
    429: ("Overloaded", "Too many calls now; Retry-After says when to come again."),
    500: ("Failed", "The server failed."),
    501: ("NotInstalled", "What this needs is not installed on the server."),
    502: ("BackendFailed", "A server behind this one failed."),
    503: ("Unavailable", "The server or the model does not take calls now."),
    504: ("TooLate", "The call's time ran out."),
}


def ref(name: str) -> dict[str, str]:
    """A reference to one of the document's schemas."""
    return {"$ref": f"#/components/schemas/{name}"}


def json_content(schema: Any, example: Any = None) -> dict[str, Any]:
    """A body of JSON."""
    shown = {} if example is None else {"example": example}
    return {"application/json": {"schema": schema, **shown}}


def ok(words: str, schema: Any) -> dict[str, Any]:
    """An answer of JSON."""
    return {"description": words, "content": json_content(schema)}


def failures(*statuses: int) -> dict[str, Any]:
    """The answers to requests that fail; keys and rights matter to all."""
    every = sorted({401, 403, *statuses})
    return {str(s): {"$ref": f"#/components/responses/{_FAILED[s][0]}"} for s in every}


RESPONSES: dict[str, Any] = {name: ok(words, ref("Error")) for name, words in _FAILED.values()}


def paths(models: Sequence[str]) -> dict[str, Any]:
    """The routes that are the same for every model; `models` are shown as examples."""
    model = _model_parameter(models)
    body = {"required": True, "content": json_content(ref("InferRequest"))}
    infer = _post("infer", "Ask a model by its tensors", _PROTOCOL, "InferResponse", body, model)
    infer["post"]["responses"] |= failures(400, 408, 409, 413, 415, 500, 501, 502, 504)
    return {
        "/v1/models": _get("models", "The models", _MODELS, "Models", 429),
        "/v1/models/{model}": _get("model", "One model", _MODELS, "Model", 404, 429, on=model),
        "/v2": _get("server", "What this server is", _SERVER, "Server"),
        "/v2/health/live": _secured(_get("live", "Whether it lives", _SERVER, "Live"), []),
        "/v2/health/ready": _secured(_ready("ready", "Whether it takes calls", _SERVER), []),
        "/v2/models/{model}": _get(
            "metadata", "What a model takes and gives", _PROTOCOL, "Metadata", 404, 429, on=model
        ),
        "/v2/models/{model}/ready": _ready(
            "model_ready", "Whether a model takes calls", _PROTOCOL, 404, 429, on=model
        ),
        "/v2/models/{model}/infer": infer,
    }


def repository_paths(models: Sequence[str], *, keyed: bool) -> dict[str, Any]:
    """The routes that list and change models; all but the list are for administrators."""
    model = _model_parameter(models)
    tag, one = "repository", "/v2/repository/models/{model}"
    listed = {"required": False, "content": json_content(ref("IndexRequest"), {"ready": True})}
    change = {"required": False, "content": json_content(ref("Change"), {})}
    index = _post("index", "Every version of every model", tag, "Index", listed)
    statistics = "What was asked of a model"
    changes = {
        f"{one}/load": _post("load", "Load a model", tag, "Done", change, model),
        f"{one}/unload": _post("unload", "Unload a model", tag, "Done", change, model),
        "/v2/models/stats": _get("all_statistics", "What was asked", tag, "Statistics", 404, 429),
        "/v2/models/{model}/stats": _get(
            "statistics", statistics, tag, "Statistics", 404, 429, on=model
        ),
    }
    if keyed:
        changes = {path: _secured(each, KEY) for path, each in changes.items()}
    return {"/v2/repository/index": index, **changes}


def _model_parameter(models: Sequence[str]) -> dict[str, Any]:
    shown = {"example": models[0]} if models else {}
    schema = {"type": "string", "pattern": "^[a-z0-9][a-z0-9._-]{0,62}$"}
    return {"name": "model", "in": "path", "required": True, "schema": schema, **shown}


def _get(
    name: str, words: str, tag: str, schema: str, *failed: int, on: dict[str, Any] | None = None
) -> dict[str, Any]:
    return {
        "get": {
            "operationId": name,
            "tags": [tag],
            "summary": words,
            **({"parameters": [on]} if on else {}),
            "responses": {"200": ok(words, ref(schema)), **failures(*failed)},
        }
    }


def _ready(
    name: str, words: str, tag: str, *failed: int, on: dict[str, Any] | None = None
) -> dict[str, Any]:
    answer = _get(name, words, tag, "Ready", *failed, on=on)
    answer["get"]["responses"]["503"] = ok("It does not.", ref("Ready"))
    return answer


def _secured(path: dict[str, Any], by: list[dict[str, list[str]]]) -> dict[str, Any]:
    """The same path, with what it needs."""
    return {method: {**operation, "security": by} for method, operation in path.items()}


def _post(
    name: str,
    words: str,
    tag: str,
    schema: str,
    body: dict[str, Any],
    on: dict[str, Any] | None = None,
) -> dict[str, Any]:
    answer = _get(name, words, tag, schema, 400, 404, 408, 413, 415, 429, 500, 503, on=on)
    return {"post": {**answer["get"], "requestBody": body}}
