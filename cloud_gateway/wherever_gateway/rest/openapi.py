"""The OpenAPI 3.1 document: a path for each model, and those of the protocol. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from wherever_gateway.rest import protocol_paths
from wherever_gateway.rest.protocol_paths import KEY, failures, json_content, ok, ref
from wherever_gateway.rest.schemas import (
    Schema,
    answer_schema,
    fields_schema,
    form_schema,
    option_schema,
    said_schemas,
)

if TYPE_CHECKING:
    from wherever_contracts.manifest import Signature
    from wherever_gateway.rest.models import Described

_ABOUT = (
    "Models served by a wherever gateway. Each has a path of its own for typed calls; the Open "
    "Inference Protocol v2 serves all of them. Where keys are needed, the models appear once one "
    "was given (Authorize)."
)
_FORM = "multipart/form-data"
_SCHEMES = {"key": {"type": "http", "scheme": "bearer"}}
# kind of input -> what a whole body of it is
RAW_KINDS = {
    "image": ("image/*", "application/octet-stream"),
    "bytes": ("application/octet-stream", "image/*"),
    "text": ("text/plain",),
}


class Offer(NamedTuple):
    """What a server offers beside its models.

    Attributes:
        keyed: whether there can be API keys; those who administer need one then.
        needed: whether those who use models need one, too.
        repository: whether models are listed, loaded and unloaded here.
    """

    keyed: bool
    needed: bool
    repository: bool


def document(version: str, models: Sequence[Described], offer: Offer) -> dict[str, Any]:
    """The whole document.

    Args:
        version: that of the server.
        models: those that the reader may see.
        offer: what there is beside.
    """
    paths: dict[str, Any] = {}
    schemas: dict[str, Schema] = {}
    for model in models:
        paths[f"/v1/models/{model.name}:predict"] = _predict(model)
        schemas[f"{model.name}.Call"] = fields_schema(model.signature, model.variants)
        schemas[f"{model.name}.Answer"] = answer_schema(model.signature, model.name)
    names = [model.name for model in models]
    paths |= protocol_paths.paths(names)
    if offer.repository:
        paths |= protocol_paths.repository_paths(names, keyed=offer.keyed)
    return {
        "openapi": "3.1.0",
        "info": {"title": "wherever gateway", "version": version, "description": _ABOUT},
        "paths": paths,
        "components": {
            "schemas": {**protocol_paths.SCHEMAS, **schemas},
            "responses": protocol_paths.RESPONSES,
            **({"securitySchemes": _SCHEMES} if offer.keyed else {}),
        },
        **({"security": KEY} if offer.needed else {}),
    }


def _predict(model: Described) -> dict[str, Any]:
    signature = model.signature
    about = " ".join(filter(None, [model.summary, model.licence and f"({model.licence})"]))
    return {
        "post": {
            "operationId": f"predict_{model.name}",
            "tags": [model.name],
            "summary": f"Ask {model.name} {model.version}".rstrip(),
            **({"description": about} if about else {}),
            "parameters": _query(signature, model.variants),
            "requestBody": {"required": True, "content": _bodies(model)},
            "responses": {
                "200": ok("The answer.", ref(f"{model.name}.Answer")),
                **failures(400, 404, 408, 409, 413, 415, 429, 500, 501, 502, 503, 504),
            },
        }
    }


def _query(signature: Signature, variants: Sequence[str]) -> list[dict[str, Any]]:
    """What a call may say beside its body, for bodies that are the input alone.

    Without defaults: a page would fill them in, and send them beside a body that has its own.
    """
    options = {option.name: option_schema(option) for option in signature.options}
    for schema in options.values():
        schema.pop("default")
    return [
        {"name": name, "in": "query", "required": False, "schema": schema}
        for name, schema in {**said_schemas(variants), **options}.items()
    ]


def _bodies(model: Described) -> dict[str, Any]:
    signature = model.signature
    form = {"schema": form_schema(signature, model.variants)}
    bodies = {**json_content(ref(f"{model.name}.Call"), model.example), _FORM: form}
    if len(signature.inputs) == 1:
        for kind in RAW_KINDS.get(signature.inputs[0].kind, ()):
            text = kind.startswith("text/")
            bodies[kind] = {"schema": {"type": "string"} if text else {}}
    return bodies
