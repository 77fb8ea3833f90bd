"""The client over REST: answers, and every failure."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import ExitStack, closing
from typing import Any

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
from wherever_contracts.wire.rest_bodies import RestRequest, decode_request, encode_response
from wherever_contracts.wire.tensors import InferRequest, InferResponse, from_array, to_array
from wherever_edge.oip.client import RemoteHost
from wherever_edge.oip.endpoints import Endpoint
from wherever_edge.oip.rest import RestConnection
from wherever_edge.oip.security import ClientSecurity
from wherever_gateway.gateway import Gateway, GatewayOptions

METADATA = json.dumps({"name": "s", "version": "1", "extensions": []}).encode()
Http = tuple[int, dict[str, str], bytes]


def request(values: Any = (0, 1, 2, 3)) -> InferRequest:
    given = (from_array("given", np.float32(values)),)
    return InferRequest("echo", "", "id", {}, given, boundary="anywhere")


@pytest.fixture(scope="module")
def gateway(echo_package, scales_package) -> Iterator[Gateway]:
    """A gateway with gRPC and HTTP, in this process."""
    packages = (echo_package.root, scales_package.root)
    gateway = Gateway(GatewayOptions(packages, grpc_port=0, http_port=0))
    gateway.start()
    yield gateway
    gateway.drain()


@pytest.fixture
def remote() -> Iterator[Callable[..., RemoteHost]]:
    """Makes hosts; they are closed with the test."""
    with ExitStack() as stack:

        def make(address: str, **arguments: Any) -> RemoteHost:
            host = RemoteHost(Endpoint.parse(address), **arguments)
            return stack.enter_context(closing(host))

        yield make


def echoing(_path: str, headers: Any, body: bytes) -> Http:
    asked = decode_request("echo", "", body, int(headers["inference-header-content-length"]))
    response = InferResponse("echo", "1", asked.request.id, {}, asked.request.inputs)
    content, size = encode_response(response, RestRequest(asked.request, None, True, {}))
    return 200, {"inference-header-content-length": str(size)}, content


# --- answers ---


@pytest.mark.parametrize("count", [4, 150_000])
def test_an_answer_over_rest_is_that_of_grpc(gateway, remote, count):
    values = np.random.default_rng(0).random(count, np.float32)
    answers = [
        remote(address).infer(request(values), 10)
        for address in (gateway.grpc, f"http://{gateway.http}")
    ]
    assert [answer.protocol for answer in answers] == ["grpc", "rest"]
    for answer in answers:
        assert (to_array(answer.outputs[0]) == values).all()
        assert answer.id == "id"
    told = [dict(answer.parameters) for answer in answers]
    assert all(parameters.pop("wherever_engine_s") > 0 for parameters in told)
    assert told[0] == told[1]
    assert "wherever_ran" in told[0]


def test_many_threads_share_a_host_and_answers_never_mix(gateway, remote):
    host = remote(f"http://{gateway.http}")
    wrong: list[int] = []

    def ask(number: int) -> None:
        for _ in range(20):
            asked = request(np.full(2000, number))._replace(id=str(number))
            answer = host.infer(asked, 20)
            if answer.id != str(number) or not (to_array(answer.outputs[0]) == number).all():
                wrong.append(number)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_metadata_and_health_are_read_over_rest(gateway, remote):
    over_rest, over_grpc = remote(f"http://{gateway.http}"), remote(gateway.grpc)
    assert over_rest.server_metadata(5).name == "wherever"
    for model in ("echo", "scales"):
        expected = over_grpc.model_metadata(model, timeout_s=5)
        assert over_rest.model_metadata(model, timeout_s=5) == expected
    with pytest.raises(RefusedError, match="HTTP 404, model_not_found"):
        over_rest.model_metadata("nope", timeout_s=5)
    over_rest.probe(5)


def test_a_started_call_tells_a_callback(gateway, remote):
    host = remote(f"http://{gateway.http}")
    for _ in range(2):  # the first one looks for the host, too
        told: list[Any] = []
        call = host.start(request(), 5)
        assert call.result().id == "id"
        assert call.done()
        call.add_done_callback(told.append)
        assert told == [call]


def test_a_started_call_that_is_given_up_ends_at_once(serve_http, remote):
    release, begun = threading.Event(), threading.Event()

    def held(*asked: Any) -> Http:
        begun.set()
        release.wait(20)
        return echoing(*asked)

    host = remote(f"http://{serve_http(held).address}")
    call = host.start(request(), 10)
    assert begun.wait(30)
    call.cancel()
    with pytest.raises(CancelledError):
        call.result()
    release.set()


def test_the_key_and_the_time_travel_with_a_call(serve_http, remote):
    heard: list[Any] = []

    def listening(path: str, headers: Any, body: bytes) -> Http:
        heard.append((path, headers, body))
        return echoing(path, headers, body)

    security = ClientSecurity(api_key="secret-key")
    host = remote(f"http://{serve_http(listening).address}", security=security)
    host.infer(request()._replace(version="1.0"), 3)
    ((path, headers, body),) = heard
    assert path == "/v2/models/echo/versions/1.0/infer"
    assert headers["authorization"] == "Bearer secret-key"
    size = int(headers["inference-header-content-length"])
    assert 2 < decode_request("echo", "", body, size).timeout_s <= 3


# --- failures ---


@pytest.mark.parametrize(
    ("status", "headers", "error"),
    [
        (400, {"wherever-code": "input"}, RefusedError),
        (401, {"wherever-code": "not_allowed"}, NotAllowedError),
        (403, {}, ForbiddenError),
        (404, {"wherever-code": "model_not_found"}, RefusedError),
        (407, {}, UnreachableError),
        (408, {}, DeadlineError),
        (409, {"wherever-code": "refused"}, RefusedError),
        (413, {}, RefusedError),
        (429, {"wherever-code": "overloaded", "retry-after": "7"}, OverloadedError),
        (500, {"wherever-code": "engine"}, RemoteError),
        (501, {"wherever-code": "missing_extra"}, RefusedError),
        (502, {"wherever-code": "remote"}, RemoteError),
        (502, {}, UnreachableError),
        (503, {"wherever-code": "closed"}, UnreachableError),
        (504, {"wherever-code": "deadline"}, DeadlineError),
        (302, {"location": "http://portal.example/"}, UnreachableError),
    ],
)
def test_a_status_becomes_the_error_that_it_means(serve_http, remote, status, headers, error):
    body = json.dumps({"error": "said the test"}).encode()
    server = serve_http(lambda *_: (status, headers, body))
    host = remote(f"http://{server.address}")
    for ask in (lambda: host.infer(request(), 5), lambda: host.start(request(), 5).result()):
        with pytest.raises(AttemptError) as caught:
            ask()
        assert type(caught.value) is error
        for words in (server.address, f"HTTP {status}", "said the test", "5 s", ";"):
            assert words in str(caught.value)
    if status == 429:
        assert "7 s" in str(caught.value)
        assert caught.value.retry_after_s == 7


@pytest.mark.parametrize(
    ("headers", "retry_after_s"),
    [
        ({}, None),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, None),
        ({"retry-after": "1", "grpc-retry-pushback-ms": "15"}, 0.015),
    ],
)
def test_when_to_come_again_is_read_from_the_headers(serve_http, remote, headers, retry_after_s):
    server = serve_http(lambda *_: (503, headers, b"{}"))
    with pytest.raises(AttemptError) as caught:
        remote(f"http://{server.address}").infer(request(), 5)
    assert caught.value.retry_after_s == retry_after_s


@pytest.mark.parametrize(
    "reply",
    [
        (200, {}, b"<html>welcome</html>"),
        (200, {}, b'{"outputs": 1}'),
        (200, {"inference-header-content-length": "99"}, b"{}"),
        (200, {"inference-header-content-length": "x"}, b"{}"),
        (200, {"content-encoding": "gzip"}, b"{}"),
    ],
)
def test_an_answer_that_is_none_is_a_bad_answer(serve_http, remote, reply):
    server = serve_http(lambda *_: reply)
    with pytest.raises(BadAnswerError, match=server.address):
        remote(f"http://{server.address}").infer(request(), 5)


def test_what_is_too_large_is_refused_on_both_ways(serve_http, remote):
    server = serve_http(lambda *_: (200, {}, b" " * 200_000))
    host = remote(f"http://{server.address}", max_bytes=1000)
    for _ in range(2):
        for send in (host.infer, host.start):
            with pytest.raises(RefusedError, match="limit is 1000"):
                send(request(np.zeros(1000)), 5)
        with pytest.raises(RefusedError, match="larger than max_bytes"):
            host.infer(request(), 5)
    assert all(len(body) < 1000 for body in server.posted)


def test_an_answer_without_a_length_is_bounded_too(serve_http, remote):
    chunk = b"%x\r\n%b\r\n" % (50_000, b" " * 50_000)
    chunked = {"transfer-encoding": "chunked", "content-length": ""}
    server = serve_http(lambda *_: (200, chunked, 4 * chunk + b"0\r\n\r\n"))
    with pytest.raises(RefusedError, match="larger than max_bytes"):
        remote(f"http://{server.address}", max_bytes=1000).infer(request(), 5)


@pytest.mark.alone
def test_a_silent_server_costs_the_timeout_and_no_more(remote, silent_listener):
    host = remote(f"http://{silent_listener.address}")
    started = time.monotonic()
    with pytest.raises(DeadlineError, match=silent_listener.address):
        host.infer(request(), 0.3)
    assert 0.25 < time.monotonic() - started < 1


@pytest.mark.alone
@pytest.mark.parametrize("how", ["waiting", "started"])
def test_an_answer_that_comes_by_drops_costs_the_timeout_and_no_more(remote, how):
    """Every byte comes long before any single wait would end."""
    done = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))

    def drip() -> None:
        with listener.accept()[0] as connection:
            connection.recv(65536)
            head = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(METADATA)
            connection.sendall(head + METADATA)
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n")
            while not done.wait(0.05):
                connection.sendall(b" ")

    thread = threading.Thread(target=drip)
    thread.start()
    host = remote(f"http://127.0.0.1:{listener.getsockname()[1]}")
    started = time.monotonic()
    with pytest.raises(DeadlineError):
        host.infer(request(), 0.5) if how == "waiting" else host.start(request(), 0.5).result()
    assert time.monotonic() - started < 1
    done.set()
    thread.join()
    listener.close()


def test_nobody_listening_is_said_at_once(remote, unused_address):
    with pytest.raises(UnreachableError) as caught:
        remote(f"http://{unused_address}").infer(request(), 10)
    for words in (unused_address, "10 s", "Connection refused", "is it running"):
        assert words in str(caught.value)
    with pytest.raises(UnreachableError):
        remote(f"http://{unused_address}").probe(5)


def test_a_server_without_tls_is_told_from_one_that_is_down(gateway, remote):
    host = remote(f"https://{gateway.http}")
    with pytest.raises(UnreachableError, match=r"does not speak TLS there.*http://"):
        host.infer(request(), 10)


def test_a_connection_that_the_server_gave_up_is_made_anew(serve_http, remote):
    server = serve_http(echoing, hangs_up=True)
    host = remote(f"http://{server.address}")
    for number in range(3):
        assert host.infer(request()._replace(id=str(number)), 5).id == str(number)


def test_calls_that_wait_for_their_turn_end_when_the_host_is_closed(serve_http, remote):
    begun, release = threading.Semaphore(0), threading.Event()

    def held(*asked: Any) -> Http:
        begun.release()
        release.wait(20)
        return echoing(*asked)

    host = remote(f"http://{serve_http(held).address}")
    calls = [host.start(request(), 20) for _ in range(40)]  # 32 go at a time
    assert all(begun.acquire(timeout=30) for _ in range(32))
    host.close()
    release.set()
    ends: set[type] = set()
    for call in calls:
        try:
            call.result()
        except ClosedError as error:
            ends.add(type(error))
    assert ends == {ClosedError}


def test_as_many_calls_as_there_are_threads_may_begin_with_a_search(
    serve_http, remote, monkeypatch
):
    searching, find = threading.Barrier(32), RestConnection.find

    def together(*asked: Any) -> None:
        searching.wait(30)
        find(*asked)

    monkeypatch.setattr(RestConnection, "find", together)
    host = remote(f"http://{serve_http(echoing).address}")
    calls = [host.start(request(), 20) for _ in range(32)]
    assert all(call.result().outputs for call in calls)


def test_a_closed_host_says_so(gateway, remote):
    host = remote(f"http://{gateway.http}")
    assert host.infer(request(), 5).outputs
    host.close()
    for late in (host.infer, host.start):
        with pytest.raises(ClosedError, match="was closed"):
            late(request(), 5)
    with pytest.raises(ClosedError):
        host.probe(1)
