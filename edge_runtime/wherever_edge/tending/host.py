"""A host that calls are sent to: what they show is kept, and it is probed beside them."""

from __future__ import annotations

import threading
import weakref
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple

from wherever_contracts.errors import AttemptError, UnreachableError, WhereverError
from wherever_edge.host_health.forecast import Forecast, Traffic, Work
from wherever_edge.host_health.health import HealthFacts, HostHealth

if TYPE_CHECKING:
    from wherever_contracts.places import Place
    from wherever_edge.host_health.ejection import Standing
    from wherever_edge.oip.client import RemoteHost
    from wherever_edge.tending.watch import Watch

# A probe of a host that is well may take so many round trips, but no longer than this.
_ROUND_TRIPS = 3.0
_LONGEST_PROBE_S = 3.0


class Sent(NamedTuple):
    """A call that is on its way."""

    ticket: int
    work: Work
    timeout_s: float
    at: float


class Shown(NamedTuple):
    """What an answer showed of the host that gave it.

    Attributes:
        down_bytes: what travelled back.
        queue_s: what the call waited for the engine, as the host says.
        compute_s: what it took inside the engine, as the host says.
        load: what the host said of its load; None: nothing.
    """

    down_bytes: int
    queue_s: float = 0.0
    compute_s: float = 0.0
    load: float | None = None


class TendedHost:
    """One host, and whether a call may be sent to it. Safe to use from many threads.

    Those who send calls derive from it: `_send` before each, and then one of `_answered`,
    `_failed` and `_given_up`.

    Args:
        host: the way to it.
        place: its distance.
        probe_timeout_s: how long a probe of its health may take.
        name: what it is called; by default its address.
        watch: what it shares with the other hosts that do the same.

    Attributes:
        asked_at: when it was last sent a call, as `time.monotonic` says; 0: never.
    """

    def __init__(
        self, host: RemoteHost, place: Place, probe_timeout_s: float, name: str, watch: Watch
    ) -> None:
        self.host = host
        self.name = name or host.name
        self.place: Place = place
        self.asked_at = 0.0
        self._health = HostHealth(place)
        self._lock = threading.Lock()
        self._probe_timeout_s = probe_timeout_s
        self._prober: threading.Thread | None = None
        self._closing = threading.Event()
        self._tended_by = watch
        watch.join(self)

    @property
    def health(self) -> HealthFacts:
        """What the calls and probes so far have shown."""
        with self._lock:
            return self._health.facts(monotonic())

    @property
    def costs(self) -> bool:
        """Whether each byte to and from it costs."""
        return False

    def cut_off(self) -> str:
        """Why nothing leads to it from here; "" when something may."""
        return ""

    def admit(self, *, last_hope: bool) -> str:
        """Why a call must not be sent now; "" is leave to send one, and it must be sent."""
        if self._closing.is_set():
            return "the client was closed"
        cut_off = self.cut_off()
        now = monotonic()
        with self._lock:
            why = cut_off or self._health.admit(now, last_hope=last_hope)
            if why:
                self._probe_beside(now)
        return why

    def release(self) -> None:
        """Hand the leave back: no call was sent."""
        with self._lock:
            self._health.released()

    def forecast(self, work: Work, quantile: float) -> Forecast:
        """How long a call is expected to take."""
        with self._lock:
            return self._health.forecast(work, quantile, monotonic())

    def burden(self, work: Work) -> float:
        """How long one more call is expected to take, with those that are on the way already."""
        with self._lock:
            return self._health.burden(work, monotonic())

    def check(self) -> None:
        """Probe a host that is thought well; when it is not, calls need not find that out."""
        self.probe()
        with self._lock:
            self._probe_beside(monotonic())

    def quiet_s(self) -> float:
        """For how long nothing was heard of it; 0 while that is known to be so, or not to matter.

        That is while calls are on the way, and while a thread of its own probes it.
        """
        with self._lock:
            return 0.0 if self._prober is not None else self._health.quiet_s(monotonic())

    def standing(self, work: Work) -> Standing:
        """How it does, for a comparison of hosts by the same work."""
        with self._lock:
            return self._health.standing(work, monotonic())

    def eject(self, why: str, chance: float) -> None:
        """Leave it out for a while; `chance` is in [0, 1)."""
        with self._lock:
            self._health.conduct.eject(why, monotonic(), chance)

    def close(self) -> None:
        """Stop probing and close the connection."""
        self._closing.set()
        prober = self._prober
        if prober is not None and prober is not threading.current_thread():
            prober.join(self._probe_timeout_s + 1)
        self.host.close()

    def probe_in_s(self) -> float | None:
        """Seconds until the next probe is due; None ends the thread that asks."""
        with self._lock:
            in_s = self._health.probe_in_s(monotonic())
            if in_s is None:
                self._prober = None
            return in_s

    def prober_ended(self, prober: threading.Thread) -> None:
        """Note that a thread that probed has ended."""
        with self._lock:
            if self._prober is prober:
                self._prober = None

    def probe(self) -> None:
        """Ask the host whether it is well, and remember; not while nothing leads to it."""
        if not self.cut_off():
            self._probe()

    def _send(self, work: Work, timeout_s: float) -> Sent:
        now = self.asked_at = monotonic()
        with self._lock:
            ticket = self._health.began(work, now)
        self._tended_by.in_use()
        return Sent(ticket, work, timeout_s, now)

    def _answered(self, sent: Sent, shown: Shown) -> None:
        """Note that the call was answered well."""
        now = monotonic()
        with self._lock:
            traffic = Traffic(
                sent.work,
                shown.down_bytes,
                now - sent.at,
                shown.queue_s,
                shown.compute_s,
                not self._health.connected,
            )
            self._health.answered(sent.ticket, traffic, now, shown.load)
        self._tended_by.answered(self, sent.work)

    def _failed(self, sent: Sent, error: WhereverError) -> None:
        """Note that the call failed."""
        now = monotonic()
        with self._lock:
            self._health.failed(sent.ticket, error, now, sent.timeout_s)
            self._probe_beside(now)
        self._tended_by.failed(self, sent.work, error)

    def _given_up(self, sent: Sent) -> None:
        """Note that the call was given up before it ended, or ended without a word of the host."""
        now = monotonic()
        with self._lock:
            self._health.given_up(sent.ticket, now)
            self._probe_beside(now)

    def _probe_beside(self, now: float) -> None:
        """Probe beside the calls for as long as they are kept away. Called with the lock held."""
        if self._prober is not None or self._closing.is_set():
            return
        if self._health.probe_in_s(now) is not None:
            prober = threading.Thread(
                target=_probe_until_back,
                args=(weakref.ref(self), self._closing),
                name=f"wherever-probe-{self.name}",
                daemon=True,
            )
            with suppress(RuntimeError):  # no thread is to be had now; the next call tries again
                prober.start()
                self._prober = prober

    def _probe(self) -> None:
        started = monotonic()
        timeout_s = self._patience_s(started)
        error = self._ailment(timeout_s)
        now = monotonic()
        sparing = not self._tended_by.tokens.allows
        with self._lock:
            was_shut = self._health.breaker.state == "open"
            self._health.probed(
                error is None,
                now - started,
                now,
                error=error,
                timeout_s=timeout_s,
                sparing=sparing,
            )
        if was_shut and error is None:
            self._tended_by.came_back()

    def _patience_s(self, now: float) -> float:
        """How long a probe may take: a host that is well and far away has time for its round trip.

        One that is shut out is connected to anew with each probe, and is back when that works.
        """
        with self._lock:
            if self._health.breaker.state != "closed":
                return self._probe_timeout_s
            trip_s = self._health.cost.facts(now).round_trip_p50_s
        return max(self._probe_timeout_s, min(_ROUND_TRIPS * trip_s, _LONGEST_PROBE_S))

    def _ailment(self, timeout_s: float) -> AttemptError | None:
        """Why the host is not well, asked of itself; None when it is."""
        try:
            self.host.probe(timeout_s)
        except AttemptError as error:
            return error
        except Exception as error:  # noqa: BLE001 (whatever is wrong, the host is not well)
            return UnreachableError(str(error))
        return None


def _probe_until_back(host: weakref.ref[TendedHost], closing: threading.Event) -> None:
    """Probe until the host is back, it is closed, or nobody has it any more."""
    try:
        while (target := host()) is not None:
            pause_s = target.probe_in_s()
            del target
            if pause_s is None or closing.wait(pause_s):
                return
            target = host()
            if target is not None:
                target.probe()
    finally:  # whatever ended it, the next failure must find that nobody probes
        target = host()
        if target is not None:
            target.prober_ended(threading.current_thread())
