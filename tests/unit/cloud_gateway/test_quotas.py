"""Quotas: never exceeded in any window, given back whole, counted down to nothing."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from limits import RateLimitItemPerSecond
from limits.strategies import MovingWindowRateLimiter

from wherever_contracts.errors import ForbiddenError, QuotaError
from wherever_gateway.tenants.moving_window import MovingWindow
from wherever_gateway.tenants.quotas import Quotas, limits_of
from wherever_gateway.tenants.rules import Quota
from wherever_gateway.tenants.windows import Windows

EVERY_S = 10

steps = st.lists(
    st.tuples(st.floats(0, 4, allow_subnormal=False), st.integers(0, 6)), min_size=1, max_size=80
)


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def quotas(clock) -> Quotas:
    return Quotas(clock)


def one(quota: Quota, tenant: str = "a", model: str = "m"):
    return limits_of(tenant, model, [quota])


@given(steps=steps, limit=st.integers(1, 12))
def test_no_window_wherever_it_begins_holds_more_than_the_limit(steps, limit):
    clock = Clock()
    limiter = MovingWindowRateLimiter(Windows(clock))
    item = RateLimitItemPerSecond(limit, EVERY_S)
    let_in = []
    for pause_s, cost in steps:
        clock.now_s += pause_s
        if limiter.hit(item, "tenant", cost=cost):
            let_in.append((clock.now_s, cost))
    for begin_s, _ in let_in:
        # the library's windows have both their ends
        within = sum(cost for at_s, cost in let_in if begin_s <= at_s <= begin_s + EVERY_S)
        assert within <= limit


@given(steps=steps, limit=st.integers(1, 12))
def test_a_call_that_waits_as_long_as_it_is_told_is_let_in(steps, limit):
    window, now_s = MovingWindow(EVERY_S), 0.0
    for pause_s, cost in steps:
        now_s += pause_s
        wait_s = window.wait_s(now_s, limit, cost)
        if cost > limit:
            assert wait_s == math.inf
            continue
        assert 0 <= wait_s <= EVERY_S + EVERY_S / 256 + 0.002
        now_s += wait_s
        assert window.wait_s(now_s, limit, cost) == 0
        window.use(now_s, cost)


@given(steps=steps)
def test_it_is_no_stricter_than_one_that_keeps_every_entry_but_for_a_grain(steps):
    window, now_s, past = MovingWindow(EVERY_S), 0.0, []
    for pause_s, cost in steps:
        now_s += pause_s
        window.use(now_s, cost)
        past.append((now_s, cost))
        exact = sum(amount for at_s, amount in past if at_s >= now_s - EVERY_S)
        loose = sum(amount for at_s, amount in past if at_s >= now_s - EVERY_S * (1 + 1 / 256))
        assert exact <= window.used(now_s) <= loose


def test_a_window_takes_bounded_memory():
    window = MovingWindow(1.0)
    for at in range(100_000):
        window.use(at / 100_000, 1)
    assert window.used(0.99999) == 100_000
    assert len(window._spans) <= 257


def test_windows_that_nothing_is_in_are_thrown_away(clock):
    windows = Windows(clock)
    for number in range(5000):
        clock.now_s += 1
        assert windows.acquire_entry(f"tenant {number}", 1, 1)
    assert len(windows._windows) < 1100


def test_the_library_reads_forgets_and_resets_its_storage(clock):
    clock.now_s = 5.0
    windows = Windows(clock)
    limiter, item = MovingWindowRateLimiter(windows), RateLimitItemPerSecond(3, EVERY_S)
    assert limiter.hit(item, "a", cost=2)
    clock.now_s = 6.0
    assert limiter.get_window_stats(item, "a") == (15.0, 1)
    assert not limiter.test(item, "a", cost=2)
    limiter.clear(item, "a")
    assert limiter.test(item, "a", cost=3)
    assert windows.reset() == 1
    assert windows.get_moving_window("b", 1, 1) == (6.0, 0)


def test_a_refusal_says_whose_quota_it_was_and_when_to_come_again(quotas, clock):
    limits = one(Quota(requests="2/minute"))
    quotas.take(limits, 0)
    clock.now_s = 20.0
    quotas.take(limits, 0)
    clock.now_s = 21.0
    with pytest.raises(
        QuotaError, match=r"API key 'a' is used up \(2 requests in 60 s\)"
    ) as caught:
        quotas.take(limits, 0)
    assert caught.value.retry_after_s == pytest.approx(39.0, abs=0.01)
    clock.now_s += caught.value.retry_after_s
    quotas.take(limits, 0)


def test_tenants_and_models_have_quotas_of_their_own(quotas):
    each = Quota(requests="1/hour", per="model")
    quotas.take(one(each, "a", "m"), 0)
    quotas.take(one(each, "b", "m"), 0)
    quotas.take(one(each, "a", "n"), 0)
    with pytest.raises(QuotaError, match="for the model 'n'"):
        quotas.take(one(each, "a", "n"), 0)


def test_a_quota_for_all_models_together_is_one(quotas):
    together = Quota(requests="1/hour")
    quotas.take(one(together, "a", "m"), 0)
    with pytest.raises(QuotaError):
        quotas.take(one(together, "a", "n"), 0)


def test_the_bytes_of_requests_are_counted(quotas, clock):
    limits = one(Quota(bytes="1000B/hour"))
    quotas.take(limits, 600)
    with pytest.raises(QuotaError):
        quotas.take(limits, 600)
    quotas.take(limits, 400)
    quotas.take(limits, 0)


def test_a_message_that_never_fits_is_forbidden_and_not_put_off(quotas):
    with pytest.raises(ForbiddenError, match="1001 bytes never fits the 1000 bytes in 3600 s"):
        quotas.take(one(Quota(bytes="1kB/hour")), 1001)


def test_a_refused_call_uses_up_nothing(quotas, clock):
    limits = one(Quota(requests="2/hour", bytes="10B/hour", concurrency=9))
    quotas.take(limits, 10)
    for _ in range(5):
        with pytest.raises(QuotaError, match="bytes"):
            quotas.take(limits, 1)
    assert quotas.running == 1
    quotas.take(limits, 0)
    with pytest.raises(QuotaError, match="requests"):
        quotas.take(limits, 0)


def test_calls_at_a_time_are_bounded_until_they_end(quotas):
    limits = one(Quota(concurrency=2))
    quotas.take(limits, 0)
    quotas.take(limits, 0)
    with pytest.raises(QuotaError, match="2 calls at a time") as caught:
        quotas.take(limits, 0)
    assert 0 < caught.value.retry_after_s < 1
    quotas.end(limits)
    quotas.take(limits, 0)


def test_of_two_quotas_of_a_kind_the_stricter_counts(quotas):
    said = [Quota(requests="5/hour", concurrency=9), Quota(requests="1/hour", concurrency=3)]
    limits = limits_of("a", "m", said)
    assert [rate.amount for rate in limits.rates] == [1]
    assert [each.most for each in limits.at_a_time] == [3]
    assert len(limits_of("a", "m", [*said, Quota(requests="5/minute")]).rates) == 2


def test_without_quotas_there_is_nothing_to_fit():
    assert limits_of("a", "m", []) is None
    assert limits_of("a", "m", [Quota()]) is None


def test_who_has_no_key_is_named_so():
    assert "without an API key" in one(Quota(requests="1/hour"), tenant="").rates[0].whose


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("mn"), st.booleans()), max_size=60)
)
def test_the_count_of_calls_at_a_time_always_comes_back_to_nothing(calls):
    quotas = Quotas(Clock())
    quota = [Quota(concurrency=3), Quota(concurrency=2, per="model")]
    inside = []
    for tenant, model, ends in calls:
        if ends and inside:
            quotas.end(inside.pop())
            continue
        limits = limits_of(tenant, model, quota)
        try:
            quotas.take(limits, 0)
        except QuotaError:
            continue
        inside.append(limits)
        assert sum(1 for each in inside if each.at_a_time == limits.at_a_time) <= 2
    for limits in inside:
        quotas.end(limits)
    assert quotas.running == 0
    assert not quotas._running
