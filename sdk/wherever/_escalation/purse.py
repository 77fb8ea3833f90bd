"""A budget for a model's calls to other hosts, with its prices. Pure."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from wherever._escalation.budget import BudgetPacer
from wherever._escalation.words import PACED, Bar, Budget

if TYPE_CHECKING:
    from wherever._routing.plan import Candidate
    from wherever_contracts.places import Place

    Admit: TypeAlias = Callable[[Candidate, bool], str]


class Prices(NamedTuple):
    """What a gateway costs: for a call, and for 1e9 bytes there and back; boxes cost nothing."""

    per_call: float = 0.0
    per_gb: float = 0.0

    def cost(self, place: Place, calls: float, traffic_bytes: float) -> float:
        """What calls to a host of this distance cost, with so many bytes there and back."""
        if place != "cloud":
            return 0.0
        return calls * self.per_call + traffic_bytes * self.per_gb / 1e9


class Purse:
    """A budget that calls draw on.

    It refuses hosts that cannot be afforded, but never the last one that could answer at all; what
    that takes counts all the same.

    Args:
        budget: what may be spent in an hour.
        prices: what gateways cost.
        now: the time, in seconds on a clock that does not go back.
        lock: held while something is looked up or counted.
    """

    def __init__(
        self,
        budget: Budget,
        prices: Prices,
        now: Callable[[], float],
        lock: AbstractContextManager[object],
    ) -> None:
        self._pacer = BudgetPacer(budget)
        self._prices = prices
        self._now = now
        self._lock = lock

    def guarded(self, admit: Admit, up_bytes: Callable[[], int]) -> Admit:
        """Leave to ask a host, for one call: as the host gives it, and as the budget does.

        Args:
            admit: the host's leave; the second argument is whether nobody else is left.
            up_bytes: what would travel; asked for when it is needed.
        """

        def afforded(candidate: Candidate, last_hope: bool) -> str:  # noqa: FBT001 (as senses do)
            use = self._use(candidate.place, 1, up_bytes())
            with self._lock:
                now = self._now()
                why = "" if last_hope else self._pacer.affordable(now, use)
                why = why or admit(candidate, last_hope)
                if not why:
                    self._pacer.spent(now, use)
            return why

        return afforded

    def received(self, place: Place, down_bytes: int) -> None:
        """Count what came back with an answer."""
        if down_bytes:
            with self._lock:
                self._pacer.spent(self._now(), self._use(place, 0, down_bytes))

    def seen(self, confidence: float | None) -> None:
        """Note how sure the variant was that answered first; None: it gave no confidence."""
        if confidence is not None:
            with self._lock:
                self._pacer.seen(confidence, self._now())

    def paced(self, bar: Bar | None) -> Bar | None:
        """The bar, lowered to where the budget is best spent; what is promised is not lowered."""
        with self._lock:
            paced = self._pacer.threshold(self._now())
        if paced is None or (bar is not None and (bar.promised or bar.threshold <= paced)):
            return bar
        return Bar(paced, PACED, wanted=0.0 if bar is None else bar.threshold)

    def _use(self, place: Place, calls: int, traffic_bytes: int) -> Budget:
        return Budget(calls, traffic_bytes, self._prices.cost(place, calls, traffic_bytes))
