"""A fork waits for loads, and loads wait for a fork."""

from __future__ import annotations

import os
import threading

import pytest

from wherever_edge.forking import loading

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork"),
    # from 3.12 on, forking beside a thread warns; that it works is what is tested here
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),
]


def fork_and_exit() -> int:
    child = os.fork()
    if child == 0:
        with loading():
            os._exit(7)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_fork_waits_until_another_thread_has_loaded():
    order: list[str] = []
    inside, go_on = threading.Event(), threading.Event()

    def load():
        with loading(), loading():
            inside.set()
            go_on.wait(10)
            order.append("loaded")

    loader = threading.Thread(target=load)
    loader.start()
    inside.wait(10)
    threading.Timer(0.05, go_on.set).start()
    assert fork_and_exit() == 7
    order.append("forked")
    loader.join(10)
    assert order == ["loaded", "forked"]


def test_a_thread_may_fork_in_the_middle_of_its_own_load():
    with loading(), loading():
        assert fork_and_exit() == 7
    with loading():
        pass


def test_a_load_that_fails_does_not_keep_forks_waiting():
    with pytest.raises(ValueError, match="broken"), loading():
        raise ValueError("broken")
    assert fork_and_exit() == 7
