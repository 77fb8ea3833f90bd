"""Who may send a call to a backend now, beside those that are on their way: waiting and counting.

What decides is `Room`, twice: whose calls may be on their way to one backend, and which backends'
calls may hold the threads of this gateway, so that a slow backend leaves some to the others and to
the models that are here.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from wherever_gateway.backends.room import Room

if TYPE_CHECKING:
    from wherever_contracts.urgency import Urgency


class Doors:
    """The bound for the calls of all backends together. Safe to use from many threads.

    Args:
        most: calls on their way at a time.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._free = threading.Condition()
        self._backends = Room()

    def enter(
        self, backend: str, room: Room, urgency: Urgency, most: int, wait_s: float = 0.0
    ) -> bool:
        """Take a place for a call, if there is one soon; `leave` hands it back.

        Args:
            backend: the backend's name.
            room: the calls on their way to it; used by nobody else.
            urgency: whose call it is.
            most: how many may be on their way to it now.
            wait_s: how long a place is waited for.
        """

        def takes() -> bool:
            if not self._backends.enter(backend, 1.0, self._most):
                return False
            if room.enter(urgency.tenant, urgency.weight, most):
                return True
            self._backends.leave(backend)
            return False

        with self._free:
            return self._free.wait_for(takes, wait_s)

    def leave(self, backend: str, room: Room, urgency: Urgency) -> None:
        """Hand a place back."""
        with self._free:
            room.leave(urgency.tenant)
            self._backends.leave(backend)
            self._free.notify_all()
