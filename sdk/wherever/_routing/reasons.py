"""Why an answer is the one that is given, in words; put together only when they are read."""

from __future__ import annotations

from collections.abc import Sequence

from wherever._escalation.words import Bar
from wherever._routing.certainty import doubt
from wherever._routing.plan import Plan
from wherever._routing.steps import Tried
from wherever_contracts.durations import duration
from wherever_contracts.receipts import Answer
from wherever_edge.host_health.wording import brief


def turn_of_mode(plan: Plan, bar: Bar | None, *, lesser: bool) -> tuple[str, ...]:
    """That the mode says so, where nothing came in between.

    Args:
        plan: who was to answer.
        bar: what the answer's confidence reached; None: it was measured by nothing.
        lesser: it is a lesser answer than asked for.
    """
    if lesser:
        return ("next choice of mode ", plan.mode, ", as nobody before it may be asked")
    if bar is None or not plan.escalates:
        return ("first choice of mode ", plan.mode)
    sure = ("first choice of mode ", plan.mode, ", confident enough")
    return (*sure, " (", bar.why, ")") if bar.why else sure


def unescalated(bar: Bar, answer: Answer, trouble: str) -> tuple[str, ...]:
    """Why an answer that is not good enough is given all the same."""
    return ("kept although ", *doubt(bar, answer), "; ", trouble or "no other host may be asked")


def saved(bar: Bar, answer: Answer) -> tuple[str, ...]:
    """Why an answer is given that the budget does not pay for to improve."""
    short = doubt(Bar(bar.wanted), answer)
    return ("kept although ", *short, f"; the budget goes to answers under {bar.threshold:.3g}")


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
