"""The client over REST: answers, failures, and when it is used instead of gRPC."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import ExitStack, closing
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest

import wherever
from wherever_contracts.errors import (
    AttemptError,
    BadAnswerError,
    ClosedError,
    DeadlineError,
    NotAllowedError,
    OverloadedError,
    RefusedError,
    RemoteError,
    UnreachableError,
    UntrustedPeerError,
)
from wherever_contracts.wire.rest_bodies import RestRequest, decode_request, encode_response
from wherever_contracts.wire.tensors import InferRequest, InferResponse, from_array, to_array
from wherever_edge.oip import transport
from wherever_edge.oip.certificates import make_identity
from wherever_edge.oip.client import RemoteHost
from wherever_edge.oip.endpoints import Endpoint
from wherever_edge.oip.security import ClientSecurity
from wherever_gateway.gateway import Gateway, GatewayOptions
from wherever_gateway.securing import SecurityOptions

METADATA = json.dumps({"name": "s", "version": "1", "extensions": []}).encode()
UNSURE = np.float32([1, 1.2, 1])
Http = tuple[int, dict[str, str], bytes]


def request(values: Any = (0, 1, 2, 3)) -> InferRequest:
    return InferRequest("echo", "", "id", {}, (from_array("given", np.float32(values)),))


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


class Server(ThreadingHTTPServer):
    """Answers POST by a function of (path, headers, body); GET /v2 as the protocol has it."""

    daemon_threads = True

    def __init__(
        self,
        answer: Callable[..., Http],
        said: Http = (200, {}, METADATA),
        *,
        hangs_up: bool = False,
    ) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.hangs_up = hangs_up
        self.answer = answer
        self.said = said
        self.posted: list[bytes] = []
        self.asked: list[str] = []
        self.address = f"127.0.0.1:{self.server_port}"

    def handle_error(self, *_: Any) -> None:
        """Clients that stop listening are part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        self._send(*self.server.said)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.posted.append(body)
        self._send(*self.server.answer(self.path, self.headers, body))

    def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in {"content-length": str(len(body)), **headers}.items():
            if value:
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = self.server.hangs_up

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    with ExitStack() as stack:

        def start(answer: Callable[..., Http], **arguments: Any) -> Server:
            server = Server(answer, **arguments)
            stack.callback(server.server_close)
            stack.callback(server.shutdown)
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
            return server

        yield start


def echoing(_path: str, headers: Any, body: bytes) -> Http:
    asked = decode_request("echo", "", body, int(headers["inference-header-content-length"]))
    response = InferResponse("echo", "1", asked.request.id, {}, asked.request.inputs)
    content, size = encode_response(response, RestRequest(asked.request, None, True, {}))
    return 200, {"inference-header-content-length": str(size)}, content


def eventually(true: Callable[[], bool], within_s: float = 5.0) -> bool:
    ends = time.monotonic() + within_s
    while not true() and time.monotonic() < ends:
        time.sleep(0.005)
    return true()


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


def test_a_started_call_that_is_given_up_ends_at_once(serve, remote):
    release, begun = threading.Event(), threading.Event()

    def held(*asked: Any) -> Http:
        begun.set()
        release.wait(20)
        return echoing(*asked)

    host = remote(f"http://{serve(held).address}")
    call = host.start(request(), 10)
    assert begun.wait(5)
    call.cancel()
    with pytest.raises(CancelledError):
        call.result()
    release.set()


def test_the_key_and_the_time_travel_with_a_call(serve, remote):
    heard: list[Any] = []

    def listening(path: str, headers: Any, body: bytes) -> Http:
        heard.append((path, headers, body))
        return echoing(path, headers, body)

    security = ClientSecurity(api_key="secret-key")
    host = remote(f"http://{serve(listening).address}", security=security)
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
        (403, {}, NotAllowedError),
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
def test_a_status_becomes_the_error_that_it_means(serve, remote, status, headers, error):
    body = json.dumps({"error": "said the test"}).encode()
    server = serve(lambda *_: (status, headers, body))
    host = remote(f"http://{server.address}")
    for ask in (lambda: host.infer(request(), 5), lambda: host.start(request(), 5).result()):
        with pytest.raises(AttemptError) as caught:
            ask()
        assert type(caught.value) is error
        for words in (server.address, f"HTTP {status}", "said the test", "5 s", ";"):
            assert words in str(caught.value)
    if status == 429:
        assert "7 s" in str(caught.value)


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
def test_an_answer_that_is_none_is_a_bad_answer(serve, remote, reply):
    server = serve(lambda *_: reply)
    with pytest.raises(BadAnswerError, match=server.address):
        remote(f"http://{server.address}").infer(request(), 5)


def test_what_is_too_large_is_refused_on_both_ways(serve, remote):
    server = serve(lambda *_: (200, {}, b" " * 200_000))
    host = remote(f"http://{server.address}", max_bytes=1000)
    for _ in range(2):
        for send in (host.infer, host.start):
            with pytest.raises(RefusedError, match="limit is 1000"):
                send(request(np.zeros(1000)), 5)
        with pytest.raises(RefusedError, match="larger than max_bytes"):
            host.infer(request(), 5)
    assert all(len(body) < 1000 for body in server.posted)


def test_an_answer_without_a_length_is_bounded_too(serve, remote):
    chunk = b"%x\r\n%b\r\n" % (50_000, b" " * 50_000)
    chunked = {"transfer-encoding": "chunked", "content-length": ""}
    server = serve(lambda *_: (200, chunked, 4 * chunk + b"0\r\n\r\n"))
    with pytest.raises(RefusedError, match="larger than max_bytes"):
        remote(f"http://{server.address}", max_bytes=1000).infer(request(), 5)


def test_a_silent_server_costs_the_timeout_and_no_more(remote, silent_listener):
    host = remote(f"http://{silent_listener.address}")
    started = time.monotonic()
    with pytest.raises(DeadlineError, match=silent_listener.address):
        host.infer(request(), 0.3)
    assert 0.25 < time.monotonic() - started < 1


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


def test_a_connection_that_the_server_gave_up_is_made_anew(serve, remote):
    server = serve(echoing, hangs_up=True)
    host = remote(f"http://{server.address}")
    for number in range(3):
        assert host.infer(request()._replace(id=str(number)), 5).id == str(number)


def test_a_closed_host_says_so(gateway, remote):
    host = remote(f"http://{gateway.http}")
    assert host.infer(request(), 5).outputs
    host.close()
    for late in (host.infer, host.start):
        with pytest.raises(ClosedError, match="was closed"):
            late(request(), 5)
    with pytest.raises(ClosedError):
        host.probe(1)


# --- instead of gRPC ---


def test_rest_answers_where_grpc_is_refused_and_is_kept(gateway, remote, unused_address):
    rest = gateway.http.rpartition(":")[2]
    host = remote(f"grpc://{unused_address}?rest={rest}")
    assert [host.infer(request(), 5).protocol for _ in range(3)] == ["rest"] * 3
    assert host.start(request(), 5).result().protocol == "rest"
    host.probe(5)


def test_a_started_call_goes_over_rest_too_when_it_is_the_first(gateway, remote, unused_address):
    rest = gateway.http.rpartition(":")[2]
    host = remote(f"grpc://{unused_address}?rest={rest}")
    assert host.start(request(), 5).result().protocol == "rest"


def test_grpc_that_is_swallowed_costs_one_call_half_its_time(gateway, remote, silent_listener):
    rest = gateway.http.rpartition(":")[2]
    host = remote(f"grpc://{silent_listener.address}?rest={rest}")
    started = time.monotonic()
    assert host.infer(request(), 2).protocol == "rest"
    first_s = time.monotonic() - started
    assert 0.9 < first_s < 1.8
    started = time.monotonic()
    assert host.infer(request(), 2).protocol == "rest"
    assert time.monotonic() - started < 0.5
    assert silent_listener.connections == 1


def test_http_1_1_at_the_port_of_grpc_is_spoken_there(gateway, remote):
    host = remote(gateway.http)
    assert host.infer(request(), 5).protocol == "rest"


def test_when_nothing_answers_the_error_names_both(remote, unused_address):
    port = int(unused_address.rpartition(":")[2])
    with pytest.raises(UnreachableError) as caught:
        remote(unused_address).infer(request(), 5)
    for words in (f"{unused_address} could not", f"over REST: http://127.0.0.1:{port - 1}"):
        assert words in str(caught.value)


def test_without_rest_in_the_address_it_is_not_asked(serve, remote, unused_address):
    with pytest.raises(UnreachableError) as caught:
        remote(f"grpc://{unused_address}?rest=off").infer(request(), 5)
    assert "REST" not in str(caught.value)


@pytest.mark.parametrize(
    "said",
    [
        (200, {}, b"<html>sign in to the Wi-Fi</html>"),
        (200, {}, b"{}"),
        (302, {"location": "http://portal.example/"}, b""),
        (404, {}, b"not here"),
    ],
)
def test_a_program_that_merely_listens_there_gets_no_call(serve, remote, unused_address, said):
    server = serve(echoing, said=said)
    host = remote(f"grpc://{unused_address}?rest={server.server_port}")
    with pytest.raises(UnreachableError, match="over REST"):
        host.infer(request(), 5)
    assert server.asked == ["/v2"]
    assert not server.posted


def test_grpc_is_taken_up_again_when_it_passes(gateway, remote, monkeypatch, serve):
    monkeypatch.setattr(transport, "ASK_GRPC_EVERY_S", 0.0)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    rest = gateway.http.rpartition(":")[2]
    host = remote(f"grpc://127.0.0.1:{port}?rest={rest}")
    assert host.infer(request(), 5).protocol == "rest"
    packages = gateway.options.packages
    other = Gateway(GatewayOptions(packages, grpc_port=port, http_port=None))
    other.start()
    try:
        assert eventually(lambda: host.infer(request(), 5).protocol == "grpc", within_s=10)
    finally:
        other.drain()


def test_a_host_that_spoke_grpc_goes_over_to_rest_when_its_probes_keep_failing(
    gateway, remote, monkeypatch
):
    monkeypatch.setattr(transport, "BEATEN_FOR_S", 0.0)
    packages = gateway.options.packages
    other = Gateway(GatewayOptions(packages, grpc_port=0, http_port=None))
    other.start()
    rest = gateway.http.rpartition(":")[2]
    host = remote(f"grpc://{other.grpc}?rest={rest}")
    assert host.infer(request(), 5).protocol == "grpc"
    other.drain()
    with pytest.raises(UnreachableError):
        host.infer(request(), 5)

    def well() -> bool:
        try:
            host.probe(1)
        except AttemptError:
            return False
        return True

    assert eventually(well)
    assert host.infer(request(), 5).protocol == "rest"


def test_a_host_that_went_away_is_looked_for_again(gateway, remote, unused_address):
    packages = gateway.options.packages
    other = Gateway(GatewayOptions(packages, grpc_port=0, http_port=0))
    other.start()
    host = remote(f"grpc://{unused_address}?rest={other.http.rpartition(':')[2]}")
    assert host.infer(request(), 5).protocol == "rest"
    other.drain()
    for _ in range(2):
        with pytest.raises(UnreachableError):
            host.infer(request(), 5)


# --- trust ---


@pytest.fixture(scope="module")
def secured(echo_package, tmp_path_factory) -> Iterator[Gateway]:
    """A gateway with a certificate that asks for a key."""
    directory = tmp_path_factory.mktemp("keys")
    options = SecurityOptions(directory, tls=True, keys=True, show_first_key=True)
    packages = (echo_package.root,)
    gateway = Gateway(GatewayOptions(packages, grpc_port=0, http_port=0, security=options))
    gateway.start()
    yield gateway
    gateway.drain()


def trusting(gateway: Gateway, **given: Any) -> ClientSecurity:
    given = {"pinned_pem": gateway.secured.identity.certificate_pem, **given}
    return ClientSecurity(**{"api_key": gateway.secured.first_key, **given})


def test_rest_is_encrypted_and_the_certificate_is_checked(secured, remote):
    address = f"https://{secured.http}"
    assert remote(address, security=trusting(secured)).infer(request(), 5).protocol == "rest"
    stranger = make_identity(["localhost"]).certificate_pem
    for pem in (stranger, None):
        security = trusting(secured, pinned_pem=pem)
        with pytest.raises(UntrustedPeerError, match="certificate"):
            remote(address, security=security).infer(request(), 5)


def test_a_wrong_key_is_not_allowed_over_rest_too(secured, remote, unused_address):
    rest = secured.http.rpartition(":")[2]
    for key in (None, "wrong"):
        security = trusting(secured, api_key=key)
        for address in (f"https://{secured.http}", f"grpcs://{unused_address}?rest={rest}"):
            with pytest.raises(NotAllowedError, match="api_key"):
                remote(address, security=security).infer(request(), 5)


def test_a_host_that_is_not_trusted_is_not_tried_another_way(secured, serve, remote):
    server = serve(echoing)
    stranger = ClientSecurity(pinned_pem=make_identity(["localhost"]).certificate_pem)
    host = remote(f"grpcs://{secured.grpc}?rest={server.server_port}", security=stranger)
    with pytest.raises(UntrustedPeerError):
        host.infer(request(), 5)
    with pytest.raises(UntrustedPeerError):
        host.probe(5)
    assert not server.asked


def test_rest_instead_of_grpc_is_as_secure_as_grpc(secured, serve, remote, unused_address):
    rest = secured.http.rpartition(":")[2]
    host = remote(f"grpcs://{unused_address}?rest={rest}", security=trusting(secured))
    assert host.infer(request(), 5).protocol == "rest"
    plain = serve(echoing)
    host = remote(f"grpcs://{unused_address}?rest={plain.server_port}", security=trusting(secured))
    with pytest.raises(UnreachableError):
        host.infer(request(), 5)
    assert not plain.asked


# --- proxies ---


class _ProxyHandler(BaseHTTPRequestHandler):
    """A forward proxy of HTTP/1.1 that tunnels for nobody."""

    protocol_version = "HTTP/1.1"

    def _forward(self) -> None:
        target = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {n: v for n, v in self.headers.items() if n.lower() not in ("host", "connection")}
        with closing(HTTPConnection(target.hostname, target.port, timeout=10)) as upstream:
            upstream.request(self.command, target.path, body, headers)
            answer = upstream.getresponse()
            content = answer.read()
        self.server.seen.append(f"{self.command} {target.path}")
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            if name.lower() not in ("connection", "transfer-encoding"):
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = _forward

    def do_CONNECT(self) -> None:
        self.server.seen.append("CONNECT")
        self.send_error(405)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def proxy() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _ProxyHandler)
    server.daemon_threads = True
    server.seen = []
    server.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("named_by", ["environment", "setting"])
def test_calls_pass_a_proxy_that_does_not_tunnel(gateway, remote, proxy, named_by, monkeypatch):
    security = ClientSecurity()
    if named_by == "environment":
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
    else:
        security = ClientSecurity(proxy=proxy.url)
    rest = gateway.http.rpartition(":")[2]
    host = remote(f"grpc://{gateway.grpc}?rest={rest}", security=security)
    values = np.arange(150_000)
    answer = host.infer(request(values), 10)
    assert answer.protocol == "rest"
    assert (to_array(answer.outputs[0]) == values).all()
    assert "CONNECT" in proxy.seen
    assert "POST /v2/models/echo/infer" in proxy.seen


def test_what_is_near_is_reached_without_the_environments_proxy(
    gateway, remote, proxy, monkeypatch
):
    monkeypatch.setenv("http_proxy", proxy.url)
    monkeypatch.delenv("no_proxy", raising=False)
    assert remote(f"http://{gateway.http}", place="nearby").infer(request(), 5).outputs
    assert not proxy.seen


# --- what a user sees ---


def test_the_receipt_says_that_the_answer_came_over_rest(gateway, scales_package):
    with wherever.Client(
        gateways=[f"http://{gateway.http}"], packages=[scales_package.root], remote_timeout_s=10
    ) as client:
        answer = client.predict("scales", UNSURE)
        assert (answer.place, answer.receipt.protocol) == ("cloud", "rest")
        assert answer.receipt.variant == "large"
        assert "over REST" in answer.explain()
        assert client.predict("scales", [9, 0, 0]).receipt.protocol == ""


# --- forks ---

FORKS = """
import os, signal, sys
import numpy as np
from wherever_contracts.wire.tensors import InferRequest, from_array
from wherever_edge.oip.client import RemoteHost
from wherever_edge.oip.endpoints import Endpoint
host = RemoteHost(Endpoint.parse(sys.argv[1]))
request = InferRequest("echo", "", "id", {}, (from_array("given", np.ones(4, np.float32)),))

def ask():
    return host.infer(request, 10).protocol

print(ask(), flush=True)
children = [os.fork() for _ in range(2)] if int(sys.argv[2]) else [os.fork()]
if 0 in children:
    signal.alarm(20)
    print(*{ask() for _ in range(20)}, host.start(request, 10).result().protocol, flush=True)
    host.close()
    os._exit(0)
print(*(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children), ask())
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
@pytest.mark.parametrize("protocol", ["grpc", "rest"])
def test_a_child_goes_over_rest_on_connections_of_its_own(gateway, protocol):
    rest = gateway.http.rpartition(":")[2]
    address = (
        f"grpc://{gateway.grpc}?rest={rest}" if protocol == "grpc" else f"http://{gateway.http}"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKS, address, "0"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.splitlines() == [protocol, "rest rest", f"0 {protocol}"], done.stderr
