"""What a response from a box or gateway says, checked against the signature."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeAlias, cast

from wherever_contracts.errors import BadAnswerError
from wherever_contracts.receipts import Answer, Ran
from wherever_contracts.tensors import Array, TensorSpec, describe
from wherever_contracts.wire.said import (
    CONFIDENCE_KEY,
    ENGINE_KEY,
    LOAD_KEY,
    QUEUE_KEY,
    RAN_KEY,
    ROWS_KEY,
    SUBSTITUTED_KEY,
)
from wherever_contracts.wire.tensors import InferResponse, to_array

Outputs: TypeAlias = Sequence[TensorSpec]

UNKNOWN = "not said"


def answer_of(response: InferResponse, outputs: Outputs) -> Answer:
    """The answer that a response carries, checked against the signature's outputs.

    Raises:
        BadAnswerError: an output is missing, or of another dtype or shape than the signature's.
    """
    given = {tensor.name: tensor for tensor in response.outputs}
    arrays: dict[str, Array] = {}
    for spec in outputs:
        tensor = given.get(spec.name)
        if tensor is None:
            has = ", ".join(given) or "none"
            raise BadAnswerError(f"the answer has no output {spec.name!r} (it has: {has})")
        try:
            array = to_array(tensor)
        except ValueError as error:
            raise BadAnswerError(f"output {spec.name!r}: expected {error}") from error
        if not spec.admits(array):
            raise BadAnswerError(f"output {spec.name!r}: expected {spec}, found {describe(array)}")
        arrays[spec.name] = array
    parameters = response.parameters
    confidence = parameters.get(CONFIDENCE_KEY)
    return Answer(
        arrays,
        float(confidence) if isinstance(confidence, int | float) else None,
        _ran(str(parameters.get(RAN_KEY, "")), response.model, response.version),
        _seconds(parameters, ENGINE_KEY),
        protocol=response.protocol,
        queue_s=_seconds(parameters, QUEUE_KEY),
        substituted=_events(parameters.get(SUBSTITUTED_KEY)),
        rows=_rows(parameters.get(ROWS_KEY)),
        down_bytes=sum([len(tensor.data) for tensor in response.outputs]),
    )


def load_of(response: InferResponse) -> float | None:
    """Calls inside the host over as many as it runs at a time; None when it does not say."""
    load = response.parameters.get(LOAD_KEY)
    return float(load) if isinstance(load, int | float) and load >= 0 else None


def _seconds(parameters: Mapping[str, object], name: str) -> float:
    seconds = parameters.get(name)
    return float(seconds) if isinstance(seconds, int | float) else 0.0


def _rows(said: object) -> int:
    return said if type(said) is int and said > 0 else 1


def _events(text: object) -> tuple[str, ...]:
    """What did not go as planned, as a peer of our kind says it."""
    if not isinstance(text, str):
        return ()
    try:
        said: object = json.loads(text)
    except (ValueError, RecursionError):
        return ()
    events = cast("list[object]", said) if isinstance(said, list) else []
    return tuple(str(event) for event in events)


@lru_cache(maxsize=256)
def _ran(text: str, model: str, version: str) -> Ran:
    """What ran, as a peer of our kind says it; peers of other kinds do not say."""
    try:
        said: dict[str, Any] = json.loads(text) if text else {}
        threads = int(said.get("threads", 0))
    except (ValueError, TypeError, AttributeError):
        said, threads = {}, 0
    words = {name: str(said.get(name, UNKNOWN)) for name in Ran._fields if name != "threads"}
    return Ran(**{**words, "model": model, "version": version}, threads=threads)
