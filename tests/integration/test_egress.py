"""The guard before the sockets, by itself: every test here fails without it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing

import numpy as np
import pytest

from wherever_contracts.errors import BlockedError
from wherever_contracts.places import BOUNDARIES, PLACES
from wherever_contracts.wire.messages import decode_request, encode_response
from wherever_contracts.wire.tensors import InferRequest, InferResponse, from_array, from_bytes
from wherever_edge.counters import COUNTERS
from wherever_edge.egress import guard
from wherever_edge.oip.client import RemoteHost
from wherever_edge.oip.endpoints import Endpoint

CANARY = b"canary-5a8f1e33"
# (place, boundary) that may not be, and those that may
BEYOND = [(p, b) for p in PLACES for b in BOUNDARIES if PLACES.index(p) > BOUNDARIES.index(b)]
WITHIN = [(p, b) for p in PLACES for b in BOUNDARIES if PLACES.index(p) <= BOUNDARIES.index(b)]
WAYS = ["grpc://{}", "http://{}"]


class Recorder:
    """A TCP proxy that keeps every byte that comes in; without a server behind it, nothing more."""

    def __init__(self, behind: str = "") -> None:
        self._behind = behind
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self.connections = 0
        self._received: list[bytes] = []
        self._open = ExitStack()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def received(self) -> bytes:
        return b"".join(self._received)

    def close(self) -> None:
        self._socket.close()
        self._open.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            self._open.callback(near.close)
            far = None
            if self._behind:
                host, _, port = self._behind.rpartition(":")
                far = socket.create_connection((host, int(port)))
                self._open.callback(far.close)
                threading.Thread(target=self._pass, args=(far, near), daemon=True).start()
            threading.Thread(target=self._keep, args=(near, far), daemon=True).start()

    def _keep(self, near: socket.socket, far: socket.socket | None) -> None:
        try:
            while data := near.recv(65536):
                self._received.append(data)
                if far is not None:
                    far.sendall(data)
        except OSError:
            return

    def _pass(self, far: socket.socket, near: socket.socket) -> None:
        try:
            while data := far.recv(65536):
                near.sendall(data)
        except OSError:
            return


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    with closing(Recorder()) as listening:
        yield listening


def call(boundary, content=CANARY) -> InferRequest:
    return InferRequest("m", "", "id", {}, (from_bytes("x", [content]),), boundary=boundary)


def blocked() -> int:
    counts = COUNTERS.snapshot()
    return sum(count for name, count in counts.items() if name.startswith(guard.BLOCKED))


def infer(host, request):
    return host.infer(request, 2)


def start(host, request):
    return host.start(request, 2).result()


@pytest.mark.parametrize("send", [infer, start])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("place", "boundary"), BEYOND)
def test_a_call_beyond_its_boundary_is_not_even_connected_for(recorder, send, way, place, boundary):
    before = blocked()
    host = RemoteHost(Endpoint.parse(way.format(recorder.address)), place=place)
    with closing(host), pytest.raises(BlockedError) as caught:
        send(host, call(boundary))
    assert (recorder.connections, recorder.received) == (0, b"")
    assert blocked() == before + 1
    error = caught.value
    assert (error.code, error.retryable) == ("blocked", False)
    for word in (boundary, place, recorder.address):
        assert word in str(error)
    assert CANARY.decode() not in str(error)


def echo(data, _context):
    request = decode_request(data)
    return encode_response(InferResponse(request.model, "1", request.id, {}, request.inputs))


@pytest.mark.parametrize("send", [infer, start])
@pytest.mark.parametrize(("place", "boundary"), BEYOND)
def test_over_an_open_connection_nothing_of_it_is_sent_either(serve_infer, send, place, boundary):
    with closing(Recorder(serve_infer(echo))) as recorder:
        address = f"grpc://{recorder.address}?rest=off"
        with closing(RemoteHost(Endpoint.parse(address), place=place)) as host:
            assert send(host, call("anywhere", b"may travel")).outputs
            with pytest.raises(BlockedError):
                send(host, call(boundary))
            assert send(host, call("anywhere", b"this, too")).outputs
        assert b"may travel" in recorder.received
        assert b"this, too" in recorder.received
        assert CANARY not in recorder.received


@pytest.mark.parametrize("send", [infer, start])
def test_over_rest_likewise(serve_http, send):
    answer = InferResponse("m", "1", "id", {}, (from_array("y", np.ones(1, np.float32)),))
    body = (
        b'{"model_name":"m","model_version":"1","outputs":'
        b'[{"name":"y","shape":[1],"datatype":"FP32","data":[1.0]}]}'
    )
    server = serve_http(lambda *_: (200, {"content-type": "application/json"}, body))
    with closing(RemoteHost(Endpoint.parse(f"http://{server.address}"))) as host:
        assert send(host, call("anywhere", b"may travel")).model == answer.model
        with pytest.raises(BlockedError):
            send(host, call("site"))
        assert send(host, call("anywhere", b"this, too")).model == answer.model
    sent = b"".join(server.posted)
    assert b"this, too" in sent
    assert CANARY not in sent


@pytest.mark.parametrize(("place", "boundary"), WITHIN)
def test_within_its_boundary_a_call_is_sent(serve_infer, place, boundary):
    before = blocked()
    with closing(RemoteHost(Endpoint.parse(serve_infer(echo)), place=place)) as host:
        assert CANARY in bytes(host.infer(call(boundary), 5).outputs[0].data)
    assert blocked() == before


@pytest.mark.parametrize(
    ("boundary", "place"), [("moon", "cloud"), ("moon", "device"), ("anywhere", "moon"), ("", "")]
)
def test_what_is_not_known_lets_nothing_pass(boundary, place):
    with pytest.raises(BlockedError):
        guard.check(boundary, place, "host")


def test_a_request_that_does_not_say_goes_nowhere(recorder):
    silent = InferRequest("m", "", "id", {}, (from_bytes("x", [CANARY]),))
    host = RemoteHost(Endpoint.parse(recorder.address), place="nearby")
    with closing(host), pytest.raises(BlockedError, match="'device'"):
        host.infer(silent, 1)
    assert recorder.connections == 0


def test_without_the_guard_the_bytes_would_be_seen(monkeypatch, serve_infer):
    """What the tests above look at does see a call that is let through."""
    monkeypatch.setattr(guard, "check", lambda *_: None)
    with closing(Recorder(serve_infer(echo))) as open_to_all:
        address = f"grpc://{open_to_all.address}?rest=off"
        with closing(RemoteHost(Endpoint.parse(address))) as host:
            host.infer(call("device"), 5)
        assert CANARY in open_to_all.received
