"""All that is known of one remote host, and whether a call may be sent to it now. Pure.

Several judges have a say, each of them with its own memory:

- the host itself, which may have asked to be left alone (gRFC A6, pushback);
- the breaker: it did not answer, and probes say when it does again;
- overdue calls: one that should have ended long ago keeps others from following it, until
  something is heard of the host. So an outage hits the calls that are on the way, and no others;
- outlier ejection: it does much worse than the other hosts of its place;
- the concurrency limit: so many calls it answers well at a time.

A call that has nobody else to ask (`last_hope`) is kept back by the first two alone.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from typing import NamedTuple

from wherever_contracts.durations import duration
from wherever_contracts.errors import (
    AttemptError,
    DeadlineError,
    OverloadedError,
    UnreachableError,
    WhereverError,
)
from wherever_contracts.places import Place
from wherever_edge.host_health.balance import burden
from wherever_edge.host_health.breaker import TELLING_S, Breaker, State
from wherever_edge.host_health.concurrency import ConcurrencyLimit
from wherever_edge.host_health.cost import PRIORS, CostFacts, CostModel
from wherever_edge.host_health.ejection import Conduct, Standing
from wherever_edge.host_health.forecast import Forecast, Traffic, Work

# A call is overdue after so many times as long as 99 % of its kind take, and so long at least.
OVERDUE_TIMES = 3.0
OVERDUE_S = 0.2
# So many calls in a row that were not answered when they usually are let a probe go first.
UNANSWERED_IN_A_ROW = 2
# A host cannot shut itself out for longer, whatever it says.
LONGEST_PUSHBACK_S = 30.0
# With nobody else to ask, so little of it may be left: most of that passes on the way there.
LAST_HOPE_PUSHBACK_S = 0.05
# What a host says of its load is old after this.
LOAD_FRESH_S = 2.0
# How late is late is asked of the cost model so often for calls of one sort.
LATE_FRESH_S = 0.5
_MOST_KINDS = 64
# A call that was let through and not begun after so long never will be.
LEAVE_S = 5.0

USUAL, LATEST = 0.5, 0.99


class HealthFacts(NamedTuple):
    """What is known of a host, for people.

    Attributes:
        state: of its breaker.
        why: why it is not asked; "" when it is.
        in_flight: calls on the way to it.
        limit: how many there may be.
        pushed_back_s: for so long it asked to be left alone.
        ejected_s: for so long it is left out, because the others do better.
        doubtful: a call to it is overdue.
        load: calls inside it over as many as it runs at a time; None when it did not say lately.
        usual_s: what its calls usually take; 0: none was answered yet.
        cost: round trip, rates, queue, and how much they were learned from.
    """

    state: State
    why: str
    in_flight: int
    limit: int
    pushed_back_s: float
    ejected_s: float
    doubtful: bool
    load: float | None
    usual_s: float
    cost: CostFacts


class _Flight(NamedTuple):
    """A call on its way.

    Attributes:
        late_s: 99 % of its kind are answered by then.
    """

    work: Work
    began: float
    late_s: float

    @property
    def patience_s(self) -> float:
        return max(OVERDUE_S, OVERDUE_TIMES * self.late_s)


# A share of calls that are answered sooner than one that lets a probe go first.
_MOST = 0.9


class HostHealth:
    """One host, as its calls and probes showed it. The caller sees to it that one thread at a
    time uses it.

    Args:
        place: its distance, for what to expect before the first call.

    Attributes:
        breaker: whether it answers at all.
        cost: how long calls take.
        concurrency: how many calls it answers well at a time.
        conduct: how it does beside the others of its place.
        connected: whether it was heard of since the connection to it was last in doubt.
        heard_at: when it last showed that it lives.
        load: what it last said of its load.
    """  # noqa: D205 (one sentence of two lines)

    def __init__(self, place: Place) -> None:
        self.breaker = Breaker()
        self.cost = CostModel(PRIORS[place])
        self.concurrency = ConcurrencyLimit()
        self.conduct = Conduct()
        self.connected = False
        self.heard_at = -math.inf
        self._load = 0.0
        self._load_at = -math.inf
        self._pushed_back_until = -math.inf
        self._tickets = itertools.count(1)
        self._flights: dict[int, _Flight] = {}
        self._leaves: deque[float] = deque()
        # no call is overdue before this, whatever is heard meanwhile
        self._overdue_from = math.inf
        # why nothing follows before a probe has passed; "": nothing speaks against it
        self._doubt = ""
        # calls in a row that outlasted the usual one, and nothing was heard since they began
        self._unanswered = 0
        self._late: dict[object, tuple[float, float]] = {}

    @property
    def in_flight(self) -> int:
        """Calls that were let through and have not ended."""
        return len(self._flights) + len(self._leaves)

    def admit(self, now: float, *, last_hope: bool = False) -> str:
        """Why a call must not be sent now; "" is leave to send one, and it must be sent.

        Args:
            now: the time.
            last_hope: nobody else is left who could answer.
        """
        why = self._why_not(now, last_hope=last_hope)
        if not why:
            self._leaves.append(now)
        return why

    def released(self) -> None:
        """A leave is handed back: no call was sent."""
        if self._leaves:
            self._leaves.popleft()
        self.breaker.released()

    def began(self, work: Work, now: float) -> int:
        """A call that was let through is sent; returns its ticket."""
        if self._leaves:
            self._leaves.popleft()
        ticket = next(self._tickets)
        flight = _Flight(work, now, self._late_s(work, now))
        self._flights[ticket] = flight
        self._overdue_from = min(self._overdue_from, now + flight.patience_s)
        return ticket

    def answered(
        self, ticket: int, traffic: Traffic, now: float, load: float | None = None
    ) -> None:
        """A call got a good answer; `load` is what the host said of itself with it."""
        self._lands(ticket)
        self._heard(now)
        self.connected = True
        if load is not None:
            self._load, self._load_at = load, now
        self.breaker.answered(traffic.elapsed_s)
        self.cost.answered(traffic, now)
        self.conduct.note(now, answered=True)
        if not traffic.connected:
            kind = traffic.work.kind
            self.concurrency.answered(kind, traffic.elapsed_s, self.in_flight + 1, now)

    def failed(self, ticket: int, error: WhereverError, now: float, timeout_s: float) -> None:
        """A call failed with `error`; it had been given `timeout_s`.

        What is no fault of the host's says nothing about it.
        """
        flight = self._lands(ticket)
        if flight is None or not isinstance(error, AttemptError):
            self.breaker.released()
            return
        elapsed_s = now - flight.began
        self.conduct.note(now, answered=False)
        self._note_pushback(error, now)
        silent = isinstance(error, DeadlineError | UnreachableError)
        if silent:
            self.connected = False
        else:
            self._heard(now)
        if isinstance(error, DeadlineError):
            self._outlasted(flight, now)
        if isinstance(error, DeadlineError | OverloadedError):
            self.concurrency.backed_off(now)
        self.breaker.failed(error, now, timeout_s, elapsed_s)

    def given_up(self, ticket: int, now: float) -> None:
        """A call was cancelled, because another answer was taken: no failure of the host's.

        It shows that the call would have taken longer; and if it took longer than nearly all do,
        or is the second in a row to take longer than usual, and nothing was heard of the host
        since, others do not follow before a probe has passed.
        """
        flight = self._lands(ticket)
        self.breaker.released()
        if flight is None:
            return
        elapsed_s = now - flight.began
        # a device that stands by is begun at the 95th percentile, so few are waited for so long
        late_s = min(flight.late_s, self.cost.forecast(flight.work, _MOST, now).latency_s)
        self._outlasted(flight, now)
        if elapsed_s > max(TELLING_S, late_s) and self.heard_at <= flight.began:
            self._doubt = _OVERDUE

    def probed(
        self,
        healthy: bool,  # noqa: FBT001 (what the whole call is about)
        elapsed_s: float,
        now: float,
        *,
        error: AttemptError | None = None,
        timeout_s: float = math.inf,
        sparing: bool = False,
    ) -> None:
        """A probe ended.

        Args:
            healthy: whether the host said that it is well.
            elapsed_s: how long it took.
            now: the time.
            error: why it is not, when that is known.
            timeout_s: how long the probe was given.
            sparing: extra attempts are scarce; see `Breaker.probed`.
        """
        if healthy:
            if self.connected:
                self.cost.pinged(elapsed_s, now)
            self.connected = True
            self._heard(now)
        elif self.breaker.state != "open":
            self._probe_failed(error or _SILENT, elapsed_s, now, timeout_s)
            return
        self.breaker.probed(healthy=healthy, now=now, elapsed_s=elapsed_s, sparing=sparing)

    def forecast(self, work: Work, quantile: float, now: float) -> Forecast:
        """How long a call is expected to take."""
        return self.cost.forecast(work, quantile, now)

    def burden(self, work: Work, now: float, usual_s: float | None = None) -> float:
        """How long one more call would take; `usual_s`: one alone, as forecast a moment ago."""
        if usual_s is None:
            usual_s = self.cost.forecast(work, USUAL, now).latency_s
        return burden(usual_s, self.in_flight, self._fresh_load(now))

    def standing(self, work: Work, now: float) -> Standing:
        """How it does, for a comparison of hosts by the same work."""
        usual = self.cost.forecast(work, USUAL, now)
        return self.conduct.standing(usual.latency_s if usual.samples >= 1 else 0.0, now)

    def suspect(self, now: float) -> bool:
        """True when a call is overdue: the host should be probed, and is asked no more until."""
        if self._doubt:
            return True
        if now < self._overdue_from:
            return False
        due = (max(each.began, self.heard_at) + each.patience_s for each in self._flights.values())
        self._overdue_from = min(due, default=math.inf)
        return now >= self._overdue_from

    def doubt(self, why: str) -> None:
        """The way to it was cut: whoever has another choice does not follow before a probe."""
        self._doubt = why
        self.connected = False

    def probe_in_s(self, now: float) -> float | None:
        """Seconds until it should be probed, because calls are kept from it; None: they are not."""
        if self.breaker.state == "open":
            return max(0.0, self.breaker.probe_at - now)
        return 0.0 if self.suspect(now) else None

    def quiet_s(self, now: float) -> float:
        """For how long nothing was heard of it; 0 while calls are on the way."""
        return 0.0 if self._flights else now - self.heard_at

    def facts(self, now: float) -> HealthFacts:
        """What is known of it."""
        shut = self.breaker.state != "closed"
        return HealthFacts(
            state=self.breaker.state,
            why=self.breaker.why if shut else self._why_shut(now, last_hope=False),
            in_flight=self.in_flight,
            limit=int(self.concurrency.limit),
            pushed_back_s=max(0.0, self._pushed_back_until - now),
            ejected_s=max(0.0, self.conduct.until - now),
            doubtful=self.suspect(now),
            load=self._fresh_load(now),
            usual_s=self.breaker.usual_s,
            cost=self.cost.facts(now),
        )

    def _why_not(self, now: float, *, last_hope: bool) -> str:
        self._forget_leaves(now)
        why = self._why_shut(now, last_hope=last_hope)
        if not why and not last_hope and self.in_flight >= int(self.concurrency.limit):
            why = f"{self.in_flight} calls are on the way to it, as many as it answers well"
        return why or self.breaker.admit(last_hope=last_hope)

    def _why_shut(self, now: float, *, last_hope: bool) -> str:
        """Why no call may go there, however few there are; "" when one may."""
        left_s = self._pushed_back_until - now
        if left_s > (LAST_HOPE_PUSHBACK_S if last_hope else 0.0):
            return f"it asked to be left alone for another {duration(left_s)}"
        if self.breaker.state == "open":
            return self.breaker.admit()
        if last_hope:
            return ""
        if self.suspect(now):
            return f"{self._doubt or _OVERDUE}, and it is being probed"
        left_s = self.conduct.until - now
        if left_s > 0.0:
            return f"it is left out for another {duration(left_s)} ({self.conduct.why})"
        return ""

    def _late_s(self, work: Work, now: float) -> float:
        """By when 99 % of such calls are answered, as was forecast a moment ago at most."""
        kind = work.kind
        forecast_at, late_s = self._late.get(kind, (-math.inf, 0.0))
        if now - forecast_at > LATE_FRESH_S:
            late_s = self.cost.forecast(work, LATEST, now).latency_s
            if len(self._late) >= _MOST_KINDS:
                self._late.clear()
            self._late[kind] = now, late_s
        return late_s

    def _lands(self, ticket: int) -> _Flight | None:
        return self._flights.pop(ticket, None)

    def _outlasted(self, flight: _Flight, now: float) -> None:
        """A call took longer than it was waited for; so does the next, once two in a row did."""
        elapsed_s = now - flight.began
        usual_s = self.cost.forecast(flight.work, USUAL, now).latency_s
        self.cost.outlasted(flight.work, elapsed_s, now)
        if elapsed_s > max(TELLING_S, usual_s) and self.heard_at <= flight.began:
            self._unanswered += 1
            if self._unanswered >= UNANSWERED_IN_A_ROW:
                self._doubt = _UNANSWERED

    def _heard(self, now: float) -> None:
        self.heard_at = now
        self._doubt = ""
        self._unanswered = 0

    def _note_pushback(self, error: AttemptError, now: float) -> None:
        """Leave the host alone for as long as it said; "never" is said of the one call."""
        said_s = error.retry_after_s
        if said_s is not None and said_s < math.inf:
            until = now + min(said_s, LONGEST_PUSHBACK_S)
            self._pushed_back_until = max(self._pushed_back_until, until)

    def _probe_failed(
        self, error: AttemptError, elapsed_s: float, now: float, timeout_s: float
    ) -> None:
        self.connected = False
        if self.suspect(now):
            self._doubt = ""
            self.breaker.doubted(str(error), now)
        elif self.breaker.state == "closed":
            self.breaker.failed(error, now, timeout_s, elapsed_s)

    def _fresh_load(self, now: float) -> float | None:
        return self._load if now - self._load_at <= LOAD_FRESH_S else None

    def _forget_leaves(self, now: float) -> None:
        while self._leaves and now - self._leaves[0] > LEAVE_S:
            self._leaves.popleft()
            self.breaker.released()


_OVERDUE = "a call to it is overdue"
_UNANSWERED = f"{UNANSWERED_IN_A_ROW} calls in a row were not answered"
_SILENT = UnreachableError("a probe was not answered")
