"""Calls of a route: one, or many in step, and how each host is asked with them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from time import perf_counter
from typing import TYPE_CHECKING, Any

from wherever._outgoing import Beside, Outgoing, expected_bytes
from wherever._prediction import Serial, next_serial
from wherever._sharing import Terms
from wherever_contracts.errors import AttemptError, EngineError, SubstitutedError, WhereverError
from wherever_contracts.receipts import Answer, Expected
from wherever_contracts.urgency import CALM, Urgency
from wherever_contracts.wire.asked import PRIORITY_KEY, SIGNATURE_KEY, VARIANT_KEY
from wherever_contracts.wire.tensors import InferRequest
from wherever_edge.host_health.forecast import Work
from wherever_edge.inputs import owned
from wherever_edge.wire_inputs import wire_bytes

if TYPE_CHECKING:
    from wherever._drivers import Done, GiveUp
    from wherever._kept import KeptAnswers, KeptCall
    from wherever._route import Route
    from wherever._routing.plan import Candidate
    from wherever._routing.steps import Attempt, Flow, Outcome, Senses
    from wherever._tracing import CallTrace
    from wherever_contracts.places import Priority


class Call:
    """One call: its inputs, and how each host is asked with them."""

    __slots__ = (
        "_inputs",
        "_options",
        "_outgoing",
        "_route",
        "_strict",
        "_up_bytes",
        "_urgency",
        "kept",
        "outlook",
        "serial",
        "trace",
    )

    def __init__(
        self,
        route: Route,
        inputs: Mapping[str, Any],
        options: Mapping[str, float],
        serial: Serial,
        kept: KeptAnswers | None,
        urgency: Urgency,
        *,
        strict: bool,
    ) -> None:
        self._route = route
        self._inputs = inputs
        self._options = options
        self.kept: KeptCall | None = None if kept is None else kept.of_call(inputs, options)
        self._urgency = urgency
        self._strict = strict
        self._outgoing: Outgoing | None = None
        self._up_bytes = -1
        self.serial: Serial = serial
        self.outlook: dict[str, Expected] | None = None
        """What hosts were expected to take, of a call that is recorded; None: it is not."""
        self.trace: CallTrace | None = None
        """The call's spans; None: it is not traced."""

    def work(self, variant: str) -> Work:
        """What the call asks of a host for a variant."""
        route = self._route
        if self._up_bytes < 0:
            up_bytes = wire_bytes(self._inputs)
            self._up_bytes = expected_bytes(route.plan, route.releases, up_bytes)
        return Work(route.wire_name, variant, self._up_bytes)

    def wary(self, senses: Senses) -> Senses:
        """Senses by which no host is asked that refused this very call, or costs too much."""
        kept, escalation = self.kept, self._route.escalation
        if kept is not None:
            senses = senses._replace(admit=kept.wary(senses.admit))
        if escalation is not None and escalation.purse is not None:
            senses = senses._replace(admit=escalation.purse.guarded(senses.admit, self._bytes_up))
        return senses

    def followed(self, flow: Flow) -> Flow:
        """The flow of this call, traced if the call is."""
        return flow if self.trace is None else self.trace.around(flow)

    def again(self, urgency: Urgency) -> Call:
        """The same call once more, to be answered by whoever is asked and not from the cache.

        Its inputs are copies: the caller may change what it gave once the first call has returned.
        """
        inputs, serial = owned(self._inputs), next_serial()
        route, options = self._route, self._options
        return Call(route, inputs, options, serial, None, urgency, strict=self._strict)

    @property
    def priority(self) -> Priority:
        """Who goes first where calls wait."""
        return self._urgency.priority

    @property
    def strict(self) -> bool:
        """Whether an answer by something else than planned is an error."""
        return self._strict

    def _bytes_up(self) -> int:
        return self.work("").up_bytes

    @property
    def up_bytes(self) -> int:
        """What travels to a host that is asked; 0 while nobody has thought of asking one."""
        return max(0, self._up_bytes)

    def expected(self) -> dict[str, Expected]:
        """What each host of the plan is expected to take, as far as that is known now."""
        return {
            candidate.host: self._route.expected(candidate, self.work(""))
            for candidate in self._route.plan.attempts
        }

    def terms(self, deadline_s: float | None, started: float) -> Terms:
        """What a kept answer, or that of an identical call, is measured by."""
        route = self._route
        left_s = None if deadline_s is None else deadline_s - (perf_counter() - started)
        device_s = 0.0 if route.device is None else route.late_here_s()
        way = (self._strict, self._urgency.priority)
        return Terms(route.plan, self._strict, way, left_s, device_s)

    def perform(self, attempt: Attempt) -> Outcome:
        """Carry out one attempt in this thread."""
        if self.kept is None:
            outcome = self._ask(attempt)
            return self.judged(outcome) if self._strict else outcome
        found = self.find(attempt)
        if found is None:
            found = self._ask(attempt)
            self.keep(attempt, found)
        return self.judged(found)

    async def perform_async(self, attempt: Attempt) -> Outcome:
        """Carry out one attempt beside the running event loop."""
        if self.kept is None:
            return self.judged(await self._ask_async(attempt))
        outcome = await self._find_async(attempt)
        if outcome is None:
            outcome = await self._ask_async(attempt)
            await self._route.in_thread(self.keep, attempt, outcome)
        return self.judged(outcome)

    def begin(self, attempt: Attempt, done: Done) -> GiveUp:
        """Begin an attempt beside this thread; `done` is called once with what comes of it."""
        found = self.find(attempt)
        if found is not None:
            done(self.judged(found))
            return _nothing

        def ended(outcome: Outcome) -> None:
            done(self._kept(attempt, outcome))

        if attempt.timeout_s is not None:
            if self._sent().takes_long(attempt.candidate.release):
                return self._send_beside(attempt, ended)
            return self._send(attempt, ended)
        if self._route.answers_at_once():
            ended(self._ask_here(attempt))
        else:
            self._route.spare(lambda: ended(self._ask_here(attempt)))
        return _nothing

    def judged(self, outcome: Outcome) -> Outcome:
        """The outcome; of a strict call, an error in place of an answer that was not as planned."""
        if self._strict and isinstance(outcome, Answer) and outcome.substituted:
            happened = "; ".join(outcome.substituted)
            return SubstitutedError(f"the call is strict, and not all went as planned: {happened}")
        return outcome

    @property
    def caches(self) -> bool:
        """Whether answers are kept, and looked for among those that were."""
        return self.kept is not None

    def find(self, attempt: Attempt) -> Outcome | None:
        """The answer that was kept for an attempt, which is then not to be made."""
        if self.kept is None:
            return None
        try:
            found: Outcome | None = self.kept.find(attempt)
        except WhereverError as error:
            found = error  # the input is damaged
        if found is not None and attempt.timeout_s is not None:
            self._route.remotes[attempt.candidate.host].release()
        return found

    def keep(self, attempt: Attempt, outcome: Outcome) -> None:
        """Keep what came of an attempt."""
        if self.kept is not None:
            self.kept.keep(attempt, outcome)

    def _kept(self, attempt: Attempt, outcome: Outcome) -> Outcome:
        """The outcome of an attempt that ended, kept; whatever happens, there is one."""
        try:
            self.keep(attempt, outcome)
            return self.judged(outcome)
        except Exception as error:  # noqa: BLE001 (or whoever waits would wait for ever)
            return _broken(attempt.candidate.host, error)

    async def _find_async(self, attempt: Attempt) -> Outcome | None:
        """The same as `find` beside the loop; who is cancelled meanwhile hands its leave back."""
        finding = asyncio.ensure_future(self._route.in_thread(self.find, attempt))

        def hand_back(found: asyncio.Future[Outcome | None]) -> None:
            unsent = found.cancelled() or found.exception() is not None or found.result() is None
            if unsent and attempt.timeout_s is not None:
                self._route.remotes[attempt.candidate.host].release()

        try:
            outcome: Outcome | None = await asyncio.shield(finding)
        except asyncio.CancelledError:
            finding.add_done_callback(hand_back)
            raise
        return outcome

    def _ask(self, attempt: Attempt) -> Outcome:
        route = self._route
        if attempt.timeout_s is None:
            return route.ask_device(self._inputs, self._options, self._urgency)
        remote = route.remotes[attempt.candidate.host]
        try:
            request = self.request(attempt.candidate, attempt.variant)
        except BaseException as error:
            remote.release()
            if isinstance(error, WhereverError):
                return error
            raise
        work = self.work(attempt.variant)
        outcome = remote.infer(request, route.outputs, attempt.timeout_s, work)
        return self._restored(attempt, outcome)

    def _ask_here(self, attempt: Attempt) -> Outcome:
        """Have this device answer in a race; whatever happens, something comes of it."""
        try:
            return self._ask(attempt)
        except Exception as error:  # noqa: BLE001 (or whoever waits would wait for ever)
            return EngineError(f"the call ended with {type(error).__name__}: {error}")

    async def _ask_async(self, attempt: Attempt) -> Outcome:
        route = self._route
        if attempt.timeout_s is None:
            outcome: Outcome = await route.in_thread(
                route.ask_device, self._inputs, self._options, self._urgency
            )
            return outcome
        loop = asyncio.get_running_loop()
        arrival: asyncio.Future[Outcome] = loop.create_future()

        def arrived(outcome: Outcome) -> None:
            if not arrival.done():
                arrival.set_result(outcome)

        def done(outcome: Outcome) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(arrived, outcome)

        # shielded: what was admitted is sent, or the host would wait for it for ever
        sending = asyncio.ensure_future(route.in_thread(self._send, attempt, done))
        try:
            await asyncio.shield(sending)
            return await arrival
        except asyncio.CancelledError:
            if sending.done():  # now, for the loop may not turn once more
                _give_up(sending)
            else:
                sending.add_done_callback(_give_up)
            raise

    def _send(self, attempt: Attempt, done: Callable[[Outcome], None]) -> Callable[[], None]:
        """Send a remote attempt; returns what gives it up, and `done` is called in any case."""
        route = self._route
        remote = route.remotes[attempt.candidate.host]
        assert attempt.timeout_s is not None  # noqa: S101 (only remote attempts are sent)
        try:
            request = self.request(attempt.candidate, attempt.variant)
        except WhereverError as error:
            remote.release()
            done(error)
            return lambda: None
        except BaseException:
            remote.release()
            raise
        work = self.work(attempt.variant)
        return remote.start(
            request,
            route.outputs,
            attempt.timeout_s,
            work,
            lambda outcome: done(self._restored(attempt, outcome)),
        )

    def _send_beside(self, attempt: Attempt, done: Done) -> GiveUp:
        """The same from another thread: a device that has to answer in time does not wait."""
        remote = self._route.remotes[attempt.candidate.host]
        beside = Beside()

        def send() -> None:
            if beside.given_up:
                remote.release()
                done(AttemptError(f"{remote.name}: the call was given up"))
                return
            try:
                beside.sent(self._send(attempt, done))
            except Exception as error:  # noqa: BLE001 (or whoever waits would wait for ever)
                done(_broken(remote.name, error))

        try:
            self._route.spare(send)
        except BaseException:
            remote.release()
            raise
        return beside

    def request(self, candidate: Candidate, variant: str) -> InferRequest:
        """The call as a request to a remote host, with what may travel as far as that."""
        route = self._route
        parameters: dict[str, str | int | float | bool] = dict(self._options)
        parameters[SIGNATURE_KEY] = route.signature_digest
        if variant:
            parameters[VARIANT_KEY] = variant
        if self._urgency.priority != CALM.priority:
            parameters[PRIORITY_KEY] = self._urgency.priority
        return InferRequest(
            route.wire_name,
            route.wire_version,
            str(self.serial),
            parameters,
            self._sent().tensors(candidate.release),
            boundary=route.plan.limit(candidate),
            headers=() if self.trace is None else self.trace.asks(candidate),
        )

    def placement(self, rule: str) -> tuple[float, ...]:
        """Where what a release rule made of the input lies in it; see `Outgoing.placement`."""
        return self._sent().placement(rule)

    def _restored(self, attempt: Attempt, outcome: Outcome) -> Outcome:
        if self.trace is not None:
            self.trace.heard(attempt, outcome)
        rule = attempt.candidate.release
        if not rule:
            return outcome
        try:
            return self._sent().restored(rule, outcome, self._route.signature)
        except Exception as error:  # noqa: BLE001 (or whoever waits would wait for ever)
            return _broken(attempt.candidate.host, error)

    def _sent(self) -> Outgoing:
        if self._outgoing is None:
            route = self._route
            self._outgoing = Outgoing(self._inputs, route.wire_inputs, route.releases)
        return self._outgoing


def _broken(host: str, error: Exception) -> AttemptError:
    return AttemptError(f"{host}: the call ended with {type(error).__name__}: {error}")


def _nothing() -> None:
    """Give nothing up: what runs in this process runs to its end."""


def _give_up(sending: asyncio.Future[Callable[[], None]]) -> None:
    if not sending.cancelled() and sending.exception() is None:
        sending.result()()
