"""An admission whose calls are counted, traced and logged."""

from __future__ import annotations

from time import perf_counter, time
from typing import TYPE_CHECKING

from wherever_contracts.wire.asked import RAW_MARK
from wherever_contracts.wire.traceparent import (
    MAX_STATE_CHARACTERS,
    TRACEPARENT,
    TRACESTATE,
    Parent,
    read_traceparent,
    write_traceparent,
)
from wherever_edge.oip.admission import Served
from wherever_edge.oip.calling import tenant_of
from wherever_edge.oip.status import code_of
from wherever_gateway.watching.call import Ended

if TYPE_CHECKING:
    from wherever_contracts.places import Boundary
    from wherever_contracts.urgency import Urgency
    from wherever_contracts.wire.tensors import InferRequest, InferResponse
    from wherever_edge.oip.admission import Admission, Caller, Grant
    from wherever_edge.oip.keys import KeyInfo
    from wherever_gateway.watching.log import CallLog
    from wherever_gateway.watching.metrics import Metrics
    from wherever_gateway.watching.traces import Begun, Tracing


class Watched:
    """Lets another admission decide, and counts, traces and logs what becomes of each call.

    Args:
        inner: decides about the calls.
        metrics: counts them.
        tracing: records spans of them.
        log: has a line for them.
    """

    def __init__(
        self,
        inner: Admission,
        metrics: Metrics,
        tracing: Tracing | None = None,
        log: CallLog | None = None,
    ) -> None:
        self.inner = inner
        self.metrics = metrics
        self.tracing = tracing
        self.log = log

    def turned_away(self, key: KeyInfo | None, error: Exception) -> None:
        """Count a call that was refused unread; it has no span and no line in the log."""
        self.inner.turned_away(key, error)
        self.metrics.turned_away(tenant_of(key), code_of(error))

    def may_see(self, key: KeyInfo | None, model: str) -> bool:
        """Whether a model is there for who brings this key."""
        return self.inner.may_see(key, model)

    def admit(self, request: InferRequest, caller: Caller, urgency: Urgency) -> Grant:
        """Let a call in; raises what the inner admission does."""
        begun = None
        if self.tracing is not None:
            begun = self.tracing.begin(caller.header(TRACEPARENT))
        call = _Call(self, request, caller, begun)
        self.metrics.began()
        try:
            grant = self.inner.admit(request, caller, urgency)
        except BaseException as error:
            call.missed(error)
            raise
        call.granted(grant)
        return call


class _Call:
    """A call that was let in, or is about to be; the grant that its service is given."""

    __slots__ = (
        "_begun",
        "_caller",
        "_grant",
        "_model",
        "_started",
        "_tenant",
        "_version",
        "_watched",
        "kept",
        "urgency",
    )

    _grant: Grant
    kept: InferResponse | None
    urgency: Urgency

    def __init__(
        self, watched: Watched, request: InferRequest, caller: Caller, begun: Begun | None
    ) -> None:
        self._started = perf_counter()
        self._watched = watched
        self._caller = caller
        self._begun = begun
        self._model = request.model
        self._version = request.version
        self._tenant = tenant_of(caller.key)

    @property
    def boundary(self) -> Boundary:
        """How far the call may travel."""
        return self._grant.boundary

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """What tells a server behind this one where the call stands in its trace."""
        came = self._caller.header(TRACEPARENT)
        if self._begun is not None:
            named = write_traceparent(self._begun.own)
        elif came is not None and read_traceparent(came) is not None:
            named = came
        else:
            return ()
        state = self._caller.header(TRACESTATE) or ""
        if not state or len(state) > MAX_STATE_CHARACTERS or not state.isprintable():
            return ((TRACEPARENT, named),)
        return (TRACEPARENT, named), (TRACESTATE, state)

    def granted(self, grant: Grant) -> None:
        """It was let in; when its answer is there already, it has ended."""
        self._grant = grant
        self.urgency = grant.urgency
        self.kept = grant.kept
        if grant.kept is not None:
            self._watched.metrics.gave_kept(self._tenant)
            if self._followed(failed=False):
                self._tell(self._ended(kept=True))

    def answered(self, response: InferResponse, served: Served) -> None:
        """The call has its answer."""
        try:
            self._grant.answered(response, served)
        finally:
            self._count_in(served)

    def failed(self, error: BaseException) -> None:
        """The call has none."""
        try:
            self._grant.failed(error)
        finally:
            self.missed(error)

    def missed(self, error: BaseException) -> None:
        """The call has no answer, whether it was let in or not."""
        reason = code_of(error)
        total_s = perf_counter() - self._started
        model = self._model.partition(RAW_MARK)[0]
        self._watched.metrics.failed(model, self._version, self._tenant, reason, total_s)
        if self._followed(failed=True):
            self._tell(self._ended(reason=reason))

    def _count_in(self, served: Served) -> None:
        total_s = perf_counter() - self._started
        self._watched.metrics.answered(served, self._tenant, total_s, self._caller.n_bytes)
        if self._followed(failed=False):
            self._tell(self._ended(served=served))

    def _followed(self, *, failed: bool) -> bool:
        """Whether anybody wants to know more than the numbers."""
        log = self._watched.log
        return self._begun is not None or (log is not None and log.wants(failed=failed))

    def _tell(self, ended: Ended) -> None:
        if self._begun is not None and self._watched.tracing is not None:
            self._watched.tracing.ended(self._begun, ended)
        if self._watched.log is not None:
            self._watched.log.add(ended)

    def _ended(
        self, served: Served | None = None, reason: str = "", *, kept: bool = False
    ) -> Ended:
        ran = served or Served(self._model, self._version)
        return Ended(
            ran.model,
            ran.version,
            ran.variant,
            self._tenant,
            reason,
            time(),
            perf_counter() - self._started,
            ran.queue_s,
            ran.engine_s,
            self._caller.n_bytes,
            ran.rows,
            kept,
            ran.backend,
            self._place_in_trace(),
        )

    def _place_in_trace(self) -> Parent | None:
        if self._begun is not None:
            return self._begun.own
        return read_traceparent(self._caller.header(TRACEPARENT))
