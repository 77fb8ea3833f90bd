"""A session that may leave the memory while nobody uses it, and comes back when it is needed."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Mapping
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

from wherever_contracts.urgency import CALM, Urgency
from wherever_edge.forking import loading
from wherever_edge.memory import Room

if TYPE_CHECKING:
    from wherever_contracts.tensors import Array
    from wherever_devices.plans import RunPlan
    from wherever_edge.engines.engine import Session
    from wherever_edge.queueing.lane import Lane

_ticks = itertools.count(1)
# runs between two looks at whether calls that wait for nothing should
_LOOK_EVERY = 251


class Ran(NamedTuple):
    """What one run gave.

    Attributes:
        outputs: the output tensors by name; of the caller's own rows alone.
        engine_s: seconds in the engine.
        queue_s: seconds before it.
        rows: how many rows the run had when several calls shared it; else 1.
    """

    outputs: dict[str, Array]
    engine_s: float
    queue_s: float
    rows: int = 1


class Lodging(NamedTuple):
    """Whose session it is, and what is known of its size before it was ever opened.

    Attributes:
        model: the package's name.
        version: the package's version.
        variant: the variant's id.
        file_bytes: the size of the variant's files together.
        needs_bytes: the memory that the manifest says it needs; 0 where it does not.
        may_leave: says whether it could be opened again, as far as can be seen at once.
    """

    model: str = ""
    version: str = ""
    variant: str = ""
    file_bytes: int = 0
    needs_bytes: int = 0
    may_leave: Callable[[], bool] = lambda: False


class Resident:
    """One variant under one plan: its session, or the way to have it again.

    A session is closed when it has left and the last run in it has ended.

    Args:
        plan: how it is meant to run.
        open_session: opens the session.
        lodging: whose session it is.
        room: the memory that it shares with others; by default one without a limit.

    Attributes:
        lane: where its calls wait for their turn; None where they never do.
        used: grows with each run, over all residents; the smallest was used longest ago.
        held_bytes: what the session took when it was opened last; 0 while that is not known.
        measured: what opening it took at its height, the newest last.
    """

    __slots__ = (
        "_held",
        "_lock",
        "_open",
        "_opened",
        "_room",
        "held_bytes",
        "lane",
        "lodging",
        "measured",
        "plan",
        "used",
    )

    def __init__(
        self,
        plan: RunPlan,
        open_session: Callable[[], Session],
        lodging: Lodging = Lodging(),  # noqa: B008 (it cannot be changed)
        room: Room | None = None,
    ) -> None:
        self.plan: RunPlan = plan
        self.lodging: Lodging = lodging
        self.lane: Lane | None = None
        self.used: int = next(_ticks)
        self.held_bytes: int = 0
        self.measured: tuple[int, ...] = ()
        self._held: _Held | None = None
        self._opened = False
        self._open = open_session
        self._room = room or Room()
        self._lock = threading.Lock()

    @classmethod
    def of(cls, plan: RunPlan, session: Session) -> Resident:
        """One whose session is open already, and never leaves."""
        resident = cls(plan, lambda: session)
        resident.bring_back()
        return resident

    @property
    def opened(self) -> bool:
        """True when it is in memory, or was."""
        return self._opened

    @property
    def session(self) -> Session | None:
        """The session while it is in memory, else None."""
        held = self._held
        return None if held is None else held.session

    @property
    def pids(self) -> tuple[int, ...]:
        """The processes that it lives in, other than this one."""
        held = self._held
        return () if held is None else held.session.pids

    def run(
        self, tensors: Mapping[str, Any], urgency: Urgency | None = CALM, calls: int = 1
    ) -> Ran:
        """Run the variant, when it is this call's turn.

        Args:
            tensors: what to run it on.
            urgency: how much the call can wait; None when its turn has come.
            calls: how many calls brought the rows.

        Raises:
            OverloadedError: too many calls wait already.
            DeadlineError: the call's time ran out before its turn came.
            EngineError: a tensor does not fit, the engine failed, or it cannot be opened again.
        """
        self.used = used = next(_ticks)
        lane = self.lane
        if urgency is not None and lane is not None and not (lane.inline and used % _LOOK_EVERY):
            return lane.run(tensors, urgency, calls)
        held = self._held or self._bring_back()
        started = perf_counter()
        try:
            outputs = held.session.run(tensors)
        finally:
            del held  # a session could not leave that an error's traceback, or `look`, holds
        ended = perf_counter()
        if ended > self._room.due_s:
            self._room.look(ended)
        return Ran(outputs, ended - started, 0.0)

    def recovers(self, timeout_s: float) -> bool:
        """Whether `run` may be tried again after `EngineCrashError`; waits until it may."""
        held = self._held
        return held is None or held.session.recovers(timeout_s)

    def warm(self) -> None:
        """Run the session once on zeros.

        Raises:
            EngineError: the engine failed where every length that is open is 1.
        """
        held = self._held or self._bring_back()
        held.session.warm()

    def bring_back(self) -> Session:
        """The session; it is opened again, once, if it had left the memory."""
        return (self._held or self._bring_back()).session

    def put_out(self) -> threading.Event | None:
        """Let the session leave the memory; runs that are under way end with it.

        Returns:
            What is set when it has left; None when it was not there.
        """
        held, self._held = self._held, None
        return None if held is None else held.gone

    def _bring_back(self) -> _Held:
        self.used = next(_ticks)
        with loading(), self._lock:
            held = self._held
            if held is None:
                with self._room.opening(self):
                    self._held = held = _Held(self._open())
                self._opened = True
            return held


class _Held:
    """A session in memory. Runs keep it alive: it is closed when nobody holds it any more."""

    __slots__ = ("_pid", "gone", "session")

    def __init__(self, session: Session) -> None:
        self.session = session
        self.gone = threading.Event()
        self._pid = os.getpid()

    def __del__(self, getpid: Callable[[], int] = os.getpid) -> None:
        if getpid() == self._pid:  # to a forked child, it is its parent's
            self.session.close()
        del self.session
        self.gone.set()
