"""Calls that wait a moment for each other, as their operator says (`max_queue_delay_ms`)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from time import perf_counter

import numpy as np
import pytest

from wherever_contracts.errors import EngineError
from wherever_contracts.urgency import CALM, Urgency
from wherever_edge.host import LocalHost
from wherever_edge.packages.store import Store
from wherever_edge.queueing.policy import Limits
from wherever_edge.queueing.sharing import AS_USUAL, Sharing

LONG_S = 60.0


@pytest.fixture
def host(echo_package):
    host = LocalHost(Store([echo_package.root], builtin=False), distance="cloud", runs=2)
    yield host
    host.close()


def ask(host, number, urgency=CALM):
    given = np.full(8, number, np.float32)
    answer = host.resolve("echo").answer({"given": given}, {}, urgency)
    assert answer.outputs["echoed"].tolist() == given.tolist()
    return answer


def ask_together(host, count):
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(lambda number: ask(host, number), range(count)))


def test_a_run_that_is_full_goes_at_once_and_each_gets_its_own_rows(host):
    host.share_by(lambda _model: Sharing(LONG_S, Limits(rows=4)))
    assert [answer.rows for answer in ask_together(host, 8)] == [4] * 8


def test_a_lone_call_waits_no_longer_than_the_rule_says(host):
    host.share_by(lambda _model: Sharing(0.05))
    answer = ask(host, 1)
    assert answer.rows == 1
    assert answer.queue_s >= 0.04


def test_a_call_with_a_deadline_is_answered_before_it(host):
    ask(host, 0)  # loaded
    host.share_by(lambda _model: Sharing(LONG_S))
    started = perf_counter()
    assert ask(host, 2, Urgency(deadline=started + 1)).rows == 1
    assert perf_counter() - started < LONG_S / 2


def test_a_rule_may_come_and_go_while_calls_run(host):
    ask(host, 0)
    host.share_by(lambda _model: Sharing(0.001))
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(ask, host, number) for number in range(400)]
        for number in range(20):
            host.share_by(lambda _model, on=number % 2: Sharing(0.001) if on else AS_USUAL)
        for call in calls:
            call.result()
    host.share_by(lambda _model: AS_USUAL)
    assert ask(host, 1).rows == 1


def test_other_shapes_wait_for_their_own_kind(host):
    host.share_by(lambda _model: Sharing(LONG_S, Limits(rows=2)))
    loaded = host.resolve("echo")

    def of(length):
        given = {"given": np.zeros(length, np.float32)}
        return len(loaded.answer(given, {}).outputs["echoed"])

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(of, [3, 5, 3, 5])) == [3, 5, 3, 5]


def test_where_the_run_of_all_fails_each_runs_by_itself(host, monkeypatch):
    loaded = host.resolve("echo")
    host.share_by(lambda _model: Sharing(LONG_S, Limits(rows=2)))
    session, run = loaded.session, loaded.session.run

    def not_together(tensors):
        if len(tensors["x"]) > 1:
            raise EngineError("not together")
        return run(tensors)

    monkeypatch.setattr(type(session), "run", lambda _self, tensors: not_together(tensors))
    assert [answer.rows for answer in ask_together(host, 2)] == [1, 1]
