"""A policy's budget, as `wherever._purse` keeps to it, on a virtual clock."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from wherever._escalation.budget import BudgetPacer
from wherever._escalation.words import PACED, Bar, Budget

if TYPE_CHECKING:
    from wherever._routing.plan import Candidate
    from wherever._whatif.policy import Policy


class Purse:
    """What calls draw on; without a budget it holds as much as is asked of it.

    Args:
        policy: the budget and the prices.
        now: the time.
    """

    def __init__(self, policy: Policy, now: Callable[[], float]) -> None:
        self._policy = policy
        self._now = now
        self._pacer = None if policy.budget is None else BudgetPacer(policy.budget)

    def guarded(
        self, admit: Callable[[Candidate, bool], str], up_bytes: int
    ) -> Callable[[Candidate, bool], str]:
        """Leave to ask a host, for one call: as the host gives it, and as the budget does."""
        pacer = self._pacer
        if pacer is None:
            return admit

        def afforded(candidate: Candidate, last_hope: bool) -> str:  # noqa: FBT001 (Senses')
            use = self._use(candidate, 1, up_bytes)
            why = "" if last_hope else pacer.affordable(self._now(), use)
            why = why or admit(candidate, last_hope)
            if not why:
                pacer.spent(self._now(), use)
            return why

        return afforded

    def received(self, candidate: Candidate, down_bytes: int) -> None:
        """An answer came back."""
        if self._pacer is not None and down_bytes:
            self._pacer.spent(self._now(), self._use(candidate, 0, down_bytes))

    def seen(self, confidence: float | None) -> None:
        """The device answered with this confidence."""
        if self._pacer is not None and confidence is not None:
            self._pacer.seen(confidence, self._now())

    def paced(self, bar: Bar | None) -> Bar | None:
        """The bar, lowered to where the budget leads; a promise is not lowered."""
        paced = None if self._pacer is None else self._pacer.threshold(self._now())
        if paced is None or (bar is not None and (bar.promised or bar.threshold <= paced)):
            return bar
        return Bar(paced, PACED, wanted=0.0 if bar is None else bar.threshold)

    def _use(self, candidate: Candidate, calls: int, traffic_bytes: int) -> Budget:
        cost = self._policy.cost(candidate.place, calls, traffic_bytes)
        return Budget(calls, traffic_bytes, cost)
