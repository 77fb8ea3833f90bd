"""One call to a backend: to one of its servers, and once more to another if need be."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from random import random
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from wherever_contracts.errors import RefusedError, UnreachableError, WhereverError
from wherever_edge.counters import COUNTERS
from wherever_edge.host_health.balance import arrange
from wherever_edge.host_health.forecast import Work
from wherever_gateway.backends import travel, verdicts
from wherever_gateway.backends.attempts import Attempt, attempt, is_worth_another, waits_s
from wherever_gateway.backends.order import lighter
from wherever_gateway.backends.replica import Replica, Unanswered

if TYPE_CHECKING:
    from wherever_contracts.places import Boundary
    from wherever_contracts.urgency import Urgency
    from wherever_contracts.wire.tensors import InferRequest, InferResponse
    from wherever_edge.host_health.tokens import RetryTokens

Logs: TypeAlias = Callable[
    [Sequence[verdicts.Tried], Sequence[verdicts.Shut], Sequence[str]], object
]

RETRIES = "wherever_backend_retries_total"
_MOST_ATTEMPTS = 2


class Asked(NamedTuple):
    """A call that was let in.

    Attributes:
        request: the caller's.
        model: what the model is called at the backend.
        urgency: how long it can wait, and whether anybody does.
        boundary: how far it may travel.
        deadline: when its time is over, on the clock of `time.perf_counter`.
        headers: go along.
    """

    request: InferRequest
    model: str
    urgency: Urgency
    boundary: Boundary
    deadline: float
    headers: tuple[tuple[str, str], ...]

    @property
    def left_s(self) -> float:
        """What is left of its time."""
        return self.deadline - perf_counter()


class Call:
    """Carries out one call.

    Args:
        backend: the backend's name.
        replicas: its servers.
        tokens: the budget for second attempts.
        asked: the call.
        wait_for_one: waits, so many seconds at most, until one that was shut out is back.
        log: takes what is for the operator alone, as `verdicts.logged` does.
    """

    def __init__(
        self,
        backend: str,
        replicas: Sequence[Replica],
        tokens: RetryTokens,
        asked: Asked,
        wait_for_one: Callable[[float], object],
        log: Logs,
    ) -> None:
        self._backend = backend
        self._replicas = replicas
        self._tokens = tokens
        self._asked = asked
        self._work = Work(asked.model, up_bytes=travel.up_bytes(asked.request))
        self._tried: list[verdicts.Tried] = []
        self._passed_over: set[str] = set()
        self._wait_for_one = wait_for_one
        self._log = log
        self._has_waited = False
        self._attempts = 0

    def answer(self) -> InferResponse:
        """The server's answer.

        Raises:
            WhereverError: there is none; see `verdicts`.
        """
        while True:
            self._refuse_late()
            replica = self._admitted_or_back()
            outcome = self._ask(replica)
            if isinstance(outcome, tuple):
                return outcome

    def _ask(self, replica: Replica) -> InferResponse | None:
        """Ask one server; None: ask another."""
        asked = self._asked
        try:
            how = self._how(replica)
            request = self._outbound(replica)
        except BaseException:
            replica.release()
            raise
        self._attempts += 1
        try:
            outcome = replica.infer(request, self._work, how, asked.urgency.gone)
        except WhereverError as error:
            self._failed(replica, error)
            return None
        if outcome is Unanswered.GONE:
            raise verdicts.given_up(self._backend)
        if outcome is Unanswered.LATE:
            self._late(replica)
            return None
        assert isinstance(outcome, tuple)  # noqa: S101 (for the type: nothing else is left)
        return outcome

    def _how(self, replica: Replica) -> Attempt:
        again = self._attempts == 0 and self._tokens.allows
        return attempt(replica.latest(self._work), self._asked.left_s, again=again)

    def _outbound(self, replica: Replica) -> InferRequest:
        asked = self._asked
        needs_kin = travel.needs_kin(asked.request.parameters)
        return travel.outbound(
            asked.request,
            asked.model,
            boundary=asked.boundary,
            priority=asked.urgency.priority,
            kin=needs_kin and replica.is_kin(asked.left_s),
            headers=asked.headers,
        )

    def _failed(self, replica: Replica, error: WhereverError) -> None:
        """Go on to another server, or end the call."""
        if self._is_for_lack(replica, error):
            self._attempts -= 1  # it did not even begin
            return
        error.__traceback__ = None  # its frames would keep the message alive
        tried = verdicts.Tried(replica.name, error)
        self._tried.append(tried)
        self._passed_over.add(replica.name)
        if not is_worth_another(error):
            if not verdicts.is_the_callers(error):
                self._log([tried], (), ())
            raise verdicts.told(self._backend, self._asked.request.model, tried)
        if self._attempts >= _MOST_ATTEMPTS or not self._tokens.spend():
            raise self._nobody((), ())
        COUNTERS.add(RETRIES, backend=self._backend)

    def _late(self, replica: Replica) -> None:
        """Another server is asked; or, patiently, the same one, if there is no other."""
        if len(self._replicas) > 1:
            self._passed_over.add(replica.name)
        self._tokens.spend()
        COUNTERS.add(RETRIES, backend=self._backend)

    def _is_for_lack(self, replica: Replica, error: WhereverError) -> bool:
        """Whether the server refused because it has no such model; others may."""
        asked = self._asked
        return (
            isinstance(error, RefusedError)
            and len(self._replicas) > 1
            and replica.turned_out_to_lack(asked.model, asked.request.version, error, asked.left_s)
        )

    def _admitted_or_back(self) -> Replica:
        """A server that takes the call; when all were lost a moment ago, one is waited for."""
        try:
            return self._admitted()
        except UnreachableError:
            heard_s = min((each.heard_s for each in self._replicas), default=math.inf)
            wait_s = waits_s(heard_s, self._asked.left_s)
            if self._has_waited or not wait_s:
                raise
        self._has_waited = True
        self._wait_for_one(wait_s)
        self._passed_over.clear()
        self._refuse_late()
        return self._admitted()

    def _admitted(self) -> Replica:
        """A server that has given leave to send it the call."""
        asked = self._asked
        open_to = [each for each in self._replicas if each.name not in self._passed_over]
        having = [each for each in open_to if not each.lacks(asked.model, asked.request.version)]
        ordered = in_turn(having, self._work)
        shut: list[verdicts.Shut] = []
        for last_hope in (False, True):
            shut = []
            for replica in ordered:
                why = self._why_not(replica, last_hope=last_hope)
                if not why:
                    return replica
                shut.append(verdicts.Shut(replica.name, why, replica.health))
        raise self._nobody(shut, [each.name for each in open_to if each not in having])

    def _why_not(self, replica: Replica, *, last_hope: bool) -> str:
        """Why it must not be sent to this server; its limit holds also for the last hope."""
        facts = replica.health if last_hope else None
        if facts is not None and facts.in_flight >= facts.limit:
            return f"{facts.in_flight} calls are on the way to it, as many as it answers well"
        return replica.admit(last_hope=last_hope)

    def _nobody(self, shut: Sequence[verdicts.Shut], lacking: Sequence[str]) -> WhereverError:
        model = self._asked.request.model
        self._log(self._tried, shut, lacking)
        return verdicts.nobody(self._backend, model, self._tried, shut, lacking)

    def _refuse_late(self) -> None:
        if self._asked.urgency.gone():
            raise verdicts.given_up(self._backend)
        if self._asked.left_s <= 0:
            self._log(self._tried, (), ())
            raise verdicts.out_of_time(self._backend, self._tried)


def in_turn(replicas: Sequence[Replica], work: Work) -> Sequence[Replica]:
    """Servers in the order to ask them: the lighter of two drawn, the other, then the rest.

    One that is coming back goes first: that takes one call at a time, and others would wait.
    """
    if len(replicas) < 2:
        return replicas
    back = [each for each in replicas if each.is_coming_back]
    if back:
        return [back[0], *(each for each in replicas if each is not back[0])]
    one, other, *rest = arrange(replicas, lambda _: 0.0, random)
    if lighter(other.bearing(work), one.bearing(work)):
        one, other = other, one
    return [one, other, *rest]


def deadline_of(urgency: Urgency, timeout_s: float) -> float:
    """When a call's time is over; `timeout_s` is the most that it has without a deadline."""
    own = math.inf if urgency.deadline is None else urgency.deadline
    return min(own, perf_counter() + timeout_s)
