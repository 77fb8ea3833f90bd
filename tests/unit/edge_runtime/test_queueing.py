"""Calls in line for an engine: how many at a time, in which order, for whom, and together."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from time import perf_counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wherever_contracts.errors import DeadlineError, EngineCrashError, EngineError, OverloadedError
from wherever_contracts.tensors import TensorSpec
from wherever_contracts.urgency import CALM, Urgency
from wherever_edge.counters import COUNTERS
from wherever_edge.queueing.desk import Desk
from wherever_edge.queueing.lane import Lane
from wherever_edge.queueing.run_queue import RunQueue
from wherever_edge.queueing.turn import Turn
from wherever_edge.resident import Ran

INPUT = TensorSpec("x", "float32", (-1, -1))
LEARNING_RUNS = 3


class Engine:
    """Doubles rows. It says of itself that a run takes 1 ms and 10 us a row, and so can be joined.

    Attributes:
        runs: the first column of what it ran on, run by run.
        hold: runs wait until it is set.
    """

    def __init__(self) -> None:
        self.runs: list[list[float]] = []
        self.hold = threading.Event()
        self.hold.set()
        self.spoil: Callable[[np.ndarray], np.ndarray] = lambda doubled: doubled
        self.most = 0
        self._at_work = 0
        self._lock = threading.Lock()

    def run(self, tensors: Mapping[str, Any]) -> Ran:
        x = tensors["x"]
        with self._lock:
            self.runs.append(x[:, 0].tolist())
            self._at_work += 1
            self.most = max(self.most, self._at_work)
        try:
            self.hold.wait(20)
            return Ran({"y": self.spoil(x * 2)}, 1e-3 + 1e-5 * len(x), 0.0)
        finally:
            with self._lock:
                self._at_work -= 1


def row(*values: float, width: int = 2) -> dict[str, np.ndarray]:
    """One row for each value, with the value in every column."""
    return {"x": np.repeat(np.array(values, np.float32)[:, None], width, axis=1)}


def eventually(true: Callable[[], bool]) -> None:
    ends = time.monotonic() + 5
    while not true():
        assert time.monotonic() < ends
        time.sleep(0.001)


class Bench:
    """A queue with one lane, and threads that call it."""

    def __init__(self, *, batches: bool = False, width: int = 1, **bounds: int | None) -> None:
        self.queue = RunQueue(**bounds)
        self.engine = Engine()
        self.lane = Lane(
            self.queue,
            self.engine.run,
            [INPUT],
            batches=batches,
            width=width,
            model="m",
            variant="v",
        )
        self.pool = ThreadPoolExecutor(64)
        if batches:
            for _ in range(LEARNING_RUNS):
                self.lane.run(row(0), CALM)
            self.engine.runs.clear()

    def hold(self, *values: float) -> Future[Ran]:
        """Begin a run, and keep it in the engine until `engine.hold` is set."""
        self.engine.hold.clear()
        first = self.pool.submit(self.lane.run, row(*values or (-1,)), CALM)
        eventually(lambda: len(self.engine.runs) == 1)
        return first

    def ask(self, *values: float, width: int = 2, **urgency: Any) -> Future[Ran]:
        """A call that waits behind the one that is held."""
        before = self.queue.waiting
        call = self.pool.submit(self.lane.run, row(*values, width=width), Urgency(**urgency))
        eventually(lambda: self.queue.waiting > before or call.done())
        return call

    def release(self) -> None:
        self.engine.hold.set()


@pytest.fixture
def bench() -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def make(**arguments: Any) -> Bench:
        made.append(Bench(**arguments))
        return made[-1]

    yield make
    for each in made:
        each.release()
        each.pool.shutdown()
        assert (each.queue.waiting, each.queue.inside, each.queue._running) == (0, 0, 0)


def answers(calls: list[Future[Ran]]) -> list[list[float]]:
    return [call.result(30).outputs["y"][:, 0].tolist() for call in calls]


# --- one at a time ---


def test_results_and_errors_are_passed_on_and_the_place_is_given_back(bench):
    b = bench(runs=1, max_waiting=0)
    assert answers([b.pool.submit(b.lane.run, row(3), CALM)]) == [[6]]
    b.engine.spoil = lambda _: 1 // 0
    with pytest.raises(ZeroDivisionError):
        b.lane.run(row(3), CALM)
    b.engine.spoil = lambda doubled: doubled
    assert b.lane.run(row(4), CALM).queue_s == 0.0


def test_those_who_wait_have_their_turn_in_order_and_those_there_is_no_room_for_are_refused(bench):
    b = bench(runs=1, max_waiting=3)
    first = b.hold()
    calls = [b.ask(number) for number in range(3)]
    with pytest.raises(OverloadedError, match="1 calls are at work and 3 are waiting; try again"):
        b.lane.run(row(9), CALM)
    assert b.queue.retry_after_s() > 0
    b.release()
    assert answers([first, *calls]) == [[-2], [0], [2], [4]]
    assert b.engine.runs == [[-1], [0], [1], [2]]
    assert (b.queue.refused, b.engine.most) == (1, 1)
    assert all(call.result().queue_s > 0 for call in calls)


def test_the_more_urgent_go_first_and_the_less_urgent_do_not_starve(bench):
    b = bench(runs=1, max_waiting=32)
    first = b.hold()
    calls = [b.ask(90, priority="background"), b.ask(80, priority="batch")]
    calls += [b.ask(number) for number in range(6)]
    b.release()
    answers([first, *calls])
    order = [values[0] for values in b.engine.runs[1:]]
    assert [each for each in order if each < 80] == [0, 1, 2, 3, 4, 5]
    assert order.index(90) <= 4  # one turn in four is for the one who has waited longest
    assert order.index(80) > 2


def test_a_more_urgent_call_takes_the_place_of_the_newest_least_urgent_one(bench):
    b = bench(runs=1, max_waiting=3)
    b.hold()
    kept, gone = b.ask(1, priority="background"), b.ask(2, priority="background")
    other = b.ask(3, priority="batch")
    urgent = b.pool.submit(b.lane.run, row(4), CALM)
    with pytest.raises(OverloadedError, match=r"more urgent calls came; .*try again"):
        gone.result(30)
    with pytest.raises(OverloadedError, match="1 calls are at work"):
        b.lane.run(row(5), Urgency("background"))
    b.release()
    assert answers([kept, other, urgent]) == [[2], [6], [8]]


def test_whoever_runs_out_of_time_leaves_the_line_without_being_run(bench):
    b = bench(runs=1, max_waiting=2)
    first = b.hold()
    with pytest.raises(DeadlineError, match="it was not done"):
        b.lane.run(row(1), Urgency(deadline=perf_counter() + 0.02))
    assert (b.queue.waiting, b.queue.dropped) == (0, 1)
    b.release()
    answers([first])
    assert b.engine.runs == [[-1]]


def test_whoever_has_gone_is_not_run_and_makes_room(bench):
    b = bench(runs=1, max_waiting=2)
    first = b.hold()
    gone = threading.Event()
    left = b.ask(1, gone=gone.is_set)
    stays = b.ask(2)
    gone.set()
    late = b.pool.submit(b.lane.run, row(3), CALM)
    with pytest.raises(DeadlineError):
        left.result(30)
    eventually(lambda: b.queue.waiting == 2)
    b.release()
    assert answers([first, stays, late]) == [[-2], [4], [6]]
    assert (b.queue.dropped, b.queue.refused) == (1, 0)


def test_those_let_in_count_before_they_come_to_the_engine(bench):
    b = bench(runs=1, max_waiting=1)
    with b.queue.admit(CALM), b.queue.admit(CALM):
        assert (b.queue.working, b.queue.load()) == (2, 1.0)
        with pytest.raises(OverloadedError), b.queue.admit(CALM):
            pytest.fail("it was let in")
        assert b.lane.run(row(1), CALM).outputs
    for late in (Urgency(deadline=perf_counter() - 1), Urgency(gone=lambda: True)):
        with pytest.raises(DeadlineError), b.queue.admit(late):
            pytest.fail("it was let in")
    assert (b.queue.refused, b.queue.dropped) == (1, 2)


def test_no_turn_is_lost_and_never_are_too_many_at_work(bench):
    b = bench(runs=3, max_waiting=8)
    ends = {"done": 0, "refused": 0, "late": 0}
    lock = threading.Lock()
    b.engine.spoil = lambda doubled: time.sleep(0.0005) or doubled

    def ask(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(60):
            patience = chance.choice([None, 0.0002, 0.001, 0.002])
            deadline = None if patience is None else perf_counter() + patience
            priority = chance.choice(["interactive", "batch", "background"])
            try:
                b.lane.run(row(seed), Urgency(priority, deadline))
                end = "done"
            except OverloadedError:
                end = "refused"
            except DeadlineError:
                end = "late"
            with lock:
                ends[end] += 1

    for call in [b.pool.submit(ask, seed) for seed in range(16)]:
        call.result(60)
    assert b.engine.most == 3
    assert sum(ends.values()) == 16 * 60
    assert all(ends.values())
    assert b.queue.dropped == ends["late"]


def test_calls_that_wait_begin_when_the_bounds_are_widened(bench):
    b = bench(runs=1, max_waiting=5)
    first = b.hold()
    second = b.ask(1)
    b.queue.bound(2, 5)
    eventually(lambda: len(b.engine.runs) == 2)
    b.release()
    assert answers([first, second]) == [[-2], [2]]
    again = b.queue.again()
    assert (again.runs, again.max_waiting, again.waiting) == (2, 5, 0)


def test_no_more_pipelines_work_at_a_desk_than_it_has_places():
    desk = Desk(2)
    at_work, most = 0, 0
    lock = threading.Lock()

    def step(state: dict[str, Any]) -> None:
        nonlocal at_work, most
        with lock:
            at_work += 1
            most = max(most, at_work)
        time.sleep(0.001)
        with lock:
            at_work -= 1
        state["steps"] += 1

    (at_desk,) = desk.around([step, step])
    states = [{"steps": 0} for _ in range(12)]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(at_desk, states))
    assert all(state == {"steps": 2} for state in states)
    assert most == 2
    assert desk.around([]) == ()


# --- together ---


def test_calls_that_wait_share_a_run_and_each_gets_its_own_rows(bench):
    b = bench(batches=True)
    first = b.hold()
    calls = [b.ask(1), b.ask(2, 3), b.ask(4)]
    b.release()
    assert answers([first, *calls]) == [[-2], [2], [4, 6], [8]]
    assert b.engine.runs == [[-1], [1, 2, 3, 4]]


def test_rows_are_copies_that_do_not_keep_the_batch(bench):
    b = bench(batches=True)
    b.hold()
    calls = [b.ask(number) for number in range(3)]
    b.release()
    for call in calls:
        own = call.result(30).outputs["y"]
        assert own.base is None
        assert own.flags.owndata


def test_what_is_joined_is_counted(bench):
    b = bench(batches=True)
    before = COUNTERS.snapshot()
    b.hold()
    calls = [b.ask(number) for number in range(3)]
    b.release()
    answers(calls)
    after = COUNTERS.snapshot()
    labels = '{model="m",variant="v"}'
    for name, amount in ("wherever_batches_total", 1), ("wherever_batched_rows_total", 3):
        assert after[name + labels] - before.get(name + labels, 0) == amount


def test_shapes_never_share_a_run(bench):
    b = bench(batches=True)
    for _ in range(LEARNING_RUNS):
        b.lane.run(row(0, width=3), CALM)
    b.engine.runs.clear()
    first = b.hold()
    calls = [b.ask(1), b.ask(2)]
    other = b.pool.submit(b.lane.run, row(7, width=3), CALM)
    eventually(lambda: len(b.engine.runs) == 2)  # it does not wait for the other shape
    b.release()
    assert answers([first, other, *calls]) == [[-2], [14], [2], [4]]
    assert [7] in b.engine.runs
    assert [1, 2] in b.engine.runs


def test_a_lone_call_waits_for_nobody_and_two_do_not_where_two_cores_are_free(bench):
    b = bench(batches=True, width=2)
    first = b.hold()
    second = b.pool.submit(b.lane.run, row(1), CALM)
    eventually(lambda: len(b.engine.runs) == 2)
    calls = [b.ask(2), b.ask(3)]
    b.release()
    assert answers([first, second, *calls]) == [[-2], [2], [4], [6]]


def test_without_batching_calls_run_at_once_on_an_unbounded_queue(bench):
    b = bench()
    assert b.lane.inline
    first = b.hold()
    second = b.pool.submit(b.lane.run, row(1), CALM)
    eventually(lambda: len(b.engine.runs) == 2)
    b.release()
    assert answers([first, second]) == [[-2], [2]]


def test_what_takes_microseconds_is_never_made_to_wait():
    lane = Lane(RunQueue(), lambda x: Ran({"y": x["x"]}, 5e-6, 0.0), [INPUT], batches=True, width=1)
    assert not lane.inline
    for _ in range(LEARNING_RUNS):
        lane.run(row(1), CALM)
    assert lane.inline


def test_when_the_shared_run_fails_each_runs_alone_and_gets_its_own_end(bench):
    b = bench(batches=True)

    def poisoned(doubled: np.ndarray) -> np.ndarray:
        if 26 in doubled:
            raise EngineCrashError("the engine died of row 13")
        return doubled

    b.hold()
    calls = [b.ask(number) for number in (12, 13, 14)]
    b.engine.spoil = poisoned
    b.release()
    assert answers([calls[0], calls[2]]) == [[24], [28]]
    with pytest.raises(EngineCrashError, match="row 13"):
        calls[1].result(30)
    assert sorted(b.engine.runs[1:]) == [[12], [12, 13, 14], [13], [14]]


def test_an_engine_that_gives_another_number_of_rows_is_asked_one_by_one_from_then_on(bench):
    b = bench(batches=True)
    b.engine.spoil = lambda doubled: doubled[:1]
    for _ in range(3):
        b.engine.runs.clear()
        b.hold()
        calls = [b.ask(1), b.ask(2)]
        b.release()
        assert answers(calls) == [[2], [4]]
        assert [1, 2] in b.engine.runs
    b.engine.runs.clear()
    first = b.hold()
    others = [b.pool.submit(b.lane.run, row(each), CALM) for each in (1, 2)]
    eventually(lambda: len(b.engine.runs) == 3)
    b.release()
    assert answers([first, *others]) == [[-2], [2], [4]]


def test_who_cannot_wait_for_a_long_run_is_not_taken_into_one(bench):
    b = bench(batches=True)
    b.engine.run(row(0))
    slow = b.lane._groups[((2,),)].costs
    for _ in range(5):
        slow.learn(4, 60.0, joined=True)
        slow.learn(2, 60.0, joined=True)
        slow.learn(1, 50.0)
    b.engine.runs.clear()
    b.hold()
    calls = [b.ask(1, deadline=perf_counter() + 55), b.ask(2), b.ask(3), b.ask(4)]
    b.release()
    assert answers(calls) == [[2], [4], [6], [8]]
    assert b.engine.runs[1] == [1]


def test_inputs_that_disagree_about_their_rows_share_with_nobody():
    seen: list[int] = []

    def run(tensors: Mapping[str, Any]) -> Ran:
        seen.append(len(tensors["x"]))
        return Ran({"y": tensors["x"]}, 1e-3, 0.0)

    other = TensorSpec("z", "float32", (-1, -1))
    lane = Lane(RunQueue(), run, [INPUT, other], batches=True)
    lane.run({**row(1, 2), "z": row(1)["x"]}, CALM)
    assert (seen, lane._groups) == ([2], {})


def test_the_leader_that_is_interrupted_leaves_the_others_to_themselves(bench):
    b = bench(batches=True)
    b.hold()
    calls = [b.ask(number) for number in range(3)]

    def interrupted(doubled: np.ndarray) -> np.ndarray:
        if len(doubled) > 1:
            raise KeyboardInterrupt
        return doubled

    b.engine.spoil = interrupted
    b.release()
    with pytest.raises(KeyboardInterrupt):
        calls[0].result(30)
    assert answers(calls[1:]) == [[2], [4]]


def test_what_does_not_fit_runs_alone_and_fails_alone(bench):
    b = bench(batches=True)
    b.hold()
    good = b.ask(1)
    with pytest.raises((EngineError, KeyError, TypeError, AttributeError)):
        b.lane.run({"x": "no tensor"}, CALM)
    b.release()
    assert answers([good]) == [[2]]


@pytest.mark.parametrize("leads", [False, True])
def test_a_thread_that_is_interrupted_while_it_waits_holds_up_nobody(bench, monkeypatch, leads):
    b = bench(batches=True)
    first = b.hold()
    calls: list[Future[Ran]] = []

    def interrupted(turn: Turn, ends: float) -> bool:
        """As a signal would, in the main thread: before its turn has come, or just after."""
        monkeypatch.undo()
        calls.extend([b.ask(1), b.ask(2)])
        if leads:
            b.release()
            turn.wait(ends)
        raise KeyboardInterrupt

    monkeypatch.setattr(Turn, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        b.lane.run(row(0), CALM)
    b.release()
    assert answers([first, *calls]) == [[-2], [2], [4]]
    assert 0 not in [value for run in b.engine.runs for value in run]


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([None, 1, 2]), st.integers(1, 3))
def test_answers_never_mix_nobody_is_lost_and_nobody_waits_for_ever(seed, runs, width):
    """Many callers with tagged rows, a failing engine, deadlines and priorities."""
    engine = Engine()
    queue = RunQueue(runs, None if runs is None else 6)
    lane = Lane(queue, engine.run, [INPUT], batches=True, width=width)
    chances = random.Random(seed)

    def flaky(doubled: np.ndarray) -> np.ndarray:
        time.sleep(0.0002)
        fate = chances.random()
        if fate < 0.05:
            raise EngineCrashError("it died")
        return doubled[1:] if fate < 0.1 and len(doubled) > 3 else doubled

    engine.spoil = flaky
    ends: list[str] = []

    def ask(caller: int) -> None:
        chance = random.Random(seed * 100 + caller)
        for call in range(25):
            tags = [caller * 1000.0 + call * 10 + n for n in range(chance.randint(1, 3))]
            patience = chance.choice([None, 0.003, 1.0])
            urgency = Urgency(
                chance.choice(["interactive", "batch", "background"]),
                None if patience is None else perf_counter() + patience,
            )
            tensors = row(*tags, width=chance.choice([2, 2, 3]))
            try:
                ran = lane.run(tensors, urgency)
            except (EngineCrashError, OverloadedError, DeadlineError) as error:
                ends.append(error.code)
            else:
                assert (ran.outputs["y"] == 2 * tensors["x"]).all()
                ends.append("answered")

    with ThreadPoolExecutor(8) as pool:
        for call in [pool.submit(ask, caller) for caller in range(8)]:
            call.result(60)
    assert len(ends) == 8 * 25
    assert ends.count("answered") > 50
    assert (queue.waiting, queue._running) == (0, 0)
