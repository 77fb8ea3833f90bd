"""The verdicts of a call: which answer is given, and what is said of it."""

from __future__ import annotations

from wherever._routing.plan import Candidate, Plan
from wherever._routing.reasons import failures, is_unsure, turn_of_mode, unescalated
from wherever._routing.steps import Tried, Verdict
from wherever_contracts.receipts import Answer


def at_once(plan: Plan, first: Candidate, answer: Answer, elapsed_s: float) -> Verdict | None:
    """The verdict for the first answer, when that is good enough or nobody else may be asked."""
    tried = (Tried(first, elapsed_s, None),)
    if not (plan.escalates and is_unsure(plan, answer)):
        lesser = is_lesser(plan, first)
        reason = turn_of_mode(plan, answer, lesser=lesser)
        return Verdict(answer, first, lesser, reason, tried, ())
    if len(plan.attempts) == 1:
        return kept(plan, (answer, first), tried)
    return None


def kept(
    plan: Plan,
    hand: tuple[Answer, Candidate],
    tried: tuple[Tried, ...],
    skipped: tuple[tuple[str, str], ...] = (),
) -> Verdict:
    """The verdict for an unsure answer that nothing better came after."""
    answer, candidate = hand
    trouble = failures(tried, skipped)
    reason = unescalated(plan, answer, trouble)
    return Verdict(answer, candidate, bool(trouble), reason, tried, skipped)


def is_lesser(plan: Plan, candidate: Candidate) -> bool:
    """Whether an answer of this host is a lesser one than was asked for."""
    return plan.degraded_from is not None and candidate.place != plan.degraded_from
