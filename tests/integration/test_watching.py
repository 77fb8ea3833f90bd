"""What an operator sees of a gateway: metrics over HTTP, traces, log lines, statistics."""

from __future__ import annotations

import asyncio
import gc
import io
import json
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import httpx
import numpy as np
import pytest
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client.parser import text_string_to_metric_families

import wherever
from wherever_contracts.errors import (
    DeadlineError,
    EngineError,
    ForbiddenError,
    MissingExtraError,
    QuotaError,
    SettingsError,
)
from wherever_contracts.wire.tensors import InferRequest, WireTensor, from_array
from wherever_edge.counters import COUNTERS, ERRORS_TOLD, series
from wherever_edge.host import LocalHost
from wherever_edge.oip.admission import Open
from wherever_edge.oip.client import RemoteHost
from wherever_edge.oip.endpoints import Endpoint
from wherever_edge.oip.keys import KeyChecker, KeyStore
from wherever_edge.oip.security import ClientSecurity
from wherever_edge.oip.server import InferenceServer
from wherever_edge.packages.store import Store
from wherever_gateway.rest.front import RestFront
from wherever_gateway.watching.listener import start_metrics
from wherever_gateway.watching.log import CallLog
from wherever_gateway.watching.traces import Tracing, gateway_resource, open_tracing
from wherever_gateway.watching.watch import Watch, WatchOptions

# stands in everything that a test gives to a gateway and that nobody may find again
MARK = "S3CR3T"
# a float32 with so many digits that no time or number of spans has them by chance
MARKED = 2718281728.0

SCALES = {"model": "scales", "version": "1.0.0", "tenant": ""}


class Refusing(Open):
    """Lets in all calls while no error is set, on request with no time left."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.late = False

    def admit(self, request, caller, urgency):
        if self.error is not None:
            raise self.error
        if self.late:
            urgency = urgency._replace(deadline=time.perf_counter() - 1.0)
        return Open().admit(request, caller, urgency)


class Peer:
    """A gateway in this process, whatever it tells, and clients of it."""

    def __init__(self, store: Store, keys: KeyChecker | None = None) -> None:
        self.inner = Refusing()
        self.remotes: list[RemoteHost] = []
        self.host = LocalHost(store, distance="cloud")
        self.admission = Watch(WatchOptions()).admission(self.inner)
        self.server = InferenceServer(self.host, port=0, admission=self.admission, keys=keys)
        self.server.start()
        self.front = RestFront(
            self.server.service,
            lambda: True,
            address="127.0.0.1",
            port=0,
            max_bytes=1 << 20,
            keys=keys,
            keys_needed=keys is not None,
        )
        self.front.start()
        self.addresses = {
            "grpc": f"grpc://127.0.0.1:{self.server.port}",
            "rest": f"http://127.0.0.1:{self.front.port}",
        }

    def watch_anew(self) -> None:
        """Watch from now on as if nothing had been called."""
        self.inner.__init__()
        self.exporter = InMemorySpanExporter()
        self.lines = io.StringIO()
        self.watch = Watch(WatchOptions(metrics_port=0, log="off"))
        self.watch.start(self.host)
        processor = BatchSpanProcessor(self.exporter, schedule_delay_millis=50)
        self.admission.metrics = self.watch.metrics
        self.admission.log = CallLog("calls", self.lines.write)
        self.admission.tracing = Tracing(processor, gateway_resource(), share=0.0)

    def watch_no_more(self) -> None:
        self.told()
        self.logged()
        self.watch.close()

    def remote(self, protocol: str = "grpc", api_key: str | None = None) -> RemoteHost:
        endpoint = Endpoint.parse(self.addresses[protocol])
        remote = RemoteHost(endpoint, security=ClientSecurity(api_key=api_key))
        self.remotes.append(remote)
        return remote

    def page(self) -> str:
        return httpx.get(f"http://127.0.0.1:{self.watch.port}/metrics").text

    def value(self, name: str, **labels: str) -> float:
        """One number of the page; KeyError when it is not there."""
        found = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(self.page())
            for sample in family.samples
        }
        return found[name, frozenset(labels.items())]

    def failures(self, model: str) -> dict[str, float]:
        """How many calls of a model had no answer, by the reason."""
        return {
            sample.labels["reason"]: sample.value
            for family in text_string_to_metric_families(self.page())
            for sample in family.samples
            if sample.name == "wherever_calls_failed_total" and sample.labels["model"] == model
        }

    def told(self) -> list[Any]:
        """The spans so far; nothing more is traced then."""
        assert self.admission.tracing is not None
        self.admission.tracing.close()
        return list(self.exporter.get_finished_spans())

    def logged(self) -> list[dict[str, Any]]:
        """The lines so far; nothing more is logged then."""
        assert self.admission.log is not None
        self.admission.log.close()
        return [json.loads(line) for line in self.lines.getvalue().splitlines()]

    def close(self) -> None:
        for remote in self.remotes:
            remote.close()
        self.front.drain(0)
        self.server.drain(0)
        self.host.close()


@pytest.fixture(scope="module")
def gateway(scales_package, echo_package) -> Iterator[Peer]:
    one = Peer(Store([scales_package.root, echo_package.root]))
    yield one
    one.close()


@pytest.fixture
def peer(gateway) -> Iterator[Peer]:
    gateway.watch_anew()
    yield gateway
    gateway.watch_no_more()


@pytest.fixture(scope="module")
def own_spans() -> InMemorySpanExporter:
    """What the program that calls would export: there is one provider for a process."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return exporter


def numbers(*values: float) -> WireTensor:
    return from_array("numbers", np.array(values, np.float32))


def request(model: str = "scales", *inputs: WireTensor, **parameters: Any) -> InferRequest:
    given = inputs or (numbers(1, 3, 2),)
    return InferRequest(model, "", "", parameters, given, boundary="anywhere")


def fails(remote: RemoteHost, asked: InferRequest) -> None:
    with pytest.raises(wherever.WhereverError):
        remote.infer(asked, 5.0)


def test_every_call_is_in_every_histogram_once(peer):
    for protocol in ("grpc", "rest"):
        for _ in range(5):
            peer.remote(protocol).infer(request(), 5.0)
    for what in ("queue", "engine", "total"):
        name = f"wherever_call_{what}_seconds"
        assert peer.value(f"{name}_count", **SCALES) == 10
        assert peer.value(f"{name}_bucket", le="+Inf", **SCALES) == 10
    engine_s, total_s = (
        peer.value(f"wherever_call_{what}_seconds_sum", **SCALES) for what in ("engine", "total")
    )
    assert total_s > engine_s > 0
    assert peer.value("wherever_received_bytes_total", **SCALES) > 10 * 12
    assert peer.value("wherever_calls_in_flight") == 0
    assert peer.value("wherever_queue_waiting") == 0
    assert peer.value("wherever_models_loaded") == 1
    assert peer.value("process_resident_memory_bytes") > 0


def test_calls_without_an_answer_are_counted_by_their_reason(peer):
    remote = peer.remote()
    fails(remote, request("made-up"))
    fails(remote, request("scales", numbers(1, 2)))
    for error in (QuotaError("used up"), ForbiddenError("no"), EngineError("broke")):
        peer.inner.error = error
        fails(remote, request())
    assert peer.failures("scales") == {"input": 1, "quota": 1, "forbidden": 1, "engine": 1}
    assert peer.failures("_other") == {"model_not_found": 1}
    assert peer.value("wherever_calls_in_flight") == 0
    with pytest.raises(KeyError):
        peer.value("wherever_call_total_seconds_count", **SCALES)


def test_a_call_that_expired_before_its_turn_is_counted_as_that(peer):
    peer.inner.late = True
    with pytest.raises(DeadlineError):
        peer.remote().infer(request(), 5.0)
    assert peer.failures("scales") == {"deadline": 1}


def test_statistics_are_what_was_called(peer):
    remote = peer.remote()
    for _ in range(7):
        remote.infer(request(), 5.0)
    for _ in range(2):
        fails(remote, request("scales", numbers(1, 2)))
    fails(remote, request("made-up"))
    (told,) = peer.watch.statistics.of("", "")
    assert (told.name, told.version) == ("scales", "1.0.0")
    assert (told.inferences, told.executions) == (7, 7)
    assert (told.success.times, told.fail.times) == (7, 2)
    assert told.success.ns > told.compute_infer.ns > 0
    assert told.last_ms > 0


def test_made_up_names_take_no_room(peer):
    remote = peer.remote()
    for number in range(300):
        fails(remote, request(f"made-up-{number}"))
    assert peer.page().count("made-up") == 0
    assert len(peer.watch.metrics.counted().failed) == 1


def ask_sync(client: wherever.Client) -> None:
    client.predict("scales", [1.0, 3.0, 2.0])


def ask_aio(client: wherever.Client) -> None:
    asyncio.run(client.apredict("scales", [1.0, 3.0, 2.0]))


def ask_map(client: wherever.Client) -> None:
    assert len(list(client.model("scales").map([[1.0, 3.0, 2.0]]))) == 1


def ask_amap(client: wherever.Client) -> None:
    async def ask() -> None:
        assert len([each async for each in client.model("scales").amap([[1.0, 3.0, 2.0]])]) == 1

    asyncio.run(ask())


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
@pytest.mark.parametrize("ask", [ask_sync, ask_aio, ask_map, ask_amap])
def test_a_call_is_one_trace_from_predict_to_the_engine(peer, connect, own_spans, ask, protocol):
    own_spans.clear()
    client = connect(peer.addresses[protocol], mode="only_in_cloud", tracing=True)
    with trace.get_tracer("program").start_as_current_span("program"):
        ask(client)
    spans = {span.name: span for span in (*own_spans.get_finished_spans(), *peer.told())}
    assert set(spans) == {"program", "wherever.predict", "ask", "infer", "queue", "engine"}
    assert len({span.context.trace_id for span in spans.values()}) == 1
    within = {
        "wherever.predict": "program",
        "ask": "wherever.predict",
        "infer": "ask",
        "queue": "infer",
        "engine": "infer",
    }
    for inner, outer in within.items():
        assert spans[inner].parent.span_id == spans[outer].context.span_id
    for inner in ("queue", "engine"):
        assert spans["infer"].start_time <= spans[inner].start_time
        assert spans[inner].end_time <= spans["infer"].end_time
    assert spans["infer"].attributes["wherever.model"] == "scales"
    assert spans["infer"].resource.attributes["service.name"] == "wherever-gateway"
    assert spans["wherever.predict"].attributes["wherever.place"] == "cloud"


def test_a_call_over_the_stream_is_one_trace_too(peer, connect, own_spans):
    client = connect(peer.addresses["grpc"], mode="only_in_cloud", tracing=True)
    before = set(peer.server._streams._open)  # of other tests' clients
    for _ in range(1000):  # until the client has heard that there is one, and has opened it
        own_spans.clear()
        ask_sync(client)
        if opened := peer.server._streams._open - before:
            break
    assert opened
    asked = {span.name: span for span in own_spans.get_finished_spans()}
    last = next(span for span in reversed(peer.told()) if span.name == "infer")
    assert last.parent.span_id == asked["ask"].context.span_id


def test_a_call_that_this_device_answers_has_its_engine_in_the_trace(connect, own_spans):
    own_spans.clear()
    connect(mode="only_on_device", tracing=True).predict("scales", [1.0, 9.0, 2.0])
    spans = {span.name: span for span in own_spans.get_finished_spans()}
    assert set(spans) == {"wherever.predict", "engine"}
    assert spans["engine"].parent.span_id == spans["wherever.predict"].context.span_id
    assert spans["wherever.predict"].attributes["wherever.place"] == "device"


@pytest.mark.parametrize("ask", [ask_sync, ask_aio, ask_map])
def test_a_call_without_an_answer_ends_its_spans_with_the_kind_of_error(
    connect, own_spans, unused_address, ask
):
    own_spans.clear()
    client = connect(f"grpc://{unused_address}", mode="only_in_cloud", tracing=True)
    with pytest.raises(wherever.NoRouteError):
        ask(client)
    errors = {span.name: span.attributes["error.type"] for span in own_spans.get_finished_spans()}
    assert errors["wherever.predict"] == "no_route"
    assert errors["ask"] == "unreachable"


@pytest.fixture
def hanging(serve_infer) -> Iterator[tuple[str, threading.Event]]:
    """A gateway whose calls do not end before the test does, and an event: one has come."""
    asked, over = threading.Event(), threading.Event()

    def hang(_data: bytes, _context: Any) -> bytes:
        asked.set()
        over.wait(30)
        return b""

    yield serve_infer(hang), asked
    over.set()


def test_a_host_that_is_waited_for_no_longer_ends_its_span(connect, own_spans, hanging):
    client = connect(hanging[0], remote_timeout_s=20.0, tracing=True)
    client.predict("scales", [0.0, 9.0, 0.0], mode="only_on_device")
    own_spans.clear()
    found = client.predict("scales", [0.0, 9.0, 0.0], mode="prefer_in_cloud", deadline_s=0.4)
    assert found.place == "device"
    spans = {span.name: span for span in own_spans.get_finished_spans()}
    assert set(spans) == {"wherever.predict", "ask", "engine"}
    assert spans["ask"].attributes["wherever.given_up"] is True
    assert spans["ask"].status.is_unset


def test_a_call_that_is_cancelled_ends_its_spans(connect, own_spans, hanging):
    address, asked = hanging
    client = connect(address, mode="only_in_cloud", remote_timeout_s=20.0, tracing=True)
    own_spans.clear()

    async def cancel() -> None:
        call = asyncio.create_task(client.apredict("scales", [0.0, 9.0, 0.0]))
        await asyncio.to_thread(asked.wait, 10)
        call.cancel()
        with suppress(asyncio.CancelledError):
            await call

    asyncio.run(cancel())
    gc.collect()
    spans = {span.name: span for span in own_spans.get_finished_spans()}
    assert set(spans) == {"wherever.predict", "ask"}
    assert spans["wherever.predict"].attributes["wherever.given_up"] is True


def test_nothing_is_traced_unless_that_is_set(peer, connect, own_spans):
    own_spans.clear()
    ask_sync(connect(peer.addresses["grpc"], mode="only_in_cloud"))
    assert own_spans.get_finished_spans() == ()
    assert peer.told() == []


def test_a_call_whose_caller_does_not_sample_is_not_recorded(peer):
    header = ("traceparent", f"00-{'a' * 32}-{'b' * 16}-00")
    peer.remote().infer(request()._replace(headers=(header,)), 5.0)
    assert peer.told() == []


@pytest.mark.parametrize(("share", "recorded"), [(1.0, 3), (0.0, 0)])
def test_calls_without_a_trace_begin_one_as_often_as_is_said(peer, share, recorded):
    peer.told()
    peer.exporter = InMemorySpanExporter()
    processor = SimpleSpanProcessor(peer.exporter)
    peer.admission.tracing = Tracing(processor, gateway_resource(), share)
    for _ in range(3):
        peer.remote().infer(request(), 5.0)
    traces = {span.context.trace_id for span in peer.told()}
    assert len(traces) == recorded


def test_a_refusal_is_a_span_without_children_and_no_error_of_the_server(peer):
    header = ("traceparent", f"00-{'a' * 32}-{'b' * 16}-01")
    fails(peer.remote(), request("made-up")._replace(headers=(header,)))
    (span,) = peer.told()
    assert span.attributes["error.type"] == "model_not_found"
    assert span.status.is_unset
    assert span.context.trace_id == int("a" * 32, 16)


class Collector(HTTPServer):
    """A little collector of OTLP over HTTP."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, bytes]] = []
        super().__init__(("127.0.0.1", 0), _Taking)


class _Taking(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.taken.append((self.path, body))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def collector() -> Iterator[Collector]:
    one = Collector()
    thread = threading.Thread(target=one.serve_forever, args=(0.05,))
    thread.start()
    yield one
    one.shutdown()
    one.server_close()
    thread.join()


def test_spans_reach_a_collector_over_http(peer, collector):
    peer.admission.tracing.close()
    peer.admission.tracing = open_tracing(f"http://127.0.0.1:{collector.server_port}")
    peer.remote().infer(request(), 5.0)
    peer.told()
    ((path, body),) = collector.taken
    assert path == "/v1/traces"
    (of_gateway,) = ExportTraceServiceRequest.FromString(body).resource_spans
    names = [span.name for scope in of_gateway.scope_spans for span in scope.spans]
    assert sorted(names) == ["engine", "infer", "queue"]


def test_a_call_is_a_line_of_json(peer):
    header = ("traceparent", f"00-{'a' * 32}-{'b' * 16}-00")
    peer.remote().infer(request()._replace(headers=(header,)), 5.0)
    fails(peer.remote("rest"), request("made-up\n{}"))
    answered, failed = peer.logged()
    assert set(answered) == {
        "time", "tenant", "model", "version", "variant", "status", "queue_ms", "engine_ms",
        "total_ms", "bytes", "rows", "trace_id",
    }  # fmt: skip
    assert answered["status"] == "ok"
    assert answered["variant"] == "large"
    assert answered["total_ms"] >= answered["engine_ms"] > 0
    assert answered["trace_id"] == "a" * 32
    assert failed["status"] == "model_not_found"


@pytest.fixture(scope="module")
def keyed(tmp_path_factory, scales_package, echo_package) -> Iterator[tuple[Peer, str]]:
    """A gateway that asks for keys, and one of them: of the tenant "ann"."""
    keys = KeyStore(tmp_path_factory.mktemp("keys"))
    secret = keys.add("ann")
    one = Peer(Store([scales_package.root, echo_package.root]), KeyChecker(keys))
    one.watch_anew()
    yield one, secret
    one.watch_no_more()
    one.close()


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
def test_calls_that_are_refused_at_the_door_are_counted_by_their_front(keyed, protocol):
    one, secret = keyed
    told = {"front": protocol, "code": "not_allowed"}
    before = COUNTERS.snapshot().get(series(ERRORS_TOLD, dict(sorted(told.items()))), 0)
    for key in (None, secret[:-4] + "AAAA"):
        fails(one.remote(protocol, key), request())
    # over REST, the question what listens there is asked without the key, and counts, too
    assert one.value(ERRORS_TOLD, **told) >= before + 2


def test_nothing_that_a_call_brought_or_was_given_is_told_of_it(keyed, own_spans, caplog):
    caplog.set_level(logging.DEBUG)
    one, secret = keyed
    own_spans.clear()
    before = set(one.page().splitlines())  # what other tests counted in this process
    header = ("traceparent", f"00-{'a' * 32}-{'b' * 16}-01")
    state = ("tracestate", f"vendor={MARK}")
    text = WireTensor("numbers", "BYTES", (1,), b"\6\0\0\0" + MARK.encode())
    for protocol in ("grpc", "rest"):
        remote = one.remote(protocol, secret)
        for asked in (
            request("echo", from_array("given", np.full(3, MARKED, np.float32))),
            request("scales", numbers(MARKED, 1, 2)),
            request("scales", text),
            request("scales", file_name=f"{MARK}.jpg"),
            request("scales", variant=MARK),
        ):
            whole = asked._replace(id=MARK, headers=(header, state))
            with suppress(wherever.WhereverError):
                remote.infer(whole, 5.0)
    said = "\n".join(line for line in one.page().splitlines() if line not in before)
    assert one.value("wherever_call_total_seconds_count", **{**SCALES, "tenant": "ann"}) == 4
    spans = [span.to_json() for span in (*one.told(), *own_spans.get_finished_spans())]
    assert len(spans) >= 10
    assert len(one.logged()) == 10
    for told in (said, one.lines.getvalue(), caplog.text, *spans):
        for secret_thing in (MARK, f"{MARKED:.0f}", secret, "left", "middle", "right", ".onnx"):
            assert secret_thing not in told


def test_metrics_come_in_the_format_of_prometheus(peer):
    page = httpx.get(f"http://127.0.0.1:{peer.watch.port}/metrics?name=all")
    assert page.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"


def test_the_metrics_listener_tells_nothing_else(peer):
    base = f"http://127.0.0.1:{peer.watch.port}"
    assert httpx.get(f"{base}/").status_code == 404
    assert httpx.post(f"{base}/metrics").status_code == 501


def test_who_says_nothing_does_not_keep_others_from_their_page(peer):
    import socket

    where = ("127.0.0.1", peer.watch.port)
    silent = [socket.create_connection(where) for _ in range(3)]
    try:
        assert "wherever_calls_in_flight" in peer.page()
    finally:
        for each in silent:
            each.close()


def test_a_port_of_metrics_that_is_taken_is_refused_with_a_sentence(peer):
    taken = peer.watch.port
    with pytest.raises(SettingsError, match=f"127.0.0.1:{taken} for metrics: Address already in"):
        start_metrics("127.0.0.1", taken)


def test_a_listener_that_was_closed_listens_no_more():
    listener = start_metrics("127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.port}/metrics"
    assert httpx.get(url).status_code == 200
    listener.close()
    listener.close()
    with pytest.raises(httpx.ConnectError):
        httpx.get(url)


def test_an_endpoint_that_is_no_url_is_refused():
    with pytest.raises(SettingsError, match="otlp_endpoint: expected the collector's URL"):
        Watch(WatchOptions(traces=True, otlp_endpoint="collector:4317"))


def test_a_client_that_is_to_trace_says_what_is_missing(connect, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "opentelemetry", None)
    with pytest.raises(MissingExtraError, match=r"tracing needs an extra: .*wherever\[telemetry\]"):
        connect(tracing=True)
