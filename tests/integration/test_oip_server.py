"""The protocol server over real sockets: answers, refusals, bounds, and its end."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import grpc
import numpy as np
import pytest

from wherever_contracts.errors import SettingsError
from wherever_contracts.manifest import signature_digest
from wherever_contracts.wire import metadata
from wherever_contracts.wire.messages import decode_response, encode_request
from wherever_contracts.wire.schema import CLASSES
from wherever_contracts.wire.tensors import (
    InferRequest,
    InferResponse,
    WireTensor,
    from_array,
    from_bytes,
    to_array,
)
from wherever_edge.engines.engine import Session
from wherever_edge.host import LocalHost
from wherever_edge.oip.server import InferenceServer
from wherever_edge.packages.store import Store

SERVICE = "/inference.GRPCInferenceService/"
NUMBERS = from_array("numbers", np.array([1, 3, 2], np.float32))
SCALES = InferRequest("scales", "", "", {}, (NUMBERS,))


@pytest.fixture
def host(echo_package, scales_package) -> LocalHost:
    return LocalHost(Store([echo_package.root, scales_package.root]), distance="cloud")


@pytest.fixture
def serve(host) -> Iterator[Callable[..., Peer]]:
    """Starts servers, by default for `host`; they are ended with the test."""
    with ExitStack() as stack:

        def start(
            of: Any = None, *, workers: int = 2, max_waiting: int = 64, **arguments: Any
        ) -> Peer:
            served = of or host
            served.queue.runs, served.queue.max_waiting = workers, max_waiting
            server = InferenceServer(served, port=0, **arguments)
            server.start()
            stack.callback(server.drain, 0)
            return stack.enter_context(closing(Peer(server)))

        yield start


class Peer:
    """A plain gRPC client of a server: no code of ours between the test and the wire."""

    def __init__(self, server: InferenceServer) -> None:
        self.server = server
        limit = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        self.channel = grpc.insecure_channel(f"127.0.0.1:{server.port}", limit)

    def call(self, method: str, data: bytes = b"", timeout: float = 10.0) -> bytes:
        return self.channel.unary_unary(method)(data, timeout)

    def start(self, request: InferRequest, timeout: float | None = 10.0) -> Any:
        method = self.channel.unary_unary(SERVICE + "ModelInfer")
        return method.future(encode_request(request), timeout)

    def infer(self, request: InferRequest, timeout: float = 10.0) -> InferResponse:
        data = encode_request(request)
        return decode_response(self.call(SERVICE + "ModelInfer", data, timeout))

    def refusal(self, request: InferRequest | bytes, method: str = "ModelInfer") -> tuple[str, str]:
        """Status and words with which a call is refused; the stable code is checked on the way."""
        data = request if isinstance(request, bytes) else encode_request(request)
        with pytest.raises(grpc.RpcError) as caught:
            self.call(SERVICE + method, data)
        assert dict(caught.value.trailing_metadata())["wherever-code"]
        return caught.value.code().name, caught.value.details()

    def close(self) -> None:
        self.channel.close()


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


def eventually(true: Callable[[], bool], within_s: float = 30.0) -> bool:
    ends = time.monotonic() + within_s
    while not true() and time.monotonic() < ends:
        time.sleep(0.005)
    return true()


# --- answers ---


def test_grpcs_own_way_and_the_direct_one_answer_alike(
    serve: Callable[..., Peer], monkeypatch: pytest.MonkeyPatch
) -> None:
    direct = serve()
    with monkeypatch.context() as patched:
        patched.setattr(grpc, "__version__", "99.0.0")
        indirect = serve()
    assert direct.server._direct is not None
    assert indirect.server._direct is None
    assert indirect.server._direct_streams is None
    assert indirect.infer(SCALES).outputs == direct.infer(SCALES).outputs
    for refused in SCALES._replace(model="unknown"), SCALES._replace(inputs=()), b"\xff":
        assert indirect.refusal(refused) == direct.refusal(refused)


def test_an_answer_carries_the_outputs_and_what_ran(serve):
    request = SCALES._replace(id="call-7")
    response = serve().infer(request)
    (scores,) = response.outputs
    assert (response.model, response.version, response.id) == ("scales", "1.0.0", "call-7")
    assert (scores.name, scores.datatype, scores.shape) == ("scores", "FP32", (3,))
    assert to_array(scores).argmax() == 1
    ran = json.loads(response.parameters["wherever_ran"])
    assert (ran["variant"], ran["engine"], ran["trust"]) == ("large", "onnxruntime", "local")
    assert response.parameters["wherever_confidence"] == pytest.approx(1.0)
    assert 0 < response.parameters["wherever_engine_s"] < 5


def test_a_model_without_a_confidence_sends_none(serve):
    request = InferRequest("echo", "", "", {}, (from_array("given", np.ones(3, np.float32)),))
    response = serve().infer(request)
    assert "wherever_confidence" not in response.parameters
    assert to_array(response.outputs[0]).tolist() == [1, 1, 1]


def test_bulk_tensors_arrive_unchanged(serve):
    array = np.random.default_rng(0).normal(size=1_200_000).astype(np.float32)
    response = serve().infer(InferRequest("echo", "", "", {}, (from_array("given", array),)))
    assert np.array_equal(to_array(response.outputs[0]), array)


def test_the_variant_that_is_named_runs(serve):
    response = serve().infer(SCALES._replace(parameters={"variant": "small"}))
    assert json.loads(response.parameters["wherever_ran"])["variant"] == "small"


def test_a_version_is_chosen_as_in_names(serve):
    peer = serve()
    for version in ("1", "1.0", "1.0.0"):
        assert peer.infer(SCALES._replace(version=version)).version == "1.0.0"
    status, words = peer.refusal(SCALES._replace(version="2"))
    assert status == "NOT_FOUND"
    assert "1.0.0" in words


def test_only_the_outputs_that_are_asked_for_are_sent(serve):
    peer = serve()
    assert [t.name for t in peer.infer(SCALES._replace(outputs=("scores",))).outputs] == ["scores"]
    status, words = peer.refusal(SCALES._replace(outputs=("nope",)))
    assert status == "INVALID_ARGUMENT"
    assert "scores" in words


def test_another_signature_than_the_callers_is_refused(serve, scales_package):
    peer = serve()
    digest = signature_digest(scales_package.manifest.signature)
    assert peer.infer(SCALES._replace(parameters={"signature": digest})).outputs
    status, words = peer.refusal(SCALES._replace(parameters={"signature": "0" * 64}))
    assert status == "FAILED_PRECONDITION"
    assert "signature" in words


def test_options_are_taken_from_the_parameters_and_checked(serve, build_scales, tmp_path):
    signature = build_scales(tmp_path / "a").manifest.signature.model_dump(mode="json")
    option = {"name": "threshold", "default": 0.5, "min": 0, "max": 1}
    build_scales(tmp_path / "b", signature={**signature, "options": [option]}, name="tuned")
    peer = serve(LocalHost(Store([tmp_path / "b"]), distance="cloud"))
    request = SCALES._replace(model="tuned")
    assert peer.infer(request._replace(parameters={"threshold": 0.9, "other": "x"})).outputs
    for wrong in (2.0, "0.5", True):
        status, words = peer.refusal(request._replace(parameters={"threshold": wrong}))
        assert status == "INVALID_ARGUMENT"
        assert "threshold" in words


def test_typed_contents_are_taken_too(serve):
    message = CLASSES["ModelInferRequest"](model_name="scales")
    message.inputs.add(
        name="numbers", datatype="FP32", shape=[3], contents={"fp32_contents": [1, 3, 2]}
    )
    reply = serve().call(SERVICE + "ModelInfer", message.SerializeToString())
    assert to_array(decode_response(reply).outputs[0]).argmax() == 1


def test_a_variants_bare_tensors_have_a_name_of_their_own(serve):
    peer = serve()
    x = from_array("x", np.array([[1, 3, 2], [9, 1, 1]], np.float32))
    response = peer.infer(InferRequest("scales--small", "", "r", {}, (x,)))
    (probabilities,) = response.outputs
    assert (response.model, response.id, probabilities.shape) == ("scales--small", "r", (2, 3))
    assert "wherever_confidence" not in response.parameters
    asked = metadata.encode_model_name("ModelMetadataRequest", metadata.ModelName("scales--small"))
    found = metadata.decode_model_metadata(peer.call(SERVICE + "ModelMetadata", asked))
    assert found.inputs == (metadata.TensorMetadata("x", "FP32", (-1, 3)),)
    assert found.outputs == (metadata.TensorMetadata("probabilities", "FP32", (-1, 3)),)
    wrong = from_array("x", np.zeros((1, 4), np.float32))
    assert (
        peer.refusal(InferRequest("scales--small", "", "", {}, (wrong,)))[0] == "INVALID_ARGUMENT"
    )
    assert peer.refusal(InferRequest("scales--small", "", "", {}, ()))[0] == "INVALID_ARGUMENT"
    assert peer.refusal(InferRequest("scales--none", "", "", {}, (x,)))[0] == "NOT_FOUND"


def test_metadata_speaks_of_the_signature(serve):
    peer = serve()

    def about(model: str, version: str = "") -> metadata.ModelMetadata:
        name = metadata.ModelName(model, version)
        asked = metadata.encode_model_name("ModelMetadataRequest", name)
        return metadata.decode_model_metadata(peer.call(SERVICE + "ModelMetadata", asked))

    found = about("scales")
    assert (found.name, found.versions, found.platform) == ("scales", ("1.0.0",), "wherever")
    assert found.inputs == (metadata.TensorMetadata("numbers", "FP32", (3,)),)
    assert about("digits").inputs == (metadata.TensorMetadata("image", "BYTES", (1,)),)
    server = metadata.decode_server_metadata(peer.call(SERVICE + "ServerMetadata"))
    assert server.name == "wherever"
    assert "wherever" in server.extensions
    asked = metadata.encode_model_name("ModelMetadataRequest", metadata.ModelName("nope"))
    assert peer.refusal(asked, "ModelMetadata")[0] == "NOT_FOUND"


def test_live_and_ready_are_said_of_the_server_and_of_models(serve):
    peer = serve()
    assert metadata.decode_ready(peer.call(SERVICE + "ServerReady"))
    assert metadata.decode_ready(peer.call(SERVICE + "ServerLive"))
    for model, ready in (("scales", True), ("scales--small", True), ("nope", False)):
        asked = metadata.encode_model_name("ModelReadyRequest", metadata.ModelName(model))
        assert metadata.decode_ready(peer.call(SERVICE + "ModelReady", asked)) is ready


# --- health ---


def test_health_is_known_for_the_server_and_its_service_alone(serve):
    peer = serve()

    def check(service: str) -> int:
        asked = metadata.encode_health_request(service)
        return metadata.decode_health(peer.call("/grpc.health.v1.Health/Check", asked))

    assert check("") == check("inference.GRPCInferenceService") == metadata.SERVING
    with pytest.raises(grpc.RpcError) as caught:
        check("other")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_watchers_hold_no_thread_and_hear_of_the_end(serve):
    peer = serve(workers=1, max_waiting=1)
    watch = peer.channel.unary_stream("/grpc.health.v1.Health/Watch")
    streams = []
    for _ in range(50):
        streams.append(watch(metadata.encode_health_request()))
        assert metadata.decode_health(next(streams[-1])) == metadata.SERVING
    assert peer.infer(SCALES).outputs
    streams.pop().cancel()
    assert peer.server.drain(5)
    for stream in streams:
        assert [metadata.decode_health(status) for status in stream] == [metadata.NOT_SERVING]


def test_a_watch_for_an_unknown_service_says_so_and_a_malformed_one_is_refused(serve):
    watch = serve().channel.unary_stream("/grpc.health.v1.Health/Watch")
    stream = watch(metadata.encode_health_request("other"))
    assert metadata.decode_health(next(stream)) == metadata.SERVICE_UNKNOWN
    stream.cancel()
    with pytest.raises(grpc.RpcError) as caught:
        next(watch(b"\xff"))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


# --- refusals ---


def message(**fields: Any) -> bytes:
    return CLASSES["ModelInferRequest"](**fields).SerializeToString()


def numbers(**changes: Any) -> dict[str, Any]:
    return {"name": "numbers", "datatype": "FP32", "shape": [3], **changes}


MALFORMED = {
    "nothing at all": (b"", "NOT_FOUND"),
    "no message": (b"\xff" * 40, "INVALID_ARGUMENT"),
    "a cut message": (encode_request(SCALES)[:-1], "INVALID_ARGUMENT"),
    "a large message that is cut": (
        encode_request(SCALES._replace(inputs=(from_array("numbers", np.zeros(9999)),)))[:-1],
        "INVALID_ARGUMENT",
    ),
    "a name that is no text": (b"\x0a\x01\xff", "INVALID_ARGUMENT"),
    "no such model": (message(model_name="nope"), "NOT_FOUND"),
    "a name that is a path": (message(model_name="../../etc/passwd"), "NOT_FOUND"),
    "no inputs": (message(model_name="scales"), "INVALID_ARGUMENT"),
    "an unknown input": (
        encode_request(SCALES._replace(inputs=(NUMBERS._replace(name="x"),))),
        "INVALID_ARGUMENT",
    ),
    "an input twice": (encode_request(SCALES._replace(inputs=(NUMBERS,) * 2)), "INVALID_ARGUMENT"),
    "no contents": (message(model_name="scales", inputs=[numbers()]), "INVALID_ARGUMENT"),
    "too many contents": (
        message(model_name="scales", inputs=[numbers()], raw_input_contents=[bytes(12)] * 2),
        "INVALID_ARGUMENT",
    ),
    "contents of another size": (
        message(model_name="scales", inputs=[numbers()], raw_input_contents=[bytes(13)]),
        "INVALID_ARGUMENT",
    ),
    "another datatype": (
        message(
            model_name="scales", inputs=[numbers(datatype="INT32")], raw_input_contents=[bytes(12)]
        ),
        "INVALID_ARGUMENT",
    ),
    "an unknown datatype": (
        message(
            model_name="scales", inputs=[numbers(datatype="FP8")], raw_input_contents=[bytes(3)]
        ),
        "INVALID_ARGUMENT",
    ),
    "another shape": (
        message(
            model_name="scales", inputs=[numbers(shape=[1, 3])], raw_input_contents=[bytes(12)]
        ),
        "INVALID_ARGUMENT",
    ),
    "a negative length": (
        message(model_name="scales", inputs=[numbers(shape=[-3])], raw_input_contents=[bytes(12)]),
        "INVALID_ARGUMENT",
    ),
    "a shape without end": (
        message(
            model_name="scales", inputs=[numbers(shape=[2**62, 2**62])], raw_input_contents=[b""]
        ),
        "INVALID_ARGUMENT",
    ),
    "no finite numbers": (
        encode_request(
            SCALES._replace(inputs=(from_array("numbers", np.full(3, np.nan, np.float32)),))
        ),
        "INVALID_ARGUMENT",
    ),
    "elements past the end": (
        encode_request(
            InferRequest("digits", "", "", {}, (WireTensor("image", "BYTES", (1,), b"\xff" * 9),))
        ),
        "INVALID_ARGUMENT",
    ),
    "an image that is none": (
        encode_request(InferRequest("digits", "", "", {}, (from_bytes("image", [b"GIF89a"]),))),
        "INVALID_ARGUMENT",
    ),
    "a variant that is a number": (
        encode_request(SCALES._replace(parameters={"variant": 3})),
        "INVALID_ARGUMENT",
    ),
    "no such variant": (
        encode_request(SCALES._replace(parameters={"variant": "huge"})),
        "NOT_FOUND",
    ),
    "shared memory": (
        message(
            model_name="scales",
            inputs=[
                numbers(
                    parameters={"shared_memory_region": CLASSES["InferParameter"](string_param="r")}
                )
            ],
        ),
        "INVALID_ARGUMENT",
    ),
}


def test_whatever_is_malformed_is_refused_in_words_and_the_server_serves_on(serve):
    peer = serve()
    for what, (data, expected) in MALFORMED.items():
        status, words = peer.refusal(data)
        assert (what, status) == (what, expected)
        assert len(words) > 10
        assert len(words) < 1100
    assert peer.infer(SCALES).outputs


def test_methods_that_are_not_served_are_unimplemented(serve):
    with pytest.raises(grpc.RpcError) as caught:
        serve().call(SERVICE + "ModelStatistics")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_message_over_the_limit_is_refused_also_when_it_is_compressed(serve):
    peer = serve(max_bytes=1 << 20)
    method = peer.channel.unary_unary(SERVICE + "ModelInfer")
    for compression in (grpc.Compression.NoCompression, grpc.Compression.Gzip):
        with pytest.raises(grpc.RpcError) as caught:
            method(bytes(8 << 20), 10, compression=compression)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "larger than max" in caught.value.details()
    assert peer.infer(SCALES).outputs


def test_an_unexpected_error_is_internal_and_keeps_its_secrets(serve, host, caplog):
    class Broken(LocalHost):
        def resolve(self, model: str, version: str = "", variant: str = "") -> Any:
            raise ZeroDivisionError("secret")

    peer = serve(Broken(host.store, distance="cloud"))
    with caplog.at_level(logging.ERROR):
        status, words = peer.refusal(SCALES)
    assert status == "INTERNAL"
    assert "secret" not in words
    assert "ZeroDivisionError" in caplog.text
    assert metadata.decode_ready(peer.call(SERVICE + "ServerReady"))


# --- bounds ---


def test_a_call_whose_time_runs_out_while_it_waits_is_dropped(serve, held):
    peer = serve(held, workers=1)
    first = peer.start(SCALES)
    assert held.begun.acquire(timeout=30)
    late = peer.start(SCALES, timeout=0.2)
    assert late.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert eventually(lambda: peer.server.queue.dropped == 1)
    held.release.set()
    assert first.result()
    assert peer.infer(SCALES).outputs
    assert held.runs == 2


def test_a_call_whose_client_has_gone_by_its_turn_is_dropped(serve, held):
    peer = serve(held, workers=1)
    first = peer.start(SCALES)
    assert held.begun.acquire(timeout=30)
    gone = peer.start(SCALES, timeout=None)
    assert eventually(lambda: peer.server.queue.waiting == 1)
    gone.cancel()
    line = peer.server.queue._line
    (waiting,) = line.standings()
    assert eventually(line.turn(waiting.number).urgency.gone)
    held.release.set()
    assert first.result()
    assert eventually(lambda: peer.server.queue.dropped == 1)
    assert held.runs == 1


@pytest.mark.alone
def test_more_calls_than_can_wait_are_refused_at_once_with_a_hint(serve, held):
    peer = serve(held, workers=1, max_waiting=2)
    running = [peer.start(SCALES) for _ in range(3)]
    assert held.begun.acquire(timeout=30)
    assert eventually(lambda: peer.server.queue.waiting == 2)
    started = time.monotonic()
    refused = [peer.start(SCALES) for _ in range(5)]
    assert {call.code() for call in refused} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert time.monotonic() - started < 1
    trailing = dict(refused[0].trailing_metadata())
    assert trailing["wherever-code"] == "overloaded"
    assert int(trailing["grpc-retry-pushback-ms"]) > 0
    assert peer.server.queue.refused == 5
    assert metadata.decode_ready(peer.call(SERVICE + "ServerReady"))
    held.release.set()
    assert all(call.result() for call in running)
    assert held.runs == 3


def test_senders_on_slow_links_keep_no_worker_from_its_work(serve):
    peer = serve(workers=1)
    done = threading.Event()

    def never_sent() -> Iterator[bytes]:
        done.wait(20)
        yield encode_request(SCALES)

    stream = peer.channel.stream_unary(SERVICE + "ModelInfer")
    slow = [stream.future(never_sent(), 20) for _ in range(8)]
    assert peer.infer(SCALES).outputs
    done.set()
    assert all(decode_response(call.result()).outputs for call in slow)


def test_answers_never_mix_between_many_callers(serve):
    peer = serve()
    wrong: list[int] = []

    def ask(number: int) -> None:
        array = np.full(50, number, np.float32)
        request = InferRequest("echo", "", str(number), {}, (from_array("given", array),))
        for _ in range(40):
            response = peer.infer(request)
            if response.id != str(number) or not (to_array(response.outputs[0]) == number).all():
                wrong.append(number)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_pings_once_a_second_are_allowed_also_without_calls(serve, held):
    server = serve(held).server
    options = [
        ("grpc.keepalive_time_ms", 1000),
        ("grpc.keepalive_timeout_ms", 500),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
    ]
    with grpc.insecure_channel(f"127.0.0.1:{server.port}", options) as channel:
        method = channel.unary_unary(SERVICE + "ModelInfer")
        call = method.future(encode_request(SCALES), 20)
        assert held.begun.acquire(timeout=30)
        with pytest.raises(grpc.FutureTimeoutError):  # a default server gives up after four pings
            call.result(timeout=5.5)
        held.release.set()
        assert call.result(timeout=30)


# --- start and end ---


def test_a_port_that_is_taken_is_refused_with_a_sentence(serve, host):
    taken = serve().server.port
    for port in (taken, taken):
        with pytest.raises(SettingsError, match=f"127.0.0.1:{taken}: Address already in use"):
            InferenceServer(host, port=port).start()


def test_an_address_that_is_not_this_machines_is_refused_with_a_sentence(host):
    with pytest.raises(SettingsError, match=r"203\.0\.113\.1:8001: "):
        InferenceServer(host, address="203.0.113.1").start()


@contextmanager
def draining(server: InferenceServer, grace_s: float) -> Iterator[list[bool]]:
    """Runs the block while the server drains."""
    ended: list[bool] = []
    thread = threading.Thread(target=lambda: ended.append(server.drain(grace_s)))
    thread.start()
    yield ended
    thread.join()


def test_calls_that_run_or_wait_end_well_and_later_ones_are_not_taken(serve, held):
    peer = serve(held, workers=1)
    calls = [peer.start(SCALES) for _ in range(4)]
    assert held.begun.acquire(timeout=30)
    assert eventually(lambda: peer.server.queue.waiting == 3)
    with draining(peer.server, 10) as ended:
        assert eventually(lambda: not peer.server.ready)
        refusals = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
        # one may slip in after it is not ready any more, and before it is closed
        assert eventually(lambda: late_call(peer) in refusals)
        held.release.set()
    assert ended == [True]
    assert all(decode_response(call.result()).outputs for call in calls)


def late_call(peer) -> grpc.StatusCode:
    with grpc.insecure_channel(f"127.0.0.1:{peer.server.port}") as channel:
        infer = channel.unary_unary(SERVICE + "ModelInfer")
        return infer.future(encode_request(SCALES), 1).code()


def test_calls_that_outlast_the_grace_are_cancelled(serve, held):
    peer = serve(held, workers=1)
    call = peer.start(SCALES)
    assert held.begun.acquire(timeout=30)
    started = time.monotonic()
    assert peer.server.drain(0.3) is False
    assert time.monotonic() - started < 3
    assert call.code() in (grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAVAILABLE)
