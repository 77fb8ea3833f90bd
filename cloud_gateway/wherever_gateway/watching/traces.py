"""Spans of calls: one for the gateway's part of each, with the waiting and the engine inside it.

Spans are put together when a call has ended, out of what was measured anyway, and go to a batch
processor of OpenTelemetry's SDK. The call's own thread only puts aside what is to be recorded,
where starting and ending three spans by the SDK's tracer takes 51 us
(`benchmarks/gateway/watching.py`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from random import getrandbits, random
from typing import TYPE_CHECKING, NamedTuple, TypeAlias
from urllib.parse import urlsplit, urlunsplit

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from wherever_contracts.wire.traceparent import Parent, read_traceparent
from wherever_gateway.watching.behind import Behind

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor

    from wherever_gateway.watching.call import Ended

Said: TypeAlias = dict[str, str | int | bool]

SERVICE = "wherever-gateway"
_SCOPE = InstrumentationScope("wherever")
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)

# a caller's own doing, which is no error of the server's span ("Recording errors", HTTP and RPC)
_CALLERS_DOING = frozenset(
    {"input", "model_not_found", "refused", "not_allowed", "forbidden", "quota"}
)


class Begun(NamedTuple):
    """A call whose spans are recorded.

    Attributes:
        own: the gateway's span.
        parent: the span that it was made in; None: it begins a trace.
    """

    own: Parent
    parent: Parent | None


class Tracing:
    """Records spans of calls. Safe to use from many threads.

    Who calls decides: a call that brings a `traceparent` is recorded when its flag says so.

    Args:
        processor: takes the spans, and is shut down with this.
        resource: what the spans are of.
        share: the share of calls without a `traceparent` that begin a trace, 0 to 1.
        chance: numbers in [0, 1).
    """

    def __init__(
        self,
        processor: SpanProcessor,
        resource: Resource,
        share: float = 1.0,
        chance: Callable[[], float] = random,
    ) -> None:
        self._processor = processor
        self._behind: Behind[tuple[Begun, Ended]] = Behind(self._record, "wherever-traces")
        self._resource = resource
        self._share = share
        self._chance = chance

    def begin(self, traceparent: str | None) -> Begun | None:
        """Whether a call is recorded, and as which span."""
        parent = read_traceparent(traceparent)
        if parent is None:
            if self._share <= 0 or self._chance() >= self._share:
                return None
            return Begun(Parent(_some_bits(128), _some_bits(64), sampled=True), None)
        if not parent.sampled:
            return None
        return Begun(Parent(parent.trace_id, _some_bits(64), sampled=True), parent)

    def ended(self, begun: Begun, ended: Ended) -> None:
        """Have a call recorded."""
        self._behind.put((begun, ended))

    def close(self, timeout_s: float = 2.0) -> None:
        """Send what waits, and record nothing more.

        Args:
            timeout_s: how long that may take: a collector that cannot be reached would take ten
                seconds of a gateway's end.
        """
        self._behind.close()
        last = threading.Thread(
            target=self._processor.shutdown, name="wherever-traces-end", daemon=True
        )
        last.start()
        last.join(timeout_s)

    def _record(self, calls: Sequence[tuple[Begun, Ended]]) -> None:
        for call in calls:
            self._record_one(*call)

    def _record_one(self, begun: Begun, ended: Ended) -> None:
        """Hand over a call's spans.

        When it waited and when the engine ran is not known, but for how long: the spans of both
        stand at its end, one behind the other.
        """
        at_ns = int(ended.at_s * 1e9)
        started_ns = at_ns - int(ended.total_s * 1e9)
        status = _status(ended.reason)
        times = started_ns, at_ns
        said = _attributes(ended)
        self._add("infer", begun.own, begun.parent, times, said, SpanKind.SERVER, status)
        if ended.reason or ended.backend or ended.kept:
            return
        engine_ns = max(started_ns, at_ns - int(ended.engine_s * 1e9))
        queue_ns = max(started_ns, engine_ns - int(ended.queue_s * 1e9))
        self._add("queue", _within(begun.own), begun.own, (queue_ns, engine_ns), {})
        ran: Said = {"wherever.variant": ended.variant, "wherever.run.calls": ended.rows}
        self._add("engine", _within(begun.own), begun.own, (engine_ns, at_ns), ran)

    def _add(
        self,
        name: str,
        own: Parent,
        parent: Parent | None,
        times: tuple[int, int],
        attributes: Said,
        kind: SpanKind = SpanKind.INTERNAL,
        status: Status | None = None,
    ) -> None:
        span = ReadableSpan(
            name,
            _context(own),
            None if parent is None else _context(parent, remote=kind is SpanKind.SERVER),
            self._resource,
            attributes=attributes,
            kind=kind,
            instrumentation_scope=_SCOPE,
            status=status or Status(),
            start_time=times[0],
            end_time=times[1],
        )
        self._processor.on_end(span)


def open_tracing(endpoint: str | None, share: float = 1.0) -> Tracing:
    """Send spans to a collector by OTLP over HTTP, in batches.

    Args:
        endpoint: its URL, such as `http://collector:4318`; without a path, the usual
            `/v1/traces` is meant. None: as OpenTelemetry's own variables say.
        share: see `Tracing`.
    """
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415 (an extra)
        OTLPSpanExporter,
    )
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415 (likewise)

    exporter = OTLPSpanExporter(None if endpoint is None else traces_url(endpoint))
    return Tracing(BatchSpanProcessor(exporter), gateway_resource(), share)


def gateway_resource() -> Resource:
    """What the spans are of, with what `OTEL_RESOURCE_ATTRIBUTES` adds."""
    from importlib.metadata import version  # noqa: PLC0415 (28 ms)

    return Resource.create({"service.name": SERVICE, "service.version": version("wherever")})


def traces_url(endpoint: str) -> str:
    """Where a collector takes spans; see OTLP/HTTP, "Default endpoint"."""
    parts = urlsplit(endpoint)
    path = parts.path if parts.path.strip("/") else "/v1/traces"
    return urlunsplit(parts._replace(path=path))


def _attributes(ended: Ended) -> Said:
    said: Said = {
        "wherever.model": ended.model,
        "wherever.version": ended.version,
        "wherever.variant": ended.variant,
        "wherever.tenant": ended.tenant,
        "wherever.request.bytes": ended.n_bytes,
    }
    if ended.backend:
        said["wherever.backend"] = ended.backend
    if ended.kept:
        said["wherever.kept"] = True
    if ended.reason:
        said["error.type"] = ended.reason
    return said


def _status(reason: str) -> Status:
    failed = reason and reason not in _CALLERS_DOING
    return Status(StatusCode.ERROR if failed else StatusCode.UNSET)


def _within(span: Parent) -> Parent:
    return Parent(span.trace_id, _some_bits(64), sampled=True)


def _context(span: Parent, *, remote: bool = False) -> SpanContext:
    return SpanContext(span.trace_id, span.span_id, remote, _SAMPLED)


def _some_bits(number: int) -> int:
    return getrandbits(number) or 1
