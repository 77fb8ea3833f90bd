"""The queue in front of a host's engines: bounded, by priority, and fair."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from time import perf_counter
from typing import TYPE_CHECKING, Any

from wherever_contracts.errors import DeadlineError, OverloadedError, WhereverError
from wherever_contracts.places import PRIORITIES
from wherever_edge.queueing.inside import Inside, InsideTogether
from wherever_edge.queueing.limit import Limit
from wherever_edge.queueing.line import Line
from wherever_edge.queueing.policy import Standing, ahead_of, displaced_by
from wherever_edge.queueing.shares import LEAST_WEIGHT, Places
from wherever_edge.queueing.turn import NEVER, Turn

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wherever_contracts.urgency import Urgency
    from wherever_edge.queueing.group import Group

_RANKS = {priority: rank for rank, priority in enumerate(PRIORITIES)}
# stands for a number of runs where none is set
_UNBOUNDED = 64

# how much the newest run counts in the usual time of one
_WEIGHT = 0.1
_LEAST_RETRY_S, _MOST_RETRY_S = 0.01, 2.0


class RunQueue:
    """Lets so many runs of engines go on at once; the other calls wait for their turn.

    Who is let in by `admit` counts from then on, also while a pipeline works for it, so that what
    there is no room for is refused before any work is done. While calls are refused, fewer may
    wait than at other times, so that those that are let in are answered soon (see `Limit`).
    Tenants share the engines, and the places of those who wait, by their weights (see `Shares`).

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
        self._usual_s = 0.0
        self._row_s = 0.0
        self._limit = Limit()
        self._numbers = itertools.count(1)
        self._line = Line(lambda: self._usual_s)
        self._places = Places()
        self._lock = threading.Lock()

    @property
    def waiting(self) -> int:
        """Calls that wait for their turn now."""
        return len(self._line)

    @property
    def working(self) -> int:
        """Calls that were let in and do not wait."""
        return max(0, self.inside - len(self._line))

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
        """When a call that is refused now may find room.

        Those that were refused before it come again, too: the more there were, the later.
        """
        before = self.waiting + 1 + self._limit.turned_away
        return min(_MOST_RETRY_S, max(_LEAST_RETRY_S, self._expected_s(before)))

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

    def admit(self, urgency: Urgency) -> AbstractContextManager[None]:
        """Let a call in for the time of the block, which begins with it.

        Raises:
            OverloadedError: too many calls wait already, or it would wait for longer than its
                caller does; the message says when to try again.
            DeadlineError: the caller's time ran out, or it has gone.
        """
        return Inside(self, urgency)

    def admit_many(self, urgencies: Sequence[Urgency]) -> InsideTogether:
        """Let calls in that come together; gives why not, for each in its place, or None."""
        return InsideTogether(self, urgencies)

    def enter(self, urgency: Urgency) -> None:
        """Let a call in; each that was let in has to `leave`.

        Raises:
            OverloadedError, DeadlineError: as `admit` does.
        """
        with self._lock:
            self._let_in(urgency, perf_counter())

    def enter_many(self, urgencies: Iterable[Urgency]) -> list[WhereverError | None]:
        """Let calls in that come together; each that was has to `leave`."""
        with self._lock:
            now = perf_counter()
            return [self._refusal(urgency, now) for urgency in urgencies]

    def turn_away(self, tenant: str) -> None:
        """Refuse a tenant's call before it is read, where it would find no room whatever it is.

        Only while calls are refused: reading what is refused then keeps from work. As if it had the
        weight and the class of those of its calls that are inside, which are the most urgent there.

        Raises:
            OverloadedError: it would find none; the message says when to try again.
        """
        if self._limit.level is None or self.runs is None or self.max_waiting is None:
            return
        with self._lock:
            now = perf_counter()
            room = self._limit.room(now, self.runs, self.max_waiting)
            if self.inside >= room and not self._may_find_room(tenant, room):
                raise OverloadedError(self._refused(now))

    def leave(self, urgencies: Iterable[Urgency], *, answered: bool) -> None:
        """Calls that were let in have ended.

        Args:
            urgencies: what they were let in with.
            answered: whether they were worked on to their end.
        """
        with self._lock:
            now = perf_counter()
            for urgency in urgencies:
                self.inside -= 1
                self._places.give_back(urgency.tenant)
                if answered:
                    self._limit.answered(now, self._row_s)

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
        rank, weight = _RANKS[urgency.priority], max(LEAST_WEIGHT, urgency.weight)
        standing = Standing(rank, deadline, number, group, rows, size, urgency.tenant, weight)
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
                # runs of many rows must not be a reason to let more in, which makes them longer
                self._row_s += _WEIGHT * (elapsed_s / rows - self._row_s)
            if group is not None:
                group.ended(rows, elapsed_s, joined=joined)
            woken = self._next_ones() if self._line else ()
        for turn in woken:
            turn.ring()

    def disband(self, turn: Turn) -> None:
        """Let those whom it took along run by themselves."""
        for each in turn.company:
            each.ring()
        turn.company = []

    def _refusal(self, urgency: Urgency, now: float) -> WhereverError | None:
        try:
            self._let_in(urgency, now)
        except WhereverError as error:
            return error
        return None

    def _let_in(self, urgency: Urgency, now: float) -> None:
        if _is_late(urgency, now):
            raise self._late()
        if self._line and urgency.deadline is not None:
            self._refuse_the_hopeless(urgency, urgency.deadline - now)
        if self.runs is not None and self.max_waiting is not None:
            room = self._limit.room(now, self.runs, self.max_waiting)
            if self.inside >= room:
                self._make_room(urgency, now, room)
        if not self.inside:
            self._limit.busy(now)
        self.inside += 1
        self._places.take(urgency.tenant, urgency.weight)

    def _line_up(self, turn: Turn) -> None:
        group = turn.group
        with self._lock:
            if not turn.again:
                self._find_place(turn.urgency)
            self._line.join(turn)
            # there may be room by now
            woken = () if group is not None and group.busy else self._next_ones()
        for each in woken:
            each.ring()

    def _find_place(self, urgency: Urgency) -> None:
        """Make room in a full line."""
        if self.runs is None or self.max_waiting is None:
            return
        if self._running + len(self._line) >= self.runs + self.max_waiting:
            self._make_room(urgency, perf_counter(), 0)

    def _make_room(self, urgency: Urgency, now: float, room: int) -> None:
        """Refuse a call that there is no room for, or let another give way to it.

        A tenant may come in beyond `room` where others hold its part of it, and none of them waits.
        """
        if self._send_away_the_late(now):
            return
        rank, weight = _RANKS[urgency.priority], max(LEAST_WEIGHT, urgency.weight)
        given_way = displaced_by(rank, self._line.standings(), urgency.tenant, weight)
        owed = self._places.spare_one(urgency.tenant, room, urgency.weight)
        if given_way is None and owed and self.inside < self.places:
            return
        words = self._refused(now)
        if given_way is None:
            raise OverloadedError(words)
        came = "more urgent calls" if rank < given_way.rank else "calls of others with less"
        self._send_away(given_way.number, OverloadedError(f"{came} came; {words}"))

    def _may_find_room(self, tenant: str, room: int) -> bool:
        """Whether a call of a tenant may, by what is known before it is read."""
        weight = self._places.weight(tenant)
        standings = self._line.standings()
        if weight is None or any(each.rank for each in standings):
            return True
        given_way = displaced_by(0, standings, tenant, max(LEAST_WEIGHT, weight))
        return given_way is not None or self._places.spare_one(tenant, room, weight)

    def _refused(self, now: float) -> str:
        """Count a refusal, and give the words for it."""
        self.refused += 1
        self._limit.refused(now, self._row_s)
        return (
            f"{self.runs} calls are at work and {self.waiting} are waiting; "
            f"try again in about {self.retry_after_s() * 1000:.0f} ms"
        )

    def _refuse_the_hopeless(self, urgency: Urgency, left_s: float) -> None:
        """Refuse a call that those before it keep waiting for longer than its caller waits."""
        if self._expected_s(len(self._line)) <= left_s:
            return
        rank, weight = _RANKS[urgency.priority], max(LEAST_WEIGHT, urgency.weight)
        ahead = ahead_of(rank, self._line.standings(), urgency.tenant, weight)
        expected_s = self._expected_s(ahead)
        if expected_s > left_s:
            self.refused += 1
            raise OverloadedError(
                f"it would wait for about {expected_s * 1000:.0f} ms, and its caller waits for "
                f"{left_s * 1000:.0f} ms; try again later, or allow more time"
            )

    def _expected_s(self, ahead: float) -> float:
        """How long a call waits that has so many before it, as far as is known."""
        usual_s = self._usual_s * ahead / (self.runs or 1)
        paced_s = self._line.expected_s(ahead)
        return usual_s if paced_s is None else min(usual_s, paced_s)

    def _has_room(self) -> bool:
        return self.runs is None or self._running < self.runs

    def _next_ones(self) -> list[Turn]:
        """Take those whose turn it is out of the line."""
        now = perf_counter()
        woken: list[Turn] = []
        while self._line and self._has_room():
            turn = self._line.take(now, self._still_waits)
            if turn is None:
                break
            turn.leads = True
            self._count_in(turn.group)
            woken.append(turn)
        return woken

    def _count_in(self, group: Group | None) -> None:
        self._running += 1
        if group is not None:
            group.running += 1

    def _send_away_the_late(self, now: float) -> bool:
        """Send those away who no longer wait; True when that made room."""
        return sum(not self._still_waits(each, now) for each in self._line.standings()) > 0

    def _still_waits(self, standing: Standing, now: float) -> bool:
        """Whether somebody in the line does; who does not is sent away."""
        if not _is_late(self._line.turn(standing.number).urgency, now):
            return True
        self._send_away(standing.number, self._late())
        return False

    def _send_away(self, number: int, reason: WhereverError) -> None:
        turn = self._line.turn(number)
        self._line.leave(number)
        turn.refused = reason
        turn.ring()

    def _leave(self, turn: Turn) -> None:
        """Its time is over: it leaves, unless its turn came at the same moment."""
        with self._lock:
            if self._line.leave(turn.standing.number) is not None:
                raise self._late()
        turn.wait(NEVER)

    def _walk_off(self, turn: Turn) -> None:
        """Its thread was interrupted while it waited: the others must not wait for it."""
        with self._lock:
            self._line.leave(turn.standing.number)
        if turn.leads:
            self.disband(turn)
            self.end(turn.group)

    def _late(self) -> DeadlineError:
        self.dropped += 1
        return DeadlineError("the caller's time ran out before the work began; it was not done")


def _is_late(urgency: Urgency, now: float) -> bool:
    return (urgency.deadline is not None and urgency.deadline <= now) or urgency.gone()
