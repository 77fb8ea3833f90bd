"""Answers that were kept: looked for before anybody is asked, the reference's first."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from wherever._cache_flights import Flights
from wherever._cache_refusals import Refusals
from wherever._routing.steps import Verdict
from wherever_contracts.receipts import Answer

if TYPE_CHECKING:
    from wherever._cache import ResultCache
    from wherever._routing.plan import Candidate, Plan
    from wherever._routing.steps import Attempt, Outcome
    from wherever_edge.host import LoadedVariant
    from wherever_edge.packages.store import Package

# Why a host must not be asked, or "": see `wherever._routing.steps.Senses`.
Admit: TypeAlias = "Callable[[Candidate, bool], str]"

# How long a call without a deadline waits for an identical one before it goes on by itself.
PATIENCE_S = 10.0


class Meaning(NamedTuple):
    """What an answer is the answer of: a variant, how it computes, and what it was shown.

    `release` is the release rule, all of it, that this came out of; "": it was shown the input.
    """

    variant_digest: str
    precision: str
    release: str = ""


class KeptAnswers:
    """The result cache, as calls of one route use it.

    An attempt on the device means the variant that is loaded there, one on a box or gateway the
    reference. A remote answer is kept only when its host says that the reference gave it.

    Args:
        cache: where answers are kept.
        package: the model.
        signature_digest: of its signature.
        device: the variant that this device answers with; None when it does not.

    Attributes:
        refusals: what hosts refused lately.
        flights: the calls of this route that are under way.
    """

    __slots__ = (
        "_cache",
        "_device",
        "_loaded",
        "_reference",
        "_rules",
        "_signature_digest",
        "flights",
        "refusals",
    )

    def __init__(
        self,
        cache: ResultCache,
        package: Package,
        signature_digest: str,
        device: LoadedVariant | None,
    ) -> None:
        manifest = package.manifest
        self._cache = cache
        self._signature_digest = signature_digest
        reference = manifest.variant(manifest.reference)
        self._reference = Meaning(package.variant_digest(reference.id), reference.precision)
        ran = None if device is None else device.ran
        self._device = Meaning(ran.variant_digest, ran.precision) if ran else self._reference
        self._loaded = device
        self._rules = {rule.name: rule.model_dump_json() for rule in manifest.release}
        self.refusals: Refusals = Refusals()
        self.flights: Flights[Verdict] = Flights()

    def of_call(self, inputs: Mapping[str, Any], options: Mapping[str, float]) -> KeptCall:
        """What was kept for one call; its inputs are digested once, when that is first needed."""
        return KeptCall(
            self, lambda: self._cache.call_digest(inputs, options, self._signature_digest)
        )

    def found(self, call: bytes, meaning: Meaning) -> tuple[Answer, str] | None:
        """The kept answer to a call, and which host gave it."""
        found = self._cache.find(self._cache.key(call, *meaning))
        return None if found is None else (found.answer, found.host)

    def as_of(self, candidate: Candidate, answer: Answer) -> Answer:
        """A kept answer as one of this host; the device's says how it differs from the plan."""
        if candidate.place != "device" or self._loaded is None:
            return answer
        return answer._replace(substituted=self._loaded.substituted)

    def put(self, call: bytes, meaning: Meaning, answer: Answer, host: str) -> None:
        """Keep an answer of `host`, if it is what `meaning` says."""
        if (answer.ran.variant_digest, answer.ran.precision) == meaning[:2]:
            self._cache.put(self._cache.key(call, *meaning), answer, host)

    def meant(self, candidate: Candidate) -> Meaning:
        """Whose answer a host is asked for."""
        means = self._device if candidate.place == "device" else self._reference
        rule = candidate.release
        return means._replace(release=self._rules[rule]) if rule else means

    def is_reference(self, meaning: Meaning) -> bool:
        """Whether it is the reference's answer, to whatever it was shown."""
        return meaning[:2] == self._reference[:2]


class KeptCall:
    """What was kept for one call, and what of it is worth keeping.

    Not what a stricter call may not have: an answer that is found lies on this device, so that
    nothing travels; but each is looked for under what its host would have been shown, so that one
    to a blurred image is never taken for one to the image.
    """

    __slots__ = ("_digest", "_digest_now", "_kept", "_missed")

    def __init__(self, kept: KeptAnswers, digest: Callable[[], bytes]) -> None:
        self._kept = kept
        self._digest_now = digest
        self._digest = b""
        self._missed: set[Meaning] = set()

    @property
    def digest(self) -> bytes:
        """What the call asks.

        Raises:
            InputError: an image turned out to be damaged.
        """
        if not self._digest:
            self._digest = self._digest_now()
        return self._digest

    def best(self, plan: Plan) -> Verdict | None:
        """The reference's answer, if it was kept and some host of the plan might have given it.

        Nobody is asked then, whoever comes first in the plan: no answer is better.

        Raises:
            InputError: an image turned out to be damaged.
        """
        hosts: dict[Meaning, list[Candidate]] = {}
        for candidate in plan.attempts:
            meaning = self._kept.meant(candidate)
            if self._kept.is_reference(meaning):
                hosts.setdefault(meaning, []).append(candidate)
        for meaning in sorted(hosts, key=lambda meaning: bool(meaning.release)):
            found = self._found(meaning)
            if found is not None:
                return self._verdict(plan, hosts[meaning], *found)
        return None

    def find(self, attempt: Attempt) -> Answer | None:
        """The answer that `attempt` would give, if it was kept.

        Raises:
            InputError: an image turned out to be damaged.
        """
        found = self._found(self._kept.meant(attempt.candidate))
        return None if found is None else self._kept.as_of(attempt.candidate, found[0])

    def keep(self, attempt: Attempt, outcome: Outcome) -> None:
        """Keep what came of `attempt`, if it is what `find` will mean; note a refusal."""
        candidate = attempt.candidate
        if not isinstance(outcome, Answer):
            if candidate.place != "device" and self._digest:
                self._kept.refusals.note(candidate.host, self._digest, outcome)
        elif not outcome.cached:
            self._kept.put(self.digest, self._kept.meant(candidate), outcome, candidate.host)

    def wary(self, admit: Admit) -> Admit:
        """`admit`, for hosts that did not refuse this very call a moment ago."""

        def admitted(candidate: Candidate, last_hope: bool) -> str:  # noqa: FBT001 (as `admit`)
            refused = self._kept.refusals.why_not(candidate.host, self._digest)
            return refused or admit(candidate, last_hope)

        return admitted

    def once(self, way: Hashable, run: Callable[[], Verdict], patience_s: float) -> Verdict:
        """What `run` gives, or what an identical call gives that is under way.

        Args:
            way: what else must be alike for an answer to be shared, such as the priority.
            run: carries the call out.
            patience_s: the longest to wait for another call.

        Raises:
            InputError: an image turned out to be damaged.
            WhereverError: whatever `run` raises.
        """
        verdict, shared = self._kept.flights.once((self.digest, way), run, patience_s)
        if not shared:
            return verdict
        return run() if verdict.degraded else _shared_verdict(verdict)

    async def once_async(
        self, way: Hashable, run: Callable[[], Awaitable[Verdict]], patience_s: float
    ) -> Verdict:
        """The same in a task."""
        key = (self.digest, way)
        verdict, shared = await self._kept.flights.once_async(key, run, patience_s)
        if not shared:
            return verdict
        return await run() if verdict.degraded else _shared_verdict(verdict)

    def _found(self, meaning: Meaning) -> tuple[Answer, str] | None:
        """Look once for each meaning: what is kept while the call runs is its own."""
        if meaning in self._missed:
            return None
        found = self._kept.found(self.digest, meaning)
        if found is None:
            self._missed.add(meaning)
        return found

    def _verdict(self, plan: Plan, hosts: list[Candidate], answer: Answer, host: str) -> Verdict:
        """The verdict for a kept answer, by the host that gave it if the plan may ask that."""
        candidate = next((each for each in hosts if each.host == host), hosts[0])
        # the reference's answer to the input itself is not a lesser one, wherever it came from
        degraded = bool(candidate.release) and plan.degraded_from not in (None, candidate.place)
        reason = ("the reference's answer to the same call was kept",)
        return Verdict(self._kept.as_of(candidate, answer), candidate, degraded, reason, (), ())


def patience_s(left_s: float | None, device_s: float) -> float:
    """How long a call may wait for an identical one and still be carried out by itself.

    Args:
        left_s: seconds until its deadline; None: it has none.
        device_s: what this device usually takes for the call; 0 when that is not known.
    """
    if left_s is None:
        return PATIENCE_S
    return max(0.0, left_s - 2 * device_s if device_s else left_s / 2)


def own_copy(verdict: Verdict, why: str) -> Verdict:
    """A verdict as another call may give it: arrays of its own, and no attempts."""
    answer = verdict.answer
    outputs = {name: array.copy() for name, array in answer.outputs.items()}
    shared = answer._replace(outputs=outputs, engine_s=0.0, queue_s=0.0, cached=True)
    return verdict._replace(answer=shared, reason=(why, *verdict.reason), tried=(), skipped=())


def _shared_verdict(verdict: Verdict) -> Verdict:
    return own_copy(verdict, "an identical call was under way, and was answered: ")
