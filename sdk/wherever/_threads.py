"""The threads of a client: for coroutines, for work that nobody waits for, and for races.

What may wait for other hosts has threads of its own, so that no coroutine waits for those.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from wherever_contracts.errors import ClosedError

T = TypeVar("T")

# calls whose device answers while another host is still asked; more wait for each other
_RACERS = 32
_BEHIND = 2


class Threads:
    """Made when they are first needed; nothing is begun once they are closed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._racers: ThreadPoolExecutor | None = None
        self._waiters: ThreadPoolExecutor | None = None
        self._closed = False

    async def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """Run a blocking function beside the running event loop.

        Raises:
            ClosedError: they are closed.
        """
        return await asyncio.wrap_future(self._submitted(function, *arguments))

    def beside(self, function: Callable[..., object], *arguments: Any) -> bool:
        """Run a function in some thread; nobody waits for it. False: nothing runs any more."""
        try:
            self._submitted(function, *arguments)
        except ClosedError:
            return False
        return True

    def behind(self, function: Callable[..., object], *arguments: Any) -> bool:
        """The same for what may wait for other hosts: two such functions run at a time.

        False: it will not run, as nothing does any more, or there is no thread to be had.
        """
        with self._lock:
            if self._closed:
                return False
            if self._waiters is None:
                self._waiters = ThreadPoolExecutor(_BEHIND, thread_name_prefix="wherever-behind")
            try:
                self._waiters.submit(function, *arguments)
            except RuntimeError:  # the interpreter ends, or has no thread to give
                return False
            return True

    def race(self, function: Callable[[], None]) -> None:
        """Run this device's part of a race, at once: it begins as late as it may.

        Raises:
            ClosedError: they are closed.
        """
        with self._lock:
            self._refuse_closed()
            if self._racers is None:
                self._racers = ThreadPoolExecutor(_RACERS, thread_name_prefix="wherever-race")
            self._racers.submit(function)

    def close(self) -> None:
        """Begin nothing more; what runs goes on to its end."""
        with self._lock:
            self._closed = True
        for pool in (self._pool, self._racers, self._waiters):
            if pool is not None:
                pool.shutdown(wait=False)

    def _submitted(self, function: Callable[..., T], *arguments: Any) -> Future[T]:
        with self._lock:
            self._refuse_closed()
            if self._pool is None:
                workers = 2 * (os.cpu_count() or 1)
                self._pool = ThreadPoolExecutor(workers, thread_name_prefix="wherever")
            return self._pool.submit(function, *arguments)

    def _refuse_closed(self) -> None:
        if self._closed:
            raise ClosedError("this client was closed; make a new one with wherever.Client(...)")
