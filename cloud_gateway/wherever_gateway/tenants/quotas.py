"""Quotas: a call uses up something of each that it falls under, or nothing of any."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from time import monotonic
from typing import NamedTuple

from wherever_contracts.durations import duration
from wherever_contracts.errors import ForbiddenError, QuotaError
from wherever_gateway.tenants.rules import Per, Quota
from wherever_gateway.tenants.windows import Windows

# when a call that found too many at work may come again: as soon as one of them may have ended
_SOON_S = 0.05


class RateLimit(NamedTuple):
    """So much in each span of time, of one tenant or of one of its models.

    Attributes:
        key: whose it is, and of what.
        amount: how much.
        every_s: in which time.
        counts_bytes: whether it is about bytes; else about calls.
        whose: for people.
    """

    key: str
    amount: int
    every_s: int
    counts_bytes: bool
    whose: str

    def cost(self, n_bytes: int) -> int:
        """What a call with a message of `n_bytes` uses."""
        return n_bytes if self.counts_bytes else 1

    def __str__(self) -> str:
        what = "bytes" if self.counts_bytes else "requests"
        return f"{self.amount} {what} in {self.every_s} s"


class AtATime(NamedTuple):
    """So many calls at a time, of one tenant or of one of its models."""

    key: str
    most: int
    whose: str


class Limits(NamedTuple):
    """All that the calls of one tenant for one model have to fit."""

    rates: tuple[RateLimit, ...]
    at_a_time: tuple[AtATime, ...]


def limits_of(tenant: str, model: str, quotas: Iterable[Quota]) -> Limits | None:
    """What calls of a tenant for a model have to fit; None when that is nothing.

    Of two quotas of the same kind, for the same span of time, the stricter counts.
    """
    rates: dict[str, RateLimit] = {}
    at_a_time: dict[str, AtATime] = {}
    for quota in quotas:
        scope = _scope(tenant, model, quota.per)
        for rate in _rates(scope, quota):
            known = rates.setdefault(rate.key, rate)
            rates[rate.key] = min(known, rate, key=lambda each: each.amount)
        if quota.concurrency is not None:
            own = AtATime(scope.key, quota.concurrency, scope.whose)
            at_a_time[own.key] = min(own, at_a_time.get(own.key, own), key=lambda each: each.most)
    if not rates and not at_a_time:
        return None
    return Limits(tuple(rates.values()), tuple(at_a_time.values()))


class Quotas:
    """What is used of quotas. Safe to use from many threads.

    Args:
        clock: seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._windows = Windows(clock)
        self._lock = self._windows.lock
        self._running: dict[str, int] = {}

    @property
    def running(self) -> int:
        """Calls that count as at work now, each once for every limit on them."""
        return sum(self._running.values())

    def take(self, limits: Limits, n_bytes: int) -> None:
        """Use up what a call with a message of `n_bytes` needs.

        Raises:
            QuotaError: not all of it is there now; nothing was used.
            ForbiddenError: its message is larger than a limit will ever let in.
        """
        with self._lock:
            self._check_running(limits)
            self._use_rates(limits.rates, n_bytes)
            for each in limits.at_a_time:
                self._running[each.key] = self._running.get(each.key, 0) + 1

    def end(self, limits: Limits) -> None:
        """A call is at work no more."""
        with self._lock:
            for each in limits.at_a_time:
                left = self._running[each.key] - 1
                if left:
                    self._running[each.key] = left
                else:
                    del self._running[each.key]

    def _check_running(self, limits: Limits) -> None:
        for each in limits.at_a_time:
            if self._running.get(each.key, 0) >= each.most:
                raise _used_up(f"{each.most} calls at a time", each.whose, _SOON_S)

    def _use_rates(self, rates: Sequence[RateLimit], n_bytes: int) -> None:
        windows = self._windows
        for at, (key, amount, every_s, counts_bytes, _) in enumerate(rates):
            if not windows.take(key, amount, every_s, n_bytes if counts_bytes else 1):
                for used in rates[:at]:
                    windows.give_back(used.key, used.cost(n_bytes))
                raise self._refusal(rates[at], n_bytes)

    def _refusal(self, rate: RateLimit, n_bytes: int) -> QuotaError | ForbiddenError:
        cost = rate.cost(n_bytes)
        wait_s = self._windows.wait_s(rate.key, rate.amount, rate.every_s, cost)
        if wait_s == math.inf:
            return ForbiddenError(
                f"a call of {cost} bytes never fits the {rate} that {rate.whose} may use; "
                "send less at a time, or ask who runs the gateway for more"
            )
        return _used_up(str(rate), rate.whose, wait_s)


class _Scope(NamedTuple):
    key: str
    whose: str


def _scope(tenant: str, model: str, per: Per) -> _Scope:
    who = f"the API key {tenant!r}" if tenant else "who calls without an API key"
    if per == "tenant":
        return _Scope(repr((tenant,)), who)
    return _Scope(repr((tenant, model)), f"{who} for the model {model!r}")


def _rates(scope: _Scope, quota: Quota) -> Iterator[RateLimit]:
    for rate, counts_bytes in ((quota.request_rate(), False), (quota.bytes_rate(), True)):
        if rate is not None:
            key = f"{scope.key} {'bytes' if counts_bytes else 'requests'} {rate.every_s}"
            yield RateLimit(key, *rate, counts_bytes, scope.whose)


def _used_up(what: str, whose: str, wait_s: float) -> QuotaError:
    error = QuotaError(f"the quota of {whose} is used up ({what}); try again in {duration(wait_s)}")
    error.retry_after_s = wait_s
    return error
