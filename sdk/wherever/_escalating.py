"""What a route asks of answers before they are given, and what is learned from those that were."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from wherever._escalation.words import Bar
from wherever._routing.certainty import sureness

if TYPE_CHECKING:
    from wherever._assured import Assured
    from wherever._calls import Call
    from wherever._escalation.purse import Purse
    from wherever._route import Route
    from wherever._routing.steps import Verdict
    from wherever_contracts.receipts import Answer


class Escalation:
    """A promise, a budget, or both, for the calls of a route.

    Attributes:
        assured: keeps what is promised; None: nothing is.
        purse: what escalations may come to; None: as much as there is.
    """

    def __init__(
        self, thresholds: Mapping[str, float], assured: Assured | None, purse: Purse | None
    ) -> None:
        self._thresholds = thresholds
        self.assured: Assured | None = assured
        self.purse: Purse | None = purse

    def bar(self, variant: str) -> Bar | None:
        """What an answer of a variant, which is not the reference, must reach now."""
        if self.assured is not None:
            return self.assured.bar(variant)
        threshold = self._thresholds.get(variant)
        usual = None if threshold is None else Bar(threshold)
        return usual if self.purse is None else self.purse.paced(usual)

    def ended(self, route: Route, call: Call, verdict: Verdict) -> None:
        """Learn from a call that was answered."""
        own = _own_answer(verdict, route.plan.reference)
        if self.purse is not None:
            self.purse.seen(None if own is None else sureness(own))
            for tried in verdict.tried:
                if tried.answer is not None:
                    self.purse.received(tried.candidate.place, tried.answer.down_bytes)
        if self.assured is not None and own is not None and not own.cached:
            self.assured.ended(route, call, verdict, own)


def _own_answer(verdict: Verdict, reference: str) -> Answer | None:
    """The answer of the variant that was to be measured; None where only the reference answered."""
    given = (tried.answer for tried in reversed(verdict.tried) if tried.answer is not None)
    return next((answer for answer in given if answer.ran.variant != reference), None)
