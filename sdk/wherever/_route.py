"""A plan made ready: the loaded device variant, the remote hosts, and how to ask each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import cache
from random import random
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from wherever._batch_call import BatchCall
from wherever._calls import Call
from wherever._prediction import next_serial
from wherever._routing.pace import AT_ONCE_S, DevicePace
from wherever._routing.plan import Candidate
from wherever._routing.steps import Senses
from wherever._routing.timing import LATE, USUAL
from wherever_contracts.errors import WhereverError
from wherever_contracts.receipts import Expected
from wherever_contracts.urgency import CALM, Urgency
from wherever_edge.host_health.balance import arrange
from wherever_edge.host_health.forecast import Forecast, Work
from wherever_edge.wire_inputs import WireInputs

if TYPE_CHECKING:
    from wherever._escalating import Escalation
    from wherever._kept import KeptAnswers
    from wherever._remotes import Remote
    from wherever._routing.plan import Plan
    from wherever._routing.steps import Outcome
    from wherever._tracing import Tracing
    from wherever._witness import Witness
    from wherever_contracts.manifest import Signature
    from wherever_contracts.releases import ReleaseRule
    from wherever_contracts.tensors import TensorSpec
    from wherever_devices.choice import Row
    from wherever_edge.host import LoadedVariant
    from wherever_edge.host_health.tokens import RetryTokens


DEVICE: Final = "device"


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
        pace: how long the device takes; None: nobody else could be asked in its place.
    """

    __slots__ = (
        "device",
        "device_failed",
        "escalation",
        "in_thread",
        "kept",
        "outputs",
        "pace",
        "plan",
        "releases",
        "remotes",
        "senses",
        "signature",
        "signature_digest",
        "spare",
        "tokens",
        "tracing",
        "views",
        "wire_inputs",
        "wire_name",
        "wire_version",
        "witness",
    )

    def __init__(
        self,
        *,
        plan: Plan,
        releases: Mapping[str, ReleaseRule],
        signature: Signature,
        signature_digest: str,
        wire_name: str,
        wire_version: str,
        device: LoadedVariant | None,
        device_failed: bool,
        views: Views,
        remotes: Mapping[str, Remote],
        remote_timeout_s: float,
        tokens: RetryTokens,
        saving: Callable[[], bool],
        in_thread: Callable[..., Awaitable[Any]],
        spare: Callable[[Callable[[], None]], None],
        kept: Callable[[], KeptAnswers],
        witness: Witness,
        tracing: Tracing | None,
        escalation: Escalation | None,
    ) -> None:
        self.plan: Plan = plan
        self.releases: Mapping[str, ReleaseRule] = releases
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
        self.tokens: RetryTokens = tokens
        self.in_thread: Callable[..., Awaitable[Any]] = in_thread
        self.spare: Callable[[Callable[[], None]], None] = spare
        self.kept: Callable[[], KeptAnswers] = cache(kept)
        # who answers alone is not compared with anybody
        raced = device is not None and len(plan.attempts) > 1
        self.pace: DevicePace | None = DevicePace(_measured_s(views)) if raced else None
        self.senses: Senses = Senses(
            perf_counter,
            self._admit,
            self._forecast,
            self.tokens.spend,
            self._arrange,
            random,
            remote_timeout_s,
            self._costs,
            saving,
            None if escalation is None else escalation.bar,
        )
        self.witness: Witness = witness
        self.tracing: Tracing | None = tracing
        self.escalation: Escalation | None = escalation

    def call(
        self,
        inputs: Mapping[str, Any],
        options: Mapping[str, float],
        *,
        kept: KeptAnswers | None = None,
        urgency: Urgency = CALM,
        strict: bool = False,
        recorded: bool = False,
    ) -> Call:
        """One call of this route.

        Args:
            inputs: the checked inputs.
            options: the numbers that the signature declares.
            kept: where its answers are kept, and looked for.
            urgency: how much it can wait.
            strict: an answer by something else than planned is an error.
            recorded: its receipt is written to the disk.
        """
        call = Call(self, inputs, options, next_serial(), kept, urgency, strict=strict)
        if recorded:
            call.outlook = call.expected()
        if self.tracing is not None:
            call.trace = self.tracing.begin(self.wire_name)
        return call

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
        if self.pace is not None:
            now = perf_counter()
            self.pace.took(now - started, now)
        return outcome

    def expected(self, candidate: Candidate, work: Work) -> Expected:
        """What a host is expected to take for some work."""
        usual = self._forecast(candidate, work, USUAL)
        late = self._forecast(candidate, work, LATE)
        up_bytes = 0 if candidate.place == "device" else work.up_bytes
        return Expected(usual.latency_s, late.latency_s, up_bytes, usual.samples)

    def late_here_s(self) -> float:
        """How long this device takes when it takes long; 0: not known."""
        return self._forecast(_HERE, _ANY, LATE).latency_s

    def answers_at_once(self) -> bool:
        """Whether this device is sure to be done before a thread would have begun."""
        return self.late_here_s() < AT_ONCE_S

    def _admit(self, candidate: Candidate, last_hope: bool) -> str:  # noqa: FBT001 (hot path)
        return self.remotes[candidate.host].admit(last_hope=last_hope)

    def _forecast(self, candidate: Candidate, work: Work, quantile: float) -> Forecast:
        if candidate.place != "device":
            return self.remotes[candidate.host].forecast(work, quantile)
        if self.pace is None:
            return Forecast(0.0, 0.0)
        return self.pace.forecast(quantile, perf_counter())

    def _costs(self, candidate: Candidate) -> bool:
        return self.remotes[candidate.host].costs

    def _arrange(self, group: Sequence[Candidate], work: Work) -> Sequence[Candidate]:
        remotes = self.remotes
        return arrange(group, lambda each: remotes[each.host].burden(work), random)


_HERE = Candidate(DEVICE, "device")
_ANY = Work("")


def _measured_s(views: Views) -> float:
    """How long this device takes for a call, as was measured before; 0: not known."""
    chosen = (row.found for row in views.plans if row.chosen and row.found is not None)
    return next((found.latency_s for found in chosen if found.usable), 0.0)
