"""What a server says: of itself, of its models, and beside the outputs of an answer."""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING

from wherever_contracts.tensors import WIRE_TYPES
from wherever_contracts.wire.classification import CLASSIFICATION
from wherever_contracts.wire.metadata import ServerMetadata, TensorMetadata
from wherever_contracts.wire.said import (
    CONFIDENCE_KEY,
    ENGINE_KEY,
    QUEUE_KEY,
    RAN_KEY,
    ROWS_KEY,
    SUBSTITUTED_KEY,
)

if TYPE_CHECKING:
    from wherever_contracts.manifest import InputEntry, TensorEntry
    from wherever_contracts.receipts import Answer, Ran
    from wherever_contracts.wire.tensors import Parameters

PLATFORM = "wherever"
EXTENSION = "wherever"


@cache
def server_metadata() -> ServerMetadata:
    """What a server of ours says about itself."""
    from importlib.metadata import version  # noqa: PLC0415 (28 ms)

    return ServerMetadata(PLATFORM, version("wherever"), (EXTENSION, CLASSIFICATION))


def answer_parameters(same: Parameters, answer: Answer, planned: Ran) -> Parameters:
    """What a response says beside its outputs: `same` as ever, and what this answer adds."""
    parameters = same.copy()
    if answer.ran is not planned:
        parameters[RAN_KEY] = ran_json(answer.ran)
    if answer.substituted:
        parameters[SUBSTITUTED_KEY] = json.dumps(answer.substituted)
    parameters[ENGINE_KEY] = answer.engine_s
    parameters[QUEUE_KEY] = answer.queue_s
    if answer.rows > 1:
        parameters[ROWS_KEY] = answer.rows
    if answer.confidence is not None:
        parameters[CONFIDENCE_KEY] = answer.confidence
    return parameters


def ran_json(ran: Ran) -> str:
    """What ran, as it travels."""
    return json.dumps(ran._asdict(), separators=(",", ":"))


def tensor_metadata(entry: TensorEntry) -> TensorMetadata:
    """What is told of a tensor."""
    return TensorMetadata(entry.name, WIRE_TYPES[entry.dtype], entry.shape)


def input_metadata(entry: InputEntry) -> TensorMetadata:
    """What is told of an input; images, texts and files travel as bytes."""
    if entry.dtype is None or entry.shape is None:
        return TensorMetadata(entry.name, "BYTES", (1,))
    return TensorMetadata(entry.name, WIRE_TYPES[entry.dtype], entry.shape)
