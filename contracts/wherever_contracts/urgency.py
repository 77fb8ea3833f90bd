"""How much a call can wait, as those who let calls wait see it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from wherever_contracts.places import Priority


def _stays() -> bool:
    return False


class Urgency(NamedTuple):
    """Who waits for an answer, and how long.

    Attributes:
        priority: who goes first where calls have to wait.
        deadline: when the answer is of no use any more, on the clock of `time.perf_counter`; None:
            it never is.
        gone: True once nobody waits any more.
    """

    priority: Priority = "interactive"
    deadline: float | None = None
    gone: Callable[[], bool] = _stays


CALM = Urgency()
