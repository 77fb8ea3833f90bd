"""Spans of calls, by OpenTelemetry's API: what becomes of them is the program's to configure.

A call is a span `wherever.predict` within the span that its caller is in; each host that it asks
is a span `ask` inside, which the host continues (`traceparent`, W3C Trace Context). No span has
anything of inputs, outputs, options, or the words of errors.
"""

from __future__ import annotations

from collections.abc import Generator
from time import time_ns
from typing import TYPE_CHECKING, Any, TypeAlias

from wherever_contracts.errors import WhereverError, missing_extra
from wherever_contracts.receipts import Answer
from wherever_contracts.wire.traceparent import (
    TRACEPARENT,
    TRACESTATE,
    Parent,
    write_traceparent,
)

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer

    from wherever._routing.plan import Candidate
    from wherever._routing.steps import Attempt, Flow, Outcome, Verdict

Headers: TypeAlias = tuple[tuple[str, str], ...]


class Tracing:
    """Begins the spans of calls.

    Raises:
        MissingExtraError: OpenTelemetry's API is not installed.
    """

    def __init__(self) -> None:
        try:
            # 50 ms, and few programs trace their calls
            from opentelemetry import trace  # noqa: PLC0415
        except ImportError as error:
            raise missing_extra("tracing", "telemetry") from error
        self._tracer = trace.get_tracer("wherever")

    def begin(self, model: str) -> CallTrace:
        """Begin the span of a call of a model, within the span that the caller is in."""
        return CallTrace(self._tracer, model)


class CallTrace:
    """The spans of one call. Its hosts may be asked from several threads.

    Args:
        tracer: makes spans.
        model: what is called.
    """

    __slots__ = ("_asked", "_span", "_tracer")

    def __init__(self, tracer: Tracer, model: str) -> None:
        self._tracer = tracer
        self._span = tracer.start_span("wherever.predict", attributes={"wherever.model": model})
        self._asked: dict[Candidate, Span] = {}

    def around(self, flow: Flow) -> Flow:
        """The same flow, whose failure ends the call's span."""
        return self._around(flow)

    def asks(self, candidate: Candidate) -> Headers:
        """Begin the span of asking a host.

        Returns:
            What tells the host of it.
        """
        from opentelemetry.trace import SpanKind, set_span_in_context  # noqa: PLC0415 (see above)

        if not self._span.is_recording():
            return _headers(self._span)
        span = self._asked[candidate] = self._tracer.start_span(
            "ask",
            context=set_span_in_context(self._span),
            kind=SpanKind.CLIENT,
            attributes={"server.address": candidate.host, "wherever.place": candidate.place},
        )
        return _headers(span)

    def heard(self, attempt: Attempt, outcome: Outcome) -> None:
        """End the span of asking a host."""
        span = self._asked.pop(attempt.candidate, None)
        if span is None:
            return
        if isinstance(outcome, Answer):
            span.set_attribute("wherever.protocol", outcome.protocol)
            span.end()
        else:
            _fail(span, outcome)

    def ended(self, verdict: Verdict) -> None:
        """End the call's span, and those of hosts whose answers were waited for no longer."""
        answer, candidate = verdict.answer, verdict.candidate
        if not self._span.is_recording():
            return
        self._give_up()
        self._span.set_attributes(
            {
                "wherever.version": answer.ran.version,
                "wherever.variant": answer.ran.variant,
                "wherever.place": candidate.place,
                "wherever.degraded": verdict.degraded,
                "wherever.cached": answer.cached,
            }
        )
        if candidate.place == "device" and not answer.cached:
            self._ran_here(answer)
        self._span.end()

    def failed(self, error: BaseException) -> None:
        """End the call's span: there is no answer."""
        if self._span.is_recording():
            self._give_up()
            _fail(self._span, error)

    def __del__(self) -> None:
        """A call that was dropped on its way leaves no span open."""
        self._end_unanswered()

    def _around(self, flow: Flow) -> Generator[Any, Any, Verdict]:
        try:
            verdict = yield from flow
        except GeneratorExit:  # whoever waited for it does no more
            self._end_unanswered()
            raise
        except BaseException as error:
            self.failed(error)
            raise
        self._give_up()
        return verdict

    def _end_unanswered(self) -> None:
        if self._span.is_recording():
            self._give_up()
            _given_up(self._span)

    def _give_up(self) -> None:
        for candidate in list(self._asked):
            span = self._asked.pop(candidate, None)
            if span is not None:
                _given_up(span)

    def _ran_here(self, answer: Answer) -> None:
        """The engine's part, which stands at the call's end: only its length is known."""
        from opentelemetry.trace import set_span_in_context  # noqa: PLC0415 (see above)

        now_ns = time_ns()
        self._tracer.start_span(
            "engine",
            context=set_span_in_context(self._span),
            attributes={"wherever.variant": answer.ran.variant, "wherever.run.calls": answer.rows},
            start_time=now_ns - int(answer.engine_s * 1e9),
        ).end(now_ns)


def _headers(span: Span) -> Headers:
    found = span.get_span_context()
    if not found.is_valid:
        return ()
    parent = Parent(found.trace_id, found.span_id, sampled=found.trace_flags.sampled)
    state = found.trace_state.to_header()
    named = (TRACEPARENT, write_traceparent(parent))
    return (named, (TRACESTATE, state)) if state else (named,)


def _given_up(span: Span) -> None:
    span.set_attribute("wherever.given_up", True)  # noqa: FBT003 (OpenTelemetry's)
    span.end()


def _fail(span: Span, error: BaseException) -> None:
    """End a span with the kind of an error; its words may have what the caller gave."""
    from opentelemetry.trace import Status, StatusCode  # noqa: PLC0415 (see above)

    code = error.code if isinstance(error, WhereverError) else type(error).__name__
    span.set_attribute("error.type", code)
    span.set_status(Status(StatusCode.ERROR))
    span.end()
