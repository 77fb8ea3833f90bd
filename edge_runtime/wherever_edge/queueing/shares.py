"""What each tenant has of the engines and of the places for its weight. Pure.

Turns are shared as by start-time fair queueing (Goyal, Vin, Cheng: "Start-time Fair Queueing",
SIGCOMM 1996), charged when a call begins rather than when it comes: what leaves the line has cost
its tenant nothing. Each class of priority has a clock of its own: nobody pays in one for what it
had in another.
"""

from __future__ import annotations

# weights below this are as good as nothing
LEAST_WEIGHT = 1e-3

# what cost too little to be known still counts
_LEAST_S = 1e-6
# tenants that are remembered
_MOST = 4096


class Shares:
    """A clock for each class, in seconds of an engine for a weight of 1. Not safe for threads."""

    __slots__ = ("_had", "_now")

    def __init__(self) -> None:
        self._had: dict[tuple[int, str], float] = {}
        self._now: dict[int, float] = {}

    def start(self, rank: int, tenant: str) -> float:
        """Where on its class's clock a tenant's next call stands; the earlier goes first.

        Who had nothing for a while stands where the clock is: time that was not used is lost.
        """
        now = self._now.get(rank, 0.0)
        had = self._had.get((rank, tenant), now)
        return had if had > now else now  # noqa: FURB136 (under the queue's lock)

    def begin(
        self, rank: int, tenant: str, weight: float, cost_s: float, *, leads: bool = True
    ) -> None:
        """A call of the tenant begins.

        Args:
            rank: of its class.
            tenant: whose call it is.
            weight: how large its share is beside the others'.
            cost_s: seconds of an engine that it will take.
            leads: its turn had come; False for one that goes along in another's run, which is
                no reason for others to be behind.
        """
        start = self.start(rank, tenant)
        if leads:
            self._now[rank] = start
        self._had[rank, tenant] = start + max(cost_s, _LEAST_S) / max(weight, LEAST_WEIGHT)
        if len(self._had) > _MOST:
            self._forget()

    def _forget(self) -> None:
        """Forget those who are behind nobody, and of the others those who are least ahead."""
        ahead = [each for each in self._had if self._had[each] > self._now.get(each[0], 0.0)]
        ahead.sort(key=lambda each: self._had[each] - self._now.get(each[0], 0.0), reverse=True)
        self._had = {each: self._had[each] for each in ahead[: _MOST // 2]}


class Places:
    """How many places each tenant holds. Not safe for threads."""

    __slots__ = ("_held", "_weights")

    def __init__(self) -> None:
        self._held: dict[str, int] = {}
        self._weights: dict[str, float] = {}

    def take(self, tenant: str, weight: float = 1.0) -> None:
        """A tenant takes a place."""
        self._held[tenant] = self._held.get(tenant, 0) + 1
        self._weights[tenant] = weight

    def give_back(self, tenant: str) -> None:
        """A tenant gives a place back."""
        left = self._held[tenant] - 1
        if left:
            self._held[tenant] = left
        else:
            del self._held[tenant], self._weights[tenant]

    def weight(self, tenant: str) -> float | None:
        """The weight of a tenant that holds a place; None of one that holds none."""
        return self._weights.get(tenant)

    def spare_one(self, tenant: str, places: int, weight: float = 1.0) -> bool:
        """Whether one more would be within a tenant's share of so many places.

        Those who hold none have no share.
        """
        own = max(weight, LEAST_WEIGHT)
        others = sum(self._weights.values()) - self._weights.get(tenant, 0.0)
        return self._held.get(tenant, 0) + 1 <= places * own / (own + others)
