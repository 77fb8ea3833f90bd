"""A budget for a model's calls to other hosts, with the clock and the prices."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from wherever._escalation.budget import BudgetPacer
from wherever._escalation.words import Budget

if TYPE_CHECKING:
    from wherever._routing.forecast import Work
    from wherever._routing.plan import Candidate
    from wherever._routing.steps import Verdict
    from wherever_contracts.places import Place
    from wherever_contracts.receipts import Answer

    Admit: TypeAlias = Callable[[Candidate, bool], str]


class Prices(NamedTuple):
    """What a gateway costs: for a call, and for 1e9 bytes there and back; boxes cost nothing."""

    per_call: float = 0.0
    per_gb: float = 0.0

    def use(self, place: Place, calls: int, bytes_: int) -> Budget:
        """What calls and bytes come to."""
        cost = calls * self.per_call + bytes_ * self.per_gb / 1e9 if place == "cloud" else 0.0
        return Budget(calls, bytes_, cost)


class Purse:
    """A budget that calls from many threads draw on.

    It refuses hosts that cannot be afforded, but never the last one that could answer at all; what
    that takes counts all the same.
    """

    def __init__(self, budget: Budget, prices: Prices) -> None:
        self._pacer = BudgetPacer(budget)
        self._prices = prices
        self._lock = threading.Lock()

    def guarded(self, admit: Admit, work: Callable[[str], Work]) -> Admit:
        """Leave to ask a host, for one call: as the host gives it, and as the budget does."""

        def afforded(candidate: Candidate, last_hope: bool) -> str:  # noqa: FBT001 (as senses do)
            use = self._prices.use(candidate.place, 1, work("").up_bytes)
            with self._lock:
                now = monotonic()
                why = "" if last_hope else self._pacer.affordable(now, use)
                why = why or admit(candidate, last_hope)
                if not why:
                    self._pacer.spent(now, use)
            return why

        return afforded

    def threshold(self) -> float | None:
        """The confidence under which the budget is best spent; None: nothing is known yet."""
        with self._lock:
            return self._pacer.threshold(monotonic())

    def ended(self, verdict: Verdict, confidence: float | None) -> None:
        """Count what came back, and how sure the variant was that answered first."""
        with self._lock:
            now = monotonic()
            if confidence is not None:
                self._pacer.seen(confidence, now)
            for tried in verdict.tried:
                if tried.answer is not None:
                    self._came(now, tried.candidate.place, tried.answer)

    def came(self, place: Place, answer: Answer) -> None:
        """Count what came back with an answer that no verdict tells of."""
        with self._lock:
            self._came(monotonic(), place, answer)

    def _came(self, now: float, place: Place, answer: Answer) -> None:
        if answer.down_bytes:
            self._pacer.spent(now, self._prices.use(place, 0, answer.down_bytes))
