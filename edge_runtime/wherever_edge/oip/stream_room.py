"""How much of what streams bring is held in memory at a time."""

from __future__ import annotations

import threading


class Room:
    """Bounds calls and bytes: who brings more waits. Safe to use from many threads.

    What was read already finds room whatever there is; only then no more is read.

    Args:
        max_calls: calls at which it is full.
        max_bytes: bytes at which it is full.
    """

    def __init__(self, max_calls: int, max_bytes: int) -> None:
        self._max_calls = max_calls
        self._max_bytes = max_bytes
        self._calls = 0
        self._bytes = 0
        self._change = threading.Condition()

    def add(self, calls: int, n_bytes: int) -> None:
        """Note what came, or with numbers below 0, what left."""
        with self._change:
            was_full = self._full()
            self._calls += calls
            self._bytes += n_bytes
            if was_full and not self._full():
                self._change.notify_all()

    def wait(self) -> None:
        """Wait while it is full."""
        with self._change:
            self._change.wait_for(lambda: not self._full())

    def _full(self) -> bool:
        return self._calls >= self._max_calls or self._bytes >= self._max_bytes
