"""How many may be inside while more come than can be answered."""

from __future__ import annotations

import heapq
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherever_edge.queueing.limit import Limit, Pace

RUNS, MAX_WAITING = 2, 64
MOST = RUNS + MAX_WAITING


class Mill:
    """Calls that come at a steady rate to runs of one length, on a virtual clock.

    Attributes:
        took: seconds inside, of those that were answered, in the order of their answers.
        refused: how many found no room.
        most: the most that were inside.
    """

    def __init__(self, runs: int, run_s: float, max_waiting: int = MAX_WAITING) -> None:
        self.limit = Limit()
        self.took: list[float] = []
        self.refused = 0
        self.most = 0
        self._runs, self._run_s, self._max_waiting = runs, run_s, max_waiting
        self._free = [0.0] * runs
        self._inside: list[tuple[float, float]] = []  # ends, came

    def send(self, rate: float, from_s: float, to_s: float) -> None:
        """So many calls a second come."""
        for number in range(int((to_s - from_s) * rate)):
            now = from_s + number / rate
            self.rest(now)
            if len(self._inside) >= self.limit.room(now, self._runs, self._max_waiting):
                self.limit.refused(now, self._run_s)
                self.refused += 1
                continue
            if not self._inside:
                self.limit.busy(now)
            begins = max(now, heapq.heappop(self._free))
            heapq.heappush(self._free, begins + self._run_s)
            heapq.heappush(self._inside, (begins + self._run_s, now))
            self.most = max(self.most, len(self._inside))

    def rest(self, until: float) -> None:
        """Those whose runs have ended by then come out."""
        while self._inside and self._inside[0][0] <= until:
            ends, came = heapq.heappop(self._inside)
            self.limit.answered(ends, self._run_s)
            self.took.append(ends - came)


@pytest.mark.parametrize("run_s", [0.002, 0.006, 0.05, 0.5])
@pytest.mark.parametrize("runs", [1, 2, 8])
def test_under_overload_calls_that_are_let_in_are_answered_soon_and_no_run_is_idle(runs, run_s):
    mill = Mill(runs, run_s)
    capacity = runs / run_s
    lasts = 400 * run_s
    mill.send(5 * capacity, 0.0, lasts)
    assert len(mill.took) >= 0.97 * capacity * lasts - MOST
    later = mill.took[len(mill.took) // 2 :]
    assert max(later) <= max(0.02, 4 * run_s)


def test_as_long_as_nobody_is_refused_the_owner_s_bound_holds():
    mill = Mill(RUNS, 0.006)
    mill.send(0.9 * RUNS / 0.006, 0.0, 20.0)
    assert (mill.refused, mill.limit.level) == (0, None)
    for _ in range(MAX_WAITING):  # a crowd that fills every place but one at once
        mill.send(1e9, 20.0, 20.0 + 1e-9)
    assert mill.refused == 0
    assert mill.limit.room(20.0, RUNS, MAX_WAITING) == MOST


def test_a_second_after_the_last_refusal_all_places_are_open_again():
    mill = Mill(RUNS, 0.006)
    mill.send(2000, 0.0, 3.0)
    assert mill.limit.room(3.0, RUNS, MAX_WAITING) < MOST / 4
    assert mill.limit.room(3.9, RUNS, MAX_WAITING) < MOST / 4
    assert mill.limit.room(4.1, RUNS, MAX_WAITING) == MOST
    assert mill.limit.level is None


def test_those_who_will_come_again_are_counted_while_they_are_still_about():
    limit = Limit()
    limit.busy(0.0)
    for _ in range(5):
        limit.refused(0.1, 0.01)
    limit.answered(0.2, 0.01)
    assert limit.turned_away == 4
    limit.refused(0.9, 0.01)
    assert limit.turned_away == 5
    limit.refused(2.0, 0.01)
    assert limit.turned_away == 1


def test_runs_that_end_in_the_moment_they_began_set_no_level():
    limit = Limit()
    limit.busy(1.0)
    for _ in range(20):
        limit.answered(1.0, 0.0)
    limit.refused(1.0, 0.01)
    assert limit.level is None


events = st.lists(
    st.tuples(
        st.sampled_from(["in", "out", "fail"]),
        st.floats(0, 0.3),
        st.floats(0, 10.0),
    ),
    max_size=200,
)


@given(events, st.integers(1, 16), st.integers(0, 100))
def test_whatever_happens_room_is_for_the_runs_at_least_and_for_the_places_at_most(
    happens, runs, max_waiting
):
    limit = Limit()
    now, inside = 0.0, 0
    for what, later_s, took_s in happens:
        now += later_s
        room = limit.room(now, runs, max_waiting)
        assert min(runs + max_waiting, 2 * runs) <= room <= runs + max_waiting
        if what == "in" and inside >= room:
            limit.refused(now, took_s)
        elif what == "in":
            if not inside:
                limit.busy(now)
            inside += 1
        elif inside:
            inside -= 1
            if what == "out":
                limit.answered(now, took_s)
        assert limit.turned_away >= 0


# --- the pace of a line ---


def test_a_pace_is_known_once_the_line_moved_while_somebody_stood_in_it():
    pace = Pace()
    pace.begins()
    pace.moved(1.0, 1)
    assert pace.expected_s(3) is None
    pace.moved(1.5, 1)
    assert pace.expected_s(3) == pytest.approx(1.5)
    pace.begins()
    pace.moved(100.0, 1)  # the line was empty before
    assert pace.expected_s(3) == pytest.approx(1.5)


@given(st.floats(1e-4, 10.0), st.integers(1, 64), st.integers(0, 200))
def test_a_steady_pace_is_told_as_it_is(step_s, calls, ahead):
    pace = Pace()
    for number in range(5):
        pace.moved(number * step_s, calls)
    expected_s = pace.expected_s(ahead)
    assert expected_s is not None
    assert math.isclose(expected_s, ahead * step_s / calls, rel_tol=1e-6, abs_tol=1e-12)


def test_a_pace_follows_what_changed():
    pace = Pace()
    for number in range(100):
        pace.moved(float(number), 1)
    for number in range(100):
        pace.moved(100 + number * 0.01, 1)
    expected_s = pace.expected_s(1)
    assert expected_s is not None
    assert expected_s < 0.1
