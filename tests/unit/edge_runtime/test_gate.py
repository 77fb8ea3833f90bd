"""The gate in front of the workers: how many, in which order, and for whom."""

from __future__ import annotations

import random
import threading
import time

import pytest

from wherever_contracts.errors import DeadlineError, OverloadedError
from wherever_edge.oip.gate import Gate


class Caller:
    """Somebody who waits for at most `patience_s`."""

    def __init__(self, patience_s: float | None = None, *, gone: bool = False) -> None:
        self._ends = None if patience_s is None else time.monotonic() + patience_s
        self._gone = gone

    def time_remaining(self) -> float | None:
        return None if self._ends is None else max(0.0, self._ends - time.monotonic())

    def is_active(self) -> bool:
        return not self._gone


def run_in_thread(gate: Gate, caller: Caller, work) -> threading.Thread:
    thread = threading.Thread(target=lambda: gate.run(caller, work))
    thread.start()
    return thread


def wait_for(true) -> None:
    ends = time.monotonic() + 5
    while not true():
        assert time.monotonic() < ends
        time.sleep(0.001)


def test_work_is_done_and_its_result_or_error_passed_on():
    gate = Gate(1, 0)
    assert gate.run(Caller(), lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        gate.run(Caller(), lambda: 1 // 0)
    assert gate.working == 0
    assert gate.run(Caller(), lambda: 8) == 8


def test_nothing_is_done_for_those_who_no_longer_wait():
    gate = Gate(1, 1)
    done = []
    for caller in (Caller(0.0), Caller(gone=True)):
        with pytest.raises(DeadlineError, match="not done"):
            gate.run(caller, lambda: done.append(1))
    assert (done, gate.dropped, gate.working) == ([], 2, 0)


def test_those_who_wait_have_their_turn_in_order():
    gate = Gate(1, 5)
    hold = threading.Event()
    order: list[int] = []
    threads = [run_in_thread(gate, Caller(), hold.wait)]
    wait_for(lambda: gate.working == 1)
    for number in range(5):
        threads.append(run_in_thread(gate, Caller(), lambda n=number: order.append(n)))
        wait_for(lambda n=number: gate.waiting == n + 1)
    with pytest.raises(OverloadedError, match="1 calls are at work and 5 are waiting"):
        gate.run(Caller(), lambda: order.append(9))
    assert gate.retry_after_s() > 0
    hold.set()
    for thread in threads:
        thread.join()
    assert order == list(range(5))
    assert (gate.refused, gate.working, gate.waiting) == (1, 0, 0)


def test_whoever_runs_out_of_time_leaves_the_line():
    gate = Gate(1, 2)
    hold = threading.Event()
    first = run_in_thread(gate, Caller(), hold.wait)
    wait_for(lambda: gate.working == 1)
    with pytest.raises(DeadlineError):
        gate.run(Caller(0.05), lambda: None)
    assert (gate.waiting, gate.dropped) == (0, 1)
    hold.set()
    first.join()


def test_no_turn_is_lost_and_never_are_too_many_at_work():
    gate = Gate(3, 8)
    at_work = 0
    most = 0
    lock = threading.Lock()
    ends = {"done": 0, "refused": 0, "late": 0}

    def work() -> None:
        nonlocal at_work, most
        with lock:
            at_work += 1
            most = max(most, at_work)
        time.sleep(0.0005)
        with lock:
            at_work -= 1

    def ask(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(60):
            patience = chance.choice([None, 0.0002, 0.001, 0.002])
            try:
                gate.run(Caller(patience), work)
                end = "done"
            except OverloadedError:
                end = "refused"
            except DeadlineError:
                end = "late"
            with lock:
                ends[end] += 1

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 3
    assert sum(ends.values()) == 16 * 60
    assert all(ends.values())
    assert (gate.refused, gate.dropped) == (ends["refused"], ends["late"])
    assert (gate.working, gate.waiting) == (0, 0)
