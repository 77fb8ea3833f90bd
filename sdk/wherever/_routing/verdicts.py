"""The verdicts of a call: which answer is given, and what is said of it."""

from __future__ import annotations

from typing import NamedTuple

from wherever._escalation.words import Bar
from wherever._routing.certainty import bar_for, falls_short, reached
from wherever._routing.plan import Candidate, Plan
from wherever._routing.reasons import failures, turn_of_mode, unescalated
from wherever._routing.steps import Senses, Tried, Verdict
from wherever_contracts.receipts import Answer


class Hand(NamedTuple):
    """An answer that is not good enough, kept while a better one is asked for."""

    answer: Answer
    candidate: Candidate
    bar: Bar


def at_once(
    plan: Plan, senses: Senses, first: Candidate, answer: Answer, elapsed_s: float
) -> Verdict | None:
    """The verdict for the first answer, when that is good enough or nobody else may be asked."""
    tried = (Tried(first, elapsed_s, None, answer=answer),)
    bar = bar_for(plan, senses, answer)
    if bar is None or not (plan.escalates and falls_short(bar, answer)):
        lesser = is_lesser(plan, first)
        reason = turn_of_mode(plan, reached(bar, answer), lesser=lesser)
        return Verdict(answer, first, lesser, reason, tried, (), bar)
    if len(plan.attempts) == 1:
        return kept(Hand(answer, first, bar), tried)
    return None


def kept(
    hand: Hand, tried: tuple[Tried, ...], skipped: tuple[tuple[str, str], ...] = ()
) -> Verdict:
    """The verdict for an answer that is not good enough, and that nothing better came after."""
    answer, candidate, bar = hand
    trouble = failures(tried, skipped)
    reason = unescalated(bar, answer, trouble)
    degraded = bool(trouble) or bar.promised
    return Verdict(answer, candidate, degraded, reason, tried, skipped, bar, short=True)


def is_lesser(plan: Plan, candidate: Candidate) -> bool:
    """Whether an answer of this host is a lesser one than was asked for."""
    return plan.degraded_from is not None and candidate.place != plan.degraded_from
