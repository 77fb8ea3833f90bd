"""How a plan is carried out: one generator, driven by a sync and an async loop.

It yields `Attempt`s and is sent what came of each (an `Answer` or a `WhereverError`). It does no
I/O, and it learns the time and the state of the hosts through functions that are passed in.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import NamedTuple, TypeAlias

from wherever._routing.plan import Candidate, Plan
from wherever_contracts.errors import (
    InputError,
    NoRouteError,
    SubstitutedError,
    WhereverError,
)
from wherever_contracts.receipts import Answer

# What is kept back from the deadline: gRPC's timers were seen to end a call up to 4 ms late.
MARGIN_S = 0.01


class Attempt(NamedTuple):
    """Ask one host.

    Attributes:
        candidate: the host.
        timeout_s: seconds it may take; None: the host is this process, which cannot be cut short.
        variant: the variant to ask for; "": the host's own choice.
    """

    candidate: Candidate
    timeout_s: float | None
    variant: str


class Tried(NamedTuple):
    """One attempt and its end; `error` is None when it answered."""

    candidate: Candidate
    elapsed_s: float
    error: WhereverError | None


class Verdict(NamedTuple):
    """The answer to give, and why.

    Attributes:
        answer: the answer.
        candidate: the host that gave it.
        degraded: whether it is a lesser answer than asked for.
        reason: why this one, in a sentence; parts of it are put together when it is read.
        tried: every attempt, in order.
        skipped: (host, why it was not asked).
    """

    answer: Answer
    candidate: Candidate
    degraded: bool
    reason: tuple[str, ...]
    tried: tuple[Tried, ...]
    skipped: tuple[tuple[str, str], ...]


Outcome: TypeAlias = Answer | WhereverError
Flow: TypeAlias = Generator[Attempt, Outcome, Verdict]


class Senses(NamedTuple):
    """What a flow can learn of the world.

    Attributes:
        now: seconds on a monotonic clock.
        admit: why a host must not be asked now; "" is leave to ask it, and the attempt must follow.
            The second argument is True when nobody else is left who could answer.
        expected_s: how long a host usually takes for this model; 0 when that is not known.
        timeout_s: the longest that a remote host may take when the call has no deadline.
    """

    now: Callable[[], float]
    admit: Callable[[Candidate, bool], str]
    expected_s: Callable[[Candidate], float]
    timeout_s: float


def predict_flow(
    plan: Plan, senses: Senses, deadline_s: float | None = None, began: float | None = None
) -> Flow:
    """Ask the hosts of `plan` in turn until an answer is good enough.

    Args:
        plan: the hosts, in order.
        senses: clock and hosts' state.
        deadline_s: seconds from `began` in which the answer is wanted.
        began: when the call was made, on the clock of `senses`; by default now.

    Raises:
        InputError: a host found the input itself to be wrong; no other host is asked.
        SubstitutedError: the call is strict, and no answer was as planned.
        NoRouteError: no host answered; `causes` are in the order tried.
    """
    now = senses.now
    started = now()
    deadline = None if deadline_s is None else (began or started) + deadline_s
    tried: tuple[Tried, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()
    best: tuple[Answer, Candidate] | None = None
    for position, candidate in enumerate(plan.attempts):
        timeout_s: float | None = None
        if candidate.place != "device":
            why_not, timeout_s = _chance(plan, senses, position, deadline, in_hand=best is not None)
            if why_not:
                skipped += ((candidate.host, why_not),)
                continue
        outcome = yield Attempt(candidate, timeout_s, plan.reference if best else "")
        ended = now()
        if isinstance(outcome, WhereverError):
            if isinstance(outcome, InputError):
                raise outcome
            tried += (Tried(candidate, ended - started, outcome),)
            started = ended
            continue
        tried += (Tried(candidate, ended - started, None),)
        started = ended
        if plan.escalates and is_unsure(plan, outcome):
            best = outcome, candidate
            continue
        return _settled(plan, outcome, candidate, best, tried, skipped)
    if best is not None:
        return _unescalated(plan, *best, tried, skipped)
    causes = [attempt.error for attempt in tried if attempt.error is not None]
    nowhere = NoRouteError(plan.model, causes, {**plan.ruled_out, **dict(skipped)})
    if causes and all(isinstance(cause, SubstitutedError) for cause in causes):
        raise causes[0] from nowhere  # there were answers, which the call would not have
    raise nowhere


def is_unsure(plan: Plan, answer: Answer) -> bool:
    """True when the answer's confidence is under its variant's threshold.

    The reference is never unsure, nor is a variant without a threshold or without a confidence.
    """
    variant = answer.ran.variant
    threshold = plan.thresholds.get(variant)
    return (
        threshold is not None
        and answer.confidence is not None
        and not answer.confidence >= threshold
        and variant != plan.reference
    )


def _chance(
    plan: Plan, senses: Senses, position: int, deadline: float | None, *, in_hand: bool
) -> tuple[str, float]:
    """Why a remote host is not asked now (or ""), and how long it may take.

    Remote hosts that may still be asked share what is left of the deadline.

    When no answer is in hand yet, the time that the device needs afterwards is kept back: what it
    usually takes, or half of what is left when that is not known yet.
    """
    timeout_s = senses.timeout_s
    if deadline is not None:
        left_s = deadline - senses.now() - MARGIN_S
        if not in_hand:
            left_s -= _reserve_s(plan.attempts[position:], senses, left_s)
        if left_s <= 0:
            return "the deadline leaves no time to ask it", 0.0
        remotes = sum(candidate.place != "device" for candidate in plan.attempts[position:])
        timeout_s = min(left_s / remotes, timeout_s)
    last_hope = not in_hand and position == len(plan.attempts) - 1
    return senses.admit(plan.attempts[position], last_hope), timeout_s


def _reserve_s(later: tuple[Candidate, ...], senses: Senses, left_s: float) -> float:
    for candidate in later:
        if candidate.place == "device":
            return senses.expected_s(candidate) or left_s / 2
    return 0.0


def _settled(
    plan: Plan,
    answer: Answer,
    candidate: Candidate,
    before: tuple[Answer, Candidate] | None,
    tried: tuple[Tried, ...],
    skipped: tuple[tuple[str, str], ...],
) -> Verdict:
    degraded = plan.degraded_from is not None and candidate.place != plan.degraded_from
    if before is not None:
        reason = ("escalated: ", *_doubt(plan, before[0]))
    elif len(tried) > 1 or skipped:
        reason = ("fell back: ", *_failures(tried, skipped))
    else:
        reason = ("first choice of mode ", plan.mode, *_certainty(plan, answer))
    return Verdict(answer, candidate, degraded, reason, tried, skipped)


def _unescalated(
    plan: Plan,
    answer: Answer,
    candidate: Candidate,
    tried: tuple[Tried, ...],
    skipped: tuple[tuple[str, str], ...],
) -> Verdict:
    degraded = any(attempt.error is not None for attempt in tried) or bool(skipped)
    trouble = _failures(tried, skipped) if degraded else ("no other host may be asked",)
    reason = ("kept although ", *_doubt(plan, answer), "; ", *trouble)
    return Verdict(answer, candidate, degraded, reason, tried, skipped)


def _doubt(plan: Plan, answer: Answer) -> tuple[str, ...]:
    threshold = plan.thresholds[answer.ran.variant]
    return (f"confidence {answer.confidence:.3f} of {answer.ran.variant} is under {threshold:.3f}",)


def _certainty(plan: Plan, answer: Answer) -> tuple[str, ...]:
    variant = answer.ran.variant
    if not plan.escalates or variant not in plan.thresholds or variant == plan.reference:
        return ()
    if answer.confidence is None:
        return ()
    return (", confident enough",)


def _failures(tried: tuple[Tried, ...], skipped: tuple[tuple[str, str], ...]) -> tuple[str, ...]:
    failed = [(t.candidate.host, str(t.error)) for t in tried if t.error is not None]
    # errors of the network begin with the host's name already
    told = [why if why.startswith(host) else f"{host}: {why}" for host, why in (*failed, *skipped)]
    return ("; ".join(told),)
