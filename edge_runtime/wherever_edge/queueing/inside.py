"""A call that a queue let in."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType

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
        self._queue.leave(self._urgency, answered=kind is None)
