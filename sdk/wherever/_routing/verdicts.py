"""The verdicts of a call: which answer is given, and what is said of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from wherever._escalation.words import Bar
from wherever._routing.certainty import bar_for, falls_short, is_saved, reached
from wherever._routing.plan import Candidate, Plan
from wherever._routing.reasons import failures, saved, turn_of_mode, unescalated
from wherever._routing.steps import Senses, Tried, Verdict
from wherever_contracts.errors import (
    ClosedError,
    NoRouteError,
    SubstitutedError,
    WhereverError,
)
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
    tried = (Tried(first, elapsed_s, None, False, answer),)  # noqa: FBT003 (hot path)
    bar = bar_for(plan, senses, answer)
    if bar is None or not (plan.escalates and falls_short(bar, answer)):
        reason, lesser = turn(plan, first, answer, bar)
        return Verdict(answer, first, lesser, reason, tried, (), bar)
    if len(plan.attempts) == 1:
        return kept(Hand(answer, first, bar), tried)
    return None


def turn(
    plan: Plan, candidate: Candidate, answer: Answer, bar: Bar | None
) -> tuple[tuple[str, ...], bool]:
    """Why an answer is given before which nothing went wrong, and whether it is a lesser one."""
    if bar is not None and is_saved(bar, answer):
        return saved(bar, answer), True
    lesser = is_lesser(plan, candidate)
    return turn_of_mode(plan, reached(bar, answer), lesser=lesser), lesser


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


def failure(
    plan: Plan, tried: Sequence[Tried], skipped: Sequence[tuple[str, str]]
) -> WhereverError:
    """What to raise when nothing was answered.

    Returns:
        A `ClosedError` where a host was closed meanwhile, a `SubstitutedError` where all answers
        were such as the call would not have, and else a `NoRouteError`, which is also their cause.
    """
    causes = [each.error for each in tried if each.error is not None]
    nowhere = NoRouteError(plan.model, causes, {**plan.ruled_out, **dict(skipped)})
    closed = (cause for cause in causes if isinstance(cause, ClosedError))
    known: WhereverError | None = next(closed, None)
    if known is None and causes and all(isinstance(cause, SubstitutedError) for cause in causes):
        known = causes[0]  # there were answers
    if known is None:
        return nowhere
    known.__cause__ = nowhere
    return known
