"""Whatever becomes of an attempt, it ends, and its leave is handed back."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace

import pytest

from wherever._calls import Call
from wherever._remotes import Remote
from wherever._routing.plan import Candidate
from wherever._routing.steps import Attempt
from wherever_contracts.errors import AttemptError, ClosedError, EngineError, UnreachableError
from wherever_contracts.urgency import CALM
from wherever_edge.host_health.forecast import Work

GATEWAY = "gw:8001"
HERE = Attempt(Candidate("device", "device"), None, "")
THERE = Attempt(Candidate(GATEWAY, "cloud"), 1.0, "")
RELEASED = Attempt(Candidate(GATEWAY, "cloud", release="blurred"), 1.0, "")


class Host:
    """A host that nothing is sent to."""

    name = GATEWAY
    endpoint = SimpleNamespace(host="gw")

    def probe(self, _timeout_s):
        raise UnreachableError("nobody is there")

    def start(self, *_):
        raise UnreachableError("nobody is there")

    def close(self):
        pass


class Kept:
    """Keeps nothing; a test may say otherwise."""

    def of_call(self, *_):
        return self

    def find(self, _attempt):
        return None

    def keep(self, _attempt, _outcome):
        pass


def refuse(_function):
    raise ClosedError("this client was closed")


@pytest.fixture
def remote():
    made = Remote(Host(), "cloud", 0.1)
    yield made
    made.close()


def call(remote, kept=None, **facts):
    route = {
        "remotes": {GATEWAY: remote},
        "releases": {},
        "wire_inputs": None,
        "answers_at_once": lambda: False,
        "ask_device": lambda *_: AttemptError("no answer"),
        "spare": lambda function: function(),
        **facts,
    }
    return Call(SimpleNamespace(**route), {}, {}, "1", kept, CALM, strict=False)


def test_a_call_that_no_thread_can_send_hands_its_leave_back(remote):
    assert remote.admit(last_hope=False) == ""
    with pytest.raises(ClosedError):
        call(remote, spare=refuse).begin(RELEASED, print)
    assert remote.health.in_flight == 0


def test_an_attempt_whose_outcome_cannot_be_kept_ends_all_the_same(remote):
    kept = Kept()
    kept.keep = lambda *_: 1 / 0
    outcomes = []
    call(remote, kept).begin(HERE, outcomes.append)
    (outcome,) = outcomes
    assert str(outcome) == "device: the call ended with ZeroDivisionError: division by zero"


@pytest.mark.parametrize("at_once", [True, False])
def test_a_device_that_breaks_down_in_a_race_ends_its_attempt(remote, at_once):
    outcomes = []
    broken = call(remote, ask_device=lambda *_: 1 / 0, answers_at_once=lambda: at_once)
    broken.begin(HERE, outcomes.append)
    (outcome,) = outcomes
    assert isinstance(outcome, EngineError)
    assert str(outcome) == "the call ended with ZeroDivisionError: division by zero"


def test_a_task_that_is_cancelled_while_it_looks_for_a_kept_answer_hands_its_leave_back(remote):
    kept, looking, gate = Kept(), threading.Event(), threading.Event()

    def find(_attempt):
        looking.set()
        gate.wait(30)

    async def cancelled():
        task = asyncio.ensure_future(asked.perform_async(THERE))
        await asyncio.to_thread(looking.wait, 30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        gate.set()
        while remote.health.in_flight:
            await asyncio.sleep(0.001)

    kept.find = find
    asked = call(remote, kept, in_thread=asyncio.to_thread)
    assert remote.admit(last_hope=False) == ""
    asyncio.run(asyncio.wait_for(cancelled(), 3))


def test_where_no_thread_can_be_had_calls_end_and_a_later_one_finds_the_host(remote, monkeypatch):
    def start(_thread):
        raise RuntimeError("can't start new thread")

    ends = []
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", start)
        assert remote.admit(last_hope=False) == ""
        remote.start(None, (), 1.0, Work("m"), ends.append)
        assert "it failed a moment ago" in remote.admit(last_hope=False)
    assert isinstance(ends[0], UnreachableError)
    assert not probers()
    assert remote.admit(last_hope=False)
    assert probers()


def probers():
    return [each for each in threading.enumerate() if each.name == f"wherever-probe-{GATEWAY}"]
