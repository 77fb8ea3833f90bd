"""Tenants in front of one queue, with real threads: who is let in, who is next, who is refused."""

from __future__ import annotations

import random
import threading
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from time import perf_counter, sleep
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wherever_contracts.errors import DeadlineError, OverloadedError, WhereverError
from wherever_contracts.urgency import Urgency
from wherever_edge.queueing.desk import URGENCY, Desk
from wherever_edge.queueing.run_queue import RunQueue

PRIORITIES = ["interactive", "batch", "background"]


def run(queue: RunQueue, urgency: Urgency, work_s: float = 0.0) -> None:
    """One call, as a server makes it: let in, in line if need be, and run."""
    with queue.admit(urgency):
        if not queue.begin(None):
            queue.wait(queue.turn({}, urgency, None, 1))
        sleep(work_s)
        queue.end(None, 1, work_s or 1e-3)


class Held:
    """A queue whose one run is at work until it is let go; calls line up behind it.

    Attributes:
        order: tenants in the order of their turns.
    """

    def __init__(self, max_waiting: int) -> None:
        self.queue = RunQueue(1, max_waiting)
        self.order: list[str] = []
        self._inside = ExitStack()
        self._inside.enter_context(self.queue.admit(Urgency()))
        assert self.queue.begin(None)
        self._pool = ThreadPoolExecutor(max_waiting + 8)

    def ask(self, tenant: str, **urgency: object) -> Future[None]:
        before, refused = self.queue.waiting, self.queue.refused
        wanted = Urgency(tenant=tenant, **urgency)  # type: ignore[arg-type]
        call = self._pool.submit(self._run, wanted)
        ends = perf_counter() + 30
        while self.queue.waiting == before and self.queue.refused == refused and not call.done():
            assert perf_counter() < ends
            sleep(0.0005)
        return call

    def release(self) -> None:
        self.queue.end(None, 1, 1e-3)
        self._inside.close()
        self._pool.shutdown()

    def _run(self, urgency: Urgency) -> None:
        with self.queue.admit(urgency):
            self.queue.wait(self.queue.turn({}, urgency, None, 1))
            self.order.append(urgency.tenant)
            self.queue.end(None, 1, 1e-3)


def test_a_light_tenant_finds_a_place_where_a_heavy_one_holds_them_all_and_is_next():
    held = Held(max_waiting=4)
    heavy = [held.ask("heavy") for _ in range(4)]
    light = held.ask("light")
    with pytest.raises(OverloadedError, match=r"calls of others with less came; .*try again"):
        heavy[3].result(30)
    with pytest.raises(OverloadedError, match="1 calls are at work and 4 are waiting"):
        held.ask("heavy").result(30)
    held.release()
    light.result(30)
    assert held.order[:2] in (["light", "heavy"], ["heavy", "light"])
    assert Counter(held.order) == {"heavy": 3, "light": 1}
    assert held.queue.refused == 2


def test_places_end_up_shared_by_weight():
    held = Held(max_waiting=12)
    calls = [held.ask("small") for _ in range(12)]
    calls += [held.ask("large", weight=3.0) for _ in range(12)]
    held.release()
    for call in calls:
        call.exception(30)
    assert Counter(held.order) == {"small": 3, "large": 9}


def test_a_tenant_of_a_more_urgent_class_displaces_one_of_a_less_urgent_class():
    held = Held(max_waiting=2)
    calls = [held.ask("a", priority="batch"), held.ask("b", priority="batch")]
    urgent = held.ask("a")
    held.release()
    urgent.result(30)
    assert sum(isinstance(call.exception(30), OverloadedError) for call in calls) == 1
    assert held.order[0] == "a"


def test_who_would_wait_for_longer_than_its_caller_does_is_refused_at_once():
    held = Held(max_waiting=8)
    for _ in range(80):  # runs take 1 s here, as far as is known
        held.queue.end(None, 1, 1.0)
        assert held.queue.begin(None)
    calls = [held.ask("heavy") for _ in range(4)]
    began = perf_counter()
    with pytest.raises(
        OverloadedError, match=r"it would wait for about [34]... ms, and its caller"
    ):
        held.ask("heavy", deadline=began + 2.5).result(30)
    patient = held.ask("heavy", deadline=began + 60.0)
    light = held.ask("light", deadline=began + 2.5)  # only one call is before it
    assert perf_counter() - began < 2
    held.release()
    for call in [*calls, patient, light]:
        call.result(30)


def test_the_more_were_refused_the_later_they_are_told_to_come_again():
    held = Held(max_waiting=1)
    for _ in range(80):
        held.queue.end(None, 1, 0.02)
        assert held.queue.begin(None)
    held.ask("a")
    soon = held.queue.retry_after_s()
    for _ in range(20):
        with pytest.raises(OverloadedError):
            held.ask("a").result(30)
    later = held.queue.retry_after_s()
    for _ in range(200):
        with pytest.raises(OverloadedError):
            held.ask("a").result(30)
    assert soon < 0.05 < later < held.queue.retry_after_s() == 2.0
    held.release()


@pytest.mark.full
@pytest.mark.alone
def test_while_calls_are_refused_fewer_wait_than_at_other_times():
    """Far more callers than places, who come again at once."""
    queue = RunQueue(2, 64)
    inside: list[int] = []
    ends = perf_counter() + 1.5

    def ask() -> None:
        while perf_counter() < ends:
            try:
                run(queue, Urgency(tenant="crowd"), 0.01)
            except OverloadedError:
                sleep(0.02)
            else:
                inside.append(queue.inside)

    with ThreadPoolExecutor(100) as pool:
        for call in [pool.submit(ask) for _ in range(100)]:
            call.result(20)
    later = sorted(inside[len(inside) // 2 :])
    assert queue.refused > 100
    assert max(inside) > 40  # before anything was known
    assert later[len(later) // 2] < 20
    assert queue.inside == queue.waiting == 0


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 3), st.integers(0, 6))
def test_each_call_ends_once_and_never_are_too_many_at_work(seed, runs, max_waiting):
    """Tenants, weights, classes, deadlines and callers who go, all at once."""
    queue = RunQueue(runs, max_waiting)
    lock = threading.Lock()
    at_work, most = 0, 0
    ends: list[str] = []

    def ask(caller: int) -> None:
        nonlocal at_work, most
        chance = random.Random(seed * 100 + caller)
        for _ in range(20):
            patience_s = chance.choice([None, None, 0.002, 0.02])
            urgency = Urgency(
                chance.choice(PRIORITIES),
                None if patience_s is None else perf_counter() + patience_s,
                (lambda: True) if chance.random() < 0.03 else (lambda: False),
                f"t{caller % 3}",
                chance.choice([0.0, 1.0, 4.0]),
            )
            try:
                with queue.admit(urgency):
                    if not queue.begin(None):
                        queue.wait(queue.turn({}, urgency, None, 1))
                    with lock:
                        at_work += 1
                        most = max(most, at_work)
                    sleep(0.0002)
                    with lock:
                        at_work -= 1
                    queue.end(None, 1, 0.0002)
            except (OverloadedError, DeadlineError) as error:
                ends.append(error.code)
            else:
                ends.append("answered")

    with ThreadPoolExecutor(9) as pool:
        for call in [pool.submit(ask, caller) for caller in range(9)]:
            call.result(60)
    assert len(ends) == 9 * 20
    assert "answered" in ends
    assert most <= runs
    assert (queue.inside, queue.waiting, queue._running) == (0, 0, 0)
    assert ends.count("deadline") == queue.dropped


def test_calls_that_came_together_are_let_in_as_far_as_there_is_room():
    queue = RunQueue(1, 2)
    with queue.admit_many([Urgency(tenant="a")] * 5) as refused:
        assert [why is None for why in refused] == [True, True, True, False, False]
        assert queue.inside == 3
        assert all(isinstance(why, WhereverError) for why in refused[3:])
    assert queue.inside == 0


def test_a_call_that_fails_gives_its_place_back_and_teaches_nothing():
    queue = RunQueue(1, 2)
    with pytest.raises(ZeroDivisionError), queue.admit(Urgency()):
        raise ZeroDivisionError
    assert queue.inside == 0
    assert queue._limit._calls == 0


def test_a_light_tenant_comes_in_where_a_heavy_one_holds_every_place_and_none_of_it_waits():
    """Its calls are all at work: in pipelines, or in one run together."""
    queue = RunQueue(2, 60)
    queue._limit.level = 4
    queue._limit._refused_at = perf_counter()
    with ExitStack() as inside:
        for _ in range(4):
            inside.enter_context(queue.admit(Urgency(tenant="heavy")))
        with pytest.raises(OverloadedError), queue.admit(Urgency(tenant="heavy")):
            pytest.fail("it was let in")
        for _ in range(2):
            inside.enter_context(queue.admit(Urgency(tenant="light")))
        with pytest.raises(OverloadedError), queue.admit(Urgency(tenant="light")):
            pytest.fail("it was let in")
        assert queue.inside == 6


def test_at_the_desk_too_a_light_tenant_is_next_and_what_is_late_is_not_worked_on():
    desk = Desk(1)
    order: list[str] = []
    go, begun = threading.Event(), threading.Event()

    def step(state: dict[str, Any]) -> None:
        begun.set()
        assert go.wait(30)
        order.append(state[URGENCY].tenant)

    (at_desk,) = desk.around([step])
    with ThreadPoolExecutor(8) as pool:

        def ask(urgency: Urgency) -> Future[None]:
            before = desk._places.waiting
            call = pool.submit(at_desk, {URGENCY: urgency})
            while desk._places.waiting == before and not call.done():
                sleep(0.0005)
            return call

        first = pool.submit(at_desk, {URGENCY: Urgency(tenant="first")})
        assert begun.wait(30)
        calls = [ask(Urgency(tenant="heavy")) for _ in range(3)]
        late = ask(Urgency(tenant="late", deadline=perf_counter() + 0.02))
        with pytest.raises(DeadlineError):
            late.result(30)
        calls.append(ask(Urgency(tenant="light")))
        go.set()
        for call in [first, *calls]:
            call.result(30)
    assert order.index("light") <= 2
    assert "late" not in order


def test_a_pipeline_that_fails_gives_its_place_at_the_desk_back():
    def fails(_state: dict[str, Any]) -> None:
        raise ValueError("damaged")

    (at_desk,) = Desk(1).around([fails])
    for _ in range(3):
        with pytest.raises(ValueError, match="damaged"):
            at_desk({})


def tight(level: int) -> RunQueue:
    """A queue that refused a call a moment ago."""
    queue = RunQueue(2, 60)
    queue._limit.level = level
    queue._limit._refused_at = perf_counter()
    return queue


def test_what_would_find_no_room_is_refused_before_it_is_read_while_calls_are_refused():
    queue = tight(4)
    with ExitStack() as inside:
        for _ in range(3):
            inside.enter_context(queue.admit(Urgency(tenant="heavy")))
        queue.turn_away("heavy")
        inside.enter_context(queue.admit(Urgency(tenant="heavy")))
        with pytest.raises(OverloadedError, match="try again in about"):
            queue.turn_away("heavy")
        queue.turn_away("light")
        inside.enter_context(queue.admit(Urgency(tenant="light")))
        queue.turn_away("light")  # its share is two of four
        inside.enter_context(queue.admit(Urgency(tenant="light")))
        with pytest.raises(OverloadedError):
            queue.turn_away("light")
        assert queue.refused == 2
        queue._limit.level = None
        queue.turn_away("heavy")
    RunQueue().turn_away("anybody")


def test_a_call_that_could_take_the_place_of_another_is_read():
    queue = tight(4)
    with ExitStack() as inside:
        for _ in range(4):
            inside.enter_context(queue.admit(Urgency(tenant="heavy")))
        queue._line.join(queue.turn({}, Urgency("batch", tenant="heavy"), None, 1))
        queue.turn_away("heavy")


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(PRIORITIES)), max_size=12))
def test_who_is_refused_unread_would_have_been_refused_when_read(calls):
    queue = tight(4)
    for _ in range(2):
        assert queue.begin(None)
    with ExitStack() as inside:
        for tenant, priority in calls:
            urgency = Urgency(priority, tenant=tenant)
            unread = read = None
            try:
                queue.turn_away(tenant)
            except OverloadedError as error:
                unread = error
            try:
                inside.enter_context(queue.admit(urgency))
            except OverloadedError as error:
                read = error
            else:
                queue._line.join(queue.turn({}, urgency, None, 1))
            assert unread is None or read is not None
