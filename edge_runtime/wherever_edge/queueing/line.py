"""Those who wait for an engine, in the order in which they have their turns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from wherever_edge.queueing.limit import Pace
from wherever_edge.queueing.policy import (
    Standing,
    Start,
    company,
    fairest,
    level,
    next_of,
    several_tenants,
)
from wherever_edge.queueing.shares import Shares

if TYPE_CHECKING:
    from wherever_edge.queueing.turn import Turn


class Line:
    """The turns of those who wait; each is charged to its tenant when it begins.

    Not safe for threads.

    Args:
        usual_s: what a run usually takes.
    """

    __slots__ = ("_pace", "_passed", "_shares", "_turns", "_usual_s")

    def __init__(self, usual_s: Callable[[], float]) -> None:
        self._turns: dict[int, Turn] = {}
        self._passed = 0
        self._pace = Pace()
        self._shares = Shares()
        self._usual_s = usual_s

    def __len__(self) -> int:
        return len(self._turns)

    def standings(self) -> list[Standing]:
        """Where everybody stands, about in the order in which they came."""
        return [turn.standing for turn in self._turns.values()]

    def join(self, turn: Turn) -> None:
        """Somebody waits from now on."""
        if not self._turns:
            self._pace.begins()
        self._turns[turn.standing.number] = turn

    def leave(self, number: int) -> Turn | None:
        """Somebody waits no more; None when it did not."""
        return self._turns.pop(number, None)

    def turn(self, number: int) -> Turn:
        """The turn of somebody who waits."""
        return self._turns[number]

    def take(self, now: float, waits: Callable[[Standing, float], bool]) -> Turn | None:
        """Take the one whose turn it is out of the line, with those who go along in its run.

        Args:
            now: the time.
            waits: whether somebody still does, at that time; who does not is not there afterwards.

        Returns:
            None when nobody can begin now.
        """
        while self._turns:
            standings = self.standings()
            start = self._shares.start if several_tenants(standings) else level
            first = next_of(standings, self._passed, self._busy(), start)
            if first is None:
                return None
            if waits(first, now):
                self._passed = 0 if first == fairest(standings, start) else self._passed + 1
                turn = self._turns.pop(first.number)
                turn.company = self._company(turn, standings, start, now, waits)
                self._charge(turn)
                self._pace.moved(now, 1 + len(turn.company))
                return turn
        return None

    def expected_s(self, ahead: float) -> float | None:
        """How long somebody with so many before it waits; None while nothing is known."""
        return self._pace.expected_s(ahead)

    def _busy(self) -> set[object]:
        groups = {turn.group for turn in self._turns.values()}
        return {group for group in groups if group is not None and group.busy}

    def _company(
        self,
        turn: Turn,
        standings: Sequence[Standing],
        start: Start,
        now: float,
        waits: Callable[[Standing, float], bool],
    ) -> list[Turn]:
        if turn.group is None:
            return []
        others = company(turn.standing, standings, turn.group.costs, now, turn.group.limits, start)
        return [self._turns.pop(each.number) for each in others if waits(each, now)]

    def _charge(self, turn: Turn) -> None:
        """Charge the tenants of a run with their parts of it."""
        everyone = [turn, *turn.company]
        rows = sum(each.standing.rows for each in everyone)
        group = turn.group
        row_s = (self._usual_s() if group is None else group.costs.expected_s(rows)) / rows
        for each in everyone:
            rank, tenant, weight = each.standing.rank, each.standing.tenant, each.standing.weight
            self._shares.begin(rank, tenant, weight, row_s * each.standing.rows, leads=each is turn)
