"""The threads of a client: what waits for other hosts keeps no coroutine waiting."""

from __future__ import annotations

import asyncio
import threading

import pytest

from wherever._threads import Threads
from wherever_contracts.errors import ClosedError


@pytest.fixture
def threads():
    made = Threads()
    yield made
    made.close()


def test_coroutines_do_not_wait_for_functions_that_wait_for_other_hosts(threads):
    go, ended = threading.Event(), threading.Semaphore(0)

    def waits():
        go.wait(10)
        ended.release()

    assert all(threads.behind(waits) for _ in range(100))
    assert asyncio.run(threads.run(lambda: 3)) == 3
    go.set()
    assert all(ended.acquire(timeout=10) for _ in range(100))


def test_nothing_begins_once_they_are_closed(threads):
    threads.close()
    assert not threads.behind(print)
    assert not threads.beside(print)
    with pytest.raises(ClosedError):
        asyncio.run(threads.run(print))
    with pytest.raises(ClosedError):
        threads.race(print)
