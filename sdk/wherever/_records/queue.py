"""What waits for a thread that writes it down.

The thread is made by the first item. It lets items come together for a moment and takes them at
once; who puts one in while too much waits is held up until there is room.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

T = TypeVar("T")

# How long an item waits for others to be written with it.
GATHER_S = 0.2

_MOST_ITEMS = 4096


class Sink(Protocol[T]):
    """What writes items; one thread at a time calls it, and it must not raise."""

    def write(self, items: list[T], /) -> None:
        """Write items."""
        ...

    def sync(self) -> None:
        """Make certain what was written."""
        ...

    def close(self) -> None:
        """Give back what it took to write; writing again takes it again."""
        ...


class Queue(Generic[T]):
    """Items on their way to the disk. Safe to use from many threads.

    Args:
        sink: what writes them.
        most_bytes: how much may wait; a larger item waits alone.
    """

    def __init__(self, sink: Sink[T], most_bytes: int) -> None:
        self._sink = sink
        self._most_bytes = most_bytes
        self._changed = threading.Condition()
        self._items: list[T] = []
        self._bytes = 0
        # numbers of items: how many were put in, are written, certain, and wanted to be so
        self._put = self._written = self._synced = 0
        self._write_to = self._sync_to = 0
        self._idle = False
        self._ends = False
        self._thread: threading.Thread | None = None
        self._at_end: Any = None

    def put(self, item: T, size: int) -> None:
        """Have an item of about so many bytes written; waits while too much waits already."""
        with self._changed:
            while self._items and self._is_full(size):
                self._write_to = self._put
                self._wake()
                self._changed.wait()
            self._items.append(item)
            self._bytes += size
            self._put += 1
            if self._idle or self._thread is None:
                self._wake()

    def settle(self, *, synced: bool, patience_s: float | None = None) -> bool:
        """Wait until all that was put in is written, and `synced` if so asked.

        Returns:
            False when that takes longer than `patience_s`.
        """
        with self._changed:
            upto = self._write_to = self._put
            if synced:
                self._sync_to = upto
            if upto > (self._synced if synced else self._written):
                self._wake()
            return self._changed.wait_for(
                lambda: upto <= (self._synced if synced else self._written), patience_s
            )

    def end(self, patience_s: float | None = None) -> None:
        """Write and sync all, and let the thread end; what is put in later makes another."""
        thread = self._thread
        within = thread is threading.current_thread()  # where the collector of garbage came by
        if not within:
            self.settle(synced=True, patience_s=patience_s)
        with self._changed:
            self._ends = True
            self._changed.notify_all()
        if thread is not None and not within:
            thread.join(patience_s)
        if self._at_end is not None:
            self._at_end.cancel()

    def _is_full(self, more: int) -> bool:
        return len(self._items) >= _MOST_ITEMS or self._bytes + more > self._most_bytes

    def _wake(self) -> None:
        """See that the thread is there, and that it goes on; the lock is held."""
        if self._thread is None:
            self._ends = False
            thread = threading.Thread(target=self._work, name="wherever-records", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the interpreter ends, or has no thread to give
                self._carry_out()
                self._sink.close()
                return
            self._thread = thread
            self._at_end = _at_end_of_worker(self.end)
        self._changed.notify_all()

    def _work(self) -> None:
        while self._gather():
            self._carry_out()

    def _carry_out(self) -> None:
        """Write and sync what is to be."""
        with self._changed:
            items, self._items, self._bytes = self._items, [], 0
            self._changed.notify_all()
        if items:
            self._sink.write(items)
        with self._changed:
            self._written += len(items)
            syncs, written = self._sync_to > self._synced, self._written
        if syncs:
            self._sink.sync()
        with self._changed:
            if syncs:
                self._synced = written
            self._changed.notify_all()

    def _gather(self) -> bool:
        """Wait for something to do, and then a moment for more; False when the thread is to end."""
        with self._changed:
            self._idle = True
            self._changed.wait_for(lambda: self._has_work() or self._ends)
            self._idle = False
            if not self._has_work():
                self._sink.close()
                self._thread = None
                return False
            self._changed.wait_for(self._is_urgent, GATHER_S)
            return True

    def _has_work(self) -> bool:
        return bool(self._items) or self._sync_to > self._synced

    def _is_urgent(self) -> bool:
        return self._ends or self._write_to > self._written or self._sync_to > self._synced


def _at_end_of_worker(end: Callable[[], None]) -> Any:
    """Have `multiprocessing` call `end` in a worker, which leaves `atexit` out before Python 3.13.

    Returns:
        Its `Finalize`; None while nobody uses it here.
    """
    util = sys.modules.get("multiprocessing.util")
    return None if util is None else util.Finalize(None, end, exitpriority=0)
