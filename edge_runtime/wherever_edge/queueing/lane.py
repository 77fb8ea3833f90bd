"""The way of one resident variant's calls through the queue, together where that pays."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from wherever_contracts.errors import EngineError
from wherever_edge.counters import COUNTERS
from wherever_edge.queueing.costs import HAND_OVER_S, SAMPLES
from wherever_edge.queueing.gathering import Gatherer
from wherever_edge.queueing.group import Group
from wherever_edge.queueing.sharing import AS_USUAL
from wherever_edge.resident import Ran

if TYPE_CHECKING:
    from wherever_contracts.tensors import Array, TensorSpec
    from wherever_contracts.urgency import Urgency
    from wherever_edge.engines.engine import Session
    from wherever_edge.queueing.run_queue import RunQueue
    from wherever_edge.queueing.sharing import Sharing
    from wherever_edge.queueing.turn import Turn
    from wherever_edge.resident import Resident

# What ran for so long after pauses is run a few times more, at once: a single caller's pauses make
# a run of 5 us take 45, and it would never be known to be tiny.
_PERHAPS_TINY_S = 5 * HAND_OVER_S
# shapes that are told apart; calls of more run singly
_MAX_GROUPS = 64
# runs between two looks at whether calls need a place in the line at all
_LOOK_EVERY = 8


class Lane:
    """Runs one variant's calls when it is their turn.

    Whoever finds the engine free runs at once. Whoever does not, waits; when a run ends, one of
    those who wait runs for as many of them as pays, and each gets its own rows. No call waits for
    another to come, unless its owner wants it so (see `Sharing`).

    Args:
        queue: where calls of all variants wait.
        run: runs the engine, from any thread.
        inputs: what it takes.
        batches: whether rows of several calls may share a run.
        width: runs at a time that keep every core at work.
        model: the package's name, for the counts.
        variant: the variant's id, for the counts.

    Attributes:
        inline: calls need not come here now: they would wait for longer than they run, or
            nothing bounds them and nothing is gained together.
        tiny: it runs for less than it takes to wake a thread.
    """

    __slots__ = (
        "_gatherer",
        "_groups",
        "_least_s",
        "_model",
        "_queue",
        "_run",
        "_seen",
        "_sharing",
        "_specs",
        "_variant",
        "_width",
        "inline",
        "tiny",
    )

    def __init__(
        self,
        queue: RunQueue,
        run: Callable[[Mapping[str, Any]], Ran],
        inputs: Sequence[TensorSpec],
        *,
        batches: bool,
        width: int = 1,
        model: str = "",
        variant: str = "",
    ) -> None:
        self._queue = queue
        self._run = run
        self._specs = tuple((spec.name, spec.admits) for spec in inputs) if batches else ()
        self._width = width
        self._model, self._variant = model, variant
        self._groups: dict[tuple[tuple[int, ...], ...], Group] = {}
        self._least_s = math.inf
        self._seen = 0
        self._sharing = AS_USUAL
        self._gatherer: Gatherer | None = None
        self.inline: bool = queue.runs is None and not batches
        self.tiny: bool = False

    @property
    def together(self) -> int:
        """With how many calls one gains by a run of all, as far as is known; 1 for none."""
        joins = any(group.joins for group in list(self._groups.values()))
        return self._sharing.limits.rows if joins or self._gatherer is not None else 1

    def gain(self, calls: Sequence[Mapping[str, Any]], urgency: Urgency) -> int:
        """How many of the first calls that came together gain by one run; 1 when none do.

        They have to end by one deadline.
        """
        entered = [self._group_of(tensors) for tensors in calls]
        group = entered[0][0]
        if group is None or any(each is not group for each, _ in entered):
            return 1
        rows = [each for _, each in entered]
        while len(rows) > 1 and not self._may_share(group, rows, urgency):
            rows = rows[: len(rows) // 2]
        return len(rows)

    def _may_share(self, group: Group, rows: Sequence[int], urgency: Urgency) -> bool:
        total = sum(rows)
        limits = self._sharing.limits
        if total > limits.rows or total * group.row_bytes > limits.size:
            return False
        ends = perf_counter() + group.costs.expected_s(total)
        return (urgency.deadline is None or ends <= urgency.deadline) and group.costs.pays(rows)

    def run(self, tensors: Mapping[str, Any], urgency: Urgency, calls: int = 1) -> Ran:
        """Run the variant on `tensors`, alone or with others.

        Args:
            tensors: what to run it on.
            urgency: how much it can wait.
            calls: how many calls brought the rows.

        Raises:
            OverloadedError: too many calls wait already.
            DeadlineError: the caller's time ran out before its turn came.
            EngineError: the engine failed on these tensors.
        """
        group, rows = self._group_of(tensors)
        if self._gatherer is not None and group is not None and calls == 1:
            return self._gatherer.answer(tensors, urgency, group, rows, self._sharing)
        return self._enter(tensors, urgency, calls, group, rows)

    def share_by(self, sharing: Sharing) -> None:
        """Let calls share runs like this from now on."""
        self._sharing = sharing
        for group in list(self._groups.values()):
            group.limits = sharing.limits
        wanted = sharing.delay_s > 0 and bool(self._specs)
        self._gatherer = (
            Gatherer([name for name, _ in self._specs], self._run_of) if wanted else None
        )
        if wanted:
            self.tiny = self.inline = False

    def _run_of(self, tensors: Mapping[str, Any], urgency: Urgency, calls: int) -> Ran:
        return self._enter(tensors, urgency, calls, *self._group_of(tensors))

    def _enter(
        self,
        tensors: Mapping[str, Any],
        urgency: Urgency,
        calls: int,
        group: Group | None,
        rows: int,
    ) -> Ran:
        """Run when it is their turn."""
        if self._queue.begin(group):
            ran = self._alone(tensors, group, rows, joined=calls > 1)
            self._look(tensors, ran.engine_s)
            return ran
        if self.tiny:  # who runs for microseconds waits for nobody: whoever polls may be asking
            return self._run(tensors)
        turn = self._queue.turn(tensors, urgency, group, rows)
        while True:
            self._queue.wait(turn)
            queue_s = perf_counter() - turn.arrived
            if turn.given is not None:
                outputs, engine_s, rows = turn.given
                return Ran(outputs, engine_s, queue_s - engine_s, rows)
            led = self._lead(turn) if turn.leads else None
            if led is not None:
                return led._replace(queue_s=queue_s)
            turn.by_itself()

    def _look(self, tensors: Mapping[str, Any], engine_s: float) -> None:
        """See whether calls need to come here, now that one took `engine_s`."""
        self._seen += 1
        self._least_s = min(self._least_s, engine_s)
        if self._seen == SAMPLES and HAND_OVER_S < self._least_s <= _PERHAPS_TINY_S:
            with suppress(EngineError):  # the call has its answer already
                again_s = [self._run(tensors).engine_s for _ in range(SAMPLES)]
                self._least_s = min(self._least_s, *again_s)
        if self._gatherer is not None:
            return
        if self._seen > SAMPLES and self._seen % _LOOK_EVERY:
            return
        self.tiny = tiny = self._seen >= SAMPLES and self._least_s <= HAND_OVER_S
        free = self._queue.runs is None and all(
            each.settled for each in list(self._groups.values())
        )
        self.inline = tiny or free

    def _group_of(self, tensors: Mapping[str, Any]) -> tuple[Group | None, int]:
        """The group and the number of rows; no group for what cannot share a run."""
        shapes: list[tuple[int, ...]] = []
        rows = 0
        for name, admits in self._specs:
            array = tensors.get(name)
            if type(array) is not np.ndarray or not admits(array) or not len(array):
                return None, 1
            rows = rows or len(array)
            if rows != len(array):
                return None, 1
            shapes.append(array.shape[1:])
        return (self._group(tuple(shapes), tensors, rows), rows) if shapes else (None, 1)

    def _group(
        self, key: tuple[tuple[int, ...], ...], tensors: Mapping[str, Any], rows: int
    ) -> Group | None:
        group = self._groups.get(key)
        if group is None and len(self._groups) < _MAX_GROUPS:
            row_bytes = sum(tensors[name].nbytes for name, _ in self._specs) // rows
            made = Group(self._width, row_bytes, self._sharing.limits)
            group = self._groups.setdefault(key, made)
        return group

    def _alone(
        self, tensors: Mapping[str, Any], group: Group | None, rows: int, *, joined: bool = False
    ) -> Ran:
        try:
            ran = self._run(tensors)
        except BaseException:
            self._queue.end(group)
            raise
        self._queue.end(group, rows, ran.engine_s, joined=joined)
        if joined:
            self._count(rows)
        return ran

    def _lead(self, turn: Turn) -> Ran | None:
        """Run for a call and its company; None when that failed, and each has to run alone."""
        if turn.group is None or not turn.company:
            return self._alone(turn.tensors, turn.group, turn.standing.rows)
        try:
            ran, total = self._joined([turn, *turn.company])
        except Exception:  # noqa: BLE001 (each runs by itself, and gets its own error)
            turn.group.joined(well=False)
            self._give_back(turn)
            return None
        except BaseException:
            self._give_back(turn)
            raise
        turn.group.joined(well=True)
        # first, so that the engine goes on
        self._queue.end(turn.group, total, ran.engine_s, joined=True)
        self._count(total)
        return _hand_out(turn, ran, total)

    def _joined(self, everyone: Sequence[Turn]) -> tuple[Ran, int]:
        """One run of the engine for all of them, and how many rows that were."""
        feed = {
            name: np.concatenate([each.tensors[name] for each in everyone])
            for name, _ in self._specs
        }
        total = sum(each.standing.rows for each in everyone)
        ran = self._run(feed)
        for name, array in ran.outputs.items():
            if array.shape[:1] != (total,):
                raise EngineError(f"output {name!r} has shape {array.shape} for {total} rows")
        return ran, total

    def _count(self, rows: int) -> None:
        labels = {"model": self._model, "variant": self._variant}
        for name, amount in ("wherever_batches_total", 1), ("wherever_batched_rows_total", rows):
            COUNTERS.add(name, amount, **labels)

    def _give_back(self, turn: Turn) -> None:
        self._queue.end(turn.group)
        self._queue.disband(turn)


def lane_of(
    queue: RunQueue, resident: Resident, session: Session, *, joins: bool, cores: int
) -> Lane:
    """The lane of a resident variant.

    Args:
        queue: where calls of all variants wait.
        resident: the variant.
        session: its session, or one that is opened alike.
        joins: whether rows of several calls may share a run.
        cores: cores that this process may use.
    """
    threads = session.facts.threads
    lodging = resident.lodging
    return Lane(
        queue,
        lambda tensors: resident.run(tensors, None),
        session.inputs,
        batches=joins,
        width=max(1, cores // threads) if threads else 1,
        model=lodging.model,
        variant=lodging.variant,
    )


def _hand_out(turn: Turn, ran: Ran, total: int) -> Ran:
    """Give each of the company its rows of a run, and return the leader's own.

    They are copies: a row must not keep the whole batch in memory.
    """

    def cut(start: int, end: int) -> dict[str, Array]:
        return {name: array[start:end].copy() for name, array in ran.outputs.items()}

    own = end = turn.standing.rows
    for each in turn.company:
        start, end = end, end + each.standing.rows
        each.given = cut(start, end), ran.engine_s, total
        each.ring()
    return Ran(cut(0, own), ran.engine_s, 0.0, total)
