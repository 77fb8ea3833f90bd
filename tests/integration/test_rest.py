"""The REST front over real sockets: answers, refusals, bounds, and its end."""

from __future__ import annotations

import base64
import io
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image, ImageDraw

import wherever
from wherever_contracts.errors import MissingExtraError, SettingsError
from wherever_contracts.manifest import signature_digest
from wherever_contracts.wire.tensors import InferRequest, InferResponse, from_array
from wherever_edge.engines.engine import Session
from wherever_edge.host import LocalHost
from wherever_edge.oip.service import InferenceService
from wherever_edge.packages.store import Store
from wherever_gateway.gateway import Gateway, GatewayOptions
from wherever_gateway.rest import RestFront

JSON_SIZE = "Inference-Header-Content-Length"
NUMBERS = {"name": "numbers", "datatype": "FP32", "shape": [3], "data": [1, 3, 2]}
SCALES = {"inputs": [NUMBERS]}


@pytest.fixture(scope="module")
def host(echo_package, scales_package) -> Iterator[LocalHost]:
    host = LocalHost(Store([echo_package.root, scales_package.root]), distance="cloud")
    yield host
    host.close()


class Peer:
    """A front, and a plain HTTP client of it."""

    def __init__(self, service: InferenceService, **arguments: Any) -> None:
        self.service = service
        self.ready = True
        arguments = {"max_bytes": 1 << 20, **arguments}
        self.front = RestFront(
            service, lambda: self.ready, address="127.0.0.1", port=0, **arguments
        )
        self.front.start()
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{self.front.port}", timeout=10)

    def get(self, path: str) -> httpx.Response:
        return self.http.get(path)

    def infer(self, body: Any, model: str = "scales") -> httpx.Response:
        return self.http.post(f"/v2/models/{model}/infer", json=body)

    def refusal(self, body: Any, model: str = "scales") -> tuple[int, str]:
        answer = self.infer(body, model)
        return answer.status_code, answer.json()["error"]

    def socket(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.front.port), 10)

    def close(self) -> None:
        self.http.close()
        self.front.drain(0)


@pytest.fixture
def serve(host) -> Iterator[Callable[..., Peer]]:
    """Starts fronts, by default for `host`; they are ended with the test."""
    with ExitStack() as stack:

        def start(
            of: Any = None, *, workers: int = 2, max_waiting: int = 16, **arguments: Any
        ) -> Peer:
            served = of or LocalHost(host.store, distance="cloud")
            served.queue.runs, served.queue.max_waiting = workers, max_waiting
            service = InferenceService(served, {})
            return stack.enter_context(closing(Peer(service, **arguments)))

        yield start


@pytest.fixture(scope="module")
def peer(host) -> Iterator[Peer]:
    """One front for every test that leaves it as it was."""
    with closing(Peer(InferenceService(host, {}))) as peer:
        yield peer


@pytest.fixture(scope="module")
def digits() -> Iterator[Peer]:
    """A front of the package that is in the wheel."""
    host = LocalHost(Store(), distance="cloud")
    with closing(Peer(InferenceService(host, {}))) as peer:
        yield peer
    host.close()


class HeldHost(LocalHost):
    """A host whose runs begin and then wait until the test lets them end."""

    def __init__(self, store: Store) -> None:
        super().__init__(store, distance="cloud", batching=False)
        self.begun = threading.Semaphore(0)
        self.release = threading.Event()
        self.runs = 0

    def _open(self, *what: Any) -> Session:
        return _Held(super()._open(*what), self)


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


@pytest.fixture
def held(host) -> Iterator[HeldHost]:
    held = HeldHost(host.store)
    yield held
    held.release.set()


@pytest.fixture
def at_once() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as pool:
        yield pool


def eventually(true: Callable[[], bool], within_s: float = 30.0) -> bool:
    ends = time.monotonic() + within_s
    while not true() and time.monotonic() < ends:
        time.sleep(0.005)
    return true()


def raw_request(body: bytes, *lines: str, path: str = "/v2/models/scales/infer") -> bytes:
    head = "\r\n".join([f"POST {path} HTTP/1.1", "Host: x", *lines])
    return head.encode() + b"\r\n\r\n" + body


def seven() -> bytes:
    """A PNG of a written seven, dark on light."""
    picture = Image.new("L", (64, 64), 255)
    ImageDraw.Draw(picture).line([(16, 14), (48, 14), (26, 52)], fill=0, width=6)
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


# --- answers ---


def test_the_server_speaks_of_itself(peer):
    said = peer.get("/v2").json()
    extensions = ["wherever", "classification", "binary_tensor_data"]
    assert (said["name"], said["extensions"]) == ("wherever", extensions)
    assert peer.get("/v2/health/live").json() == {"live": True}
    assert peer.get("/v2/health/ready").json() == {"ready": True}
    assert "server" not in peer.get("/v2").headers


@pytest.mark.parametrize("path", ["/v2/models/scales", "/v2/models/scales/versions/1.0"])
def test_a_model_and_a_version_of_it_have_metadata_and_readiness(peer, path):
    said = peer.get(path).json()
    assert (said["name"], said["versions"]) == ("scales", ["1.0.0"])
    assert said["inputs"] == [{"name": "numbers", "datatype": "FP32", "shape": [3]}]
    assert said["outputs"] == [{"name": "scores", "datatype": "FP32", "shape": [3]}]
    assert peer.get(f"{path}/ready").json() == {"name": "scales", "ready": True}


def test_an_answer_carries_the_outputs_and_what_ran(peer):
    answer = peer.infer({"id": "call-7", **SCALES})
    assert answer.headers["content-type"] == "application/json"
    said = answer.json()
    assert (said["model_name"], said["model_version"], said["id"]) == ("scales", "1.0.0", "call-7")
    (scores,) = said["outputs"]
    assert (scores["name"], scores["datatype"], scores["shape"]) == ("scores", "FP32", [3])
    assert scores["data"] == pytest.approx([0, 1, 0], abs=1e-6)
    assert json.loads(said["parameters"]["wherever_ran"])["variant"] == "large"
    assert said["parameters"]["wherever_confidence"] > 0.99


def test_nested_numbers_options_variants_and_versions_are_taken(peer):
    body = {"parameters": {"variant": "small"}, **SCALES, "outputs": [{"name": "scores"}]}
    answer = peer.http.post("/v2/models/scales/versions/1/infer", json=body)
    ran = json.loads(answer.json()["parameters"]["wherever_ran"])
    assert ran["variant"] == "small"
    bare = {"name": "x", "datatype": "FP32", "shape": [2, 3], "data": [[1, 2, 3], [3, 2, 1]]}
    answer = peer.infer({"inputs": [bare]}, "scales--small")
    assert answer.json()["outputs"][0]["shape"] == [2, 3]


@pytest.mark.parametrize("content_type", ["base64", "image/png"])
def test_a_picture_in_base64_is_told_as_the_device_tells_it(digits, content_type):
    image = {"name": "image", "datatype": "BYTES", "shape": [1]}
    image["data"] = [base64.b64encode(seven()).decode()]
    image["parameters"] = {"content_type": content_type}
    answer = digits.infer({"inputs": [image], "parameters": {"variant": "cnn"}}, "digits").json()
    assert answer["outputs"][0]["data"].index(max(answer["outputs"][0]["data"])) == 7
    with wherever.Client() as client:
        assert client.predict("digits", seven()).value == "7"


def test_a_picture_in_base64_that_does_not_say_so_is_refused_with_what_to_do(digits):
    data = [base64.b64encode(seven()).decode()]
    image = {"name": "image", "datatype": "BYTES", "shape": [1], "data": data}
    status, words = digits.refusal({"inputs": [image]}, "digits")
    assert status == 400
    assert 'give the input the parameter {"content_type": "base64"}' in words


def test_digits_may_also_be_given_as_numbers(digits):
    image = {"name": "image", "datatype": "FP32", "shape": [8, 8], "data": [[0] * 8] * 8}
    answer = digits.infer({"inputs": [image]}, "digits").json()
    assert answer["outputs"][0]["shape"] == [10]
    assert sum(answer["outputs"][0]["data"]) == pytest.approx(1)


def test_raw_contents_go_both_ways_behind_the_json(serve):
    peer = serve(max_bytes=8 << 20)
    array = np.random.default_rng(0).normal(size=1_000_000).astype(np.float32)
    entry = {"name": "given", "datatype": "FP32", "shape": [array.size]}
    entry["parameters"] = {"binary_data_size": array.nbytes}
    text = json.dumps({"inputs": [entry], "parameters": {"binary_data_output": True}}).encode()
    headers = {JSON_SIZE: str(len(text))}
    content = text + array.tobytes()
    answer = peer.http.post("/v2/models/echo/infer", content=content, headers=headers)
    assert answer.headers["content-type"] == "application/octet-stream"
    size = int(answer.headers[JSON_SIZE])
    (said,) = json.loads(answer.content[:size])["outputs"]
    assert said["parameters"] == {"binary_data_size": array.nbytes}
    assert answer.content[size:] == array.tobytes()


def test_raw_contents_may_be_asked_for_one_output_alone(peer):
    wanted = [{"name": "scores", "parameters": {"binary_data": True}}]
    answer = peer.infer({**SCALES, "outputs": wanted})
    assert np.frombuffer(answer.content[int(answer.headers[JSON_SIZE]) :], "<f4").argmax() == 1


def test_an_answer_waits_for_no_delayed_acknowledgement(peer):
    """Nagle's algorithm left on costs 40 ms for each answer of a connection that is kept."""
    taken: list[float] = []
    for _ in range(20):
        started = time.perf_counter()
        peer.infer(SCALES)
        taken.append(time.perf_counter() - started)
    assert min(taken[1:]) < 0.03


def test_answers_never_mix_between_many_callers(peer, at_once):

    def ask(number: int) -> bool:
        given = {"name": "given", "datatype": "FP32", "shape": [50], "data": [number] * 50}
        answer = peer.infer({"id": str(number), "inputs": [given]}, "echo").json()
        return answer["id"] == str(number) and answer["outputs"][0]["data"] == [number] * 50

    assert all(at_once.map(ask, range(200)))


# --- refusals ---


@pytest.mark.parametrize(
    "model",
    ["nothing", "..", "%2e%2e", "scales@9", "scales--huge", "%00", "%ff", "SCALES", "a" * 5000],
)
@pytest.mark.parametrize("rest", ["", "/ready", "/infer", "/versions/1"])
def test_a_model_that_is_not_here_is_not_found(peer, model, rest):
    method = "POST" if rest == "/infer" else "GET"
    with peer.socket() as connection:
        body = json.dumps(SCALES).encode()
        path = f"/v2/models/{model}{rest}"
        request = raw_request(body, f"Content-Length: {len(body)}", "Connection: close", path=path)
        connection.sendall(request.replace(b"POST", method.encode(), 1))
        with connection.makefile("rb") as file:
            answer = file.read()
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert len(json.loads(answer.rpartition(b"\r\n\r\n")[2])["error"]) > 10


@pytest.mark.parametrize(
    "path",
    ["/", "/v1/model/x", "/v2/", "/v2/models", "/v2/models/a%2fb", "/v2/models/..%2f..%2fetc"],
)
def test_a_path_that_leads_nowhere_is_not_found(peer, path):
    answer = peer.get(path)
    assert answer.status_code == 404
    assert answer.json()["error"].startswith("GET /")


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "POST"])
def test_other_methods_are_refused_with_those_that_are_served(peer, method):
    answer = peer.http.request(method, "/v2/health/live")
    assert answer.status_code == 405
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD"}
    assert method in answer.json()["error"]


def test_a_path_where_nothing_is_says_where_to_look(peer):
    words = "GET /v3: nothing is served at this path; what is stands in /openapi.json"
    assert peer.get("/v3").json() == {"error": words}


def test_infer_takes_posts_alone_and_head_has_no_body(peer):
    answer = peer.get("/v2/models/scales/infer")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert answer.json()["error"].endswith(": this path takes POST")
    answer = peer.http.head("/v2")
    assert (answer.status_code, answer.content) == (200, b"")
    assert int(answer.headers["content-length"]) > 0


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "inputs: expected an array, found nothing"),
        ({"inputs": []}, "expected a tensor, found nothing"),
        ({"inputs": [NUMBERS, NUMBERS]}, "two of that name"),
        ({"inputs": [NUMBERS | {"name": "other"}]}, "an unknown name"),
        ({"inputs": [NUMBERS | {"datatype": "INT8"}]}, "found int8[3]"),
        ({"inputs": [NUMBERS | {"shape": [1, 3]}]}, "found float32[1, 3]"),
        ({"inputs": [NUMBERS | {"shape": [0, 2**62], "data": []}]}, "too big"),
        ({"inputs": [NUMBERS | {"data": [1, 2]}]}, "inputs[0].data: expected 3 elements"),
        ({**SCALES, "outputs": [{"name": "nothing"}]}, "an output's name (scores)"),
        ({**SCALES, "parameters": {"variant": 3}}, "a string parameter"),
        ({**SCALES, "parameters": {"timeout": 1.5}}, "parameters.timeout: expected a whole"),
    ],
)
def test_a_bad_body_is_refused_with_the_field_what_was_expected_and_what_came(peer, body, words):
    status, said = peer.refusal(body)
    assert status == 400
    assert words in said


def test_bodies_that_are_no_json_are_refused(peer):
    for content in (b"", b"{", b'{"inputs": [NaN]}', b"\x00\xff", b"[" * 50_000):
        answer = peer.http.post("/v2/models/scales/infer", content=content)
        assert answer.status_code == 400
        assert answer.headers["wherever-code"] == "input"
        assert answer.json()["error"].startswith("the body: expected")
    assert peer.infer(SCALES).status_code == 200


@pytest.mark.parametrize("size", ["-1", "x", "1e3", "", "999999", "²", "9" * 5000])
def test_a_wrong_size_of_the_json_is_refused(peer, size):
    headers = [(JSON_SIZE.encode(), size.encode("latin1"))]
    answer = peer.http.post("/v2/models/scales/infer", json=SCALES, headers=headers)
    assert answer.status_code == 400
    assert "expected" in answer.json()["error"]


def test_another_signature_than_the_callers_is_a_conflict(peer, scales_package):
    known = signature_digest(scales_package.manifest.signature)
    assert peer.infer({**SCALES, "parameters": {"signature": known}}).status_code == 200
    assert peer.refusal({**SCALES, "parameters": {"signature": "other"}})[0] == 409


def test_what_is_not_http_is_refused_and_the_server_serves_on(peer):
    for junk in (b"\x16\x03\x01\x02\x00\x01", b"GET\r\n\r\n", b"POST / HTTP/1.1\r\nA: b\0\r\n\r\n"):
        with peer.socket() as connection:
            connection.sendall(junk)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(4096):
                pass
    assert peer.infer(SCALES).status_code == 200


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, gzip", "compress"])
def test_bodies_in_other_codings_are_refused_with_those_that_are_taken(peer, coding):
    headers = {"Content-Encoding": coding}
    answer = peer.http.post("/v2/models/scales/infer", content=b"x", headers=headers)
    assert answer.status_code == 415
    assert f"content-encoding {coding!r}; those that are: gzip" in answer.json()["error"]
    assert answer.headers["accept-encoding"] == "gzip, deflate"


def test_an_unexpected_error_is_internal_and_keeps_its_secrets(serve, host, caplog):
    class Broken(LocalHost):
        def resolve(self, model: str, version: str = "", variant: str = "") -> Any:
            raise ZeroDivisionError("secret")

    peer = serve(Broken(host.store, distance="cloud"))
    status, words = peer.refusal(SCALES)
    assert (status, "secret" in words) == (500, False)
    assert "ZeroDivisionError" in caplog.text
    assert peer.get("/v2/health/ready").status_code == 200


def test_outputs_that_are_not_finite_still_make_json(host):
    class NotFinite(InferenceService):
        def infer(self, request: InferRequest, caller: Any) -> InferResponse:
            output = from_array("y", np.array([1, np.nan, -np.inf], np.float32))
            return InferResponse("m", "1.0.0", "", {"wherever_confidence": np.nan}, (output,))

    with closing(Peer(NotFinite(host, {}))) as peer:
        text = peer.infer(SCALES).text
    said = json.loads(text, parse_constant=pytest.fail)
    assert said["outputs"][0]["data"] == [1, None, None]


# --- bounds ---


def test_a_body_over_the_limit_is_refused_also_in_chunks_without_a_length(serve):
    peer = serve(max_bytes=10_000)

    def endless() -> Iterator[bytes]:
        for _ in range(64):
            yield bytes(1000)

    for content in (bytes(10_001), endless()):
        answer = peer.http.post("/v2/models/scales/infer", content=content)
        assert answer.status_code == 413
        assert "the body has more than 10000 bytes" in answer.json()["error"]
    assert peer.http.post("/v2/models/scales/infer", content=bytes(10_000)).status_code == 400
    assert peer.infer(SCALES).status_code == 200


def test_a_body_that_is_announced_as_too_large_is_refused_before_it_is_sent(peer):
    lines = (f"Content-Length: {1 << 40}", "Expect: 100-continue")
    with peer.socket() as connection:
        connection.sendall(raw_request(b"", *lines))
        assert connection.recv(4096).startswith(b"HTTP/1.1 413 ")


def test_chunks_within_the_limit_are_taken(peer):
    content = (bytes([each]) for each in json.dumps(SCALES).encode())
    answer = peer.http.post("/v2/models/scales/infer", content=content)
    assert answer.status_code == 200


def test_a_client_that_leaves_in_the_middle_of_its_body_disturbs_nobody(peer, caplog):
    for reset in (False, True):
        with peer.socket() as connection:
            connection.sendall(raw_request(b'{"inputs"', "Content-Length: 1000"))
            if reset:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    assert peer.infer(SCALES).status_code == 200
    assert not caplog.records


def test_slow_senders_keep_nobody_from_being_answered(serve):
    peer = serve(workers=1, max_waiting=1)
    with ExitStack() as stack:
        for _ in range(40):
            connection = stack.enter_context(peer.socket())
            connection.sendall(raw_request(b"{", "Content-Length: 1000"))
        assert peer.infer(SCALES).status_code == 200


def test_a_body_that_stands_still_is_given_up(serve):
    peer = serve(stall_s=0.1)
    with peer.socket() as connection:
        connection.sendall(raw_request(b"{", "Content-Length: 1000"))
        with connection.makefile("rb") as file:
            answer = file.read()
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"nothing of the body came for 0.1 s" in answer


def test_bodies_together_take_no_more_memory_than_is_meant_for_them(serve):
    peer = serve(max_bytes=100_000)
    with ExitStack() as stack:
        for _ in range(8):
            connection = stack.enter_context(peer.socket())
            connection.sendall(raw_request(bytes(90_000), "Content-Length: 100000"))
        full = lambda: peer.http.post("/v2/models/scales/infer", content=bytes(100_000))  # noqa: E731
        assert eventually(lambda: full().status_code == 429)
        assert "the bodies of other requests" in full().json()["error"]
        assert peer.infer(SCALES).status_code == 200
    assert eventually(lambda: full().status_code == 400)


def test_a_call_whose_time_runs_out_while_it_waits_is_dropped(serve, held, at_once):
    peer = serve(held, workers=1)
    first = at_once.submit(peer.infer, SCALES)
    assert held.begun.acquire(timeout=30)
    status, words = peer.refusal({**SCALES, "parameters": {"timeout": 200_000}})
    assert (status, peer.service.queue.dropped) == (504, 1)
    assert "it was not done" in words
    held.release.set()
    assert first.result().status_code == 200
    assert held.runs == 1


def test_a_call_whose_client_has_gone_by_its_turn_is_dropped(serve, held, at_once):
    peer = serve(held, workers=1)
    first = at_once.submit(peer.infer, SCALES)
    assert held.begun.acquire(timeout=30)
    body = json.dumps(SCALES).encode()
    with peer.socket() as connection:
        connection.sendall(raw_request(body, f"Content-Length: {len(body)}"))
        assert eventually(lambda: peer.service.queue.waiting == 1)
    # a request that is answered later: by then the server has seen the other one close
    assert peer.get("/v2/health/live").status_code == 200
    held.release.set()
    assert first.result().status_code == 200
    assert eventually(lambda: peer.service.queue.dropped == 1)
    assert held.runs == 1


def test_more_calls_than_can_wait_are_refused_at_once_with_a_hint(serve, held, at_once):
    peer = serve(held, workers=1, max_waiting=2)
    running = [at_once.submit(peer.infer, SCALES) for _ in range(3)]
    assert held.begun.acquire(timeout=30)
    assert eventually(lambda: peer.service.queue.waiting == 2)
    answers = [peer.infer(SCALES) for _ in range(3)]
    assert {answer.status_code for answer in answers} == {429}
    assert int(answers[0].headers["retry-after"]) >= 1
    assert int(answers[0].headers["grpc-retry-pushback-ms"]) > 0
    assert answers[0].headers["wherever-code"] == "overloaded"
    assert peer.get("/v2/models/scales").status_code == 200
    held.release.set()
    assert {call.result().status_code for call in running} == {200}


def test_requests_that_no_thread_can_take_are_refused_too(serve, host, at_once):
    begun, release = threading.Semaphore(0), threading.Event()

    class Slow(LocalHost):
        def resolve(self, model: str, version: str = "", variant: str = "") -> Any:
            begun.release()
            release.wait(20)
            return super().resolve(model, version, variant)

    peer = serve(Slow(host.store, distance="cloud"), workers=1, max_waiting=0)
    asked = [at_once.submit(peer.infer, SCALES) for _ in range(9)]
    assert all(begun.acquire(timeout=30) for _ in asked)
    assert peer.get("/v2/models/scales").status_code == 429
    assert peer.get("/v2/health/live").status_code == 200
    release.set()
    # how many pass the queue, which lets one in at a time, is their affair
    assert 200 in {call.result().status_code for call in asked} <= {200, 429}


# --- readiness, start and end ---


def test_readiness_follows_the_server_and_the_model(serve, host, scales_package):
    class Broken(LocalHost):
        def resolve(self, model: str, version: str = "", variant: str = "") -> Any:
            raise SettingsError("it cannot be loaded")

    peer = serve()
    peer.ready = False
    for path in ("/v2/health/ready", "/v2/models/scales/ready"):
        answer = peer.get(path)
        assert (answer.status_code, answer.json()["ready"]) == (503, False)
    assert peer.get("/v2/health/live").status_code == 200
    answer = serve(Broken(host.store, distance="cloud")).get("/v2/models/scales/ready")
    assert (answer.status_code, answer.json()["ready"]) == (503, False)


def front(host: LocalHost, **arguments: Any) -> RestFront:
    service = InferenceService(host, {})
    return RestFront(service, lambda: True, **{"address": "127.0.0.1", **arguments}, max_bytes=1000)


@contextmanager
def closing_front(one: RestFront) -> Iterator[RestFront]:
    one.start()
    yield one
    one.drain(0)


def test_a_port_that_is_taken_is_refused_with_a_sentence(peer, host):
    taken = peer.front.port
    with pytest.raises(SettingsError, match=f"127.0.0.1:{taken} for HTTP: Address already in use"):
        front(host, port=taken).start()


@pytest.mark.parametrize("address", ["203.0.113.1", "no.such.host.invalid"])
def test_an_address_that_is_not_this_machines_is_refused_with_a_sentence(host, address):
    with pytest.raises(SettingsError, match=rf"cannot listen on {address}:0 for HTTP: \w+"):
        front(host, address=address, port=0).start()


@pytest.mark.parametrize("address", ["localhost", "0.0.0.0"])
def test_names_and_every_address_can_be_listened_on(host, address):
    with closing_front(front(host, address=address, port=0)) as one:
        assert httpx.get(f"http://127.0.0.1:{one.port}/v2/health/live").status_code == 200


def test_without_the_extra_the_error_says_what_to_install(host, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "uvicorn", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'wherever\[gateway\]'"):
        front(host, port=0).start()


def test_a_front_that_never_started_or_has_ended_can_be_drained(host):
    one = front(host, port=0)
    assert one.drain(1) is True
    one.start()
    assert one.drain(1) is True
    assert one.drain(1) is True


def test_requests_that_run_end_well_and_later_ones_are_not_taken(serve, held, at_once):
    peer = serve(held, workers=1)
    calls = [at_once.submit(peer.infer, SCALES) for _ in range(3)]
    assert held.begun.acquire(timeout=30)
    assert eventually(lambda: peer.service.queue.waiting == 2)
    ended = at_once.submit(peer.front.drain, 10)

    def refused() -> bool:
        try:
            peer.socket().close()
        except ConnectionRefusedError:
            return True
        return False

    assert eventually(refused)
    held.release.set()
    assert ended.result() is True
    assert {call.result().status_code for call in calls} == {200}


def test_requests_that_outlast_the_grace_are_answered_with_503(serve, held, at_once, caplog):
    peer = serve(held, workers=1)
    call = at_once.submit(peer.refusal, SCALES)
    half_sent = peer.socket()
    half_sent.sendall(raw_request(b"{", "Content-Length: 1000"))
    idle = peer.socket()
    assert held.begun.acquire(timeout=30)
    started = time.monotonic()
    assert peer.front.drain(0.2) is False
    assert time.monotonic() - started < 3
    assert call.result()[0] == 503
    with half_sent, idle:
        assert half_sent.recv(4096).startswith(b"HTTP/1.1 503 ")
        assert idle.recv(4096) == b""
    assert "Traceback" not in caplog.text


def test_a_gateway_that_stops_lets_requests_of_its_http_front_end(scales_package, held, at_once):
    options = GatewayOptions((scales_package.root,), grpc_port=0, http_port=0, grace_s=10)
    gateway = Gateway(options)
    gateway.start()
    gateway.server.service.host = held
    call = at_once.submit(
        httpx.post, f"http://{gateway.http}/v2/models/scales/infer", json=SCALES, timeout=10
    )
    assert held.begun.acquire(timeout=30)
    ended = at_once.submit(gateway.drain)
    assert eventually(lambda: not gateway.server.ready)
    held.release.set()
    assert call.result().status_code == 200
    assert ended.result() is True
