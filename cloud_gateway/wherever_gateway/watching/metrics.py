"""Numbers of calls, counted as they come and end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from time import time
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from wherever_gateway.watching.cells import USUAL, Cell, Cells, Failure, Key, Limits, Tally

if TYPE_CHECKING:
    from wherever_edge.oip.admission import Served

K = TypeVar("K")
V = TypeVar("V", Cell, Tally)

# cells that are copied while a call would have to wait: 100 us
_AT_A_TIME = 32


class Counted(NamedTuple):
    """What was counted so far.

    Attributes:
        answered: calls that were answered.
        failed: calls that were not, and seconds from their admission to their end.
        kept: calls that got the answer that the very same call was given before, by tenant.
        in_flight: calls that have not ended.
    """

    answered: dict[Key, Cell]
    failed: dict[Failure, Tally]
    kept: dict[str, int]
    in_flight: int


class Metrics:
    """Counts calls. Safe to use from many threads.

    Args:
        known: whether a model is served here: failures of others are counted together.
        limits: how many names have numbers of their own.
        now: seconds since 1970.
    """

    def __init__(
        self,
        known: Callable[[str], bool] = lambda _model: False,
        limits: Limits = USUAL,
        now: Callable[[], float] = time,
    ) -> None:
        self._cells = Cells(known, limits)
        self._kept: dict[str, int] = {}
        self._now = now
        self._in_flight = 0
        # one that may be taken again by the thread that has it: a signal's handler may count, too
        self._lock = threading.RLock()

    @property
    def in_flight(self) -> int:
        """Calls that have not ended."""
        return self._in_flight

    def began(self) -> None:
        """A call came; `answered`, `gave_kept` or `failed` follows."""
        with self._lock:
            self._in_flight += 1

    def answered(self, served: Served, tenant: str, total_s: float, n_bytes: int) -> None:
        """A call was answered.

        Args:
            served: by what, and what it took.
            tenant: whose call it was.
            total_s: seconds from its admission to its answer.
            n_bytes: the size of its message.
        """
        with self._lock:
            self._in_flight -= 1
            cell = self._cells.cell(served.model, served.version, tenant)
            cell.queue.add(served.queue_s)
            cell.total.add(total_s)
            cell.received_bytes += n_bytes
            cell.last_s = self._now()
            cell.ran(served.rows, served.engine_s)

    def gave_kept(self, tenant: str) -> None:
        """A call got the answer that the very same call was given before."""
        with self._lock:
            self._in_flight -= 1
            label = self._cells.tenant(tenant)
            self._kept[label] = self._kept.get(label, 0) + 1

    def failed(self, model: str, version: str, tenant: str, reason: str, total_s: float) -> None:
        """A call has no answer.

        Args:
            model: the name that it asked for.
            version: the version that it asked for; "" for none.
            tenant: whose call it was.
            reason: the code of the error.
            total_s: seconds from its admission to its end.
        """
        with self._lock:
            self._in_flight -= 1
            self._cells.failure(model, version, tenant, reason).add(total_s)

    def turned_away(self, tenant: str, reason: str) -> None:
        """A call was refused before it was read; neither `began` nor an end of it is told."""
        with self._lock:
            self._cells.unread(tenant, reason).count += 1

    def counted(self) -> Counted:
        """What was counted so far; calls wait for some of the copying, and never for all of it."""
        with self._lock:
            answered, failed = list(self._cells.answered.items()), list(self._cells.failed.items())
            kept, in_flight = self._kept.copy(), self._in_flight
        return Counted(dict(self._copied(answered)), dict(self._copied(failed)), kept, in_flight)

    def _copied(self, items: Sequence[tuple[K, V]]) -> Iterator[tuple[K, V]]:
        for start in range(0, len(items), _AT_A_TIME):
            with self._lock:
                copies = [(key, value.copy()) for key, value in items[start : start + _AT_A_TIME]]
            yield from copies
