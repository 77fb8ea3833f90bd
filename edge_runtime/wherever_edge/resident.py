"""A session that may leave the memory while nobody uses it, and comes back when it is needed."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Mapping
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

from wherever_contracts.urgency import CALM, Urgency

if TYPE_CHECKING:
    from wherever_contracts.tensors import Array
    from wherever_devices.plans import RunPlan
    from wherever_edge.engines.engine import Session

_ticks = itertools.count(1)


class Ran(NamedTuple):
    """What one run gave, and the seconds that it spent in the engine and before it."""

    outputs: dict[str, Array]
    engine_s: float
    queue_s: float


class Resident:
    """One variant under one plan: its session, or the way to have it again.

    Attributes:
        plan: how it was meant to run.
        session: the session while it is in memory, else None.
        used: grows with each run, over all residents; the smallest was used longest ago.
    """

    __slots__ = ("_lock", "_open", "plan", "session", "used")

    def __init__(self, plan: RunPlan, session: Session, open_again: Callable[[], Session]) -> None:
        self.plan: RunPlan = plan
        self.session: Session | None = session
        self.used: int = next(_ticks)
        self._open = open_again
        self._lock = threading.Lock()

    @classmethod
    def of(cls, plan: RunPlan, session: Session) -> Resident:
        """One whose session never leaves."""
        return cls(plan, session, lambda: session)

    def run(self, tensors: Mapping[str, Any], urgency: Urgency = CALM) -> Ran:
        """Run the variant.

        Raises:
            EngineError: a tensor does not fit, the engine failed, or it cannot be opened again.
        """
        self.used = next(_ticks)
        session = self.session or self.bring_back()
        started = perf_counter()
        outputs = session.run(tensors)
        return Ran(outputs, perf_counter() - started, 0.0)

    def bring_back(self) -> Session:
        """The session; it is opened again, once, if it had left the memory."""
        with self._lock:
            if self.session is None:
                self.session = self._open()
            return self.session

    def put_out(self) -> None:
        """Let the session leave the memory; runs that are under way end with it."""
        with self._lock:
            self.session = None
