"""Streams of calls over real sockets: order, bounds, ends, and the same answers as single calls."""

from __future__ import annotations

import gc
import json
import math
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from typing import Any, NoReturn

import grpc
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import wherever
from wherever_contracts.errors import (
    NotAllowedError,
    OverloadedError,
    UnreachableError,
    WhereverError,
)
from wherever_contracts.wire.messages import decode_response, encode_request
from wherever_contracts.wire.streaming import (
    STREAM_METHOD,
    call_parts,
    cancel_part,
    decode_answers,
)
from wherever_contracts.wire.tensors import InferRequest, InferResponse, from_array, to_array
from wherever_edge.engines.engine import Session
from wherever_edge.host import LocalHost
from wherever_edge.oip import completion, stream_server
from wherever_edge.oip.client import RemoteHost
from wherever_edge.oip.endpoints import Endpoint
from wherever_edge.oip.keys import KeyChecker, KeyStore
from wherever_edge.oip.security import ClientSecurity
from wherever_edge.oip.server import InferenceServer
from wherever_edge.oip.status import CODE_KEY, PUSHBACK_KEY
from wherever_edge.packages.store import Store

IN_BOTH_WAYS = pytest.mark.parametrize("serve", ["direct", "grpcio's way"], indirect=True)

INFERENCE = "inference.GRPCInferenceService"
NUMBERS = from_array("numbers", np.array([1, 3, 2], np.float32))
SCALES = InferRequest("scales", "", "", {}, (NUMBERS,), boundary="anywhere")


class HeldHost(LocalHost):
    """A host whose runs of `echo` begin, and wait until the test lets them end."""

    def __init__(self, store: Store) -> None:
        super().__init__(store, distance="cloud", runs=2, max_waiting=64, batching=False)
        self.begun = threading.Semaphore(0)
        self.release = threading.Event()
        self.runs = 0

    def _open(self, package: Any, *what: Any) -> Session:
        session = super()._open(package, *what)
        return _Held(session, self) if package.name == "echo" else session


class _Held(Session):
    def __init__(self, session: Session, host: HeldHost) -> None:
        super().__init__(session.inputs, session.outputs, session.facts)
        self._session = session
        self._host = host

    def _run(self, feed: dict[str, Any]) -> dict[str, Any]:
        self._host.runs += 1
        self._host.begun.release()
        self._host.release.wait(20)
        return self._session.run(feed)


class Stream:
    """A client of the stream alone: what a program of others would write."""

    def __init__(self, port: int, metadata: Any = ()) -> None:
        # no more is on its way to a client that reads nothing than HTTP/2 has it from the start
        options = [("grpc.http2.bdp_probe", 0)]
        self._channel = grpc.insecure_channel(f"127.0.0.1:{port}", options)
        self._outgoing: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        messages = iter(self._outgoing.get, None)
        self.call = self._channel.stream_stream(STREAM_METHOD)(messages, 20, metadata)

    def send(self, *calls: Any) -> None:
        """Calls as (number, request, ...), and bytes as they are, in one message."""
        parts = [
            (c,) if isinstance(c, bytes) else call_parts(c[0], encode_request(c[1]), *c[2:])
            for c in calls
        ]
        self._outgoing.put(b"".join(part for each in parts for part in each))

    def read(self) -> dict[int, InferResponse | tuple[str, str, str]]:
        """The next message: answers by number, errors as (status, details, code); 0: goaway."""
        data = next(self.call)
        found = decode_answers(data)
        answers: dict[int, Any] = {
            each.number: (each.status, each.details, each.code)
            if each.status
            else decode_response(data, each.start, each.end)
            for each in found.answers
        }
        return answers | ({0: "goaway"} if found.goaway else {})

    def read_until(self, *numbers: int) -> dict[int, Any]:
        answers: dict[int, Any] = {}
        while not answers.keys() >= set(numbers):
            answers |= self.read()
        return answers

    def end(self) -> None:
        self._outgoing.put(None)

    def close(self) -> None:
        self._channel.close()
        self._outgoing.put(None)


@pytest.fixture(scope="module")
def store(echo_package, scales_package) -> Store:
    return Store([echo_package.root, scales_package.root])


@pytest.fixture(scope="module")
def host(store) -> LocalHost:
    return LocalHost(store, distance="cloud", runs=2, max_waiting=64)


@pytest.fixture
def held(store) -> Iterator[HeldHost]:
    held = HeldHost(store)
    yield held
    held.release.set()


@pytest.fixture
def serve(host, request, monkeypatch) -> Iterator[Callable[..., InferenceServer]]:
    in_grpcios_way = getattr(request, "param", "direct") == "grpcio's way"
    with ExitStack() as stack:

        def start(of: Any = None, **arguments: Any) -> InferenceServer:
            server = InferenceServer(of or host, port=0, **arguments)
            with monkeypatch.context() as patched:
                if in_grpcios_way:
                    patched.setattr(grpc, "__version__", "99.0.0")
                server.start()
            assert (server._direct_streams is None) is in_grpcios_way
            stack.callback(server.drain, 0)
            return server

        yield start


@pytest.fixture
def open_stream() -> Iterator[Callable[..., Stream]]:
    with ExitStack() as stack:

        def start(server: InferenceServer, metadata: Any = ()) -> Stream:
            return stack.enter_context(closing(Stream(server.port, metadata)))

        yield start


@pytest.fixture
def remote() -> Iterator[Callable[..., RemoteHost]]:
    with ExitStack() as stack:

        def make(port: int, **arguments: Any) -> RemoteHost:
            endpoint = Endpoint.parse(f"grpc://127.0.0.1:{port}?rest=off")
            return stack.enter_context(closing(RemoteHost(endpoint, **arguments)))

        yield make


@pytest.fixture(scope="module")
def echo(echo_package) -> InferRequest:
    entry = echo_package.manifest.signature.inputs[0]
    array = np.arange(3, dtype=np.float32)
    return InferRequest("echo", "", "", {}, (from_array(entry.name, array),), boundary="anywhere")


def scores(response: InferResponse) -> list[float]:
    return to_array(response.outputs[0]).tolist()


def eventually(true: Callable[[], bool], within_s: float = 30.0) -> bool:
    ends = time.monotonic() + within_s
    while not true() and time.monotonic() < ends:
        time.sleep(0.005)
    return true()


def as_soon_as(found: Callable[[], list[Any]]) -> list[Any]:
    """What is found, once there is something."""
    assert eventually(lambda: bool(found()))
    return found()


def open_streams(server: InferenceServer) -> int:
    return len(server._streams._open)


# --- the server ---


@IN_BOTH_WAYS
def test_a_slow_model_holds_up_no_call_of_another(serve, held, open_stream, echo):
    stream = open_stream(serve(held))
    stream.send((1, echo), (2, SCALES), (3, SCALES._replace(id="third")))
    answers = stream.read_until(2, 3)
    assert 1 not in answers
    assert answers[3].id == "third"
    assert scores(answers[2]) == scores(answers[3])
    held.release.set()
    assert stream.read_until(1)[1].model == "echo"


@IN_BOTH_WAYS
def test_a_call_that_is_cancelled_is_not_run(serve, held, open_stream, echo):
    held.queue.runs = 1
    stream = open_stream(serve(held))
    stream.send((1, echo))
    assert held.begun.acquire(timeout=30)
    stream.send((2, echo), (3, SCALES))
    assert eventually(lambda: held.queue.inside == 3)
    stream.send(cancel_part(2), cancel_part(99))
    stream.send((4, InferRequest("nothing", "", "", {}, ())))
    stream.read_until(4)
    held.release.set()
    assert sorted(stream.read_until(1, 3)) == [1, 3]
    assert held.runs == 1
    assert eventually(lambda: held.queue.inside == 0)


@IN_BOTH_WAYS
def test_a_call_whose_time_runs_out_while_it_waits_is_told_so(serve, held, open_stream, echo):
    held.queue.runs = 1
    stream = open_stream(serve(held))
    stream.send((1, echo))
    assert held.begun.acquire(timeout=30)
    stream.send((2, SCALES, 0.05))
    status, words, code = stream.read_until(2)[2]
    assert (status, code) == ("DEADLINE_EXCEEDED", "deadline")
    assert "it was not done" in words


@IN_BOTH_WAYS
def test_a_client_that_goes_takes_its_calls_along(serve, held, open_stream, echo):
    held.queue.runs = 1
    server = serve(held)
    stream = open_stream(server)
    stream.send((1, echo), (2, echo))
    assert held.begun.acquire(timeout=30)
    stream.call.cancel()
    assert eventually(lambda: not any(each.alive for each in server._streams._open))
    held.release.set()
    assert eventually(lambda: not server._streams._open and held.queue.inside == 0)
    assert held.runs == 1


@IN_BOTH_WAYS
def test_a_request_that_cannot_be_read_fails_alone(serve, open_stream):
    stream = open_stream(serve())
    bad = b"".join(call_parts(1, b"\xff\xff"))
    stream.send(bad, (2, SCALES))
    answers = stream.read_until(1, 2)
    status, words, code = answers[1]
    assert (status, code) == ("INVALID_ARGUMENT", "input")
    assert "2 bytes that are not a ModelInferRequest" in words
    assert answers[2].model == "scales"


@IN_BOTH_WAYS
def test_two_calls_with_one_number_are_not_mixed_up(serve, held, open_stream, echo):
    stream = open_stream(serve(held))
    stream.send((1, echo), (1, SCALES))
    status, words, _ = stream.read_until(1)[1]
    assert status == "INVALID_ARGUMENT"
    assert "two calls with the number 1" in words


@IN_BOTH_WAYS
def test_a_message_that_is_none_ends_the_stream_in_words_when_all_is_answered(serve, open_stream):
    stream = open_stream(serve())
    stream.send((1, SCALES))
    stream.send(b"\x0a\xff")
    assert stream.read().keys() == {1}
    with pytest.raises(grpc.RpcError) as caught:
        stream.read()
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "a number that is cut" in caught.value.details()


@IN_BOTH_WAYS
def test_no_more_is_read_while_as_many_calls_wait_as_a_stream_may_have(
    serve, held, open_stream, echo, monkeypatch
):
    monkeypatch.setattr(stream_server, "_ONE_CALLS", 4)
    held.queue.runs = 8
    server = serve(held)
    full, other = open_stream(server), open_stream(server)
    full.send(*((number, echo) for number in range(1, 5)))
    full.send((5, SCALES))
    assert held.begun.acquire(timeout=30)
    other.send((1, SCALES))
    assert other.read_until(1)[1].model == "scales"
    (running,) = (each for each in server._streams._open if each._running)
    assert sorted(running._running) == [1, 2, 3, 4]
    held.release.set()
    assert sorted(full.read_until(1, 2, 3, 4, 5)) == [1, 2, 3, 4, 5]


@IN_BOTH_WAYS
def test_more_streams_than_are_served_are_refused(serve, open_stream):
    server = serve()
    server._streams._most = 1
    first = open_stream(server)
    first.send((1, SCALES))
    first.read_until(1)
    with pytest.raises(grpc.RpcError) as caught:
        open_stream(server).read()
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "send single calls" in caught.value.details()
    trailing = dict(caught.value.trailing_metadata())
    assert trailing[CODE_KEY] == "overloaded"
    assert int(trailing[PUSHBACK_KEY]) >= 0
    first.end()
    assert list(first.call) == []
    assert eventually(lambda: open_streams(server) == 0)


@IN_BOTH_WAYS
def test_streams_hold_no_thread_of_those_for_single_calls(serve, open_stream, remote):
    server = serve()
    streams = [open_stream(server) for _ in range(server._threads + 1)]
    for stream in streams:
        stream.send((1, SCALES))
        stream.read_until(1)
    host = remote(server.port)
    assert host.infer(SCALES, 5).model == "scales"


@pytest.fixture
def keys(tmp_path) -> KeyStore:
    return KeyStore(tmp_path / "keys")


@IN_BOTH_WAYS
def test_a_stream_needs_a_key_where_calls_do(serve, open_stream, keys):
    server = serve(keys=KeyChecker(keys))
    with pytest.raises(grpc.RpcError) as caught:
        open_stream(server).read()
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


@IN_BOTH_WAYS
def test_calls_are_refused_once_the_key_of_their_stream_is_revoked(
    serve, open_stream, keys, remote
):
    key = keys.add("shop")
    server = serve(keys=KeyChecker(keys))
    stream = open_stream(server, (("authorization", f"Bearer {key}"),))
    host = remote(server.port, security=ClientSecurity(api_key=key))
    stream.send((1, SCALES))
    assert stream.read_until(1)[1].model == "scales"
    for _ in range(3):
        host.infer(SCALES, 5)
    keys.revoke("shop")
    time.sleep(0.6)  # the file is looked at twice a second
    stream.send((2, SCALES))
    status, words, code = stream.read_until(2)[2]
    assert (status, code) == ("UNAUTHENTICATED", "not_allowed")
    assert "was revoked" in words
    with pytest.raises(NotAllowedError, match="was revoked"):
        host.infer(SCALES, 5)


@IN_BOTH_WAYS
def test_a_drain_says_goaway_and_answers_what_runs(serve, held, open_stream, echo):
    server = serve(held)
    stream = open_stream(server)
    stream.send((1, echo))
    assert held.begun.acquire(timeout=30)
    with ThreadPoolExecutor(1) as pool:
        drained = pool.submit(server.drain, 10)
        assert stream.read() == {0: "goaway"}
        stream.send((2, SCALES))  # sent before its client had read that
        assert stream.read_until(2)[2].model == "scales"
        held.release.set()
        assert stream.read_until(1)[1].model == "echo"
        stream.end()
        assert list(stream.call) == []
        assert drained.result(timeout=30)


@IN_BOTH_WAYS
def test_calls_that_hang_keep_no_stream_from_being_read(serve, held, open_stream, echo):
    held.queue.runs = 128
    server = serve(held)
    server._streams.workers._most = 3
    if server._direct_streams is not None:
        server._direct_streams._pollers._most = 3
    hanging, other = open_stream(server), open_stream(server)
    for number in range(1, 6):  # in a message each
        hanging.send((number, echo))
    for _ in range(3):
        assert held.begun.acquire(timeout=30)
    for number in range(1, 6):
        other.send((number, SCALES))
        assert other.read_until(number)[number].model == "scales"
    hanging.send(cancel_part(5), (6, SCALES))
    assert hanging.read_until(6)[6].model == "scales"
    held.release.set()
    assert sorted(hanging.read_until(1, 2, 3, 4)) == [1, 2, 3, 4]


@IN_BOTH_WAYS
def test_no_more_is_read_while_answers_wait_for_a_client_that_reads_none(
    serve, held, open_stream, echo
):
    held.release.set()
    server = serve(held, max_bytes=100_000)
    stream = open_stream(server)
    numbers = from_array(echo.inputs[0].name, np.zeros(24_000, np.float32))
    for number in range(1, 41):
        stream.send((number, echo._replace(inputs=(numbers,))))
    (opened,) = as_soon_as(lambda: list(server._streams._open))
    room = opened._house.rooms[0]
    assert eventually(lambda: room._bytes >= 200_000 and not opened._running)
    assert held.runs < 40
    stream.read_until(*range(1, 41))


@IN_BOTH_WAYS
def test_an_error_of_our_own_ends_the_stream_and_is_logged(serve, open_stream, caplog):
    server = serve()
    stream = open_stream(server)
    stream.send((1, SCALES))
    stream.read_until(1)
    (opened,) = server._streams._open

    def fail(_authorization: str | None) -> NoReturn:
        raise KeyError("a secret")

    opened._house = opened._house._replace(identify=fail)
    stream.send((2, SCALES))
    with pytest.raises(grpc.RpcError) as caught:
        stream.read()
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert caught.value.details() == "KeyError"
    assert "a stream of calls failed" in caplog.text


@IN_BOTH_WAYS
def test_nothing_is_kept_of_streams_that_are_over(serve, held, open_stream, echo):
    server = serve(held)
    ended, gone, broken, cancelled = streams = [open_stream(server) for _ in range(4)]
    for stream in streams:
        stream.send((1, SCALES))
        stream.read_until(1)
    kept = [weakref.ref(each) for each in server._streams._open]
    assert len(kept) == 4
    cancelled.send((2, echo), (3, echo))
    assert held.begun.acquire(timeout=30)
    cancelled.call.cancel()
    ended.end()
    gone.close()
    broken.send(b"\x0a\xff")
    held.release.set()
    assert eventually(lambda: open_streams(server) == 0)
    assert eventually(lambda: gc.collect() >= 0 and not any(each() for each in kept))
    room = server._streams._room
    assert eventually(lambda: (room._calls, room._bytes) == (0, 0))


@IN_BOTH_WAYS
def test_a_server_stops_with_streams_open_and_a_call_that_hangs(
    serve, held, open_stream, echo, monkeypatch
):
    monkeypatch.setattr(completion, "_END_S", 0.1)
    server = serve(held)
    idle, busy = open_stream(server), open_stream(server)
    idle.send((1, SCALES))
    idle.read_until(1)
    busy.send((1, echo))
    assert held.begun.acquire(timeout=30)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(server.drain, 0).result(timeout=10) is False
    for stream in idle, busy:
        with pytest.raises(grpc.RpcError):
            stream.read_until(99)
    held.release.set()  # the answer comes when nothing is sent any more
    assert eventually(lambda: open_streams(server) == 0)


# --- our client ---


def test_calls_go_over_one_stream_once_the_server_offers_it(serve, remote):
    server = serve()
    host = remote(server.port)
    host.infer(SCALES, 5)
    assert open_streams(server) == 0
    assert eventually(lambda: host.pings)  # or the channel, and its stream, would be replaced
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: scores(host.infer(SCALES, 5)), range(64)))
    started = [host.start(SCALES._replace(id=str(n)), 5) for n in range(64)]
    assert [call.result().id for call in started] == [str(n) for n in range(64)]
    assert answers == [answers[0]] * 64
    assert open_streams(server) >= 1


def test_large_calls_go_by_themselves(serve, remote, echo):
    server = serve()
    host = remote(server.port)
    host.infer(SCALES, 5)
    array = np.arange(400_000, dtype=np.float32)
    large = echo._replace(inputs=(from_array(echo.inputs[0].name, array),))
    assert to_array(host.infer(large, 5).outputs[0]).tobytes() == array.tobytes()
    assert open_streams(server) == 0


def test_a_large_call_on_a_connection_that_is_replaced_meanwhile_is_answered(
    serve, held, remote, echo
):
    server = serve(held)
    host = remote(server.port)
    held.release.set()
    assert eventually(lambda: host.infer(echo, 10.0) and open_streams(server) == 1)
    held.release.clear()
    large = from_array(echo.inputs[0].name, np.zeros(1_000_000, np.float32))
    call = host.start(echo._replace(inputs=(large,)), 20.0)
    ended = threading.Event()
    call.add_done_callback(lambda _: ended.set())
    assert eventually(lambda: server.queue.inside == 1)
    host.renew()
    held.release.set()
    assert ended.wait(10)
    assert len(scores(call.result())) == 1_000_000


def test_many_calls_and_answers_together_stay_within_the_largest_message(serve, remote, echo):
    server = serve(max_bytes=100_000)
    host = remote(server.port, max_bytes=100_000)
    name = echo.inputs[0].name
    arrays = [np.full(24_000, n, np.float32) for n in range(24)]
    host.infer(SCALES, 5)
    assert eventually(lambda: host.pings)  # or the channel, and its stream, would be replaced
    started = [host.start(echo._replace(inputs=(from_array(name, a),)), 10) for a in arrays]
    answers = [to_array(call.result().outputs[0]) for call in started]
    assert all((answer == array).all() for answer, array in zip(answers, arrays, strict=True))
    assert open_streams(server) >= 1


def test_a_limit_that_no_clock_reaches_is_none(serve, remote):
    host = remote(serve().port)
    for timeout_s in (5, float("inf"), 1e12):
        assert host.infer(SCALES, timeout_s).model == "scales"
        assert host.start(SCALES, timeout_s).result().model == "scales"


def test_a_stream_that_nobody_uses_is_ended(serve, remote, monkeypatch):
    monkeypatch.setattr("wherever_edge.oip.call_stream._IDLE_S", 0.05)
    server = serve()
    host = remote(server.port)
    for _ in range(3):
        host.infer(SCALES, 5)
        assert eventually(lambda: open_streams(server) == 0)


def ends(function: Callable[[], InferResponse]) -> Any:
    """What becomes of a call, apart from how long it took."""
    try:
        response = function()
    except WhereverError as error:
        words = re.sub(r"after [0-9.e-]+ s", "after a while", str(error))
        return type(error), words, getattr(error, "retry_after_s", None)
    timed = ("engine_s", "queue_s", "load", "rows")
    said = {k: v for k, v in response.parameters.items() if not k.endswith(timed)}
    return response._replace(parameters=said)


TENSORS = st.sampled_from(
    [
        NUMBERS,
        from_array("numbers", np.array([[1, 2, 3]], np.float32)),
        from_array("numbers", np.array([1, 2, 3], np.int64)),
        from_array("numbers", np.array([1, np.nan, 3], np.float32)),
        from_array("other", np.array([1, 2, 3], np.float32)),
        NUMBERS._replace(data=b"short"),
        NUMBERS._replace(datatype="WHAT"),
    ]
)
REQUESTS = st.builds(
    InferRequest,
    st.sampled_from(["scales", "scales", "scales@1.0.0", "echo", "nothing", "scales--large", ""]),
    st.sampled_from(["", "", "1.0.0", "9"]),
    st.text(max_size=5),
    st.dictionaries(
        st.sampled_from(["variant", "signature", "priority", "x"]),
        st.sampled_from(["large", "small", "no", 3, 0.5, True]),
        max_size=2,
    ),
    st.lists(TENSORS, max_size=2).map(tuple),
    st.sampled_from([(), (), ("scores",), ("no",)]),
    st.just("anywhere"),
    st.just(()),
)


@pytest.fixture(scope="module")
def both_ways(host) -> Iterator[tuple[RemoteHost, RemoteHost]]:
    """Hosts of one server: one that uses its stream, one that does not."""
    server = InferenceServer(host, port=0)
    server.start()
    endpoint = Endpoint.parse(f"grpc://127.0.0.1:{server.port}?rest=off")
    with closing(RemoteHost(endpoint)) as streamed, closing(RemoteHost(endpoint)) as single:
        streamed.infer(SCALES, 5)
        single.infer(SCALES, 5)
        single._approach.chosen.streaming.of = lambda *_: None
        yield streamed, single
    server.drain(0)


@given(st.lists(REQUESTS, min_size=1, max_size=4))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_answers_and_errors_are_those_of_single_calls(both_ways, requests):
    streamed, single = both_ways
    started = [streamed.start(request, 10) for request in requests]
    expected = [ends(lambda sent=request: single.infer(sent, 10)) for request in requests]
    assert [ends(call.result) for call in started] == expected
    assert [ends(lambda sent=request: streamed.infer(sent, 10)) for request in requests] == expected


def test_no_call_fails_when_one_of_two_servers_drains_under_load(store, scales_package):
    servers = [
        InferenceServer(LocalHost(store, distance="cloud", runs=2, max_waiting=64), port=0)
        for _ in range(2)
    ]
    for server in servers:
        server.start()
    failed: list[Exception] = []
    done = threading.Event()
    gateways = [f"127.0.0.1:{server.port}" for server in servers]
    with wherever.Client(gateways=gateways, packages=[scales_package.root]) as client:
        scales = client.model("scales")
        count = [0]

        def call() -> None:
            while not done.is_set():
                try:
                    scales([1, 3, 2], mode="only_in_cloud")
                except Exception as error:
                    failed.append(error)
                count[0] += 1

        threads = [threading.Thread(target=call) for _ in range(8)]
        for thread in threads:
            thread.start()
        assert eventually(lambda: count[0] > 200)
        assert servers[0].drain(5)
        count[0] = 0
        assert eventually(lambda: count[0] > 200)
        done.set()
        for thread in threads:
            thread.join()
    servers[1].drain(0)
    assert failed == []


def test_each_call_in_flight_fails_once_when_its_server_is_killed(start_gateway, remote):
    gateway = start_gateway()
    host = remote(int(gateway.address.rpartition(":")[2]))
    pixels = from_array("image", np.zeros((8, 8), np.float32))
    digits = InferRequest("digits", "", "", {}, (pixels,), boundary="anywhere")
    host.infer(digits, 10)
    assert eventually(lambda: host.pings)  # or the channel would be replaced meanwhile
    ended: queue.SimpleQueue[int] = queue.SimpleQueue()
    gateway.send(signal.SIGSTOP)
    started = [host.start(digits, 20) for _ in range(24)]
    for number, call in enumerate(started):
        call.add_done_callback(lambda _, number=number: ended.put(number))
    with ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(host.infer, digits, 20) for _ in range(8)]
        stream = host._approach.chosen.links._link.stream()
        assert eventually(lambda: len(stream._pending) == 32)
        gateway.kill()
        for call in (*started, *waiting):
            with pytest.raises(UnreachableError):
                call.result()
    assert sorted(ended.get(timeout=10) for _ in range(24)) == list(range(24))
    assert ended.empty()


class NeverAgain:
    """Another server's answer to calls that are of no use to make again."""

    def infer(self, *_call: Any) -> NoReturn:
        error = OverloadedError("never")
        error.retry_after_s = math.inf
        raise error


def test_a_refusal_that_is_for_good_is_told_as_that(serve, remote, echo):
    server = serve(elsewhere=lambda model: NeverAgain() if model == "never" else None)
    host = remote(server.port)
    for streamed in (False, True):
        with pytest.raises(OverloadedError, match="never") as refused:
            host.infer(echo._replace(model="never"), 10)
        assert refused.value.retry_after_s == math.inf
        assert bool(open_streams(server)) is streamed
        host.infer(echo, 10)  # from its answer on there are streams
        assert eventually(lambda: host.pings)  # or the channel, and its stream, would be replaced
        host.infer(echo, 10)


@pytest.mark.parametrize("how", ["infer", "start"])
def test_a_process_that_used_a_stream_ends_at_once(serve, how):
    server = serve()
    program = f"""
import json, numpy as np
from wherever_contracts.wire.tensors import InferRequest, from_array
from wherever_edge.oip.client import RemoteHost
from wherever_edge.oip.endpoints import Endpoint
host = RemoteHost(Endpoint.parse("grpc://127.0.0.1:{server.port}?rest=off"))
numbers = from_array("numbers", np.array([1, 3, 2], np.float32))
request = InferRequest("scales", "", "", {{}}, (numbers,), boundary="anywhere")
host.infer(request, 5)
for _ in range(20):
    host.infer(request, 5) if {how!r} == "infer" else host.start(request, 5).result()
host.start(request, 5)
print(json.dumps("done"), flush=True)
"""
    ran = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
        env=os.environ | {"PYTHONFAULTHANDLER": "1"},
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert json.loads(ran.stdout) == "done"
    assert eventually(lambda: open_streams(server) == 0)
