"""What tenants used, counted in memory until it is written down."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Mapping
from time import time
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from wherever_contracts.wire.tensors import InferResponse
    from wherever_edge.oip.admission import Served

HOUR_S = 3600


class Cell(NamedTuple):
    """Whose usage, of which model, in which hour.

    Attributes:
        tenant: the name of its API keys; "" without one.
        model: the model's name; "" for names that no model has.
        hour: its beginning, in seconds since 1970 (UTC).
    """

    tenant: str
    model: str
    hour: int


class Usage(NamedTuple):
    """What was used.

    Attributes:
        calls: answered by a model.
        failed: ended without an answer.
        refused: not let in: forbidden, over a quota, or no room.
        repeated: given the answer of an earlier call with the same idempotency key.
        bytes_in: of the requests that were answered.
        bytes_out: of the tensors in their answers.
        engine_s: seconds of engines; calls that shared a run have an equal part of it each.
        queue_s: seconds that calls waited for them.
    """

    calls: int = 0
    failed: int = 0
    refused: int = 0
    repeated: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    engine_s: float = 0.0
    queue_s: float = 0.0

    def plus(self, other: Usage) -> Usage:
        """What was used in both."""
        return Usage(*_sums(self, other))


Cells: TypeAlias = dict[Cell, Usage]

# hours of tenants and models that are kept until they are written; when there are more, so many of
# the oldest are given up at a time that looking for them costs calls nothing
MAX_CELLS = 100_000
_GIVE_UP = 0.1

_NOTHING = Usage()
_CALLS, _FAILED, _REFUSED, _REPEATED, _BYTES_IN, _BYTES_OUT, _ENGINE_S, _QUEUE_S = range(8)


class Ledger:
    """Counts usage by tenant, model and hour, in bounded room. Safe to use from many threads.

    Args:
        clock: seconds since 1970.
        gave_up: is told how many hours of tenants and models were given up, the oldest first,
            because nobody took them in time.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time,
        gave_up: Callable[[int], object] = lambda _cells: None,
    ) -> None:
        self._clock = clock
        self._gave_up = gave_up
        self._lock = threading.Lock()
        self._cells: dict[tuple[str, str, int], list[Any]] = {}

    def answered(self, tenant: str, served: Served, bytes_in: int, response: InferResponse) -> None:
        """A call was answered."""
        bytes_out = 0
        for tensor in response.outputs:
            bytes_out += len(tensor.data)
        with self._lock:
            cell = self._cell(tenant, served.model)
            cell[_CALLS] += 1
            cell[_BYTES_IN] += bytes_in
            cell[_BYTES_OUT] += bytes_out
            cell[_ENGINE_S] += served.engine_s / served.rows
            cell[_QUEUE_S] += served.queue_s

    def failed(self, tenant: str, model: str) -> None:
        """A call ended without an answer."""
        with self._lock:
            self._cell(tenant, model)[_FAILED] += 1

    def refused(self, tenant: str, model: str) -> None:
        """A call was not let in."""
        with self._lock:
            self._cell(tenant, model)[_REFUSED] += 1

    def repeated(self, tenant: str, model: str, bytes_in: int) -> None:
        """A call was given the answer of an earlier one."""
        with self._lock:
            cell = self._cell(tenant, model)
            cell[_REPEATED] += 1
            cell[_BYTES_IN] += bytes_in

    def take(self) -> Cells:
        """What was counted since this was asked last."""
        with self._lock:
            taken, self._cells = self._cells, {}
        return {Cell(*key): Usage(*counts) for key, counts in taken.items()}

    def put_back(self, cells: Mapping[Cell, Usage]) -> None:
        """Count what was taken and could not be written."""
        with self._lock:
            for key, usage in cells.items():
                self._cells[key] = _sums(usage, self._cells.get(key, _NOTHING))
            if len(self._cells) > MAX_CELLS:
                self._give_up_oldest(len(self._cells) - MAX_CELLS)

    def _cell(self, tenant: str, model: str) -> list[Any]:
        key = tenant, model, int(self._clock()) // HOUR_S * HOUR_S
        cell = self._cells.get(key)
        if cell is None:
            if len(self._cells) >= MAX_CELLS:
                self._give_up_oldest(math.ceil(_GIVE_UP * MAX_CELLS))
            cell = self._cells[key] = list(_NOTHING)
        return cell

    def _give_up_oldest(self, cells: int) -> None:
        """Forget so many, now that they have waited for too long to be written."""
        for oldest in sorted(self._cells, key=lambda key: key[2])[:cells]:
            del self._cells[oldest]
        self._gave_up(cells)


def _sums(one: Iterable[Any], other: Iterable[Any]) -> list[Any]:
    return [own + its for own, its in zip(one, other, strict=True)]
