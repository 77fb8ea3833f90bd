"""The REST front against clients that are slow, rude or wrong, over raw sockets."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherever_edge.host import LocalHost
from wherever_edge.oip.service import InferenceService
from wherever_edge.packages.store import Store
from wherever_gateway.rest import RestFront

BODY = json.dumps({"numbers": [1, 3, 2]}).encode()
PREDICT = "/v1/models/scales:predict"
LIVE = b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n"


class Wire:
    """A front, and bare connections to it."""

    def __init__(self, host: LocalHost, **arguments: Any) -> None:
        more = {"max_bytes": 1 << 20, **arguments}
        self.service = InferenceService(host, {})
        self.front = RestFront(self.service, lambda: True, address="127.0.0.1", port=0, **more)
        self.front.start()

    def socket(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.front.port), 10)

    def ask(self, *pieces: bytes, half_close: bool = False) -> list[tuple[int, bytes]]:
        """Every answer to what is sent, until the server closes; it may before all is sent."""
        answers: list[tuple[int, bytes]] = []
        with self.socket() as connection, connection.makefile("rb") as file:
            try:
                for piece in pieces:
                    connection.sendall(piece)
                if half_close:
                    connection.shutdown(socket.SHUT_WR)
            except OSError:
                pass
            with suppress(ConnectionResetError):
                while answer := answer_from(file):
                    answers.append(answer)
        return answers

    def serves(self) -> bool:
        return self.ask(post(BODY, "Connection: close"))[0][0] == 200

    def close(self) -> None:
        self.front.drain(0)


def answer_from(file: Any) -> tuple[int, bytes] | None:
    line = file.readline()
    if not line:
        return None
    headers = {}
    while (header := file.readline()).strip():
        name, _, value = header.partition(b":")
        headers[name.lower()] = value.strip()
    return int(line.split()[1]), file.read(int(headers.get(b"content-length", 0)))


def post(body: bytes, *lines: str, path: str = PREDICT) -> bytes:
    length = () if any("Transfer" in line for line in lines) else (f"Content-Length: {len(body)}",)
    head = [f"POST {path} HTTP/1.1", "Host: x", "Content-Type: application/json", *length, *lines]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


@pytest.fixture(scope="module")
def host(scales_package) -> Iterator[LocalHost]:
    with closing(LocalHost(Store([scales_package.root]), distance="cloud")) as host:
        yield host


@pytest.fixture(scope="module")
def wire(host) -> Iterator[Wire]:
    with closing(Wire(host)) as wire:
        yield wire


@pytest.fixture(scope="module")
def hasty(host) -> Iterator[Wire]:
    """One that waits for a head, and for more of a body, only this long."""
    with closing(Wire(host, stall_s=0.2)) as wire:
        yield wire


# --- what HTTP allows ---


def test_a_body_may_come_in_chunks_of_any_size(wire):
    sizes = [1, 2, len(BODY) - 3]
    chunks, at = [], 0
    for size in sizes:
        chunks.append(b"%x;extension=1\r\n%s\r\n" % (size, BODY[at : at + size]))
        at += size
    body = b"".join(chunks) + b"0\r\nTrailer: x\r\n\r\n"
    request = post(b"", "Transfer-Encoding: chunked", "Connection: close") + body
    for pieces in ([request], [bytes([each]) for each in request]):
        ((status, said),) = wire.ask(*pieces)
        assert status == 200
        assert json.loads(said)["value"]["label"] == "middle"


def test_requests_sent_before_their_answers_are_answered_in_their_order(wire):
    calls = [post(json.dumps({"numbers": [1, 3, 2], "id": str(n)}).encode()) for n in range(20)]
    answers = wire.ask(b"".join(calls[:10]), b"".join(calls[10:]), post(BODY, "Connection: close"))
    assert [status for status, _ in answers] == [200] * 21
    assert [json.loads(said)["id"] for _, said in answers[:20]] == [str(n) for n in range(20)]


def test_a_wish_for_another_protocol_changes_nothing_and_the_connection_goes_on(wire):
    """Java's client wishes for HTTP/2 in its first request of a connection."""
    wish = "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQ"
    get = LIVE.replace(b"\r\n\r\n", b"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    answers = wire.ask(post(BODY, *wish), get, post(BODY, *wish), post(BODY, "Connection: close"))
    assert [status for status, _ in answers] == [200] * 4


def test_expectations_are_met_before_the_body(wire):
    with wire.socket() as connection:
        request = post(BODY, "Expect: 100-continue", "Connection: close")
        head, _, body = request.partition(b"\r\n\r\n")
        connection.sendall(head + b"\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 100 ")
        connection.sendall(body)
        assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("head", ["GET /v2 HTTP/1.0\r\n\r\n", "HEAD /docs HTTP/1.0\r\n\r\n"])
def test_older_clients_are_answered(wire, head):
    with wire.socket() as connection:
        connection.sendall(head.encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 200 ")


def test_options_and_unknown_methods_are_refused_with_those_that_are_served(wire):
    for method in (b"OPTIONS", b"DELETE", b"TRACE", b"PUT"):
        request = LIVE.replace(b"GET", method).replace(
            b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"
        )
        assert wire.ask(request)[0][0] == 405
    assert wire.ask(b"BREW / HTTP/1.1\r\n\r\n")[0][0] == 400


# --- what it does not ---


@pytest.mark.parametrize(
    "request_",
    [
        b"\x16\x03\x01\x02\x00\x01\xfc\x03\x03" * 10,  # TLS, to a server that speaks none
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /a b HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nA: \x00\r\n\r\n",
        b"GET / HTTP/1.1\r\n folded: first\r\n\r\n",
        b"CONNECT x:443 HTTP/1.1\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\n\r\n",
        post(BODY, "Content-Length: 3"),  # two lengths that differ
        post(b"3\r\nabc\r\n0\r\n\r\n", "Transfer-Encoding: chunked", "Content-Length: 3"),
        post(b"", "Transfer-Encoding: chunked") + b"zz\r\nabc\r\n0\r\n\r\n",
        post(b"", "Transfer-Encoding: gzip, chunked, identity") + BODY,
        post(BODY).replace(b"Content-Length: 22", b"Content-Length: -1"),
        post(BODY).replace(b"Content-Length: 22", b"Content-Length: 1e3"),
        post(BODY).replace(b"Content-Length: 22", b"Content-Length: " + b"9" * 40),
    ],
)
def test_what_is_no_request_is_refused_and_the_server_serves_on(wire, request_):
    answers = wire.ask(request_, half_close=True)
    assert {status for status, _ in answers} <= {400, 404, 405, 408, 413}
    assert all("error" in json.loads(said) for _, said in answers)
    assert wire.serves()


@given(st.binary(max_size=300))
def test_no_bytes_end_the_server(wire, junk):
    for status, _ in wire.ask(junk, b"\r\n\r\n", half_close=True):
        assert status < 500
    assert wire.ask(LIVE, half_close=True) in ([], [(200, b'{"live":true}')])


@pytest.mark.parametrize(
    "piece",
    [b"X-Long: " + b"a" * 200_000, b"".join(b"X-%d: a\r\n" % n for n in range(20_000))],
    ids=["one header", "many headers"],
)
def test_a_head_that_is_too_large_is_refused(wire, piece):
    with wire.socket() as connection, connection.makefile("rb") as file:
        connection.sendall(b"GET /v2 HTTP/1.1\r\n")
        try:
            connection.sendall(piece + b"\r\n\r\n")
            answer = answer_from(file)
        except ConnectionError:  # it was refused while it was sent
            answer = None
    assert answer is None or answer[0] == 431
    assert wire.serves()


def test_a_path_that_is_too_long_is_refused(wire):
    ((status, said),) = wire.ask(LIVE.replace(b"live", b"a" * 100_000))
    assert (status, "65536 bytes" in json.loads(said)["error"]) == (431, True)


@pytest.mark.parametrize(
    "model",
    [
        "..%2f..%2fetc%2fpasswd",
        "%2e%2e",
        "%00",
        "a%00b",
        "%ff%fe",
        pytest.param("a" * 10_000, id="long"),
        "%0d%0aX:%20y",
        "~",
    ],
)
@pytest.mark.parametrize(
    ("path", "body"), [("/v1/models/{}:predict", BODY), ("/v2/models/{}/infer", b'{"inputs": []}')]
)
def test_names_that_are_none_are_not_found(wire, model, path, body):
    ((status, said),) = wire.ask(post(body, "Connection: close", path=path.format(model)))
    words = json.loads(said)["error"]
    assert (status, len(words) <= 1000) == (404, True)


@pytest.mark.parametrize("name", ["[", "[::1", "a b", "x" * 5000, "", "\\", "http://"])
def test_no_name_of_the_server_is_too_odd(wire, name):
    for request in (LIVE, LIVE.replace(b"GET", b"PUT"), LIVE.replace(b"live", b"nowhere")):
        last = request.replace(b"Host: x", f"Host: {name}\r\nConnection: close".encode())
        ((status, said),) = wire.ask(last)
        assert (status, len(json.loads(said))) in ((200, 1), (405, 1), (404, 1))


# --- slow clients ---


def test_a_head_that_does_not_come_is_given_up(hasty):
    for sent in (b"", b"\r\n", b"GET /v2 HT", b"GET /v2 HTTP/1.1\r\nHost: x\r\n"):
        answers = hasty.ask(sent)  # it would wait for ever if the server did
        assert [status for status, _ in answers] == ([408] if sent.startswith(b"GET") else [])


def test_a_head_that_drips_is_given_up_however_often_a_byte_comes(hasty):
    with hasty.socket() as connection, connection.makefile("rb") as file:
        done = threading.Event()

        def drip() -> None:
            try:
                connection.sendall(b"GET /v2 HTTP/1.1\r\nX: ")
                while not done.wait(0.02):
                    connection.sendall(b"a")
            except OSError:
                pass

        dripping = threading.Thread(target=drip)
        dripping.start()
        assert answer_from(file)[0] == 408
        done.set()
        dripping.join()


def test_the_second_head_of_a_connection_is_given_up_too(hasty):
    answers = hasty.ask(LIVE, b"GET /v2 HTTP/1.1\r\n")
    assert [status for status, _ in answers] == [200, 408]


def test_many_slow_clients_keep_nobody_from_being_answered(hasty):
    with ExitStack() as stack:
        for sent in (b"", b"GET /", post(b"{", "Content-Length: 9")) * 50:
            stack.enter_context(hasty.socket()).sendall(sent)
        assert hasty.serves()


def test_a_call_is_not_given_up_because_the_next_head_is_slow(hasty, monkeypatch):
    """The time for a head begins when the answer before it was given."""
    begun, release = threading.Event(), threading.Event()
    infer = hasty.service.infer

    def held(*call: Any) -> Any:
        begun.set()
        release.wait(30)
        return infer(*call)

    monkeypatch.setattr(hasty.service, "infer", held)
    with hasty.socket() as connection, connection.makefile("rb") as file:
        connection.sendall(post(BODY) + b"GET /v2 HTTP/1.1\r\n")
        assert begun.wait(30)
        assert not release.wait(0.3)
        release.set()
        assert answer_from(file)[0] == 200
        assert answer_from(file)[0] == 408


# --- half-closed connections ---


@pytest.mark.parametrize(
    "sent", [b"", b"GET /v2", post(BODY)[:-5], post(BODY, "Content-Length: 9")]
)
def test_a_client_that_sends_no_more_in_the_middle_is_let_go(wire, sent):
    assert {status for status, _ in wire.ask(sent, half_close=True)} <= {400}
    assert wire.serves()


def test_answers_that_nobody_reads_hold_nothing_up(wire, unread: Callable[[Wire], None]):
    unread(wire)
    assert wire.serves()


@pytest.fixture
def unread() -> Iterator[Callable[[Wire], None]]:
    """Sends requests over connections that are not read, and stay open until the test ends."""
    with ExitStack() as stack:

        def send(wire: Wire) -> None:
            for _ in range(20):
                connection = stack.enter_context(wire.socket())
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
                connection.sendall(b"GET /docs/swagger-ui-bundle.js HTTP/1.1\r\n\r\n" * 5)

        yield send
