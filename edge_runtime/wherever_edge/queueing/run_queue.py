"""The queue in front of a host's engines: bounded, by priority, and fair."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from time import perf_counter
from typing import TYPE_CHECKING, Any

from wherever_contracts.errors import DeadlineError, OverloadedError, WhereverError
from wherever_contracts.places import PRIORITIES
from wherever_edge.queueing.policy import (
    Limits,
    Standing,
    company,
    displaced_by,
    longest_waiting,
    next_of,
)
from wherever_edge.queueing.turn import NEVER, Turn

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wherever_contracts.urgency import Urgency
    from wherever_edge.queueing.group import Group

_RANKS = {priority: rank for rank, priority in enumerate(PRIORITIES)}
# stands for a number of runs where none is set
_UNBOUNDED = 64
_LIMITS = Limits()

# how much the newest run counts in the usual time of one
_WEIGHT = 0.1
_LEAST_RETRY_S = 0.01


class RunQueue:
    """Lets so many runs of engines go on at once; the other calls wait for their turn.

    Who is let in by `admit` counts from then on, also while a pipeline works for it, so that what
    there is no room for is refused before any work is done.

    Args:
        runs: runs at a time; None for as many as there are calls.
        max_waiting: calls that may wait behind them; None for any number.

    Attributes:
        inside: calls that were let in and have not ended.
        refused: calls that were turned away because too many were waiting.
        dropped: calls that were not run because nobody could use the answer any more.
    """

    def __init__(self, runs: int | None = None, max_waiting: int | None = None) -> None:
        self.runs = runs
        self.max_waiting = max_waiting
        self.inside: int = 0
        self.refused: int = 0
        self.dropped: int = 0
        self._running = 0
        self._passed = 0
        self._usual_s = 0.0
        self._numbers = itertools.count(1)
        self._waiting: dict[int, Turn] = {}
        self._lock = threading.Lock()

    @property
    def waiting(self) -> int:
        """Calls that wait for their turn now."""
        return len(self._waiting)

    @property
    def working(self) -> int:
        """Calls that were let in and do not wait."""
        return max(0, self.inside - len(self._waiting))

    @property
    def places(self) -> int:
        """Calls that are let in at most; those who serve others have a bound."""
        return (self.runs or _UNBOUNDED) + (self.max_waiting or 0)

    def load(self) -> float:
        """0 when nothing is inside, 1 when as many calls are as can run at a time, or more."""
        return min(1.0, self.crowding())

    def crowding(self) -> float:
        """Calls inside over as many as can run at a time: above 1, some of them wait."""
        return self.inside / (self.runs or _UNBOUNDED)

    def retry_after_s(self) -> float:
        """When a call that is refused now may find room."""
        return max(_LEAST_RETRY_S, self._usual_s * (self.waiting + 1) / (self.runs or 1))

    def bound(self, runs: int | None, max_waiting: int | None) -> None:
        """Set other bounds; calls that run or wait already are not disturbed."""
        with self._lock:
            self.runs, self.max_waiting = runs, max_waiting
            woken = self._next_ones()
        for turn in woken:
            turn.ring()

    def again(self) -> RunQueue:
        """An empty one with the same bounds."""
        return RunQueue(self.runs, self.max_waiting)

    @contextmanager
    def admit(self, urgency: Urgency) -> Generator[None]:
        """Let a call in for the time of the block.

        Raises:
            OverloadedError: too many calls wait already; the message says when to try again.
            DeadlineError: the caller's time ran out, or it has gone.
        """
        with self._lock:
            if _is_late(urgency, perf_counter()):
                raise self._late()
            self._make_room(self.inside, urgency)
            self.inside += 1
        try:
            yield
        finally:
            with self._lock:
                self.inside -= 1

    @contextmanager
    def admit_many(self, urgencies: Sequence[Urgency]) -> Generator[list[WhereverError | None]]:
        """Let calls in that come together; gives why not, for each in its place, or None."""
        refused: list[WhereverError | None] = []
        with ExitStack() as inside:
            for urgency in urgencies:
                try:
                    inside.enter_context(self.admit(urgency))
                    refused.append(None)
                except WhereverError as error:
                    refused.append(error)
            yield refused

    def begin(self, group: Group | None) -> bool:
        """Begin a run now if there is room for it; each that began has to `end`."""
        with self._lock:
            if self.runs is not None and self._running >= self.runs:
                return False
            if group is not None:
                if group.busy:
                    return False
                group.running += 1
            self._running += 1
            return True

    def turn(
        self, tensors: Mapping[str, Any], urgency: Urgency, group: Group | None, rows: int
    ) -> Turn:
        """A place in the line for a call that could not begin."""
        deadline = NEVER if urgency.deadline is None else urgency.deadline
        size = 0 if group is None else group.row_bytes * rows
        number = next(self._numbers)
        standing = Standing(_RANKS[urgency.priority], deadline, number, group, rows, size)
        return Turn(standing, group, tensors, urgency)

    def wait(self, turn: Turn) -> None:
        """Return when its turn has come (`leads`), or when another's run with it has ended.

        Raises:
            OverloadedError: too many calls wait already, or more urgent ones took its place.
            DeadlineError: its time ran out before its turn came, or its caller has gone.
        """
        self._line_up(turn)
        try:
            if not turn.wait(turn.standing.deadline):
                self._leave(turn)
        except BaseException:
            self._walk_off(turn)
            raise
        if turn.refused is not None:
            raise turn.refused

    def end(
        self, group: Group | None, rows: int = 0, elapsed_s: float = 0.0, *, joined: bool = False
    ) -> None:
        """A run is over; those whose turn it is now are woken.

        Args:
            group: whose run it was.
            rows: how many rows it had; 0 when it failed, and nothing can be learned from it.
            elapsed_s: how long it took.
            joined: whether several calls shared it.
        """
        with self._lock:
            self._running -= 1
            if rows:
                self._usual_s += _WEIGHT * (elapsed_s - self._usual_s)
            if group is not None:
                group.ended(rows, elapsed_s, joined=joined)
            woken = self._next_ones() if self._waiting else ()
        for turn in woken:
            turn.ring()

    def disband(self, turn: Turn) -> None:
        """Let those whom it took along run by themselves."""
        for each in turn.company:
            each.ring()
        turn.company = []

    def _line_up(self, turn: Turn) -> None:
        group = turn.group
        with self._lock:
            if not turn.again:
                self._make_room(self._running + len(self._waiting), turn.urgency)
            self._waiting[turn.standing.number] = turn
            # there may be room by now
            woken = () if group is not None and group.busy else self._next_ones()
        for each in woken:
            each.ring()

    def _make_room(self, taken: int, urgency: Urgency) -> None:
        """Refuse a call that there is no room for, or let a less urgent one give way to it."""
        if self.runs is None or self.max_waiting is None or taken < self.runs + self.max_waiting:
            return
        if self._send_away_the_late():
            return
        standings = [turn.standing for turn in self._waiting.values()]
        given_way = displaced_by(_RANKS[urgency.priority], standings)
        self.refused += 1
        words = (
            f"{self.runs} calls are at work and {self.waiting} are waiting; "
            f"try again in about {self.retry_after_s() * 1000:.0f} ms"
        )
        if given_way is None:
            raise OverloadedError(words)
        self._send_away(given_way.number, OverloadedError(f"more urgent calls came; {words}"))

    def _has_room(self) -> bool:
        return self.runs is None or self._running < self.runs

    def _next_ones(self) -> list[Turn]:
        """Take those whose turn it is out of the line."""
        now = perf_counter()
        woken: list[Turn] = []
        while self._waiting and self._has_room():
            standings = [turn.standing for turn in self._waiting.values()]
            groups = {turn.group for turn in self._waiting.values()}
            busy = {group for group in groups if group is not None and group.busy}
            first = next_of(standings, self._passed, busy)
            if first is None:
                break
            if not self._sent_away_late(first, now):
                self._passed = 0 if first == longest_waiting(standings) else self._passed + 1
                woken.append(self._start(first, standings, now))
        return woken

    def _start(self, first: Standing, standings: list[Standing], now: float) -> Turn:
        turn = self._waiting.pop(first.number)
        turn.leads = True
        group = turn.group
        if group is not None:
            others = company(first, standings, group.costs, now, _LIMITS)
            turn.company = [
                self._waiting.pop(each.number)
                for each in others
                if not self._sent_away_late(each, now)
            ]
        self._count_in(group)
        return turn

    def _count_in(self, group: Group | None) -> None:
        self._running += 1
        if group is not None:
            group.running += 1

    def _send_away_the_late(self) -> bool:
        """Send those away who no longer wait; True when that made room."""
        now = perf_counter()
        standings = [turn.standing for turn in self._waiting.values()]
        return sum(self._sent_away_late(each, now) for each in standings) > 0

    def _sent_away_late(self, standing: Standing, now: float) -> bool:
        late = _is_late(self._waiting[standing.number].urgency, now)
        if late:
            self._send_away(standing.number, self._late())
        return late

    def _send_away(self, number: int, reason: WhereverError) -> None:
        turn = self._waiting.pop(number)
        turn.refused = reason
        turn.ring()

    def _leave(self, turn: Turn) -> None:
        """Its time is over: it leaves, unless its turn came at the same moment."""
        with self._lock:
            if self._waiting.pop(turn.standing.number, None) is not None:
                raise self._late()
        turn.wait(NEVER)

    def _walk_off(self, turn: Turn) -> None:
        """Its thread was interrupted while it waited: the others must not wait for it."""
        with self._lock:
            self._waiting.pop(turn.standing.number, None)
        if turn.leads:
            self.disband(turn)
            self.end(turn.group)

    def _late(self) -> DeadlineError:
        self.dropped += 1
        return DeadlineError("the caller's time ran out before the work began; it was not done")


def _is_late(urgency: Urgency, now: float) -> bool:
    return (urgency.deadline is not None and urgency.deadline <= now) or urgency.gone()
