"""What is known of variants' answers, as numbers for a monitor. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from wherever._escalation.facts import Facts, Interval
from wherever_edge.counters import series


def gauges_of(known: Iterable[Facts]) -> dict[str, float]:
    """The facts as gauges, by their series' names in the text format of Prometheus."""
    found: dict[str, float] = {}
    for facts in known:
        about = {"model": facts.model, "version": facts.version, "variant": facts.variant}
        promise = {**about, "aim": facts.aim}
        found |= {series(name, about): number for name, number in _counts(facts).items()}
        found |= {series(name, promise): number for name, number in _promised(facts).items()}
        for name, ends in _shares(facts).items():
            found |= {series(name, {**about, "end": end}): share for end, share in ends.items()}
    return dict(sorted(found.items()))


def _counts(facts: Facts) -> dict[str, float]:
    feedback = facts.feedback
    return {
        "wherever_evidence_calls": float(facts.calls),
        "wherever_evidence_escalated_calls": float(facts.escalated),
        "wherever_evidence_audited_calls": float(facts.audits),
        "wherever_evidence_feedback_calls": float(feedback.n if feedback else 0),
        "wherever_evidence_alarms": float(len(facts.alarms)),
    }


def _promised(facts: Facts) -> dict[str, float]:
    if facts.threshold is None:
        return {}
    return {
        "wherever_promise_threshold": facts.threshold,
        "wherever_promise_unkept_calls": float(facts.unkept),
    }


def _shares(facts: Facts) -> dict[str, dict[str, float]]:
    """The ends of intervals, and what is estimated where it is that of these answers."""
    feedback, accuracy = facts.feedback, facts.accuracy
    said = feedback and Interval(feedback.right / feedback.n, feedback.low, feedback.high)
    shares = {
        "wherever_agreement_ratio": facts.agreement and facts.agreement._asdict(),
        "wherever_variant_agreement_ratio": facts.alone and facts.alone._asdict(),
        "wherever_feedback_right_ratio": said and said._asdict(),
        # its value is the reference's
        "wherever_accuracy_ratio": accuracy and {"low": accuracy.low, "high": accuracy.high},
    }
    return {name: ends for name, ends in shares.items() if ends is not None}
