"""The protocol's messages about a server's models: the repository, and statistics.

Numbers and names are those of the model repository and statistics extensions of the Open Inference
Protocol v2.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, NamedTuple, TypeAlias

from wherever_contracts.wire.framing import WireError, parse
from wherever_contracts.wire.schema import CLASSES

State: TypeAlias = Literal["READY", "UNAVAILABLE"]


class IndexEntry(NamedTuple):
    """One version of a model, and whether calls for it are answered; `reason` says why not."""

    name: str
    version: str
    state: State
    reason: str = ""


class Spent(NamedTuple):
    """How often something was done, and the nanoseconds that it took in all."""

    times: int = 0
    ns: int = 0


class BatchStatistics(NamedTuple):
    """Runs of the engine of one size.

    Attributes:
        size: rows of a run.
        infer: the runs.
    """

    size: int
    infer: Spent


class ModelStatistics(NamedTuple):
    """What was asked of one version of a model since the server started.

    Attributes:
        name: the model.
        version: its version.
        last_ms: when the last call ended, in milliseconds since 1970 (UTC); 0 for never.
        inferences: rows that were answered.
        executions: runs of the engine.
        success: calls that were answered, from their arrival to their answer.
        fail: calls that were not.
        queue: of those that were answered, the waiting.
        compute_input: the work before the engine.
        compute_infer: inside the engine.
        compute_output: the work after it.
        batches: runs by their size.
    """

    name: str
    version: str
    last_ms: int = 0
    inferences: int = 0
    executions: int = 0
    success: Spent = Spent()
    fail: Spent = Spent()
    queue: Spent = Spent()
    compute_input: Spent = Spent()
    compute_infer: Spent = Spent()
    compute_output: Spent = Spent()
    batches: tuple[BatchStatistics, ...] = ()


_SPENT = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output")


def decode_index_request(data: bytes) -> bool:
    """Whether a `RepositoryIndexRequest` asks for what is ready alone.

    Raises:
        WireError: the bytes are no such message, or it names a repository.
    """
    found = parse("RepositoryIndexRequest", data)
    _only_repository(found.repository_name)
    return bool(found.ready)


def encode_index(entries: Iterable[IndexEntry]) -> bytes:
    """The bytes of `RepositoryIndexResponse`."""
    return _bytes(CLASSES["RepositoryIndexResponse"](models=[e._asdict() for e in entries]))


def decode_change(message: str, data: bytes) -> str:
    """The model that a `RepositoryModelLoadRequest` or `...UnloadRequest` names.

    Raises:
        WireError: the bytes are no such message, it names a repository, or no model.
    """
    found = parse(message, data)
    _only_repository(found.repository_name)
    if not found.model_name:
        raise WireError(f"{message}: model_name is empty")
    return str(found.model_name)


def decode_statistics_request(data: bytes) -> tuple[str, str]:
    """The model and version that are asked about; "" stands for all.

    Raises:
        WireError: the bytes are no such message.
    """
    found = parse("ModelStatisticsRequest", data)
    return found.name, found.version


def encode_statistics(models: Iterable[ModelStatistics]) -> bytes:
    """The bytes of `ModelStatisticsResponse`."""
    return _bytes(CLASSES["ModelStatisticsResponse"](model_stats=[_message(m) for m in models]))


def statistics_fields(model: ModelStatistics) -> dict[str, Any]:
    """The statistics as plain data, under the protocol's names."""
    return {
        "name": model.name,
        "version": model.version,
        "last_inference": model.last_ms,
        "inference_count": model.inferences,
        "execution_count": model.executions,
        "inference_stats": {name: _spent(getattr(model, name)) for name in _SPENT},
        "batch_stats": [
            {"batch_size": batch.size, "compute_infer": _spent(batch.infer)}
            for batch in model.batches
        ],
    }


def _spent(spent: Spent) -> dict[str, int]:
    return {"count": spent.times, "ns": spent.ns}


def _message(model: ModelStatistics) -> Any:
    return CLASSES["ModelStatistics"](**statistics_fields(model))


def _only_repository(name: str) -> None:
    if name:
        raise WireError(f"there is one repository here, without a name; found {name!r}")


def _bytes(message: Any) -> bytes:
    encoded: bytes = message.SerializeToString()
    return encoded
