"""The way of one resident variant's calls through the queue, together where that pays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from wherever_contracts.errors import EngineError
from wherever_edge.counters import COUNTERS
from wherever_edge.queueing.costs import FORGETTING, HAND_OVER_S, SAMPLES
from wherever_edge.queueing.group import Group
from wherever_edge.resident import Ran

if TYPE_CHECKING:
    from wherever_contracts.tensors import Array, TensorSpec
    from wherever_contracts.urgency import Urgency
    from wherever_edge.engines.engine import Session
    from wherever_edge.queueing.run_queue import RunQueue, Turn
    from wherever_edge.resident import Resident

# shapes that are told apart; calls of more run singly
_MAX_GROUPS = 64
# runs between two looks at whether calls need a place in the line at all
_LOOK_EVERY = 8


class Lane:
    """Runs one variant's calls when it is their turn.

    Whoever finds the engine free runs at once. Whoever does not, waits; when a run ends, one of
    those who wait runs for as many of them as pays, and each gets its own rows. No call waits for
    another to come.

    Args:
        queue: where calls of all variants wait.
        run: runs the engine, from any thread.
        inputs: what it takes.
        batches: whether rows of several calls may share a run.
        width: runs at a time that keep every core at work.
        labels: what its counts are told apart by.

    Attributes:
        inline: calls need not come here now: they would wait for longer than they run, or
            nothing bounds them and nothing is gained together.
    """

    __slots__ = (
        "_groups",
        "_labels",
        "_least_s",
        "_queue",
        "_run",
        "_seen",
        "_specs",
        "_width",
        "inline",
    )

    def __init__(
        self,
        queue: RunQueue,
        run: Callable[[Mapping[str, Any]], Ran],
        inputs: Sequence[TensorSpec],
        *,
        batches: bool,
        width: int = 1,
        labels: Mapping[str, str] | None = None,
    ) -> None:
        self._queue = queue
        self._run = run
        self._specs = tuple((spec.name, spec.admits) for spec in inputs) if batches else ()
        self._width = width
        self._labels = dict(labels or {})
        self._groups: dict[tuple[tuple[int, ...], ...], Group] = {}
        self._least_s = 0.0
        self._seen = 0
        self.inline: bool = queue.runs is None and not batches

    def run(self, tensors: Mapping[str, Any], urgency: Urgency) -> Ran:
        """Run the variant on `tensors`, alone or with others.

        Raises:
            OverloadedError: too many calls wait already.
            DeadlineError: the caller's time ran out before its turn came.
            EngineError: the engine failed on these tensors.
        """
        group, rows = self._group_of(tensors)
        if self._queue.begin(group):
            ran = self._alone(tensors, group, rows)
            self._look(ran.engine_s)
            return ran
        turn = self._queue.turn(tensors, urgency, group, rows)
        while True:
            self._queue.wait(turn)
            queue_s = perf_counter() - turn.arrived
            if turn.given is not None:
                return Ran(*turn.given, queue_s - turn.given[1])
            if turn.leads and not turn.company:
                return self._alone(tensors, turn.standing.group, rows)._replace(queue_s=queue_s)
            if turn.leads and self._together(turn):
                return Ran(*turn.given, queue_s)
            turn.by_itself()

    def _look(self, engine_s: float) -> None:
        """See whether calls need to come here, now that one took `engine_s`."""
        self._seen += 1
        aged_s = self._least_s * FORGETTING if self._seen > 1 else engine_s
        self._least_s = engine_s if engine_s < aged_s else aged_s  # noqa: FURB136 (hot path)
        if self._seen > SAMPLES and self._seen % _LOOK_EVERY:
            return
        tiny = self._seen >= SAMPLES and self._least_s <= HAND_OVER_S
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
            group = self._groups.setdefault(key, Group(self._width, row_bytes))
        return group

    def _alone(self, tensors: Mapping[str, Any], group: Group | None, rows: int) -> Ran:
        try:
            ran = self._run(tensors)
        except BaseException:
            self._queue.end(group)
            raise
        self._queue.end(group, rows, ran.engine_s)
        return ran

    def _together(self, turn: Turn) -> bool:
        """Run for the whole company, and give everybody their rows; False when it failed."""
        everyone = [turn, *turn.company]
        group = turn.standing.group
        try:
            feed = {
                name: np.concatenate([each.tensors[name] for each in everyone])
                for name, _ in self._specs
            }
            total = sum(each.standing.rows for each in everyone)
            outputs, engine_s, _ = self._run(feed)
            _check_rows(outputs, total)
        except Exception:  # noqa: BLE001 (each runs by itself, and gets its own error)
            group.joined(well=False)
            self._give_back(turn)
            return False
        except BaseException:
            self._give_back(turn)
            raise
        group.joined(well=True)
        self._queue.end(group, total, engine_s, joined=True)  # first, so that the engine goes on
        COUNTERS.add("wherever_batches_total", **self._labels)
        COUNTERS.add("wherever_batched_rows_total", total, **self._labels)
        _hand_out(everyone, outputs, engine_s)
        return True

    def _give_back(self, turn: Turn) -> None:
        self._queue.end(turn.standing.group)
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
        resident.run_now,
        session.inputs,
        batches=joins,
        width=max(1, cores // threads) if threads else 1,
        labels={"model": lodging.model, "variant": lodging.variant},
    )


def _check_rows(outputs: Mapping[str, Array], rows: int) -> None:
    for name, array in outputs.items():
        if array.shape[:1] != (rows,):
            raise EngineError(f"output {name!r} has the shape {array.shape} for {rows} rows")


def _hand_out(everyone: Sequence[Turn], outputs: Mapping[str, Array], engine_s: float) -> None:
    """Give each its own rows, as copies: a row must not keep the whole batch in memory."""
    start = 0
    for each in everyone:
        end = start + each.standing.rows
        own = {name: array[start:end].copy() for name, array in outputs.items()}
        each.given = own, engine_s
        if not each.leads:
            each.ring()
        start = end
