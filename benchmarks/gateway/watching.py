"""What it costs a call to be counted, traced and logged.

PYTHONPATH=benchmarks python benchmarks/gateway/watching.py

Each part is measured against `Open`, the admission that watches nothing, by turns in one process;
then what OpenTelemetry's own tracer takes for the three spans of a call, and the SDK's `predict`
with tracing on against off. All in processor time of the thread that calls.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from time import thread_time
from typing import Any

import numpy as np
from harness import Pair, Row, table
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

import wherever
from wherever_contracts.urgency import CALM
from wherever_contracts.wire.tensors import InferRequest, InferResponse
from wherever_contracts.wire.traceparent import TRACEPARENT
from wherever_edge.oip.admission import Admission, Open, Served
from wherever_gateway.watching.exposition import exposition
from wherever_gateway.watching.log import CallLog
from wherever_gateway.watching.metrics import Metrics
from wherever_gateway.watching.traces import Tracing, gateway_resource
from wherever_gateway.watching.watched import Watched

REQUEST = InferRequest("model", "", "", {}, ())
RESPONSE = InferResponse("model", "1", "", {}, ())
SERVED = Served("model", "1", "variant", 0.0001, 0.0002)
UNSAMPLED = f"00-{'a' * 32}-{'b' * 16}-00"
SAMPLED = f"00-{'a' * 32}-{'b' * 16}-01"

# few enough calls at a stretch that the batch processor, whose queue has 2,048 spans, keeps up
CALLS, ROUNDS = 600, 40


class _Nowhere(SpanExporter):
    def export(self, spans: Any) -> SpanExportResult:
        return SpanExportResult.SUCCESS


class _Caller:
    key = None
    n_bytes = 100

    def __init__(self, traceparent: str | None = None) -> None:
        self._traceparent = traceparent

    def header(self, name: str) -> str | None:
        return self._traceparent if name == TRACEPARENT else None

    def time_remaining(self) -> float | None:
        return None

    def is_active(self) -> bool:
        return True


def call(admission: Admission, caller: Any) -> Callable[[], None]:
    def one() -> None:
        admission.admit(REQUEST, caller, CALM).answered(RESPONSE, SERVED)

    return one


def counting() -> Metrics:
    return Metrics(lambda model: model == "model")


@contextmanager
def tracing() -> Iterator[Tracing]:
    traced = Tracing(BatchSpanProcessor(_Nowhere()), gateway_resource(), share=0.0)
    yield traced
    traced.close()


@contextmanager
def logging(detail: Any) -> Iterator[CallLog]:
    log = CallLog(detail, lambda _lines: None)
    yield log
    log.close()


def taking_turns(
    ours: Callable[[], object], reference: Callable[[], object], *, rounds: int, calls: int
) -> Pair:
    """Processor time of the calling thread: what runs behind it, and beside, does not count."""

    def seconds(function: Callable[[], object]) -> float:
        started = thread_time()
        for _ in range(calls):
            function()
        return (thread_time() - started) / calls

    seconds(ours), seconds(reference)
    samples = [(seconds(ours), seconds(reference)) for _ in range(rounds)]
    return Pair(median(own for own, _ in samples), median(other for _, other in samples))


def against_open(what: str, admission: Admission, caller: Any, bar_us: float | None) -> Row:
    pair = taking_turns(call(admission, caller), call(Open(), caller), rounds=ROUNDS, calls=CALLS)
    added_us = 1e6 * pair.added_s
    bar = "" if bar_us is None else f"<= {bar_us:g} us"
    met = None if bar_us is None else added_us <= bar_us
    return Row(what, f"+{added_us:.1f} us", f"{1e6 * pair.reference_s:.1f} us", bar, met)


def parts() -> Iterator[Row]:
    with tracing() as traced, logging("calls") as every, logging("refused") as few:
        bare = _Caller()
        yield against_open("counted", Watched(Open(), counting()), bare, 3)
        with_log = Watched(Open(), counting(), None, few)
        yield against_open("counted, log of refusals", with_log, bare, None)
        watched = Watched(Open(), counting(), traced)
        yield against_open("tracing on, no traceparent", watched, bare, None)
        yield against_open("tracing on, not sampled", watched, _Caller(UNSAMPLED), None)
        yield against_open("counted and recorded", watched, _Caller(SAMPLED), None)
        logged = Watched(Open(), counting(), None, every)
        yield against_open("counted, a line for each call", logged, bare, None)


def of_opentelemetry() -> Row:
    provider = _provider()
    tracer = provider.get_tracer("benchmark")

    def three() -> None:
        outer = tracer.start_span("infer", attributes={"model": "model", "tenant": "ann"})
        within = trace.set_span_in_context(outer)
        tracer.start_span("queue", context=within).end()
        tracer.start_span("engine", context=within).end()
        outer.end()

    pair = taking_turns(three, lambda: None, rounds=ROUNDS, calls=CALLS)
    provider.shutdown()
    return Row(
        "three such spans by OpenTelemetry's tracer", f"{1e6 * pair.ours_s:.1f} us", "", "", None
    )


def page() -> Row:
    metrics = counting()
    for model in range(50):
        for tenant in range(10):
            metrics.began()
            served = SERVED._replace(model=f"model-{model}")
            metrics.answered(served, f"tenant-{tenant}", 0.001, 100)
    pair = taking_turns(lambda: exposition(metrics.counted()), lambda: None, rounds=5, calls=1)
    size = len(exposition(metrics.counted()))
    what = f"a page of 50 models x 10 tenants, {size // 1000} KB"
    return Row(what, f"{1000 * pair.ours_s:.0f} ms", "", "", None)


def in_the_sdk() -> Iterator[Row]:
    """`predict()` of the model that comes with the wheel, on this device."""
    image = np.zeros((28, 28), np.uint8)
    off = wherever.Client(mode="only_on_device")
    on = wherever.Client(mode="only_on_device", tracing=True)
    with off, on:
        plain, traced = off.model("digits"), on.model("digits")
        for what in ("no provider", "recorded"):
            pair = taking_turns(
                lambda: traced(image), lambda: plain(image), rounds=ROUNDS, calls=100
            )
            added, usual = f"+{1e6 * pair.added_s:.0f} us", f"{1e6 * pair.reference_s:.0f} us"
            yield Row(f"`predict()` on the device, tracing on, {what}", added, usual, "", None)
            trace.set_tracer_provider(_provider())


def _provider() -> TracerProvider:
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(_Nowhere()))
    return provider


def main() -> None:
    print(table([*parts(), of_opentelemetry(), page(), *in_the_sdk()]))


if __name__ == "__main__":
    main()
