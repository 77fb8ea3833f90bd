"""Why an answer is the one that is given, in words; put together only when they are read."""

from __future__ import annotations

from collections.abc import Sequence

from wherever._routing.plan import Plan
from wherever._routing.steps import Tried
from wherever._routing.wording import brief
from wherever_contracts.durations import duration
from wherever_contracts.receipts import Answer


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


def doubt(plan: Plan, answer: Answer) -> tuple[str, ...]:
    """Why the answer was not good enough."""
    threshold = plan.thresholds[answer.ran.variant]
    return (f"confidence {answer.confidence:.3f} of {answer.ran.variant} is under {threshold:.3f}",)


def turn_of_mode(plan: Plan, answer: Answer, *, lesser: bool) -> tuple[str, ...]:
    """That the mode says so, where nothing came in between."""
    if lesser:
        return ("next choice of mode ", plan.mode, ", as nobody before it may be asked")
    return ("first choice of mode ", plan.mode, *certainty(plan, answer))


def certainty(plan: Plan, answer: Answer) -> tuple[str, ...]:
    """That the answer was sure enough, where that was asked."""
    variant = answer.ran.variant
    if not plan.escalates or variant not in plan.thresholds or variant == plan.reference:
        return ()
    if answer.confidence is None:
        return ()
    return (", confident enough",)


def unescalated(plan: Plan, answer: Answer, trouble: str) -> tuple[str, ...]:
    """Why an answer that is not good enough is given all the same."""
    return ("kept although ", *doubt(plan, answer), "; ", trouble or "no other host may be asked")


def failures(tried: Sequence[Tried], skipped: Sequence[tuple[str, str]]) -> str:
    """What came of the hosts that were to answer and did not; "" when there are none.

    A device that was given up is none of them: it only stood by.
    """
    failed = [(t.candidate.host, brief(str(t.error))) for t in tried if t.error is not None]
    late = [
        (t.candidate.host, f"no answer yet after {duration(t.elapsed_s)}")
        for t in tried
        if t.given_up and t.candidate.place != "device"
    ]
    # errors of the network begin with the host's name already
    told = [
        why if why.startswith(host) else f"{host}: {why}"
        for host, why in (*failed, *late, *skipped)
    ]
    return "; ".join(told)
