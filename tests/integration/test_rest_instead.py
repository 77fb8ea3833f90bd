"""REST instead of gRPC: when, how securely, through which proxies, and back."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
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
    NotAllowedError,
    UnreachableError,
    UntrustedPeerError,
)
from wherever_contracts.wire.tensors import InferRequest, from_array, to_array
from wherever_edge.oip import transport
from wherever_edge.oip.certificates import make_identity
from wherever_edge.oip.client import RemoteHost
from wherever_edge.oip.endpoints import Endpoint
from wherever_edge.oip.security import ClientSecurity
from wherever_gateway.gateway import Gateway, GatewayOptions
from wherever_gateway.securing import SecurityOptions

UNSURE = np.float32([1, 1.2, 1])


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


@pytest.fixture
def refusing() -> Iterator[str]:
    """An address that refuses connections, and that nobody else can take meanwhile."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{bound.getsockname()[1]}"


def never_asked(*_: Any) -> tuple[int, dict[str, str], bytes]:
    """The answer of a server that must get no call."""
    return 500, {}, b""


def eventually(true: Callable[[], bool], within_s: float = 30.0) -> bool:
    ends = time.monotonic() + within_s
    while not true() and time.monotonic() < ends:
        time.sleep(0.005)
    return true()


# --- instead of gRPC ---


def test_rest_answers_where_grpc_is_refused_and_is_kept(gateway, remote, refusing):
    rest = gateway.http.rpartition(":")[2]
    host = remote(f"grpc://{refusing}?rest={rest}")
    assert [host.infer(request(), 5).protocol for _ in range(3)] == ["rest"] * 3
    assert host.start(request(), 5).result().protocol == "rest"
    host.probe(5)


def test_a_started_call_goes_over_rest_too_when_it_is_the_first(gateway, remote, refusing):
    rest = gateway.http.rpartition(":")[2]
    host = remote(f"grpc://{refusing}?rest={rest}")
    assert host.start(request(), 5).result().protocol == "rest"


@pytest.mark.alone
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


def test_when_nothing_answers_the_error_names_both(remote, refusing):
    port = int(refusing.rpartition(":")[2])
    with pytest.raises(UnreachableError) as caught:
        remote(refusing).infer(request(), 5)
    for words in (f"{refusing} could not", f"over REST: http://127.0.0.1:{port - 1}"):
        assert words in str(caught.value)


def test_without_rest_in_the_address_it_is_not_asked(serve_http, remote, refusing):
    with pytest.raises(UnreachableError) as caught:
        remote(f"grpc://{refusing}?rest=off").infer(request(), 5)
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
def test_a_program_that_merely_listens_there_gets_no_call(serve_http, remote, refusing, said):
    server = serve_http(never_asked, said=said)
    host = remote(f"grpc://{refusing}?rest={server.server_port}")
    with pytest.raises(UnreachableError, match="over REST"):
        host.infer(request(), 5)
    assert server.asked == ["/v2"]
    assert not server.posted


def test_grpc_is_taken_up_again_when_it_passes(gateway, remote, monkeypatch, serve_http):
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


def test_a_host_that_went_away_is_looked_for_again(gateway, remote, refusing):
    packages = gateway.options.packages
    other = Gateway(GatewayOptions(packages, grpc_port=0, http_port=0))
    other.start()
    host = remote(f"grpc://{refusing}?rest={other.http.rpartition(':')[2]}")
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


def test_a_wrong_key_is_not_allowed_over_rest_too(secured, remote, refusing):
    rest = secured.http.rpartition(":")[2]
    for key in (None, "wrong"):
        security = trusting(secured, api_key=key)
        for address in (f"https://{secured.http}", f"grpcs://{refusing}?rest={rest}"):
            with pytest.raises(NotAllowedError, match="api_key"):
                remote(address, security=security).infer(request(), 5)


def test_a_host_that_is_not_trusted_is_not_tried_another_way(secured, serve_http, remote):
    server = serve_http(never_asked)
    stranger = ClientSecurity(pinned_pem=make_identity(["localhost"]).certificate_pem)
    host = remote(f"grpcs://{secured.grpc}?rest={server.server_port}", security=stranger)
    with pytest.raises(UntrustedPeerError):
        host.infer(request(), 5)
    with pytest.raises(UntrustedPeerError):
        host.probe(5)
    assert not server.asked


def test_rest_instead_of_grpc_is_as_secure_as_grpc(secured, serve_http, remote, refusing):
    rest = secured.http.rpartition(":")[2]
    host = remote(f"grpcs://{refusing}?rest={rest}", security=trusting(secured))
    assert host.infer(request(), 5).protocol == "rest"
    plain = serve_http(never_asked)
    host = remote(f"grpcs://{refusing}?rest={plain.server_port}", security=trusting(secured))
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
given = (from_array("given", np.ones(4, np.float32)),)
request = InferRequest("echo", "", "id", {}, given, boundary="anywhere")

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
