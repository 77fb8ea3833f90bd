"""How much of what streams bring is held in memory at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable


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
        self._waiting: list[Callable[[], object]] = []
        self._lock = threading.Lock()

    def add(self, calls: int, n_bytes: int) -> None:
        """Note what came, or with numbers below 0, what left; then tell those who wait."""
        told: list[Callable[[], object]] = []
        with self._lock:
            self._calls += calls
            self._bytes += n_bytes
            if self._waiting and not self._full():
                told, self._waiting = self._waiting, told
        for tell in told:
            tell()

    def await_place(self, tell: Callable[[], object]) -> bool:
        """Have `tell` called, by whoever makes room; False, and it is not, where there is some."""
        with self._lock:
            if full := self._full():
                self._waiting.append(tell)
            return full

    def wait(self) -> None:
        """Wait while it is full."""
        there_is = threading.Event()
        while self.await_place(there_is.set):
            there_is.wait()
            there_is.clear()

    def _full(self) -> bool:
        return self._calls >= self._max_calls or self._bytes >= self._max_bytes
