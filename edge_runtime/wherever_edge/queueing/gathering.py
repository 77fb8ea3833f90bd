"""Calls that wait a moment for each other, before the queue, so that one run answers them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from wherever_contracts.urgency import most_urgent
from wherever_edge.resident import Ran

if TYPE_CHECKING:
    from wherever_contracts.urgency import Urgency
    from wherever_edge.queueing.group import Group
    from wherever_edge.queueing.sharing import Sharing

    Run = Callable[[Mapping[str, Any], Urgency, int], Ran]


class _Member:
    """One call that was gathered."""

    __slots__ = ("ran", "rows", "tensors", "urgency")

    def __init__(self, tensors: Mapping[str, Any], urgency: Urgency, rows: int) -> None:
        self.tensors = tensors
        self.urgency = urgency
        self.rows = rows
        self.ran: Ran | None = None


class _Gathering:
    """Calls that wait for each other; the first of them runs for all."""

    def __init__(self) -> None:
        self.members: list[_Member] = []
        self.rows = 0
        self.full = threading.Event()
        self.done = threading.Event()


class Gatherer:
    """Gathers the calls of one variant. Safe to use from many threads.

    Args:
        names: the inputs, all of which have the rows.
        run: runs the variant for calls, when it is their turn.
    """

    def __init__(self, names: Sequence[str], run: Run) -> None:
        self._names = names
        self._run = run
        self._lock = threading.Lock()
        self._open: dict[Group, _Gathering] = {}

    def answer(
        self, tensors: Mapping[str, Any], urgency: Urgency, group: Group, rows: int, by: Sharing
    ) -> Ran:
        """Run a call with those that come while it waits; raises as `run` does.

        The first of them waits, at most for as long as `by` says; what fills a run goes at once.
        """
        arrived = perf_counter()
        member = _Member(tensors, urgency, rows)
        gathering, leads = self._join(member, group, by)
        if leads:
            left_s = None if urgency.deadline is None else urgency.deadline - arrived
            self._lead(gathering, group, by.patience_s(left_s, group.costs.expected_s(rows)))
        else:
            gathering.done.wait()
        waited_s = perf_counter() - arrived
        ran = member.ran
        if ran is None:
            ran = self._run(tensors, urgency, 1)
            return ran._replace(queue_s=waited_s + ran.queue_s)
        return ran._replace(queue_s=max(0.0, waited_s - ran.engine_s))

    def _join(self, member: _Member, group: Group, by: Sharing) -> tuple[_Gathering, bool]:
        with self._lock:
            gathering = self._open.get(group)
            if gathering is None or gathering.rows + member.rows > by.limits.rows:
                if gathering is not None:
                    gathering.full.set()
                gathering = self._open[group] = _Gathering()
            gathering.members.append(member)
            gathering.rows += member.rows
            if self._is_full(gathering, group, by):
                gathering.full.set()
            return gathering, len(gathering.members) == 1

    def _is_full(self, gathering: _Gathering, group: Group, by: Sharing) -> bool:
        rows, limits = gathering.rows, by.limits
        return rows >= limits.rows or (rows + 1) * group.row_bytes > limits.size

    def _lead(self, gathering: _Gathering, group: Group, patience_s: float) -> None:
        """Wait, and run for everybody who came; who has nothing then has to run by itself."""
        try:
            gathering.full.wait(patience_s)
            self._close(gathering, group)
            if len(gathering.members) > 1:
                self._together(gathering.members)
        except Exception:  # noqa: BLE001 (each runs by itself, and gets its own error)
            return
        finally:
            self._close(gathering, group)
            gathering.done.set()

    def _close(self, gathering: _Gathering, group: Group) -> None:
        """Nobody comes to it any more."""
        with self._lock:
            if self._open.get(group) is gathering:
                del self._open[group]

    def _together(self, members: Sequence[_Member]) -> None:
        feed = {
            name: np.concatenate([each.tensors[name] for each in members]) for name in self._names
        }
        urgency = most_urgent([each.urgency for each in members])
        ran = self._run(feed, urgency, len(members))
        total = sum(each.rows for each in members)
        if any(array.shape[:1] != (total,) for array in ran.outputs.values()):
            return  # it did not give a row for each
        start = 0
        for each in members:
            end = start + each.rows
            # copies: a row must not keep the whole batch in memory
            own = {name: array[start:end].copy() for name, array in ran.outputs.items()}
            each.ran = ran._replace(outputs=own, rows=max(ran.rows, total))
            start = end
