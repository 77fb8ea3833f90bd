"""What escalations and audits may come to within an hour, and which calls it goes to. Pure.

Two things are decided apart. Whether a call can be afforded: never is more spent within any 3,600 s
than the budget says. And which confidence is low enough: were the budget there for whoever comes
first, the surest calls of the first minutes would have it, so it is paced over the hour, and goes
to the least sure of the calls that can be expected.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Mapping
from itertools import accumulate
from typing import Any, cast

from wherever._escalation.words import NOTHING_IS_SURE, Budget
from wherever_contracts.durations import duration
from wherever_contracts.errors import InputError

HOUR_S = 3600.0
# What is spent within one bucket leaves the hour together, when the last of it does.
BUCKET_S = 10.0
# So many confidences tell apart the one call in 2,000 that is the least sure.
MEMORY = 2048
# Calls are expected to come as often as they did for about so long.
RATE_S = 1800.0
# The first calls tell how often they come only when there have been some for so long.
LEAST_S = 60.0
# The pace leaves a little: at the limit of the hour, what comes free goes to whoever is first.
PACE = 0.97
# Within about this time, a pace that was too slow or too fast is made up for.
CATCH_UP_S = 600.0
# At most so much faster than the even pace, as more would run into the hour's limit.
FASTER = 0.5
# How much the latest call changes what one is thought to come to.
FRESH = 0.05

_EXPECTED = "calls, bytes or cost per hour, each a number greater than 0"
_UNITS = ("{:,.6g} calls an hour", "{:,.0f} bytes an hour", "{:,.6g} (cost) an hour")


def check_budget(given: Mapping[str, float | None] | Budget | None) -> Budget | None:
    """The budget that a caller gave, as `{"calls": 600, "bytes": 20e6, "cost": 1.5}`, per hour.

    A value of None is as good as none given.

    Raises:
        InputError: it has another name, names nothing, or a value is no number greater than 0.
    """
    if given is None:
        return None
    named: Any = given._asdict() if isinstance(given, Budget) else given
    if not isinstance(named, Mapping):
        raise _refused(f"{named!r:.100}")
    amounts = cast("Mapping[str, Any]", named)
    for name, value in amounts.items():
        if name not in Budget._fields:
            raise _refused(f"{name!r:.100}")
        if value is not None and not _is_amount(value):
            raise _refused(f"{name}={value!r:.100}")
    budget = Budget(**{name: value for name, value in amounts.items() if value is not None})
    if budget == Budget():
        raise _refused("nothing")
    return budget


class BudgetPacer:
    """Keeps to a budget in any hour, and spends it on the least sure calls.

    Who uses it from several threads holds a lock, from `affordable` to `spent`. Times are seconds
    of one clock; one that goes back stands still. It needs no more memory as calls go on: at most
    one bucket for each 10 s of an hour, and the latest 2,048 confidences.

    Args:
        budget: what may be spent per hour.
    """

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self._hour = _Hour(budget)
        self._seen = _Confidences()
        self._credit = _Credit()
        self._load = _Load(budget)

    def affordable(self, now: float, use: Budget) -> str:
        """Say in a sentence why `use` does not fit into the hour that ends now; "" when it does."""
        return self._hour.refusal(now, use)

    def spent(self, now: float, use: Budget) -> None:
        """Something was spent; what comes on top of it later is `spent` when it is known."""
        self._hour.add(now, use)
        self._credit.spend(now, self._load.add(use))

    def seen(self, confidence: float, now: float) -> None:
        """A call was answered with this confidence, whether it goes further or not."""
        self._seen.add(confidence, now)

    def threshold(self, now: float) -> float | None:
        """The confidence below which a call is among those that the budget is best spent on.

        Above 1: there is enough for every call. None: no call was seen yet.
        """
        if not self._seen.count:
            return None
        credit = self._credit.at(now)
        pace = max(0.0, PACE / HOUR_S + credit / CATCH_UP_S)
        expected = self._seen.rate(now) * self._load.per_call
        if expected <= pace:
            return NOTHING_IS_SURE
        # where many calls are equally unsure, all or none are below: by turns they are
        return self._seen.quantile(pace / expected, with_equal=credit > 0.0)


class _Hour:
    """What was spent within the last hour, never too little."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._buckets: deque[tuple[float, float, tuple[float, ...]]] = deque()
        self._total = (0.0,) * len(budget)
        self._now = -math.inf

    def add(self, now: float, use: Budget) -> None:
        now = self._forget(now)
        amounts = _amounts(use)
        self._total = _sum(self._total, amounts)
        if self._buckets and now - self._buckets[-1][0] < BUCKET_S:
            first, _, before = self._buckets.pop()
            self._buckets.append((first, now, _sum(before, amounts)))
        else:
            self._buckets.append((now, now, amounts))

    def refusal(self, now: float, use: Budget) -> str:
        now = self._forget(now)
        return next(
            (
                self._why(index, wanted, now)
                for index, wanted in enumerate(_amounts(use))
                if not self._fits(index, self._total[index], wanted)
            ),
            "",
        )

    def _fits(self, index: int, total: float, wanted: float) -> bool:
        limit = self._budget[index]
        return limit is None or total + wanted <= limit

    def _why(self, index: int, wanted: float, now: float) -> str:
        limit = _UNITS[index].format(self._budget[index])
        if not self._fits(index, 0.0, wanted):
            return f"a call that needs {wanted:,.6g} is more than the budget of {limit}"
        newest = list(reversed(self._buckets))
        totals = accumulate(amounts[index] for *_, amounts in newest)
        room_s = next(
            (
                last + HOUR_S - now
                for (_, last, _), total in zip(newest, totals, strict=True)
                if not self._fits(index, total, wanted)
            ),
            0.0,
        )
        return f"the budget of {limit} is spent until {duration(room_s)} from now"

    def _forget(self, now: float) -> float:
        self._now = max(self._now, now)
        ended = False
        while self._buckets and self._now - self._buckets[0][1] >= HOUR_S:
            self._buckets.popleft()
            ended = True
        if ended:  # summed anew, so that no error of rounding stays
            nothing = (0.0,) * len(self._budget)
            self._total = _sum(nothing, *(amounts for _, _, amounts in self._buckets))
        return self._now


class _Credit:
    """How much less than the even pace was spent, as a share of an hour's budget."""

    def __init__(self) -> None:
        self._credit = 0.0
        self._now: float | None = None

    def at(self, now: float) -> float:
        before = now if self._now is None else self._now
        self._now = max(before, now)
        return self._set(self._credit + (self._now - before) * PACE / HOUR_S)

    def spend(self, now: float, load: float) -> None:
        self._set(self.at(now) - load)

    def _set(self, credit: float) -> float:
        most = CATCH_UP_S / HOUR_S
        self._credit = max(-most, min(FASTER * most, credit))
        return self._credit


class _Load:
    """What share of an hour's budget a call takes: of the limit that it takes the most of."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._calls = 0.0
        self._load = 0.0
        if budget.calls is not None:
            self.add(Budget(calls=1.0))

    @property
    def per_call(self) -> float:
        """0 while no call was made."""
        return self._load / self._calls if self._calls else 0.0

    def add(self, use: Budget) -> float:
        limits = zip(_amounts(use), self._budget, strict=True)
        load = max(amount / limit for amount, limit in limits if limit is not None)
        calls = use.calls or 0.0
        kept = (1.0 - FRESH) ** calls
        self._calls = self._calls * kept + calls
        self._load = self._load * kept + load
        return load


class _Confidences:
    """The latest confidences, and how often they come."""

    def __init__(self) -> None:
        self._latest: deque[float] = deque()
        self._ordered: list[float] = []
        self._recent = 0.0
        self._first = self._now = 0.0

    @property
    def count(self) -> int:
        return len(self._ordered)

    def add(self, confidence: float, now: float) -> None:
        if not self._ordered:
            self._first = self._now = now
        self._recent = self._decayed(now) + 1.0
        self._now = max(self._now, now)
        if len(self._latest) == MEMORY:
            del self._ordered[bisect_left(self._ordered, self._latest.popleft())]
        self._latest.append(confidence)
        insort(self._ordered, confidence)

    def rate(self, now: float) -> float:
        """Calls a second."""
        watched_s = max(LEAST_S, max(now, self._now) - self._first)
        return self._decayed(now) / (RATE_S * -math.expm1(-watched_s / RATE_S))

    def quantile(self, share: float, *, with_equal: bool) -> float:
        """What `share` of the calls, in [0, 1), are below, as far as this many can tell."""
        place = share * (self.count + 1)
        index = int(place)
        low = self._ordered[index - 1] if index else 0.0
        high = self._ordered[index] if index < self.count else 1.0
        found = low + (place - index) * (high - low)
        return math.nextafter(found, math.inf) if with_equal else found

    def _decayed(self, now: float) -> float:
        return self._recent * math.exp(-max(0.0, now - self._now) / RATE_S)


def _is_amount(value: Any) -> bool:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and math.isfinite(value) and value > 0


def _refused(found: str) -> InputError:
    return InputError("budget", _EXPECTED, found, kind="argument")


def _amounts(use: Budget) -> tuple[float, ...]:
    return tuple(amount or 0.0 for amount in use)


def _sum(*each: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(map(sum, zip(*each, strict=True)))
