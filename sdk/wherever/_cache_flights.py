"""Identical calls at one time: the first is carried out, the others share what it gives."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Hashable
from concurrent.futures import Future
from typing import Generic, TypeVar

Result = TypeVar("Result")


class Flight(Generic[Result]):
    """One call under way; those who wait for it get its result, or None when it has none."""

    __slots__ = ("_end", "_thread")

    def __init__(self) -> None:
        self._end: Future[Result | None] = Future()
        self._end.set_running_or_notify_cancel()  # who gives up waiting must not cancel it
        self._thread = threading.get_ident()

    def land(self, result: Result | None) -> None:
        """Let those who wait go on."""
        self._end.set_result(result)

    def wait(self, timeout_s: float) -> Result | None:
        """What came of it; None also when that takes longer, or would take for ever.

        A call of this very thread cannot go on while the thread waits for it: it is a coroutine's,
        and this call was made without `await` beside it.
        """
        if self._thread == threading.get_ident():
            return None
        try:
            return self._end.result(timeout_s)
        except TimeoutError:
            return None

    async def wait_async(self, timeout_s: float) -> Result | None:
        """The same in a task."""
        try:
            return await asyncio.wait_for(asyncio.wrap_future(self._end), timeout_s)
        except TimeoutError:
            return None


class Flights(Generic[Result]):
    """The calls under way, by what they ask."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._under_way: dict[Hashable, Flight[Result]] = {}

    def once(
        self, key: Hashable, run: Callable[[], Result], timeout_s: float
    ) -> tuple[Result, bool]:
        """The result of `run`, or that of an identical call that is under way.

        A call that fails, or takes longer than `timeout_s`, fails nobody else: those who waited
        for it run on their own.

        Returns:
            The result, and whether it is another call's.
        """
        flight, leads = self._boarded(key)
        if leads:
            return self._led(key, flight, run), False
        shared = flight.wait(timeout_s)
        return (run(), False) if shared is None else (shared, True)

    async def once_async(
        self, key: Hashable, run: Callable[[], Awaitable[Result]], timeout_s: float
    ) -> tuple[Result, bool]:
        """The same in a task; calls of threads and of tasks share with each other."""
        flight, leads = self._boarded(key)
        if not leads:
            shared = await flight.wait_async(timeout_s)
            return (await run(), False) if shared is None else (shared, True)
        try:
            result = await run()
        except BaseException:
            self._land(key, flight, None)
            raise
        self._land(key, flight, result)
        return result, False

    def _led(self, key: Hashable, flight: Flight[Result], run: Callable[[], Result]) -> Result:
        try:
            result = run()
        except BaseException:
            self._land(key, flight, None)
            raise
        self._land(key, flight, result)
        return result

    def _boarded(self, key: Hashable) -> tuple[Flight[Result], bool]:
        """The flight of an identical call, or a new one and True."""
        with self._lock:
            flight = self._under_way.get(key)
            if flight is not None:
                return flight, False
            flight = self._under_way[key] = Flight[Result]()
            return flight, True

    def _land(self, key: Hashable, flight: Flight[Result], result: Result | None) -> None:
        with self._lock:
            del self._under_way[key]
        flight.land(result)
