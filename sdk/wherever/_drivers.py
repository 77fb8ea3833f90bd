"""The loops that carry a flow out: sync, async, and many flows in step."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from queue import Empty, SimpleQueue
from time import perf_counter
from typing import Protocol, TypeAlias

from wherever._routing.steps import Attempt, Ended, Flow, Outcome, Race, Verdict

Done: TypeAlias = Callable[[Outcome], None]
GiveUp: TypeAlias = Callable[[], None]


class Performer(Protocol):
    """Carries attempts out."""

    def perform(self, attempt: Attempt, /) -> Outcome:
        """Carry out an attempt in this thread."""
        ...

    def begin(self, attempt: Attempt, done: Done, /) -> GiveUp:
        """Begin an attempt; `done` is called once, from any thread, also when it is given up."""
        ...


class ManyPerformer(Protocol):
    """Carries the attempts of many flows out."""

    def perform(self, steps: Sequence[tuple[int, Attempt]], /) -> Sequence[Outcome]:
        """Carry out attempts on this device: (the flow's position, attempt), in one run or few."""
        ...

    def begin(self, position: int, attempt: Attempt, done: Done, /) -> GiveUp:
        """Begin an attempt of one flow; see `Performer`."""
        ...


def drive(flow: Flow, performer: Performer) -> Verdict:
    """Carry out one flow in this thread.

    Attempts that still run when the flow ends are given up.
    """
    races: _Races | None = None
    try:
        step = next(flow)
        while True:
            if type(step) is Attempt:
                step = flow.send(performer.perform(step))
                continue
            if races is None:
                races = _Races(performer)
            step = flow.send(races.run(step))  # type: ignore[arg-type]  # no other step exists
    except StopIteration as stop:
        verdict: Verdict = stop.value
        return verdict
    finally:
        if races is not None:
            races.give_up()


class _Races:
    """The attempts of one flow that run beside each other."""

    def __init__(self, performer: Performer) -> None:
        self._performer = performer
        self._arrivals: SimpleQueue[tuple[int, Outcome]] = SimpleQueue()
        self._running: dict[int, GiveUp] = {}
        self._begun = 0

    def run(self, race: Race) -> Ended:
        if race.begin is not None:
            number = self._begun
            self._begun += 1
            arrived = self._arrivals.put
            self._running[number] = self._performer.begin(
                race.begin, lambda outcome: arrived((number, outcome))
            )
        ended = self._next(race.until)
        if ended is not None:
            del self._running[ended[0]]
        return ended

    def give_up(self) -> None:
        for give_up in self._running.values():
            give_up()

    def _next(self, until: float | None) -> tuple[int, Outcome] | None:
        try:
            if until is None:
                return self._arrivals.get()
            return self._arrivals.get(timeout=max(0.0, until - perf_counter()))
        except Empty:
            return None


async def drive_async(flow: Flow, perform: Callable[[Attempt], Awaitable[Outcome]]) -> Verdict:
    """Carry out one flow in this task; attempts that still run when it ends are cancelled."""
    races: _AsyncRaces | None = None
    try:
        step = next(flow)
        while True:
            if type(step) is Attempt:
                step = flow.send(await perform(step))
                continue
            if races is None:
                races = _AsyncRaces(perform)
            step = flow.send(await races.run(step))  # type: ignore[arg-type]  # as in `drive`
    except StopIteration as stop:
        verdict: Verdict = stop.value
        return verdict
    finally:
        if races is not None:
            races.give_up()
        flow.close()  # a task that was cancelled may keep it, and whoever follows it waits


class _AsyncRaces:
    """The attempts of one flow that run beside each other, each a task."""

    def __init__(self, perform: Callable[[Attempt], Awaitable[Outcome]]) -> None:
        self._perform = perform
        self._running: dict[asyncio.Future[Outcome], int] = {}
        self._begun = 0

    async def run(self, race: Race) -> Ended:
        if race.begin is not None:
            task = asyncio.ensure_future(self._perform(race.begin))
            self._running[task] = self._begun
            self._begun += 1
        left_s = None if race.until is None else max(0.0, race.until - perf_counter())
        if not self._running:
            await asyncio.sleep(left_s or 0.0)
            return None
        ended, _ = await asyncio.wait(
            self._running, timeout=left_s, return_when=asyncio.FIRST_COMPLETED
        )
        if not ended:
            return None
        first = min(ended, key=self._running.__getitem__)
        return self._running.pop(first), first.result()

    def give_up(self) -> None:
        for task in self._running:
            task.cancel()


def drive_many(flows: Sequence[Flow], performer: ManyPerformer) -> list[Verdict | Exception]:
    """Carry out many flows in step.

    Attempts on this device that are due at the same time are performed together, so that they can
    share a run of its engine. A flow that fails leaves its error in its place.
    """
    return _Many(flows, performer).run()


class _Many:
    """Many flows under way."""

    def __init__(self, flows: Sequence[Flow], performer: ManyPerformer) -> None:
        self._flows = flows
        self._performer = performer
        self._ends: dict[int, Verdict | Exception] = {}
        # (flow, number of the attempt in its flow's races; -1: it was alone, outcome)
        self._arrivals: SimpleQueue[tuple[int, int, Outcome]] = SimpleQueue()
        self._running: dict[tuple[int, int], GiveUp] = {}
        self._begun = [0] * len(flows)
        self._until: dict[int, float | None] = {}
        self._here: list[tuple[int, int, Attempt]] = []

    def run(self) -> list[Verdict | Exception]:
        try:
            for position in range(len(self._flows)):
                self._advance(position, None)
            while len(self._ends) < len(self._flows):
                self._perform_here()
                self._wait()
        finally:
            for give_up in self._running.values():
                give_up()
        return [self._ends[position] for position in range(len(self._flows))]

    def _advance(self, position: int, sent: Outcome | Ended) -> None:
        self._until.pop(position, None)
        flow = self._flows[position]
        try:
            step = flow.send(sent)  # None begins it, and ends a wait
        except StopIteration as stop:
            self._ended(position, stop.value)
        except Exception as error:  # noqa: BLE001 (whatever ended the flow is its result)
            self._ended(position, error)
        else:
            self._take(position, step)

    def _ended(self, position: int, end: Verdict | Exception) -> None:
        self._ends[position] = end
        for key in [key for key in self._running if key[0] == position]:
            self._running.pop(key)()

    def _take(self, position: int, step: Attempt | Race) -> None:
        if isinstance(step, Attempt):
            self._begin(position, -1, step)
            return
        self._until[position] = step.until
        if step.begin is not None:
            number = self._begun[position]
            self._begun[position] += 1
            self._begin(position, number, step.begin)

    def _begin(self, position: int, number: int, attempt: Attempt) -> None:
        if attempt.timeout_s is None:
            self._here.append((position, number, attempt))
            return
        arrived = self._arrivals.put
        self._running[position, number] = self._performer.begin(
            position, attempt, lambda outcome: arrived((position, number, outcome))
        )

    def _perform_here(self) -> None:
        here, self._here = self._here, []
        due = [each for each in here if each[0] not in self._ends]
        if not due:
            return
        outcomes = self._performer.perform([(position, attempt) for position, _, attempt in due])
        for (position, number, _), outcome in zip(due, outcomes, strict=True):
            self._arrivals.put((position, number, outcome))

    def _wait(self) -> None:
        """Take what has arrived; if nothing has, wait for it or for the first time that is due."""
        timers = [until for until in self._until.values() if until is not None]
        if not (timers or self._running) and self._arrivals.empty():
            return
        left_s = max(0.0, min(timers) - perf_counter()) if timers else None
        try:
            self._arrived(*self._arrivals.get(timeout=left_s))
            while True:
                self._arrived(*self._arrivals.get_nowait())
        except Empty:
            pass
        now = perf_counter()
        for position in [p for p, until in self._until.items() if until is not None]:
            until = self._until.get(position)
            if until is not None and until <= now:
                self._advance(position, None)

    def _arrived(self, position: int, number: int, outcome: Outcome) -> None:
        self._running.pop((position, number), None)
        if position in self._ends:
            return
        if number < 0:
            self._advance(position, outcome)
        else:
            self._advance(position, (number, outcome))
