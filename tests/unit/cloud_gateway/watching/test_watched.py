"""An admission that is watched: what it lets through, and what it makes of each end."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from wherever_contracts.errors import QuotaError
from wherever_contracts.urgency import CALM
from wherever_contracts.wire.tensors import InferRequest, InferResponse
from wherever_contracts.wire.traceparent import read_traceparent
from wherever_edge.oip.admission import Open, Served
from wherever_gateway.watching.call import Ended
from wherever_gateway.watching.metrics import Metrics
from wherever_gateway.watching.traces import Begun, Tracing, gateway_resource, traces_url
from wherever_gateway.watching.watched import Watched

REQUEST = InferRequest("scales", "", "7", {}, ())
RESPONSE = InferResponse("scales", "1", "7", {}, ())
SAMPLED = f"00-{'a' * 32}-{'b' * 16}-01"
UNSAMPLED = f"00-{'a' * 32}-{'b' * 16}-00"


class Caller:
    def __init__(self, tenant: str = "", **headers: str) -> None:
        from wherever_edge.oip.keys import KeyInfo

        self.key = KeyInfo("id", tenant, "use", "") if tenant else None
        self.n_bytes = 100
        self._headers = headers

    def header(self, name):
        return self._headers.get(name)


class Granted(NamedTuple):
    ends: list[Any]
    kept: InferResponse | None = None
    urgency: Any = CALM
    boundary: Any = "nearby"

    def answered(self, response, served):
        self.ends.append(served)

    def failed(self, error):
        self.ends.append(error)


class Granting:
    def __init__(self, granted: Granted) -> None:
        self.granted = granted

    def admit(self, request, caller, urgency):
        return self.granted


class Refusing:
    def admit(self, request, caller, urgency):
        raise QuotaError("used up")


@pytest.fixture
def metrics():
    return Metrics(lambda model: model == "scales")


@pytest.fixture
def traced():
    exporter = InMemorySpanExporter()
    tracing = Tracing(SimpleSpanProcessor(exporter), gateway_resource(), share=0.0)

    def spans():
        tracing._behind.close()
        found = exporter.get_finished_spans()
        tracing.close()
        return found

    return tracing, spans


def test_what_was_granted_is_what_the_inner_admission_grants(metrics):
    ends = []
    grant = Watched(Granting(Granted(ends)), metrics).admit(REQUEST, Caller("ann"), CALM)
    assert (grant.urgency, grant.boundary, grant.kept) == (CALM, "nearby", None)
    assert metrics.in_flight == 1
    served = Served("scales", "1", "large")
    grant.answered(RESPONSE, served)
    assert ends == [served]
    assert metrics.in_flight == 0
    ((key, cell),) = metrics.counted().answered.items()
    assert tuple(key) == ("scales", "1", "ann")
    assert cell.received_bytes == 100


def test_a_failure_is_told_to_the_inner_admission_and_counted(metrics):
    ends = []
    error = RuntimeError("broke")
    bare = REQUEST._replace(model="scales--large")
    Watched(Granting(Granted(ends)), metrics).admit(bare, Caller(), CALM).failed(error)
    assert ends == [error]
    ((key, tally),) = metrics.counted().failed.items()
    assert (key.model, key.reason, tally.count) == ("scales", "error", 1)


def test_a_refusal_is_counted_and_raised(metrics):
    with pytest.raises(QuotaError):
        Watched(Refusing(), metrics).admit(REQUEST, Caller("ann"), CALM)
    assert metrics.in_flight == 0
    ((key, _),) = metrics.counted().failed.items()
    assert (key.tenant, key.reason) == ("ann", "quota")


def test_a_kept_answer_is_counted_as_that_alone(metrics, traced):
    tracing, spans = traced
    inner = Granting(Granted([], kept=RESPONSE))
    grant = Watched(inner, metrics, tracing).admit(REQUEST, Caller(traceparent=SAMPLED), CALM)
    assert grant.kept is RESPONSE
    counted = metrics.counted()
    assert (counted.kept, counted.in_flight) == ({"": 1}, 0)
    assert not counted.answered
    assert not counted.failed
    (span,) = spans()
    assert span.attributes["wherever.kept"] is True


def test_a_server_behind_this_one_continues_the_trace_from_here(metrics, traced):
    tracing, spans = traced
    caller = Caller(traceparent=SAMPLED, tracestate="vendor=1")
    grant = Watched(Open(), metrics, tracing).admit(REQUEST, caller, CALM)
    headers = dict(grant.headers)
    grant.answered(RESPONSE, Served("scales", "1", backend="triton"))
    (span,) = spans()
    onward = read_traceparent(headers["traceparent"])
    assert (onward.trace_id, onward.span_id) == (span.context.trace_id, span.context.span_id)
    assert span.parent.span_id == read_traceparent(SAMPLED).span_id
    assert headers["tracestate"] == "vendor=1"
    assert span.attributes["wherever.backend"] == "triton"


@pytest.mark.parametrize(
    ("came", "goes"),
    [
        ({}, {}),
        ({"traceparent": "no traceparent"}, {}),
        ({"traceparent": UNSAMPLED}, {"traceparent": UNSAMPLED}),
        (
            {"traceparent": UNSAMPLED, "tracestate": "a=1"},
            {"traceparent": UNSAMPLED, "tracestate": "a=1"},
        ),
        ({"traceparent": UNSAMPLED, "tracestate": "a" * 513}, {"traceparent": UNSAMPLED}),
        ({"traceparent": UNSAMPLED, "tracestate": "a\n"}, {"traceparent": UNSAMPLED}),
    ],
)
def test_where_nothing_is_recorded_here_what_came_goes_on(metrics, came, goes):
    grant = Watched(Open(), metrics).admit(REQUEST, Caller(**came), CALM)
    assert dict(grant.headers) == goes


def test_times_that_do_not_fit_into_a_call_stay_within_its_span(traced):
    tracing, spans = traced
    begun = tracing.begin(SAMPLED)
    assert isinstance(begun, Begun)
    tracing.ended(begun, Ended("m", "1", "v", "", "", 100.0, 0.5, queue_s=9.0, engine_s=9.0))
    infer, queue, engine = spans()
    for inner in (queue, engine):
        assert infer.start_time <= inner.start_time <= inner.end_time <= infer.end_time


def test_the_share_of_traces_that_begin_here_is_by_chance():
    chances = iter([0.1, 0.3, 0.299])
    tracing = Tracing(
        SimpleSpanProcessor(InMemorySpanExporter()), gateway_resource(), 0.3, lambda: next(chances)
    )
    assert [tracing.begin(None) is not None for _ in range(3)] == [True, False, True]
    tracing.close()


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        ("http://collector:4318", "http://collector:4318/v1/traces"),
        ("http://collector:4318/", "http://collector:4318/v1/traces"),
        ("https://host/otlp/v1/traces?key=1", "https://host/otlp/v1/traces?key=1"),
    ],
)
def test_spans_go_to_the_usual_path_unless_there_is_one(endpoint, url):
    assert traces_url(endpoint) == url


def test_no_call_of_many_threads_is_lost_while_pages_are_read(metrics):
    watched = Watched(Open(), metrics)
    served = Served("scales", "1", "large", 0.001, 0.002)

    def work(tenant):
        for number in range(300):
            grant = watched.admit(REQUEST, Caller(tenant), CALM)
            if number % 3:
                grant.answered(RESPONSE, served)
            else:
                grant.failed(QuotaError("used up"))
            if number % 50 == 0:
                metrics.counted()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, [f"t{number % 4}" for number in range(8)]))
    counted = metrics.counted()
    assert counted.in_flight == 0
    assert {key.tenant: sum(cell.total.counts) for key, cell in counted.answered.items()} == {
        f"t{number}": 400 for number in range(4)
    }
    assert sum(tally.count for tally in counted.failed.values()) == 800


def test_a_call_is_counted_also_when_the_inner_admission_fails_at_its_end(metrics):
    class Failing(Granted):
        def answered(self, response, served):
            raise OSError("no space left on device")

    grant = Watched(Granting(Failing([])), metrics).admit(REQUEST, Caller(), CALM)
    with pytest.raises(OSError, match="no space"):
        grant.answered(RESPONSE, Served("scales", "1"))
    assert metrics.in_flight == 0


def test_a_collector_that_never_answers_keeps_no_gateway_from_its_end():
    answering = threading.Event()

    class Hanging(SimpleSpanProcessor):
        def shutdown(self):
            answering.wait()

    Tracing(Hanging(InMemorySpanExporter()), gateway_resource()).close(0.01)
    answering.set()
