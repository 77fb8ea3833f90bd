"""The protocol's small messages: metadata, liveness, readiness, and gRPC's health checks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from wherever_contracts.wire.framing import WireError, parse
from wherever_contracts.wire.schema import CLASSES

UNKNOWN, SERVING, NOT_SERVING, SERVICE_UNKNOWN = range(4)


class TensorMetadata(NamedTuple):
    """Name, datatype of the protocol, and shape (-1: any length) of a tensor."""

    name: str
    datatype: str
    shape: tuple[int, ...]


class ModelMetadata(NamedTuple):
    """What a server says about a model."""

    name: str
    versions: tuple[str, ...]
    platform: str
    inputs: tuple[TensorMetadata, ...]
    outputs: tuple[TensorMetadata, ...]


class ServerMetadata(NamedTuple):
    """What a server says about itself."""

    name: str
    version: str
    extensions: tuple[str, ...]


class ModelName(NamedTuple):
    """A model and a version, "" for the server's choice."""

    name: str
    version: str = ""


def encode_model_name(message: str, model: ModelName) -> bytes:
    """The bytes of `ModelReadyRequest` or `ModelMetadataRequest`, as `message` says."""
    return _encode(message, name=model.name, version=model.version)


def decode_model_name(message: str, data: bytes) -> ModelName:
    """The model that a `ModelReadyRequest` or `ModelMetadataRequest` asks about.

    Raises:
        WireError: the bytes are no such message.
    """
    found = parse(message, data)
    return ModelName(found.name, found.version)


def encode_server_metadata(metadata: ServerMetadata) -> bytes:
    """The bytes of `ServerMetadataResponse`."""
    return _encode("ServerMetadataResponse", **metadata._asdict())


def decode_server_metadata(data: bytes) -> ServerMetadata:
    """The server metadata in `data`.

    Raises:
        WireError: the bytes are no such message.
    """
    found = parse("ServerMetadataResponse", data)
    return ServerMetadata(found.name, found.version, tuple(found.extensions))


def encode_model_metadata(metadata: ModelMetadata) -> bytes:
    """The bytes of `ModelMetadataResponse`."""
    return _encode(
        "ModelMetadataResponse",
        name=metadata.name,
        versions=metadata.versions,
        platform=metadata.platform,
        inputs=[entry._asdict() for entry in metadata.inputs],
        outputs=[entry._asdict() for entry in metadata.outputs],
    )


def decode_model_metadata(data: bytes) -> ModelMetadata:
    """The model metadata in `data`.

    Raises:
        WireError: the bytes are no such message.
    """
    found = parse("ModelMetadataResponse", data)
    return ModelMetadata(
        found.name,
        tuple(found.versions),
        found.platform,
        _tensor_metadata(found.inputs),
        _tensor_metadata(found.outputs),
    )


def encode_live(live: bool) -> bytes:  # noqa: FBT001 (the message is one flag)
    """The bytes of `ServerLiveResponse`."""
    return _encode("ServerLiveResponse", live=live)


def encode_ready(ready: bool) -> bytes:  # noqa: FBT001 (the message is one flag)
    """The bytes of `ServerReadyResponse`, which are those of `ModelReadyResponse` too."""
    return _encode("ServerReadyResponse", ready=ready)


def decode_ready(data: bytes) -> bool:
    """The flag of a `ServerReadyResponse` or `ModelReadyResponse`.

    Raises:
        WireError: the bytes are no such message.
    """
    return bool(parse("ServerReadyResponse", data).ready)


def encode_health_request(service: str = "") -> bytes:
    """The bytes of a health check for `service`, "" for the server as a whole."""
    return _encode("HealthCheckRequest", service=service)


def decode_health_request(data: bytes) -> str:
    """The service that a health check asks about.

    Raises:
        WireError: the bytes are no such message.
    """
    return str(parse("HealthCheckRequest", data).service)


def encode_health(status: int) -> bytes:
    """The bytes of a health answer: `UNKNOWN`, `SERVING`, `NOT_SERVING` or `SERVICE_UNKNOWN`."""
    return _encode("HealthCheckResponse", status=status)


def decode_health(data: bytes) -> int:
    """The status of a health answer.

    Raises:
        WireError: the bytes are no such message.
    """
    return int(parse("HealthCheckResponse", data).status)


def _encode(message: str, /, **fields: Any) -> bytes:
    try:
        encoded: bytes = CLASSES[message](**fields).SerializeToString()
    except (ValueError, TypeError) as error:
        raise WireError(f"cannot be put into a {message} message: {error}") from error
    return encoded


def _tensor_metadata(entries: Sequence[Any]) -> tuple[TensorMetadata, ...]:
    return tuple(TensorMetadata(e.name, e.datatype, tuple(e.shape)) for e in entries)
