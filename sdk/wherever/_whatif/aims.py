"""What answers would have been measured by: a promise, a threshold of the policy, or the package's.

The promise is what calls on this device would be given: what the package's pairs support and what
calls have shown since, as the ledger beside the receipts keeps it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from wherever._escalation.assurance import Assurance
from wherever._escalation.events import Paired
from wherever._escalation.words import AUDIT_SHARE, Bar
from wherever._whatif.facts import DEVICE, way_of

if TYPE_CHECKING:
    from wherever._escalation.events import Event
    from wherever._whatif.facts import Facts
    from wherever._whatif.policy import Policy
    from wherever_contracts.receipts import Receipt
    from wherever_edge.certification.calibrated import Evidence


class Known(NamedTuple):
    """What is known of a model's variant on the device.

    Attributes:
        package: whether the package that answered is on this machine.
        threshold: the package's; None: it has none.
        evidence: the package's pairs; None: it has none.
        whole: its losses are 0 or 1 by their nature; None: that is not known.
        events: what calls have shown.
    """

    package: bool
    threshold: float | None = None
    evidence: Evidence | None = None
    whole: bool | None = None
    events: Sequence[Event] = ()


class Measure(NamedTuple):
    """What a variant's answers are measured by, and where that comes from, in words."""

    bar: Bar | None
    source: str


def measure_of(
    policy: Policy, known: Known, facts: Facts, model: str, chance: Callable[[], float]
) -> Measure:
    """What answers of the device's variant of a model are measured by.

    Args:
        policy: what is asked.
        known: what is known of the variant.
        facts: the recorded calls.
        model: the model's name.
        chance: numbers in [0, 1).
    """
    if policy.max_disagreement is not None:
        return _promised(policy, known, chance)
    if policy.min_confidence is not None:
        recorded = policy.min_confidence == facts.aim.min_confidence
        source = "as recorded calls asked it" if recorded else "the policy says it"
        return Measure(Bar(policy.min_confidence), source)
    if known.package:
        threshold = known.threshold
        return Measure(None if threshold is None else Bar(threshold), "the package says it")
    threshold = _seen_threshold(facts, model)
    if threshold is None:
        return Measure(None, "no recorded call was taken further, and the package is not here")
    return Measure(Bar(threshold), "recorded calls below it were taken further")


def _promised(policy: Policy, known: Known, chance: Callable[[], float]) -> Measure:
    losses = [event.loss for event in known.events if isinstance(event, Paired)]
    whole = known.whole if known.whole is not None else all(loss in (0.0, 1.0) for loss in losses)
    assurance = Assurance(
        policy.aim,
        known.evidence,
        whole=whole,
        audit_share=policy.audit_share or AUDIT_SHARE,
        chance=chance,
    )
    for event in known.events:
        assurance.remembered(event)
    parts: list[str] = []
    if known.evidence is not None:
        parts.append(f"{len(known.evidence.loss)} pairs of the package")
    if losses:
        parts.append(f"{len(losses)} pairs of calls on this device")
    source = " and ".join(parts) or "no pairs are known: everything is taken further"
    return Measure(assurance.bar(), source)


def _seen_threshold(facts: Facts, model: str) -> float | None:
    """The least that was asked of an answer, as far as the calls taken further tell."""
    asked = [receipt for receipt in facts.receipts if receipt.ran.model == model]
    further = (_confidence(each) for each in asked if len(each.attempts) > 1)
    known = [confidence for confidence in further if confidence is not None]
    return max(known, default=None)


def _confidence(receipt: Receipt) -> float | None:
    """How sure the device was, where it answered first."""
    if way_of(receipt)[:1] != (DEVICE,):
        return None
    return next(each.confidence for each in receipt.attempts if each.place == DEVICE)
