"""Calls that a queue let in."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from wherever_contracts.errors import WhereverError
    from wherever_contracts.urgency import Urgency
    from wherever_edge.queueing.run_queue import RunQueue


class Inside:
    """A call that is inside while its block runs.

    Args:
        queue: what it is inside of.
        urgency: how much it can wait.
    """

    __slots__ = ("_queue", "_urgency")

    def __init__(self, queue: RunQueue, urgency: Urgency) -> None:
        self._queue = queue
        self._urgency = urgency

    def __enter__(self) -> None:
        self._queue.enter(self._urgency)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._queue.leave((self._urgency,), answered=kind is None)


class InsideTogether:
    """Calls that came together, which are inside while the block runs, but for those refused.

    Args:
        queue: what they are inside of.
        urgencies: how much each can wait.
    """

    __slots__ = ("_inside", "_queue", "_urgencies")

    def __init__(self, queue: RunQueue, urgencies: Sequence[Urgency]) -> None:
        self._queue = queue
        self._urgencies = urgencies
        self._inside: list[Urgency] = []

    def __enter__(self) -> list[WhereverError | None]:
        refused = self._queue.enter_many(self._urgencies)
        together = zip(self._urgencies, refused, strict=True)
        self._inside = [urgency for urgency, why in together if why is None]
        return refused

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._queue.leave(self._inside, answered=kind is None)
