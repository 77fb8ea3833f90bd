"""Flows in virtual time: nothing waits, the clock jumps from event to event."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from wherever._routing.steps import Attempt, Race
from wherever_contracts.errors import WhereverError

if TYPE_CHECKING:
    from wherever._routing.steps import Ended, Flow, Outcome, Verdict

GiveUp: TypeAlias = Callable[[], None]
Begin: TypeAlias = "Callable[[Attempt, Callable[[Outcome], None]], GiveUp]"
"""Begins an attempt; the callable that it is passed is called once, later, unless given up."""


class Clock:
    """Events in the order of their moments; those of one moment in the order they were made.

    Attributes:
        now: the moment of the event that happens.
    """

    def __init__(self, now: float = 0.0) -> None:
        self.now = now
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._serial = 0

    def at(self, moment: float, happen: Callable[[], None]) -> None:
        """Have something happen at a moment, or now if that has passed; never at infinity."""
        if moment == math.inf:
            return
        self._serial += 1
        heapq.heappush(self._events, (max(moment, self.now), self._serial, happen))

    def run(self, until: Callable[[], bool]) -> None:
        """Let things happen until `until()`, or until nothing is due."""
        while self._events and not until():
            self.now, _, happen = heapq.heappop(self._events)
            happen()


class Course:
    """One flow, carried out on a clock as `wherever._drivers.drive` does it in real time.

    Args:
        clock: whose moments the flow's times are.
        flow: what to carry out.
        begin: begins an attempt.
        ended: told the verdict, or the error that the flow ended with.
    """

    def __init__(
        self,
        clock: Clock,
        flow: Flow,
        begin: Begin,
        ended: Callable[[Verdict | WhereverError], None],
    ) -> None:
        self._clock = clock
        self._flow = flow
        self._begin = begin
        self._ended = ended
        self._turn = 0
        self._begun = 0
        self._running: dict[int, GiveUp] = {}
        self._arrived: list[tuple[int, Outcome]] = []
        self._waiting = False

    def advance(self, heard: Outcome | Ended = None) -> None:
        """Carry out what the flow wants next, given what came of the step before; None: begin."""
        self._turn += 1
        self._waiting = False
        try:
            step = self._flow.send(heard)
        except StopIteration as stop:
            self._finish(stop.value)
        except WhereverError as error:
            self._finish(error)
        else:
            self._carry_out(step)

    def _carry_out(self, step: Attempt | Race) -> None:
        if isinstance(step, Attempt):
            self._begin(step, self.advance)
            return
        if step.begin is not None:
            number, self._begun = self._begun, self._begun + 1
            self._running[number] = self._begin(
                step.begin, lambda outcome: self._hear(number, outcome)
            )
        self._waiting = True
        if self._arrived:
            self._later(self._clock.now, self._next_arrival)
        elif step.until is not None:
            self._later(step.until, self.advance)

    def _next_arrival(self) -> None:
        self.advance(self._arrived.pop(0))

    def _later(self, moment: float, happen: Callable[[], None]) -> None:
        turn = self._turn
        self._clock.at(moment, lambda: happen() if turn == self._turn else None)

    def _hear(self, number: int, outcome: Outcome) -> None:
        self._running.pop(number, None)
        if self._waiting and not self._arrived:
            self.advance((number, outcome))
        else:
            self._arrived.append((number, outcome))

    def _finish(self, ending: Verdict | WhereverError) -> None:
        self._turn += 1
        for give_up in self._running.values():
            give_up()
        self._ended(ending)
