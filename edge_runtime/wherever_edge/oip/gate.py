"""Bounds on what a server takes on: so many calls at work, so many behind them, no more."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from time import perf_counter
from typing import Protocol, TypeVar

from wherever_contracts.errors import DeadlineError, OverloadedError

T = TypeVar("T")

# how much the newest call counts in the usual time of one
_WEIGHT = 0.1


class Caller(Protocol):
    """Who waits for an answer; gRPC's servicer context is one."""

    def time_remaining(self) -> float | None:
        """Seconds until the answer is of no use, None for no limit."""
        ...

    def is_active(self) -> bool:
        """False when nobody waits any more."""
        ...


class Gate:
    """Lets `workers` calls work at once, and `max_waiting` wait for their turn, first come first.

    Attributes:
        working: calls at work now.
        refused: calls that were turned away because too many were waiting.
        dropped: calls that were not worked on because nobody could use the answer any more.
    """

    def __init__(self, workers: int, max_waiting: int) -> None:
        self.workers = workers
        self.max_waiting = max_waiting
        self.working = 0
        self.refused = 0
        self.dropped = 0
        self._lock = threading.Lock()
        self._queue: deque[threading.Lock] = deque()
        self._usual_s = 0.0

    @property
    def waiting(self) -> int:
        """Calls that wait for their turn now."""
        return len(self._queue)

    def run(self, caller: Caller, work: Callable[[], T]) -> T:
        """Do `work` when its turn has come.

        Raises:
            OverloadedError: too many calls wait already; the message says when to try again.
            DeadlineError: the caller's time ran out, or it has gone; nothing was done.
        """
        turn = self._queue_up()
        if turn is not None:
            self._await(turn, caller)
        started = perf_counter()
        try:
            if _is_late(caller):
                raise self._drop()
            return work()
        finally:
            self._pass_on(perf_counter() - started)

    def retry_after_s(self) -> float:
        """When a call that is refused now may find room."""
        return max(0.01, self._usual_s * (len(self._queue) + 1) / self.workers)

    def _queue_up(self) -> threading.Lock | None:
        """Begin at once (None), or get a lock that is released when the turn has come."""
        with self._lock:
            if self.working < self.workers:
                self.working += 1
                return None
            if len(self._queue) >= self.max_waiting:
                self.refused += 1
                raise OverloadedError(
                    f"{self.workers} calls are at work and {self.max_waiting} are waiting; "
                    f"try again in about {self.retry_after_s() * 1000:.0f} ms"
                )
            turn = threading.Lock()
            turn.acquire()
            self._queue.append(turn)
            return turn

    def _await(self, turn: threading.Lock, caller: Caller) -> None:
        left = caller.time_remaining()
        limit = -1 if left is None else min(left, threading.TIMEOUT_MAX)
        if turn.acquire(timeout=limit):
            return
        with self._lock:
            came_after_all = turn not in self._queue
            if not came_after_all:
                self._queue.remove(turn)
        if not came_after_all:
            raise self._drop()

    def _pass_on(self, elapsed_s: float) -> None:
        """Let the next in line begin."""
        with self._lock:
            self._usual_s += _WEIGHT * (elapsed_s - self._usual_s)
            if self._queue:
                self._queue.popleft().release()
            else:
                self.working -= 1

    def _drop(self) -> DeadlineError:
        with self._lock:
            self.dropped += 1
        return DeadlineError("the caller's time ran out before the work began; it was not done")


def _is_late(caller: Caller) -> bool:
    left = caller.time_remaining()
    return not caller.is_active() or (left is not None and left <= 0)
