"""Whether an answer is sure enough to be given as it is."""

from __future__ import annotations

import math

from wherever._escalation.words import NOTHING_IS_SURE, Bar
from wherever._routing.plan import Plan
from wherever._routing.steps import Senses
from wherever_contracts.receipts import Answer

_DIGITS = 15


def bar_for(plan: Plan, senses: Senses, answer: Answer) -> Bar | None:
    """What an answer is measured by; None: by nothing, it is given as it is.

    The reference is measured by nothing, nor is a variant without a threshold where nothing is
    promised.
    """
    variant = answer.ran.variant
    if variant == plan.reference:
        return None
    if senses.bar is not None:
        return senses.bar(variant)
    threshold = plan.thresholds.get(variant)
    return None if threshold is None else Bar(threshold)


def falls_short(bar: Bar, answer: Answer) -> bool:
    """Whether the answer's confidence is under the bar.

    One without a confidence does where something is promised: then nothing speaks for it.
    """
    if answer.confidence is None:
        return bar.promised
    return not answer.confidence >= bar.threshold


def is_saved(bar: Bar, answer: Answer) -> bool:
    """Whether the answer is sure enough only because the budget is for less sure ones."""
    return answer.confidence is not None and answer.confidence < bar.wanted


def sureness(answer: Answer) -> float | None:
    """An answer's confidence as evidence, 0 to 1; None: it has none, or one that is no number."""
    confidence = answer.confidence
    if confidence is None or math.isnan(confidence):
        return None
    return min(max(confidence, 0.0), 1.0)


def reached(bar: Bar | None, answer: Answer) -> Bar | None:
    """The bar, of an answer that was measured by it; None where there was nothing to measure."""
    return None if answer.confidence is None else bar


def doubt(bar: Bar, answer: Answer) -> tuple[str, ...]:
    """Why the answer was not good enough."""
    if bar.threshold >= NOTHING_IS_SURE:
        return (bar.why,)
    set_by = f" ({bar.why})" if bar.why else ""
    variant = answer.ran.variant
    if answer.confidence is None:
        return (f"{variant} gives no confidence{set_by}",)
    digits = 3
    while round(answer.confidence, digits) == round(bar.threshold, digits) and digits < _DIGITS:
        digits += 3
    confidence, least = f"{answer.confidence:.{digits}f}", f"{bar.threshold:.{digits}f}"
    return (f"confidence {confidence} of {variant} is under {least}{set_by}",)
