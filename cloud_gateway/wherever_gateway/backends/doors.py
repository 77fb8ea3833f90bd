"""Who may send a call to a backend now, beside those that are on their way: waiting and counting.

What decides is `Room`, twice: whose calls may be on their way to one backend, and which backends'
calls may hold the threads of this gateway, so that a slow backend leaves some to the others and to
the models that are here.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

from wherever_gateway.backends.room import Room

if TYPE_CHECKING:
    from wherever_contracts.urgency import Urgency


class Doors:
    """The bound for the calls of all backends together. Safe to use from many threads.

    Args:
        most: calls on their way at a time; half as many may wait for a place.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._backends = Room()
        self._line: deque[_Waiting] = deque()

    def enter(self, backend: str, room: Room, urgency: Urgency, most: int) -> bool:
        """Take a place for a call, if there is one and nobody waits; `leave` hands it back.

        Args:
            backend: the backend's name.
            room: the calls on their way to it; used by nobody else.
            urgency: whose call it is.
            most: how many may be on their way to it now.
        """
        with self._lock:
            first = not any(each.backend == backend for each in self._line)
            return first and self._takes(backend, room, urgency, most)

    def wait(self, backend: str, room: Room, urgency: Urgency, most: int, wait_s: float) -> bool:
        """The same, where a place is waited for in turn; at once False where too many wait."""
        waiting = _Waiting(backend, room, urgency, most)
        with self._lock:
            if len(self._line) >= self._most // 2:
                return False
            self._line.append(waiting)
            self._let_in()
        waiting.entered.wait(wait_s)
        with self._lock:
            if not waiting.entered.is_set():
                self._line.remove(waiting)
        return waiting.entered.is_set()

    def leave(self, backend: str, room: Room, urgency: Urgency) -> None:
        """Hand a place back."""
        with self._lock:
            room.leave(urgency.tenant)
            self._backends.leave(backend)
            if self._line:
                self._let_in()

    def _let_in(self) -> None:
        """Give a place to the first of those who wait that may have it."""
        for each in self._line:
            if self._takes(each.backend, each.room, each.urgency, each.most):
                self._line.remove(each)
                each.entered.set()
                return

    def _takes(self, backend: str, room: Room, urgency: Urgency, most: int) -> bool:
        if not self._backends.enter(backend, 1.0, self._most):
            return False
        if room.enter(urgency.tenant, urgency.weight, most):
            return True
        self._backends.leave(backend)
        return False


class _Waiting:
    """A call that waits for a place."""

    __slots__ = ("backend", "entered", "most", "room", "urgency")

    def __init__(self, backend: str, room: Room, urgency: Urgency, most: int) -> None:
        self.backend = backend
        self.room = room
        self.urgency = urgency
        self.most = most
        self.entered = threading.Event()
