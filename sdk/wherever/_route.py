"""A plan made ready: the loaded device variant, the remote hosts, and how to ask each."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import cache
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

from wherever._prediction import Serial, next_serial
from wherever._routing.flow import Senses
from wherever_contracts.errors import SubstitutedError, WhereverError
from wherever_contracts.receipts import Answer
from wherever_contracts.urgency import CALM, Urgency
from wherever_contracts.wire.tensors import InferRequest
from wherever_edge.wire_inputs import WireInputs

if TYPE_CHECKING:
    from wherever._kept import KeptAnswers
    from wherever._remotes import Remote
    from wherever._routing.flow import Attempt, Outcome
    from wherever._routing.plan import Candidate, Plan
    from wherever_contracts.manifest import Signature
    from wherever_contracts.tensors import TensorSpec
    from wherever_devices.choice import Row
    from wherever_edge.host import LoadedVariant


DEVICE = "device"


class Views(NamedTuple):
    """What a person may want to see of how this device answers.

    Attributes:
        plans: the table of plans: what each was measured to cost, and which one is chosen.
        reasons: what limits or changes how this machine is used.
    """

    plans: tuple[Row, ...]
    reasons: tuple[str, ...]


NO_VIEWS = Views((), ())


class Route:
    """Everything that calls of one model with one set of options share.

    Attributes:
        device_failed: the device could answer, if only its variant had not failed to load.
    """

    __slots__ = (
        "device",
        "device_failed",
        "in_thread",
        "kept",
        "outputs",
        "plan",
        "remotes",
        "senses",
        "signature",
        "signature_digest",
        "views",
        "wire_inputs",
        "wire_name",
        "wire_version",
    )

    def __init__(
        self,
        *,
        plan: Plan,
        signature: Signature,
        signature_digest: str,
        wire_name: str,
        wire_version: str,
        device: LoadedVariant | None,
        device_failed: bool,
        views: Views,
        remotes: Mapping[str, Remote],
        remote_timeout_s: float,
        in_thread: Callable[..., Awaitable[Any]],
        kept: Callable[[], KeptAnswers],
    ) -> None:
        self.plan: Plan = plan
        self.signature: Signature = signature
        self.signature_digest: str = signature_digest
        self.wire_inputs: WireInputs = WireInputs(signature)
        self.outputs: tuple[TensorSpec, ...] = tuple(entry.spec() for entry in signature.outputs)
        self.wire_name: str = wire_name
        self.wire_version: str = wire_version
        self.device: LoadedVariant | None = device
        self.device_failed: bool = device_failed
        self.views: Views = views
        self.remotes: Mapping[str, Remote] = remotes
        self.in_thread: Callable[..., Awaitable[Any]] = in_thread
        self.kept: Callable[[], KeptAnswers] = cache(kept)
        self.senses: Senses = Senses(perf_counter, self._admit, self._expected_s, remote_timeout_s)

    def call(
        self,
        inputs: Mapping[str, Any],
        options: Mapping[str, float],
        *,
        kept: KeptAnswers | None = None,
        urgency: Urgency = CALM,
        strict: bool = False,
    ) -> Call:
        """One call of this route.

        Args:
            inputs: the checked inputs.
            options: the numbers that the signature declares.
            kept: where its answers are kept, and looked for.
            urgency: how much it can wait.
            strict: an answer by something else than planned is an error.
        """
        return Call(self, inputs, options, next_serial(), kept, urgency, strict=strict)

    def batch_call(
        self,
        rows: Sequence[Mapping[str, Any]],
        options: Mapping[str, float],
        *,
        kept: KeptAnswers | None = None,
        urgency: Urgency = CALM,
        strict: bool = False,
    ) -> BatchCall:
        """Many calls of this route, performed together; see `call`."""
        return BatchCall(self, rows, options, kept, urgency, strict=strict)

    def ask_device(
        self, inputs: Mapping[str, Any], options: Mapping[str, float], urgency: Urgency = CALM
    ) -> Outcome:
        """Answer in this process."""
        device = self.device
        assert device is not None  # noqa: S101 (the plan has no device attempt without it)
        started = perf_counter()
        try:
            outcome: Outcome = device.answer(inputs, options, urgency)
        except WhereverError as error:
            outcome = error
        device.took(perf_counter() - started)
        return outcome

    def _admit(self, candidate: Candidate, last_hope: bool) -> str:  # noqa: FBT001 (hot path)
        return self.remotes[candidate.host].admit(last_hope=last_hope)

    def _expected_s(self, candidate: Candidate) -> float:
        device = self.device
        return device.usual_s if device is not None and candidate.place == "device" else 0.0


class Call:
    """One call: its inputs, and how each host is asked with them."""

    __slots__ = ("_inputs", "_kept", "_options", "_route", "_strict", "_urgency", "serial")

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
        self._kept = kept
        self._urgency = urgency
        self._strict = strict
        self.serial: Serial = serial

    def perform(self, attempt: Attempt) -> Outcome:
        """Carry out one attempt in this thread."""
        if self._kept is None:
            outcome = self._ask(attempt)
            return self.judged(outcome) if self._strict else outcome
        found = self.find(attempt)
        if found is None:
            found = self._ask(attempt)
            self.keep(attempt, found)
        return self.judged(found)

    async def perform_async(self, attempt: Attempt) -> Outcome:
        """Carry out one attempt beside the running event loop."""
        if self._kept is None:
            return self.judged(await self._ask_async(attempt))
        in_thread = self._route.in_thread
        outcome: Outcome | None = await in_thread(self.find, attempt)
        if outcome is None:
            outcome = await self._ask_async(attempt)
            await in_thread(self.keep, attempt, outcome)
        return self.judged(outcome)

    def judged(self, outcome: Outcome) -> Outcome:
        """The outcome; of a strict call, an error in place of an answer that was not as planned."""
        if self._strict and isinstance(outcome, Answer) and outcome.substituted:
            happened = "; ".join(outcome.substituted)
            return SubstitutedError(f"the call is strict, and not all went as planned: {happened}")
        return outcome

    @property
    def caches(self) -> bool:
        """Whether answers are kept, and looked for among those that were."""
        return self._kept is not None

    def find(self, attempt: Attempt) -> Outcome | None:
        """The answer that was kept for an attempt, which is then not to be made."""
        if self._kept is None:
            return None
        try:
            found: Outcome | None = self._kept.find(attempt, self._inputs, self._options)
        except WhereverError as error:
            found = error  # the input is damaged
        device = self._route.device
        if isinstance(found, Answer) and device is not None and attempt.timeout_s is None:
            found = found._replace(substituted=device.substituted)
        if found is not None and attempt.timeout_s is not None:
            self._route.remotes[attempt.candidate.host].release()
        return found

    def keep(self, attempt: Attempt, outcome: Outcome) -> None:
        """Keep what came of an attempt."""
        if self._kept is not None:
            self._kept.keep(attempt, self._inputs, self._options, outcome)

    def _ask(self, attempt: Attempt) -> Outcome:
        route = self._route
        if attempt.timeout_s is None:
            return route.ask_device(self._inputs, self._options, self._urgency)
        remote = route.remotes[attempt.candidate.host]
        try:
            request = self.request(attempt.variant)
        except BaseException:
            remote.release()
            raise
        return remote.infer(request, route.outputs, attempt.timeout_s)

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
            sending.add_done_callback(_give_up)
            raise

    def start(self, attempt: Attempt) -> Future[Outcome]:
        """Send a remote attempt without waiting for it."""
        arrival: Future[Outcome] = Future()
        self._send(attempt, arrival.set_result)
        return arrival

    def _send(self, attempt: Attempt, done: Callable[[Outcome], None]) -> Callable[[], None]:
        """Send a remote attempt; returns what gives it up, and `done` is called in any case."""
        route = self._route
        remote = route.remotes[attempt.candidate.host]
        assert attempt.timeout_s is not None  # noqa: S101 (only remote attempts are sent)
        try:
            request = self.request(attempt.variant)
        except WhereverError as error:
            remote.release()
            done(error)
            return lambda: None
        except BaseException:
            remote.release()
            raise
        return remote.start(request, route.outputs, attempt.timeout_s, done)

    def request(self, variant: str) -> InferRequest:
        """The call as a request to a remote host."""
        route = self._route
        parameters: dict[str, str | int | float | bool] = dict(self._options)
        parameters["signature"] = route.signature_digest
        if variant:
            parameters["variant"] = variant
        if self._urgency.priority != CALM.priority:
            parameters["priority"] = self._urgency.priority
        return InferRequest(
            route.wire_name,
            route.wire_version,
            str(self.serial),
            parameters,
            route.wire_inputs.write(self._inputs),
            boundary=route.plan.boundary,
        )


def _give_up(sending: asyncio.Future[Callable[[], None]]) -> None:
    if not sending.cancelled() and sending.exception() is None:
        sending.result()()


class BatchCall:
    """Many calls in step: those due on the device share a run, those elsewhere run at once."""

    __slots__ = ("_options", "_route", "_rows", "_urgency", "calls", "senses")

    def __init__(
        self,
        route: Route,
        rows: Sequence[Mapping[str, Any]],
        options: Mapping[str, float],
        kept: KeptAnswers | None,
        urgency: Urgency,
        *,
        strict: bool,
    ) -> None:
        self._route = route
        self._rows = rows
        self._options = options
        self._urgency = urgency
        self.calls: list[Call] = [
            route.call(row, options, kept=kept, urgency=urgency, strict=strict) for row in rows
        ]
        self.senses: Senses = route.senses._replace(expected_s=self._expected_s)

    def perform(self, steps: Sequence[tuple[int, Attempt]]) -> list[Outcome]:
        """Carry out one round of attempts; those with a kept answer are not made."""
        outcomes: dict[int, Outcome] = {}
        for position, attempt in steps:
            found = self.calls[position].find(attempt)
            if found is not None:
                outcomes[position] = found
        made = [step for step in steps if step[0] not in outcomes]
        outcomes.update(self._ask(made))
        for position, attempt in made:
            self.calls[position].keep(attempt, outcomes[position])
        return [self.calls[position].judged(outcomes[position]) for position, _ in steps]

    def _ask(self, steps: Sequence[tuple[int, Attempt]]) -> dict[int, Outcome]:
        waiting = {
            position: self.calls[position].start(attempt)
            for position, attempt in steps
            if attempt.timeout_s is not None
        }
        here = [position for position, attempt in steps if attempt.timeout_s is None]
        outcomes = dict(zip(here, self._ask_device(here), strict=True))
        outcomes.update({position: arrival.result() for position, arrival in waiting.items()})
        return outcomes

    def _expected_s(self, candidate: Candidate) -> float:
        """The whole batch may have to fall back to the device together."""
        return len(self.calls) * self._route.senses.expected_s(candidate)

    def _ask_device(self, positions: Sequence[int]) -> Sequence[Outcome]:
        device = self._route.device
        if not positions or device is None:
            return []
        started = perf_counter()
        answers = device.answer_many(
            [self._rows[i] for i in positions], self._options, self._urgency
        )
        device.took((perf_counter() - started) / len(positions))
        return answers
