"""The client of the protocol over real sockets: answers, every failure, pings, forks."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from typing import Any

import grpc
import numpy as np
import pytest

from wherever_contracts.errors import (
    AttemptError,
    BadAnswerError,
    ClosedError,
    DeadlineError,
    ForbiddenError,
    NotAllowedError,
    OverloadedError,
    RefusedError,
    RemoteError,
    UnreachableError,
)
from wherever_contracts.wire import metadata
from wherever_contracts.wire.messages import decode_request, encode_response
from wherever_contracts.wire.tensors import InferRequest, InferResponse, from_array, to_array
from wherever_edge.oip import links
from wherever_edge.oip.allotted import Allotted
from wherever_edge.oip.client import RemoteHost
from wherever_edge.oip.connection import Connection
from wherever_edge.oip.endpoints import Endpoint
from wherever_edge.oip.security import ClientSecurity

FOUR = (from_array("x", np.arange(4, dtype=np.float32)),)
REQUEST = InferRequest("m", "", "id", {}, FOUR, boundary="anywhere")
INFERENCE = "inference.GRPCInferenceService"
HEALTH = "grpc.health.v1.Health"


def echo(data: bytes, _context: grpc.ServicerContext) -> bytes:
    request = decode_request(data)
    return encode_response(InferResponse(request.model, "1", request.id, {}, request.inputs))


@pytest.fixture
def remote() -> Iterator[Callable[..., RemoteHost]]:
    """Makes hosts; they are closed with the test."""
    with ExitStack() as stack:

        def make(address: str, **arguments: Any) -> RemoteHost:
            host = RemoteHost(Endpoint.parse(address), **arguments)
            return stack.enter_context(closing(host))

        yield make


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    """Starts plain grpcio servers whose methods are functions of bytes and context."""
    with ExitStack() as stack:

        def start(
            service: str = INFERENCE, options: Any = (), port: int = 0, **methods: Any
        ) -> str:
            server = grpc.server(ThreadPoolExecutor(8), options=options)
            handlers = {
                name: grpc.unary_unary_rpc_method_handler(function)
                for name, function in methods.items()
            }
            generic = grpc.method_handlers_generic_handler(service, handlers)
            server.add_generic_rpc_handlers((generic,))
            port = server.add_insecure_port(f"127.0.0.1:{port}")
            server.start()
            stack.callback(lambda: server.stop(0).wait())
            start.stop = server.stop
            return f"127.0.0.1:{port}"

        yield start


class Held:
    """A method that begins, and ends when the test says so."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.release = threading.Event()

    def __call__(self, data: bytes, context: grpc.ServicerContext) -> bytes:
        self.begun.release()
        self.release.wait(20)
        return echo(data, context)


@pytest.fixture
def held() -> Iterator[Held]:
    held = Held()
    yield held
    held.release.set()


def eventually(true: Callable[[], bool], within_s: float = 30.0) -> bool:
    ends = time.monotonic() + within_s
    while not true() and time.monotonic() < ends:
        time.sleep(0.005)
    return true()


# --- answers ---


def test_a_call_is_answered(serve, remote):
    host = remote(serve(ModelInfer=echo))
    response = host.infer(REQUEST, 5)
    assert response.id == "id"
    assert to_array(response.outputs[0]).tolist() == [0, 1, 2, 3]
    assert host.infer(REQUEST).id == "id"


def test_many_threads_share_a_host_and_answers_never_mix(serve, remote):
    host = remote(serve(ModelInfer=echo))
    wrong: list[int] = []

    def ask(number: int) -> None:
        tensor = from_array("x", np.full(2000, number, np.float32))
        for _ in range(50):
            response = host.infer(REQUEST._replace(id=str(number), inputs=(tensor,)), 10)
            if response.id != str(number) or not (to_array(response.outputs[0]) == number).all():
                wrong.append(number)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_metadata_is_read(start_gateway, scales_package, remote):
    host = remote(start_gateway(scales_package.root).address)
    assert host.server_metadata(5).name == "wherever"
    found = host.model_metadata("scales", timeout_s=5)
    assert found.outputs == (metadata.TensorMetadata("scores", "FP32", (3,)),)
    with pytest.raises(RefusedError, match="model_not_found"):
        host.model_metadata("nope", "1", 5)


def test_nothing_heavy_is_imported_and_no_connection_made_before_the_first_call():
    program = (
        "import sys\n"
        "from wherever_edge.oip.client import RemoteHost\n"
        "from wherever_edge.oip.endpoints import Endpoint\n"
        "host = RemoteHost(Endpoint.parse('127.0.0.1:1'))\n"
        "host.close()\n"
        "print({'grpc', 'google.protobuf', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"


# --- calls without waiting ---


def test_a_started_call_tells_a_callback_and_any_event_loop(serve, remote):
    host = remote(serve(ModelInfer=echo))
    told: list[Any] = []
    call = host.start(REQUEST, 5)
    assert call.result().id == "id"
    assert call.done()
    call.add_done_callback(told.append)
    assert told == [call]

    async def ask() -> list[str]:
        loop = asyncio.get_running_loop()
        answers = [loop.create_future() for _ in range(20)]
        for number, answer in enumerate(answers):
            host.start(REQUEST._replace(id=str(number)), 5).add_done_callback(
                lambda call, answer=answer: loop.call_soon_threadsafe(
                    answer.set_result, call.result().id
                )
            )
        return await asyncio.gather(*answers)

    assert asyncio.run(ask()) == [str(number) for number in range(20)]


def test_a_started_call_can_be_given_up_and_the_server_hears_of_it(serve, remote):
    ended = threading.Event()
    begun = threading.Event()

    def infer(_data: bytes, context: grpc.ServicerContext) -> bytes:
        context.add_callback(ended.set)
        begun.set()
        assert ended.wait(10)
        return b""

    call = remote(serve(ModelInfer=infer)).start(REQUEST, 10)
    assert begun.wait(30)
    call.cancel()
    with pytest.raises(CancelledError):
        call.result()
    assert ended.wait(30)
    call.cancel()


def test_what_goes_wrong_with_a_started_call_is_raised_by_its_result(
    serve, remote, held, unused_address
):
    host = remote(serve(ModelInfer=held))
    started = time.monotonic()
    with pytest.raises(DeadlineError, match=r"0\.2 s"):
        host.start(REQUEST, 0.2).result()
    assert time.monotonic() - started < 2
    with pytest.raises(UnreachableError, match=unused_address):
        remote(unused_address).start(REQUEST, 5).result()
    with pytest.raises(DeadlineError):
        host.start(REQUEST, 0)


# --- failures ---


def test_nobody_listening_is_said_at_once_with_host_time_and_advice(remote, unused_address):
    started = time.monotonic()
    with pytest.raises(UnreachableError) as caught:
        remote(unused_address).infer(REQUEST, 10)
    assert time.monotonic() - started < 2
    said = str(caught.value)
    for words in (unused_address, "10 s", "Connection refused", "is it running"):
        assert words in said
    assert caught.value.retryable


@pytest.mark.alone
def test_a_server_that_says_nothing_costs_the_timeout_and_no_more(remote, silent_listener):
    started = time.monotonic()
    with pytest.raises(DeadlineError, match=silent_listener.address):
        remote(silent_listener.address).infer(REQUEST, 0.3)
    assert 0.25 < time.monotonic() - started < 1.5


def test_no_time_left_sends_nothing(serve, remote):
    with pytest.raises(DeadlineError, match="no time was left"):
        remote(serve()).infer(REQUEST, 0)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, RefusedError),
        (grpc.StatusCode.NOT_FOUND, RefusedError),
        (grpc.StatusCode.FAILED_PRECONDITION, RefusedError),
        (grpc.StatusCode.PERMISSION_DENIED, ForbiddenError),
        (grpc.StatusCode.UNAUTHENTICATED, NotAllowedError),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, OverloadedError),
        (grpc.StatusCode.INTERNAL, RemoteError),
        (grpc.StatusCode.UNKNOWN, RemoteError),
        (grpc.StatusCode.UNAVAILABLE, UnreachableError),
        (grpc.StatusCode.DEADLINE_EXCEEDED, DeadlineError),
    ],
)
def test_a_status_becomes_the_error_that_it_means(serve, remote, status, error):
    def infer(_data: bytes, context: grpc.ServicerContext) -> bytes:
        context.set_trailing_metadata((("wherever-code", "because"),))
        context.abort(status, "said the test")

    address = serve(ModelInfer=infer)
    for ask in (
        lambda host: host.infer(REQUEST, 5),
        lambda host: host.start(REQUEST, 5).result(),
    ):
        with pytest.raises(AttemptError) as caught:
            ask(remote(address))
        assert type(caught.value) is error
        for words in (address, status.name, "because", "said the test"):
            assert words in str(caught.value)


@pytest.mark.parametrize("reply", [b"\xff\xff", b"\x2a\x03\x0a\x01x", b"\x3a"])
def test_an_answer_that_is_none_is_a_bad_answer(serve, remote, reply):
    host = remote(serve(ModelInfer=lambda _data, _context: reply))
    with pytest.raises(BadAnswerError, match=host.name):
        host.infer(REQUEST, 5)
    with pytest.raises(BadAnswerError, match=host.name):
        host.start(REQUEST, 5).result()


def test_a_request_over_the_limit_is_refused_before_it_is_sent(remote, silent_listener):
    host = remote(silent_listener.address, max_bytes=1000)
    large = REQUEST._replace(inputs=(from_array("x", np.zeros(1000)),))
    for send in (host.infer, host.start):
        with pytest.raises(RefusedError, match="limit is 1000"):
            send(large, 5)
    assert silent_listener.connections == 0


def test_an_answer_over_the_limit_is_refused(serve, remote):
    large = encode_response(InferResponse("m", "", "", {}, (from_array("y", np.zeros(99_999)),)))
    host = remote(serve(ModelInfer=lambda _data, _context: large), max_bytes=1000)
    with pytest.raises(RefusedError, match="larger than max"):
        host.infer(REQUEST, 5)


def test_a_request_that_no_message_can_hold_is_refused(serve, remote):
    with pytest.raises(RefusedError, match="cannot be sent"):
        remote(serve()).infer(REQUEST._replace(parameters={"n": 2**70}), 5)


def test_a_call_that_the_server_broke_off_is_sent_once_more(serve, remote):
    sent: list[bytes] = []

    def broken_off_once(data: bytes, context: grpc.ServicerContext) -> bytes:
        sent.append(data)
        if len(sent) % 2:
            context.abort(grpc.StatusCode.CANCELLED, "the server stops")
        return echo(data, context)

    host = remote(serve(ModelInfer=broken_off_once))
    assert host.infer(REQUEST, 5).id == "id"
    assert host.start(REQUEST, 5).result().id == "id"
    assert len(sent) == 4


def test_a_call_that_is_broken_off_twice_is_not_sent_again(serve, remote):
    sent: list[bytes] = []

    def broken_off(data: bytes, context: grpc.ServicerContext) -> bytes:
        sent.append(data)
        context.abort(grpc.StatusCode.CANCELLED, "the server stops")

    host = remote(serve(ModelInfer=broken_off))
    with pytest.raises(UnreachableError, match="the server stops"):
        host.infer(REQUEST, 5)
    with pytest.raises(UnreachableError, match="the server stops"):
        host.start(REQUEST, 5).result()
    assert len(sent) == 4


def test_a_name_that_cannot_be_resolved_is_said_and_asked_for_again(remote):
    host = remote("grpc://nosuch.invalid:8001")
    for _ in range(2):
        with pytest.raises(UnreachableError, match=r"nosuch\.invalid:8001 could not be reached"):
            host.infer(REQUEST, 10)


def test_a_closed_host_says_so_also_to_calls_under_way(serve, remote, held):
    host = remote(serve(ModelInfer=held))
    call = host.start(REQUEST, 20)
    outcome: list[BaseException] = []

    def ask() -> None:
        try:
            host.infer(REQUEST, 20)
        except ClosedError as error:
            outcome.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    assert held.begun.acquire(timeout=30)
    assert held.begun.acquire(timeout=30)
    host.close()
    thread.join(30)
    assert len(outcome) == 1
    with pytest.raises(ClosedError):
        call.result()
    for late in (host.infer, host.start):
        with pytest.raises(ClosedError, match="was closed"):
            late(REQUEST, 5)
    with pytest.raises(ClosedError, match="was closed"):
        host.probe(1)
    host.close()


def test_a_host_closed_before_its_first_call_says_so(remote):
    host = remote("localhost")
    host.close()
    with pytest.raises(ClosedError):
        host.infer(REQUEST, 1)


def test_tls_is_spoken_off_loopback_and_a_server_without_it_is_unreachable(serve, remote):
    port = serve(ModelInfer=echo).rpartition(":")[2]
    with pytest.raises((UnreachableError, DeadlineError)):
        remote(f"grpcs://127.0.0.1:{port}").infer(REQUEST, 2)


# --- probes ---


def test_a_probe_asks_the_health_service(serve, remote):
    said = [metadata.SERVING]
    check = serve(HEALTH, Check=lambda _data, _context: metadata.encode_health(said[0]))
    host = remote(check)
    host.probe(5)
    said[0] = metadata.NOT_SERVING
    with pytest.raises(UnreachableError, match="does not serve now"):
        host.probe(5)


def test_a_server_without_health_checks_is_asked_whether_it_is_ready(serve, remote):
    said = [True]
    host = remote(serve(ServerReady=lambda _data, _context: metadata.encode_ready(ready=said[0])))
    host.probe(5)
    said[0] = False
    with pytest.raises(UnreachableError, match="does not serve now"):
        host.probe(5)


@pytest.mark.alone
def test_a_probe_of_nobody_and_of_a_silent_server_fails_in_time(
    remote, unused_address, silent_listener
):
    with pytest.raises(UnreachableError):
        remote(unused_address).probe(5)
    started = time.monotonic()
    with pytest.raises(DeadlineError):
        remote(silent_listener.address).probe(0.2)
    assert time.monotonic() - started < 1.5


def test_a_probe_without_an_answer_connects_anew_beside_the_connection_there_is(
    remote, silent_listener
):
    host = remote(silent_listener.address)
    for connections in (2, 3, 4):
        with pytest.raises(DeadlineError):
            host.probe(0.2)
        assert eventually(lambda n=connections: silent_listener.connections == n)


class Patient:
    """A health check that does not answer the connections which are muted."""

    def __init__(self) -> None:
        self.peers: set[str] = set()
        self.muted: set[str] = set()
        self.mute_all = False
        self.held = Held()

    def __call__(self, _data: bytes, context: grpc.ServicerContext) -> bytes:
        self.peers.add(context.peer())
        if self.mute_all or context.peer() in self.muted:
            self.held.begun.release()
            self.held.release.wait(20)
        return metadata.encode_health(metadata.SERVING)


@pytest.fixture
def patient() -> Iterator[Patient]:
    patient = Patient()
    yield patient
    patient.held.release.set()


def probe_in_vain(host: RemoteHost) -> None:
    with suppress(DeadlineError):
        host.probe(0.2)


def test_a_probe_that_waits_on_a_dead_connection_is_answered_over_a_new_one(serve, remote, patient):
    host = remote(serve(HEALTH, Check=patient))
    host.probe(5)
    patient.muted = set(patient.peers)
    with ThreadPoolExecutor(1) as beside:
        waiting = beside.submit(host.probe, 60)
        assert patient.held.begun.acquire(timeout=10)
        probe_in_vain(host)
        waiting.result(15)
    assert len(patient.peers) == 2


@pytest.fixture
def found(serve, patient) -> Iterator[Connection]:
    """A connection to a host that a new channel just reached."""
    endpoint = Endpoint.parse(serve(HEALTH, Check=patient))
    way = ClientSecurity().way_to(endpoint, proxied=False)
    connection = Connection(endpoint, max_bytes=2**20, way=way, place="device")
    reached = threading.Event()
    with closing(connection), connection.links.until_found(reached.set):
        connection.seek()
        assert reached.wait(10)
        yield connection


def test_a_host_that_just_answered_a_new_connection_is_well_once_though_it_says_so_too_late(
    found, patient, monkeypatch
):
    monkeypatch.setattr(links, "_FOUND_FRESH_S", 60.0)
    patient.mute_all = True
    assert found.is_well(Allotted.from_now(0.2))
    with pytest.raises(DeadlineError):
        found.is_well(Allotted.from_now(0.2))


@pytest.mark.parametrize("since", ["nothing", "an answer"])
def test_that_a_new_connection_was_answered_earlier_says_nothing_of_now(
    found, patient, monkeypatch, since
):
    monkeypatch.setattr(links, "_FOUND_FRESH_S", 60.0 if since == "an answer" else 0.0)
    if since == "an answer":
        assert found.is_well(Allotted.from_now(10))
    patient.mute_all = True
    with pytest.raises(DeadlineError):
        found.is_well(Allotted.from_now(0.2))


def test_a_host_that_is_back_is_found_by_the_first_probe_however_often_others_failed(
    serve, remote, patient
):
    address = serve(HEALTH, Check=patient)
    host = remote(address)
    host.probe(5)
    serve.stop(0).wait()
    for _ in range(5):
        with pytest.raises(UnreachableError):
            host.probe(5)
    serve(HEALTH, port=int(address.rpartition(":")[2]), Check=patient)
    host.probe(5)


# --- what the link is worth ---


def test_calls_go_on_when_a_server_comes_back_at_its_address(start_gateway, echo_package, remote):
    gateway = start_gateway(echo_package.root)
    host = remote(gateway.address)
    given = (from_array("given", np.ones(2, np.float32)),)
    request = InferRequest("echo", "", "", {}, given, boundary="anywhere")
    assert host.infer(request, 5).outputs
    gateway.kill()
    with pytest.raises(UnreachableError):
        host.infer(request, 5)
    gateway.start()

    def answered() -> bool:
        try:
            return bool(host.infer(request, 1).outputs)
        except AttemptError:
            return False

    assert eventually(answered, within_s=3)


def test_a_peer_that_allows_pings_gets_them_while_calls_run(serve, remote):
    held = threading.Event()

    def infer(data: bytes, _context: grpc.ServicerContext) -> bytes:
        request = decode_request(data)
        if request.id == "slow":
            held.wait(20)
        allowed = {"wherever_ping_ms": 1000}
        return encode_response(InferResponse("m", "", request.id, allowed, ()))

    # it says that it allows pings, and breaks the connection off at the second one
    strict = [("grpc.http2.max_ping_strikes", 1)]
    host = remote(serve(ModelInfer=infer, options=strict))
    assert host.infer(REQUEST, 5).id == "id"
    assert eventually(lambda: host.pings)
    with pytest.raises(UnreachableError, match="Too many pings"):
        host.infer(REQUEST._replace(id="slow"), 15)
    held.set()


def test_a_peer_that_allows_no_pings_gets_none(serve, remote, held):
    strict = [("grpc.http2.max_ping_strikes", 1)]
    host = remote(serve(ModelInfer=held, options=strict))
    call = host.start(REQUEST, 20)
    assert held.begun.acquire(timeout=30)
    time.sleep(4.5)  # with pings such a server ends the connection after three seconds
    assert not call.done()
    assert not host.pings
    held.release.set()
    assert call.result().id == "id"


def test_calls_under_way_outlive_the_change_to_a_link_with_pings(serve, remote):
    held = Held()

    def infer(data: bytes, context: grpc.ServicerContext) -> bytes:
        request = decode_request(data)
        if request.id == "slow":
            return held(data, context)
        allowed = {"wherever_ping_ms": 1000}
        return encode_response(InferResponse("m", "", request.id, allowed, ()))

    host = remote(serve(ModelInfer=infer))
    slow = [host.start(REQUEST._replace(id="slow"), 20) for _ in range(3)]
    for _ in slow:
        assert held.begun.acquire(timeout=30)
    assert host.infer(REQUEST, 5).id == "id"
    assert eventually(lambda: host.pings)
    assert host.infer(REQUEST, 5).id == "id"
    held.release.set()
    assert [call.result().id for call in slow] == ["slow"] * 3


def test_a_process_that_asked_ends_also_while_it_goes_over_to_a_link_with_pings(serve):
    def infer(data: bytes, _context: grpc.ServicerContext) -> bytes:
        allowed = {"wherever_ping_ms": 1000}
        return encode_response(InferResponse("m", "", decode_request(data).id, allowed, ()))

    program = (
        "import sys\n"
        "from wherever_contracts.wire.tensors import InferRequest\n"
        "from wherever_edge.oip.client import RemoteHost\n"
        "from wherever_edge.oip.endpoints import Endpoint\n"
        "host = RemoteHost(Endpoint.parse(sys.argv[1]))\n"
        "host.infer(InferRequest('m', '', 'id', {}, (), boundary='anywhere'), 5)\n"
    )
    command = [sys.executable, "-c", program, serve(ModelInfer=infer)]
    for _ in range(5):
        processes = [subprocess.Popen(command) for _ in range(4)]
        assert [process.wait(timeout=20) for process in processes] == [0] * 4


def test_only_what_is_as_far_as_the_cloud_is_reached_through_a_proxy(
    serve, remote, silent_listener, monkeypatch
):
    monkeypatch.setenv("http_proxy", f"http://{silent_listener.address}")
    monkeypatch.delenv("no_proxy", raising=False)
    address = serve(ModelInfer=echo)
    assert remote(address, place="nearby").infer(REQUEST, 5).id == "id"
    assert silent_listener.connections == 0
    with pytest.raises(AttemptError):
        remote(address, place="cloud").infer(REQUEST, 0.5)
    assert silent_listener.connections > 0


# --- forks ---


FORKS = """
import os, signal, sys, threading, warnings
import numpy as np
from wherever_contracts.errors import ForkedError
from wherever_contracts.wire.tensors import InferRequest, from_array
from wherever_edge.oip import links
from wherever_edge.oip.allotted import Allotted
from wherever_edge.oip.client import RemoteHost
from wherever_edge.oip.connection import Connection
from wherever_edge.oip.endpoints import Endpoint
from wherever_edge.oip.security import ClientSecurity
warnings.simplefilter("ignore", DeprecationWarning)
endpoint = Endpoint.parse(sys.argv[1])
zeros = (from_array("x", np.zeros(4, np.float32)),)
request = InferRequest("m", "", "id", {}, zeros, boundary="anywhere")
host = RemoteHost(endpoint)

def in_child(function, end_normally=False):
    pid = os.fork()
    if not pid:
        signal.alarm(10)
        code = 0
        try:
            function()
        except ForkedError as error:
            code = 42 if "spawn" in str(error) else 1
        (sys.exit if end_normally else os._exit)(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

def ask():
    assert host.infer(request, 5).id == "id"

def ask_anew():
    fresh = RemoteHost(endpoint)
    try:
        fresh.infer(request, 5)
    finally:
        fresh.close()

BODY
"""


def run_forks(address: str, body: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", FORKS.replace("BODY", body), address],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("support", ["", "0", "1"])
def test_a_child_forked_after_use_gets_an_error_and_never_hangs(serve, support):
    body = "ask()\nprint(in_child(ask), in_child(ask_anew))\nask()\nprint('still')"
    environment = {"GRPC_ENABLE_FORK_SUPPORT": support} if support else {}
    assert run_forks(serve(ModelInfer=echo), body, **environment).split() == ["42", "42", "still"]


def test_a_child_forked_amid_calls_gets_an_error_and_the_parent_goes_on(serve):
    body = """
ask()
stop = threading.Event()
def busy():
    while not stop.is_set():
        ask()
threads = [threading.Thread(target=busy) for _ in range(3)]
[t.start() for t in threads]
print({in_child(ask) for _ in range(10)})
stop.set()
[t.join() for t in threads]
ask()
print('still')
"""
    assert run_forks(serve(ModelInfer=echo), body) == "{42}\nstill"


def test_a_child_may_close_a_host_that_it_inherited(serve):
    body = "ask()\nprint(in_child(host.close, end_normally=True))\nask()"
    assert run_forks(serve(ModelInfer=echo), body) == "0"


def test_a_child_forked_before_use_works_and_so_does_its_parent(serve):
    body = "print(in_child(ask))\nask()\nprint('still')"
    assert run_forks(serve(ModelInfer=echo), body).split() == ["0", "still"]


def test_multiprocessing_children_get_the_error_too(serve):
    body = """
import multiprocessing
ask()
def work(queue):
    try:
        ask()
    except ForkedError:
        queue.put("forked")
context = multiprocessing.get_context("fork")
queue = context.SimpleQueue()
child = context.Process(target=work, args=(queue,))
child.start()
print(queue.get())
child.join(10)
print(child.exitcode)
"""
    assert run_forks(serve(ModelInfer=echo), body).split() == ["forked", "0"]
