"""Whatever bytes come over gRPC, the answer is a proper status, and the server serves on."""

from __future__ import annotations

import threading

import grpc
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from wherever_contracts.wire.messages import encode_request
from wherever_contracts.wire.tensors import InferRequest, from_array
from wherever_edge.host import LocalHost
from wherever_edge.oip.admission import Open
from wherever_edge.oip.keys import KeyChecker, KeyStore
from wherever_edge.oip.server import InferenceServer
from wherever_edge.packages.store import Store
from wherever_gateway.model_repository import ModelRepository

pytestmark = pytest.mark.full

SERVICE = "inference.GRPCInferenceService"
METHODS = (
    "ServerLive",
    "ServerReady",
    "ServerMetadata",
    "ModelReady",
    "ModelMetadata",
    "ModelInfer",
    "ModelStatistics",
    "RepositoryIndex",
    "RepositoryModelLoad",
    "RepositoryModelUnload",
    "NoSuchMethod",
)
PROPER = {
    grpc.StatusCode.OK,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.UNIMPLEMENTED,
}
NAMES = st.one_of(
    st.sampled_from(["digits", "digits--tree", "../../etc/passwd", "digits@", "@", "--", "a\0b"]),
    st.text(max_size=200),
)
SECRET = 4242.5


class Anything:
    def check_admin(self, caller):
        pass

    def may_see(self, key, model):
        return True


class Nothing:
    def of(self, model, version):
        return []


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    host = LocalHost(Store([]), distance="cloud")
    repository = ModelRepository(host, Anything(), Nothing(), lambda: None)
    keys = KeyStore(tmp_path_factory.mktemp("keys"))
    server = InferenceServer(
        host,
        port=0,
        keys=KeyChecker(keys),
        keys_needed=False,
        methods=repository.methods(),
        admission=Open(),
    )
    server.start()
    yield server
    assert server.drain(0)


@pytest.fixture(scope="module")
def channel(server):
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield channel


def ask(channel, method: str, data: bytes) -> tuple[grpc.StatusCode, bytes]:
    try:
        return grpc.StatusCode.OK, channel.unary_unary(f"/{SERVICE}/{method}")(data, timeout=20)
    except grpc.RpcError as error:
        return error.code(), (error.details() or "").encode()


def request(name: str = "digits", values=None, **parameters) -> bytes:
    pixels = np.zeros((8, 8), np.float32) if values is None else values
    return encode_request(
        InferRequest(name, "", "1", parameters, (from_array("image", pixels),), ("scores",))
    )


@st.composite
def damaged(draw) -> bytes:
    """A good message with bytes changed, cut out, put in or repeated."""
    data = bytearray(request(draw(NAMES.filter(lambda name: "\ud800" not in name))))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(data)))
        kind = draw(st.sampled_from(["change", "cut", "insert", "repeat"]))
        if kind == "change" and at < len(data):
            data[at] = draw(st.integers(0, 255))
        elif kind == "cut":
            del data[at : at + draw(st.integers(0, 40))]
        elif kind == "insert":
            data[at:at] = draw(st.binary(max_size=20))
        else:
            data[at:at] = data[max(0, at - 30) : at]
    return bytes(data)


@settings(max_examples=1500, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.sampled_from(METHODS), st.one_of(st.binary(max_size=300), damaged()))
@example("ModelInfer", request())
@example("ModelInfer", request("../../../etc/passwd"))
@example("RepositoryModelLoad", b"\x12\x02..")
def test_bytes_of_any_kind_get_a_proper_status(server, channel, method, data):
    status, _ = ask(channel, method, data)
    assert status in PROPER
    assert ask(channel, "ServerReady", b"") == (grpc.StatusCode.OK, b"\x08\x01")


@settings(max_examples=300, deadline=None)
@given(NAMES, NAMES)
def test_names_of_any_kind_are_not_found_and_not_looked_for_on_the_disk(channel, name, version):
    try:
        data = encode_request(InferRequest(name, version, "", {}, ()))
    except ValueError:  # no such name can be put into a message
        return
    status, details = ask(channel, "ModelInfer", data)
    assert status in PROPER
    assert b"root:" not in details
    assert b"No such file" not in details


def test_what_others_send_is_in_no_answer_of_anybody(channel):
    """Two callers at once, one with a number that marks its rows: the other never sees it."""
    marked = np.full((8, 8), SECRET, np.float32)
    over, seen = threading.Event(), []

    def send_marked() -> None:
        while not over.is_set():
            ask(channel, "ModelInfer", request(values=marked))

    thread = threading.Thread(target=send_marked)
    thread.start()
    plain = ask(channel, "ModelInfer", request())[1]
    own = plain[plain.rindex(b"scores") :][-40:]
    for _ in range(300):
        status, answer = ask(channel, "ModelInfer", request())
        seen.append(status == grpc.StatusCode.OK and answer.endswith(own))
    over.set()
    thread.join()
    assert all(seen)


def test_half_a_message_and_a_stopped_sender_keep_nothing_from_the_others(server, channel):
    """Raw HTTP/2 that never ends a frame; connections that say nothing; and calls go on."""
    import socket

    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04\x00" + bytes(4)
    held = []
    for hold in (b"", preface[:10], preface, preface + b"\x00\x40\x00\x00\x00\x00\x00\x00\x01"):
        for _ in range(25):
            connection = socket.create_connection(("127.0.0.1", server.port))
            connection.sendall(hold)
            held.append(connection)
    assert ask(channel, "ModelInfer", request())[0] == grpc.StatusCode.OK
    for connection in held:
        connection.close()
