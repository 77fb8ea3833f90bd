"""Faults of a real host, at the level of one host: who pays, and that it is asked again."""

from __future__ import annotations

import math
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from typing import Any

import grpc
import numpy as np
import pytest

from wherever._remotes import Remote
from wherever._watch import Watch
from wherever_contracts.errors import AttemptError, OverloadedError, WhereverError
from wherever_contracts.receipts import Answer
from wherever_contracts.tensors import TensorSpec
from wherever_contracts.wire.messages import decode_request, encode_response
from wherever_contracts.wire.tensors import InferRequest, InferResponse, from_array
from wherever_edge.host_health.forecast import Work
from wherever_edge.oip.client import RemoteHost
from wherever_edge.oip.endpoints import Endpoint

NUMBERS = from_array("numbers", np.array([1, 1.2, 1], np.float32))
REQUEST = InferRequest("scales", "", "id", {}, (NUMBERS,), boundary="anywhere")
OUTPUTS = (TensorSpec("scores", "float32", (3,)),)
WORK = Work("scales", "", len(NUMBERS.data))
TIMEOUT_S = 0.5
PROBE_S = 0.2


@pytest.fixture
def connect():
    """Makes remotes; they are closed with the test."""
    with ExitStack() as stack:

        def make(address: str, watch: Watch | None = None) -> Remote:
            watch = watch or Watch()
            stack.callback(watch.close)
            host = RemoteHost(Endpoint.parse(address))
            return stack.enter_context(closing(Remote(host, "cloud", PROBE_S, watch=watch)))

        yield make


def scores(data: bytes, _context: grpc.ServicerContext, **parameters: Any) -> bytes:
    asked = decode_request(data)
    answer = from_array("scores", np.array([0.1, 0.8, 0.1], np.float32))
    return encode_response(InferResponse(asked.model, "1", asked.id, parameters, (answer,)))


def ask(remote: Remote, timeout_s: float = TIMEOUT_S) -> Answer | WhereverError | str:
    """One call; why it was not sent, if it was not."""
    why = remote.admit(last_hope=False)
    return why or remote.infer(REQUEST, OUTPUTS, timeout_s, WORK)


def eventually(true: Callable[[], object], within_s: float = 20.0) -> bool:
    ends = time.monotonic() + within_s
    while not (done := bool(true())) and time.monotonic() < ends:
        time.sleep(0.002)
    return done


def ask_until(remote: Remote, ends: Callable[[Any], bool]) -> list[Any]:
    """Ask again and again; every outcome but "not sent", up to the first of the wanted kind."""
    outcomes: list[Any] = []

    def asked() -> bool:
        outcome = ask(remote)
        if not isinstance(outcome, str):
            outcomes.append(outcome)
        return ends(outcome)

    assert eventually(asked), outcomes
    return outcomes


def answered(outcome: object) -> bool:
    return isinstance(outcome, Answer)


def not_sent(outcome: object) -> bool:
    return isinstance(outcome, str)


# --- outages ---


@pytest.mark.parametrize("outage", ["stops gracefully", "is killed", "hangs"])
def test_an_outage_costs_one_of_the_calls_that_follow_each_other_and_none_after(
    start_gateway, scales_package, connect, outage
):
    gateway = start_gateway(scales_package.root)
    back = threading.Event()
    remote = connect(gateway.address, Watch(on_back=back.set))
    for _ in range(20):
        assert answered(ask(remote))
    if outage == "hangs":
        gateway.send(signal.SIGSTOP)
    elif outage == "is killed":
        gateway.kill()
    else:
        assert gateway.stop() == 0
    paid = ask_until(remote, not_sent)
    assert [type(each).__name__ for each in paid if not answered(each)] == [
        "DeadlineError" if outage == "hangs" else "UnreachableError"
    ]
    assert all(not_sent(ask(remote)) for _ in range(50))
    assert not back.is_set()
    if outage == "hangs":
        gateway.send(signal.SIGCONT)
    else:
        gateway.start()
    assert not [each for each in ask_until(remote, answered) if not answered(each)]
    assert answered(ask(remote))
    assert back.wait(10)  # whoever waits for a host is told


def test_a_call_that_is_overdue_keeps_others_from_following_it_into_the_silence(
    start_gateway, scales_package, connect
):
    gateway = start_gateway(scales_package.root)
    remote = connect(gateway.address)
    for _ in range(20):
        assert answered(ask(remote))
    gateway.send(signal.SIGSTOP)
    with ThreadPoolExecutor(1) as one:
        first = one.submit(ask, remote, 10.0)
        assert eventually(lambda: remote.admit(last_hope=False) or remote.release())
        # the probe that follows is not answered: it is shut out long before the call has ended
        assert eventually(lambda: remote.health.state == "open")
        assert not first.done()
        gateway.send(signal.SIGCONT)
        assert answered(first.result())
    assert answered(ask_until(remote, answered)[-1])


def test_a_host_that_accepts_and_never_answers_costs_one_call_its_timeout(silent_listener, connect):
    remote = connect(silent_listener.address)
    paid = [outcome for outcome in (ask(remote) for _ in range(20)) if not not_sent(outcome)]
    assert [type(each).__name__ for each in paid] == ["DeadlineError"]


@pytest.fixture
def resetting():
    """A listener that reads a little from each connection and then resets it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(1)
                    abrupt = struct.pack("ii", 1, 0)
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, abrupt)

        threading.Thread(target=serve, daemon=True).start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)


def test_a_host_that_resets_connections_costs_one_call_and_not_its_timeout(resetting, connect):
    remote = connect(resetting)
    started = time.monotonic()
    paid = [outcome for outcome in (ask(remote, 30.0) for _ in range(20)) if not not_sent(outcome)]
    assert [type(each).__name__ for each in paid] == ["UnreachableError"]
    assert time.monotonic() - started < 20


def test_a_name_that_does_not_resolve_costs_one_call(connect):
    remote = connect("nowhere.invalid:8001")
    paid = [outcome for outcome in (ask(remote) for _ in range(20)) if not not_sent(outcome)]
    assert len(paid) == 1
    assert isinstance(paid[0], AttemptError)


# --- what calls show ---


def test_a_call_that_is_given_up_ends_at_the_host_and_is_held_against_nobody(serve_infer, connect):
    begun, ended = threading.Event(), threading.Event()

    def infer(data: bytes, context: grpc.ServicerContext) -> bytes:
        context.add_callback(ended.set)
        begun.set()
        assert ended.wait(10)
        return scores(data, context)

    remote = connect(serve_infer(infer))
    outcomes: list[Any] = []
    assert remote.admit(last_hope=False) == ""
    give_up = remote.start(REQUEST, OUTPUTS, 10.0, WORK, outcomes.append)
    assert begun.wait(10)
    assert remote.health.in_flight == 1
    give_up()
    assert ended.wait(10)
    assert eventually(lambda: outcomes)
    assert "given up" in str(outcomes[0])
    health = remote.health
    assert (health.state, health.in_flight) == ("closed", 0)


@pytest.mark.parametrize("said", ["200", "-1"])
def test_a_host_without_room_is_left_alone_for_as_long_as_it_says(serve_infer, connect, said):
    asked: list[float] = []

    def infer(data: bytes, context: grpc.ServicerContext) -> bytes:
        asked.append(time.monotonic())
        if len(asked) == 1:
            context.set_trailing_metadata((("grpc-retry-pushback-ms", said),))
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "full")
        return scores(data, context)

    remote = connect(serve_infer(infer))
    refused = ask(remote)
    assert isinstance(refused, OverloadedError)
    assert refused.retry_after_s == (0.2 if said == "200" else math.inf)
    ask_until(remote, answered)
    assert len(asked) == 2
    if said == "200":
        assert asked[1] - asked[0] >= 0.19


def test_a_host_that_does_much_worse_than_the_others_is_left_out_for_a_while(serve_infer, connect):
    calls = iter(range(10**6))

    def failing(data: bytes, context: grpc.ServicerContext) -> bytes:
        if next(calls) % 2:
            context.abort(grpc.StatusCode.INTERNAL, "every other call")
        return scores(data, context)

    watch = Watch()
    bad, good = connect(serve_infer(failing), watch), connect(serve_infer(scores), watch)
    assert eventually(lambda: [ask(good), ask(bad)] and bad.health.ejected_s > 0)
    assert "the others" in str(ask(bad))
    assert bad.admit(last_hope=True) == ""
    assert answered(ask(good))


# --- probes while it is quiet ---


def quiet_threads() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == "wherever-quiet"]


def test_a_host_that_is_used_is_probed_while_it_is_quiet_so_an_outage_then_costs_no_call(
    start_gateway, scales_package, connect
):
    gateway = start_gateway(scales_package.root)
    remote = connect(gateway.address, Watch(quiet_s=0.05))
    assert quiet_threads() == []
    for _ in range(5):
        assert answered(ask(remote))
    health = remote.health
    assert health.load is not None
    assert 0 < health.load <= 1
    assert eventually(lambda: remote.health.cost.samples > health.cost.samples + 2)
    gateway.kill()
    assert eventually(lambda: remote.health.state == "open")
    assert not_sent(ask(remote))


def test_the_thread_for_that_ends_when_nothing_is_used_and_begins_again(serve_infer, connect):
    remote = connect(serve_infer(scores), Watch(quiet_s=0.05))
    assert answered(ask(remote))
    (thread,) = quiet_threads()
    remote.asked_at -= 3600
    thread.join(10)
    assert not thread.is_alive()
    assert answered(remote.infer(REQUEST, OUTPUTS, 10.0, WORK))
    assert len(quiet_threads()) == 1


def test_it_ends_with_those_who_had_it(serve_infer, connect):
    watch = Watch(quiet_s=0.05)
    assert answered(ask(connect(serve_infer(scores), watch)))
    (thread,) = quiet_threads()
    watch.close()
    thread.join(10)
    assert not thread.is_alive()
