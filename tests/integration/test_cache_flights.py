"""Identical calls at one time are carried out once, by threads and tasks alike."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from wherever._cache_flights import Flights


class Work:
    """Something that runs until it is let go, and counts how often it ran."""

    def __init__(self, result="done"):
        self.begun = threading.Semaphore(0)
        self.go = threading.Event()
        self.runs = 0
        self._lock = threading.Lock()
        self._result = result

    def __call__(self):
        with self._lock:
            self.runs += 1
        self.begun.release()
        assert self.go.wait(30)
        if isinstance(self._result, Exception):
            raise self._result
        return self._result

    async def aio(self):
        return await asyncio.to_thread(self)


@pytest.fixture
def flights():
    return Flights()


@pytest.fixture
def pool():
    with ThreadPoolExecutor(8) as made:
        yield made


def waiting(flights, key, count):
    """Wait until `count` calls wait for the one under way."""
    condition = flights._under_way[key]._end._condition
    while len(condition._waiters) < count:
        threading.Event().wait(0.001)


def test_whoever_comes_while_a_call_is_under_way_shares_its_result(flights, pool):
    work = Work()
    first = pool.submit(flights.once, "key", work, 30)
    work.begun.acquire()
    others = [pool.submit(flights.once, "key", work, 30) for _ in range(5)]
    waiting(flights, "key", 5)
    work.go.set()
    assert first.result() == ("done", False)
    assert [other.result() for other in others] == [("done", True)] * 5
    assert work.runs == 1
    assert flights.once("key", work, 30) == ("done", False)


def test_another_call_is_another_flight(flights, pool):
    work, other = Work(), Work("other")
    first = pool.submit(flights.once, "key", work, 30)
    work.begun.acquire()
    other.go.set()
    assert flights.once("other key", other, 30) == ("other", False)
    work.go.set()
    first.result()


def test_those_who_waited_for_a_call_that_failed_run_themselves(flights, pool):
    failing, working = Work(ValueError("no")), Work()
    first = pool.submit(flights.once, "key", failing, 30)
    failing.begun.acquire()
    others = [pool.submit(flights.once, "key", working, 30) for _ in range(3)]
    waiting(flights, "key", 3)
    working.go.set()
    failing.go.set()
    with pytest.raises(ValueError, match="no"):
        first.result()
    assert [other.result() for other in others] == [("done", False)] * 3
    assert (failing.runs, working.runs) == (1, 3)


def test_nobody_waits_longer_than_their_patience(flights, pool):
    work, own = Work(), Work("own")
    first = pool.submit(flights.once, "key", work, 30)
    work.begun.acquire()
    own.go.set()
    assert flights.once("key", own, 0.001) == ("own", False)
    assert asyncio.run(flights.once_async("key", own.aio, 0.001)) == ("own", False)
    work.go.set()
    assert first.result() == ("done", False)


def test_tasks_share_with_each_other_and_with_threads(flights, pool):
    work = Work()

    async def calls():
        first = asyncio.ensure_future(flights.once_async("key", work.aio, 30))
        await asyncio.to_thread(work.begun.acquire)
        tasks = [asyncio.ensure_future(flights.once_async("key", work.aio, 30)) for _ in range(3)]
        await asyncio.sleep(0)
        thread = pool.submit(flights.once, "key", work, 30)
        await asyncio.to_thread(waiting, flights, "key", 1)
        work.go.set()
        shared = [await task for task in tasks]
        return await first, [*shared, await asyncio.wrap_future(thread)]

    first, others = asyncio.run(calls())
    assert first == ("done", False)
    assert others == [("done", True)] * 4
    assert work.runs == 1


def test_a_task_that_is_cancelled_fails_nobody_else(flights):
    work, own = Work(), Work("own")
    own.go.set()

    async def calls():
        first = asyncio.ensure_future(flights.once_async("key", work.aio, 30))
        await asyncio.to_thread(work.begun.acquire)
        impatient = asyncio.ensure_future(flights.once_async("key", own.aio, 30))
        patient = asyncio.ensure_future(flights.once_async("key", own.aio, 30))
        await asyncio.sleep(0)
        impatient.cancel()
        await asyncio.gather(impatient, return_exceptions=True)
        first.cancel()
        work.go.set()
        return impatient.cancelled(), await patient

    assert asyncio.run(calls()) == (True, ("own", False))


def test_a_call_made_without_await_beside_its_own_task_does_not_wait_for_ever(flights):
    work, own = Work(), Work("own")
    own.go.set()

    async def calls():
        first = asyncio.ensure_future(flights.once_async("key", work.aio, 30))
        await asyncio.to_thread(work.begun.acquire)
        found = flights.once("key", own, 30)
        work.go.set()
        return found, await first

    assert asyncio.run(calls()) == (("own", False), ("done", False))
