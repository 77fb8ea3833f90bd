"""The protocol's statistics, out of what was counted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from wherever_contracts.wire.repository import BatchStatistics, ModelStatistics, Spent
from wherever_gateway.watching.cells import OTHER, Cell, Failure, Key, Tally

if TYPE_CHECKING:
    from wherever_gateway.watching.metrics import Counted, Metrics


class Statistics:
    """What was asked of the models since the gateway started. Safe to use from many threads.

    A call counts as one inference, whatever its shape. What it spent neither waiting nor in the
    engine counts as `compute_input`, whether that was before the engine or after it. For each call,
    `compute_infer` is the whole time of the run that it shared, as in Triton.

    Args:
        metrics: what was counted.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def of(self, model: str, version: str) -> Sequence[ModelStatistics]:
        """The statistics of a model and version, by name; "" stands for all.

        Calls that failed before anything answered for their model stand under version "".
        """
        return statistics(self._metrics.counted(), model, version)


def statistics(counted: Counted, model: str, version: str) -> list[ModelStatistics]:
    """The statistics of a model and version out of what was counted; "" stands for all."""
    pairs = {(key.model, key.version) for key in counted.answered}
    pairs |= {(key.model, key.version) for key in counted.failed}
    return [
        _of_one(pair, counted.answered, counted.failed)
        for pair in sorted(pairs)
        if pair[0] != OTHER and model in ("", pair[0]) and version in ("", pair[1])
    ]


def _of_one(
    pair: tuple[str, str], answered: Mapping[Key, Cell], failed: Mapping[Failure, Tally]
) -> ModelStatistics:
    cells = [cell for key, cell in answered.items() if key[:2] == pair]
    count = sum(sum(cell.total.counts) for cell in cells)
    total_s = sum(cell.total.sum_s for cell in cells)
    queue_s = sum(cell.queue.sum_s for cell in cells)
    engine_s = sum(cell.engine.sum_s for cell in cells)
    batches = _batches(cells)
    return ModelStatistics(
        *pair,
        last_ms=int(1000 * max((cell.last_s for cell in cells), default=0.0)),
        inferences=count,
        executions=sum(batch.infer.times for batch in batches),
        success=_spent(count, total_s),
        fail=_sum(tally for key, tally in failed.items() if key[:2] == pair),
        queue=_spent(count, queue_s),
        compute_input=_spent(count, max(0.0, total_s - queue_s - engine_s)),
        compute_infer=_spent(count, engine_s),
        compute_output=_spent(count, 0.0),
        batches=batches,
    )


def _batches(cells: Sequence[Cell]) -> tuple[BatchStatistics, ...]:
    """Runs by the number of calls that shared them: each such call saw the whole run."""
    sizes = sorted({size for cell in cells for size in cell.runs})
    sums = {size: _sum(cell.runs[size] for cell in cells if size in cell.runs) for size in sizes}
    return tuple(
        BatchStatistics(size, Spent(-(-found.times // size), found.ns // size))
        for size, found in sums.items()
    )


def _sum(tallies: Iterable[Tally]) -> Spent:
    found = list(tallies)
    return _spent(sum(tally.count for tally in found), sum(tally.sum_s for tally in found))


def _spent(count: int, seconds: float) -> Spent:
    return Spent(count, round(seconds * 1e9))
