"""A call that is answered now and, better, later: whether it is put in, and what comes back."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, NamedTuple

from wherever._calls import Call
from wherever._outbox.entry import Entry, Letter
from wherever._prediction import Context, Prediction, Serial
from wherever._routing.plan import MODES, Candidate, Plan
from wherever._routing.steps import Tried, Verdict
from wherever_contracts.durations import duration
from wherever_contracts.errors import UpgradeError, WhereverError
from wherever_contracts.frames import FrameError
from wherever_contracts.manifest import Signature
from wherever_contracts.places import PLACES, WITHIN
from wherever_contracts.urgency import Urgency

if TYPE_CHECKING:
    from wherever._outbox.entry import Result
    from wherever._outbox.outbox import Outbox
    from wherever._route import Route
    from wherever_contracts.places import Boundary, Place, Priority
    from wherever_edge.packages.store import Package


WAITS = "waits in the outbox"


class Later:
    """What becomes of the better answer to one call.

    Args:
        outbox: where it waits; None: it does not.
        error: why it was not put in; None with no outbox: the answer in hand is as good.
    """

    __slots__ = ("_error", "_outbox", "word")

    def __init__(self, word: str, outbox: Outbox | None, error: WhereverError | None) -> None:
        self.word: str = word
        self._outbox = outbox
        self._error = error

    def upgrade(self, given: Prediction, timeout_s: float | None) -> Prediction | None:
        """The better answer; None when it is not there yet; see `Prediction.upgrade`."""
        if self._error is not None:
            raise self._error
        if self._outbox is None:
            return given
        result = self._outbox.result(given.id, timeout_s)
        return None if result is None else upgraded(result, given.context)


class Reach(NamedTuple):
    """Where a call may be sent later, and what by.

    Attributes:
        places: the distances; empty: nowhere.
        release: the release rule that is needed for that; "": none.
    """

    places: tuple[Place, ...]
    release: str


def reach_of(plan: Plan, places: Collection[Place] | None) -> Reach:
    """Where the calls of a plan may be sent later, also to hosts that are not there yet.

    Args:
        plan: what was decided for such calls.
        places: what the call narrowed its places to.
    """
    wanted: set[Place] = set(PLACES if places is None else places)

    def within(boundary: Boundary) -> tuple[Place, ...]:
        near = wanted.intersection(WITHIN[boundary]) - {"device"}
        allowed: list[Place] = [place for place in MODES[plan.mode].order if place in near]
        return tuple(allowed)

    if direct := within(plan.boundary):
        return Reach(direct, "")
    for rule, boundary in plan.releases:
        if through := within(boundary):
            return Reach(through, rule)
    return Reach((), "")


def why_good_enough(plan: Plan, verdict: Verdict) -> str:
    """Why there is nothing better to ask for; "" when there is."""
    answer = verdict.answer
    if answer.ran.variant == plan.reference:
        return "the reference answered"
    measured = verdict.bar is not None and answer.confidence is not None
    if plan.escalates and measured and not verdict.short:
        return "it was confident enough"
    return ""


def put_in(
    outbox: Callable[[], Outbox],
    route: Route,
    package: Package,
    places: Collection[Place] | None,
    priority: Priority,
    verdict: Verdict,
    context: Context,
) -> Later:
    """Put a call that this device has answered into the outbox, if there is better to be had.

    Args:
        outbox: opens the outbox.
        route: how the call would be carried out with every place that it may use.
        package: its model.
        places: what it narrowed its places to.
        priority: who goes first.
        verdict: the device's answer.
        context: what is known of the call.
    """
    if why := why_good_enough(route.plan, verdict):
        return Later(f"not needed: {why}", None, None)
    reach = reach_of(route.plan, places)
    if not reach.places:
        plan = route.plan
        why = f"mode {plan.mode!r}, boundary {plan.boundary!r} and the call's places keep it here"
        error = UpgradeError(f"call {context.serial} was not put into the outbox: {why}", "kept")
        return Later(f"not put in: {why}", None, error)
    urgency = Urgency(priority)
    call = Call(route, context.inputs, context.options, context.serial, None, urgency, strict=False)
    try:
        box = outbox()
        box.add(_letter(box, route, call, package, reach, priority))
    except (WhereverError, FrameError, OSError) as problem:
        said = problem if isinstance(problem, WhereverError) else _not_put_in(call, problem)
        return Later(f"not put in: {problem}", None, said)
    return Later(WAITS, box, None)


def upgraded(result: Result, given: Context | None = None) -> Prediction:
    """The prediction that came of a call.

    Args:
        result: what came of it.
        given: what its first prediction knew; None after a restart: then its inputs are not known.

    Raises:
        UpgradeError: it ended without an answer; the message says why.
    """
    entry, answer = result.entry, result.answer
    if answer is None:
        raise UpgradeError(f"call {entry.id} ended without an answer: {result.error}", result.kind)
    candidate = Candidate(result.host, result.place, entry.release)
    waited_s = max(0.0, result.recorded.wall_s - entry.created.wall_s)
    reason = (f"answered later: {duration(waited_s)} after it was asked",)
    tried = (Tried(candidate, waited_s, None),)
    verdict = Verdict(answer, candidate, degraded=False, reason=reason, tried=tried, skipped=())
    settled = Later("answered", None, None)
    if given is not None:
        return Prediction(verdict, given._replace(later=settled))
    return Prediction(verdict, _context(result, candidate)._replace(later=settled))


def _letter(
    outbox: Outbox,
    route: Route,
    call: Call,
    package: Package,
    reach: Reach,
    priority: Priority,
) -> Letter:
    plan = route.plan
    candidate = Candidate("outbox", reach.places[0], reach.release)
    request = call.request(candidate, plan.reference)
    entry = Entry(
        id=str(call.serial),
        model=package.name,
        version=package.version,
        package_digest=package.digest,
        variant=plan.reference,
        boundary=request.boundary,
        places=reach.places,
        release=reach.release,
        placement=call.placement(reach.release),
        priority=priority,
        created=outbox.stamp(),
        ttl_s=outbox.limits.ttl_s,
    )
    return Letter(entry, request, route.signature.model_dump_json(exclude_none=True).encode())


def _not_put_in(call: Call, problem: Exception) -> UpgradeError:
    return UpgradeError(f"call {call.serial} was not put into the outbox: {problem}", "kept")


def _context(result: Result, candidate: Candidate) -> Context:
    entry = result.entry
    plan = Plan(
        model=entry.model,
        mode="auto",
        boundary=entry.boundary,
        attempts=(Candidate(candidate.host, candidate.place),),
        escalates=False,
        thresholds={},
        reference=entry.variant,
        degraded_from=None,
    )
    process, _, number = entry.id.partition("-")
    return Context(
        signature=Signature.model_validate_json(result.signature),
        plan=plan,
        deadline_s=None,
        options={},
        inputs={},
        serial=Serial(process, int(number, 16)),
        started_at=entry.created.wall_s,
        total_s=max(0.0, result.recorded.wall_s - entry.created.wall_s),
    )
