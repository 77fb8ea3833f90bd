"""Work that calls do not wait for: put aside in memory, within a bound, and done by one thread."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")


class Behind(Generic[T]):
    """Hands over what was put aside, in its order. Safe to use from many threads.

    Args:
        work: takes what has come since it was last called; what it raises is counted as lost.
        name: of its thread.
        every_s: how often it is called at most.
        most: what may wait; what comes then is lost.

    Attributes:
        lost: how many were not handed over.
    """

    def __init__(
        self,
        work: Callable[[Sequence[T]], None],
        name: str,
        *,
        every_s: float = 0.2,
        most: int = 10_000,
    ) -> None:
        self.lost = 0
        self._work = work
        self._every_s = every_s
        self._most = most
        self._waiting: deque[T] = deque()
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._name = name
        self._thread: threading.Thread | None = None

    def put(self, item: T) -> None:
        """Put something aside; it never waits."""
        if len(self._waiting) >= self._most or self._closing.is_set():
            self.lost += 1
            return
        self._waiting.append(item)
        if self._thread is None:
            self._begin()

    def close(self, timeout_s: float = 5.0) -> None:
        """Hand over what waits, and take no more. May be called again."""
        with self._lock:
            self._closing.set()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _begin(self) -> None:
        """Start the thread, now that there is something to do."""
        with self._lock:
            if self._thread is None and not self._closing.is_set():
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while not self._closing.wait(self._every_s):
            self._hand_over()
        self._hand_over()

    def _hand_over(self) -> None:
        items = [self._waiting.popleft() for _ in range(len(self._waiting))]
        if not items:
            return
        try:
            self._work(items)
        except Exception:  # noqa: BLE001 (a full disk or a closed pipe ends no call, and no log)
            self.lost += len(items)
