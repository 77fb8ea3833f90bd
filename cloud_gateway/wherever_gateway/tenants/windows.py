"""Where what was used of rates is remembered: a storage of the library `limits`."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic

from limits.storage import MemoryStorage

from wherever_gateway.tenants.moving_window import MovingWindow

# windows that nothing is in any more are thrown away when there are so many more than there were
_MORE = 1024


class Windows(MemoryStorage):
    """The memory storage of `limits`, in bounded memory for amounts of any size.

    The library's own keeps an entry for every unit of an amount, starts a thread every 10 ms, and
    goes by the wall clock, which may jump. Safe to use from many threads.

    Args:
        clock: seconds that only grow.

    Attributes:
        lock: held by who must see that nothing changes between two calls.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        super().__init__()
        self.lock = threading.RLock()
        self._clock = clock
        self._windows: dict[str, MovingWindow] = {}
        self._sweep_at = _MORE

    def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Use an amount if there is room for it in the last `expiry` seconds."""
        return self.take(key, limit, expiry, amount)

    def take(self, key: str, limit: int, every_s: int, amount: int) -> bool:
        """The same, for calls by the thousand: the library wraps what it knows the name of."""
        with self.lock:
            return self._window(key, every_s).take(self._clock(), limit, amount)

    def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        """When the oldest of what counts came, and how much counts."""
        with self.lock:
            now_s, window = self._clock(), self._window(key, expiry)
            return window.begun_s(now_s), window.used(now_s)

    def wait_s(self, key: str, limit: int, expiry: int, amount: int) -> float:
        """Seconds until there is room for an amount; 0 now, infinity never."""
        with self.lock:
            return self._window(key, expiry).wait_s(self._clock(), limit, amount)

    def give_back(self, key: str, amount: int) -> None:
        """Take back what was used last; nothing else may have been used since."""
        with self.lock:
            window = self._windows.get(key)
            if window is not None:
                window.take_back(amount)

    def clear(self, key: str) -> None:
        """Forget what was used of one limit."""
        with self.lock:
            self._windows.pop(key, None)

    def reset(self) -> int:
        """Forget everything; the limits that something was used of."""
        with self.lock:
            count = len(self._windows)
            self._windows.clear()
            return count

    def _window(self, key: str, expiry: int) -> MovingWindow:
        window = self._windows.get(key)
        if window is None:
            if len(self._windows) >= self._sweep_at:
                self._sweep()
            window = self._windows[key] = MovingWindow(expiry)
        return window

    def _sweep(self) -> None:
        now_s = self._clock()
        self._windows = {key: each for key, each in self._windows.items() if each.used(now_s)}
        self._sweep_at = 2 * len(self._windows) + _MORE
