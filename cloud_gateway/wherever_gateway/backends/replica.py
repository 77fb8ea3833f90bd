"""One server of a backend: calls go out, what they show is kept, and it is probed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from time import monotonic
from typing import TYPE_CHECKING

from wherever_contracts.errors import (
    DeadlineError,
    RefusedError,
    UnreachableError,
    WhereverError,
)
from wherever_edge.host_health.health import LATEST, USUAL
from wherever_edge.oip.client import RemoteHost
from wherever_edge.oip.saying import EXTENSION
from wherever_edge.tending.host import TendedHost
from wherever_gateway.backends.absences import Absences
from wherever_gateway.backends.order import Bearing
from wherever_gateway.backends.travel import shown
from wherever_gateway.backends.verdicts import NOT_FOUND

if TYPE_CHECKING:
    from wherever_contracts.places import Place
    from wherever_contracts.wire.tensors import InferRequest, InferResponse
    from wherever_edge.host_health.forecast import Forecast, Work
    from wherever_edge.tending.watch import Watch
    from wherever_gateway.backends.attempts import Attempt

PROBE_S = 1.0
# a question beside a call takes no longer; nor does the first one of all
ASK_S = 2.0
MEET_S = 5.0
# a call that can be given up is looked after so often
_LOOK_S = 0.05
_MOST_IN_DOUBT = 16
_FORETOLD_S = 0.05
_MOST_FORETOLD = 128


class Unanswered(Enum):
    """Why there is no answer, and no error of the server's either."""

    LATE = "it took longer than it was waited for"
    GONE = "nobody waits for it any more"


class Replica(TendedHost):
    """One server. Safe to use from many threads.

    Args:
        host: the way to it.
        place: its distance.
        watch: what it shares with the other servers of its backend.
    """

    def __init__(self, host: RemoteHost, place: Place, watch: Watch) -> None:
        super().__init__(host, place, PROBE_S, host.name, watch)
        self._is_kin: bool | None = None
        self._absences = Absences()
        self._in_doubt: set[tuple[str, str]] = set()
        self._forecasts: dict[object, tuple[float, Forecast]] = {}

    @property
    def is_shut(self) -> bool:
        """Whether it is shut out until a probe of it passes."""
        return self._health.breaker.state == "open"

    @property
    def heard_s(self) -> float:
        """For how long nothing was heard of it."""
        return monotonic() - self._health.heard_at

    @property
    def is_coming_back(self) -> bool:
        """Whether it was shut out, and waits for a call to try it."""
        breaker = self._health.breaker
        return breaker.state == "trial" and not breaker.on_trial

    @property
    def limit(self) -> int:
        """How many calls it answers well at a time."""
        return int(self._health.concurrency.limit)

    def bearing(self, work: Work) -> Bearing:
        """What it bears, for a comparison with another."""
        now = monotonic()
        with self._lock:
            usual = self._foretold(work, USUAL, now)
            burden_s = self._health.burden(work, now, usual.latency_s)
            return Bearing(burden_s, usual, self._health.conduct.standing(0.0, now))

    def latest(self, work: Work) -> Forecast:
        """By when 99 % of such calls are answered."""
        now = monotonic()
        with self._lock:
            return self._foretold(work, LATEST, now)

    def infer(
        self, request: InferRequest, work: Work, attempt: Attempt, gone: Callable[[], bool]
    ) -> InferResponse | Unanswered:
        """Send a call that was admitted, and wait for its answer.

        Args:
            request: the call.
            work: what it asks of the server.
            attempt: how long it is waited for.
            gone: True once the caller waits no more.

        Raises:
            WhereverError: as `RemoteHost.infer`.
        """
        sent = self._send(work, attempt.timeout_s)
        try:
            outcome = self._outcome(request, attempt, gone)
        except WhereverError as error:
            if isinstance(error, DeadlineError) and not attempt.patient:
                self._given_up(sent)
                return Unanswered.LATE
            self._doubt_of(request, error)
            self._failed(sent, error)
            raise
        except BaseException:
            self._given_up(sent)
            raise
        if isinstance(outcome, Unanswered):
            self._given_up(sent)
        else:
            self._answered(sent, shown(outcome))
        return outcome

    def is_kin(self, timeout_s: float) -> bool:
        """Whether it is a server of ours; it is asked once, and if it does not say, taken for none.

        Args:
            timeout_s: how long it may be asked.
        """
        if self._is_kin is None:
            with suppress(WhereverError):
                extensions = self.host.server_metadata(min(timeout_s, MEET_S)).extensions
                self._is_kin = EXTENSION in extensions
        return bool(self._is_kin)

    def lacks(self, model: str, version: str) -> bool:
        """Whether it is known not to have a model."""
        with self._lock:
            return self._absences.lacks(model, version, monotonic())

    def turned_out_to_lack(
        self, model: str, version: str, error: RefusedError, timeout_s: float
    ) -> bool:
        """Whether it refused a call with `error` because it does not have the model.

        It is asked, since it may not have found something else; MLServer gives no plain answer.
        """
        with self._lock:
            due = self._absences.is_due(model, version, monotonic())
        if due:
            try:
                self.has(model, version, timeout_s)
            except WhereverError:
                has = error.status not in NOT_FOUND
                with self._lock:
                    self._absences.note(model, version, monotonic(), has=has)
        return self.lacks(model, version)

    def has(self, model: str, version: str, timeout_s: float) -> bool:
        """Ask whether it answers calls for a model.

        Raises:
            WhereverError: as `RemoteHost.model_ready`.
        """
        has = self.host.model_ready(model, version, min(timeout_s, ASK_S))
        with self._lock:
            self._absences.note(model, version, monotonic(), has=has)
        return has

    def probe(self) -> None:
        """Ask whether it is well, and whether it has the models that calls were lost for."""
        super().probe()
        if self.is_shut:
            return
        with self._lock:
            doubted, self._in_doubt = self._in_doubt, set()
        for model, version in doubted:
            with suppress(WhereverError):
                self.has(model, version, ASK_S)

    def meet(self) -> None:
        """Connect before the first call, and learn who is there."""
        self.host.prepare()
        try:
            self.host.probe(MEET_S)
        except WhereverError:
            self.check()
        else:
            self.is_kin(MEET_S)

    def retire(self, grace_s: float, stop: threading.Event) -> None:
        """Close once the calls on their way have ended.

        Args:
            grace_s: how long they may take.
            stop: ends the waiting.
        """
        until = monotonic() + grace_s
        while self.health.in_flight and monotonic() < until and not stop.wait(_LOOK_S):
            pass
        self.close()

    def _foretold(self, work: Work, quantile: float, now: float) -> Forecast:
        """A forecast, as it was a moment ago at most: making one takes as long as all the rest."""
        key = work.kind, quantile
        known = self._forecasts.get(key)
        if known is None or now - known[0] > _FORETOLD_S:
            if len(self._forecasts) >= _MOST_FORETOLD:
                self._forecasts.clear()
            known = self._forecasts[key] = now, self._health.forecast(work, quantile, now)
        return known[1]

    def _outcome(
        self, request: InferRequest, attempt: Attempt, gone: Callable[[], bool]
    ) -> InferResponse | Unanswered:
        if not attempt.watched:
            return self.host.infer(request, attempt.timeout_s)
        call = self.host.start(request, attempt.timeout_s)
        ended = threading.Event()
        call.add_done_callback(lambda _: ended.set())
        while not ended.wait(_LOOK_S):
            why = self._why_give_up(attempt, gone)
            if why is not None:
                call.cancel()
                return why
        return call.result()

    def _why_give_up(self, attempt: Attempt, gone: Callable[[], bool]) -> Unanswered | None:
        if gone():
            return Unanswered.GONE
        with self._lock:
            self._probe_beside(monotonic())
        return Unanswered.LATE if self.is_shut and not attempt.patient else None

    def _doubt_of(self, request: InferRequest, error: WhereverError) -> None:
        """Some servers say that a model is not ready as if they were away themselves."""
        if isinstance(error, UnreachableError) and error.status and not self._in_doubt_full():
            with self._lock:
                self._in_doubt.add((request.model, request.version))

    def _in_doubt_full(self) -> bool:
        return len(self._in_doubt) >= _MOST_IN_DOUBT
